"""Decides whether a history of registers is linearizable: whether some order of its operations explains it.

Must not know clocks or clusters; an operation has a beginning and an end, and nothing else is true of time.

Linearizable (Herlihy and Wing, 1990): each operation takes effect at one moment between its request and its
answer. Checking it is a search for such moments (Wing and Gong, "Testing and verifying concurrent objects",
1993). What makes the search feasible here:

- keys are checked one by one (P-compositionality: Horn and Kroening, "Faster linearizability checking via
  P-compositionality", 2015);
- an operation is put in order just in time, when its answer is reached, and situations that were met before
  are not looked at again: a situation is the register's value and which pending operations are still to be
  had, as bits (Lowe, "Testing for linearizability", 2017);
- three reductions that hold for registers. Something that only looks is put in order as soon as the value
  fits: that can never hurt. A write that nobody looks at may be put just before another write in its time
  ("hidden"): from then on it need not be put anywhere, but still can be. Of two situations that differ only
  in what is still owed and what is still to be had, the poorer one is dropped; so of several writes of one
  value the one that must be over first is taken, and all values that nobody asks for by name are one value.

The reductions are tested against the definition itself on random small histories.
Two operations of which one ends exactly when the other begins count as concurrent.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from histories.operations import Kind, Operation, Value
from histories.timeline import timeline

STEPS_MAX = 1_000_000
"""Situations looked at for one key before the search is given up: half a minute; most histories need one an answer.

It is reached by tens of operations that are under way on one key at once, or tens of unknown outcomes on one key:
let such clients use more keys.
"""

Situation = tuple[Value, int, int]
"""The value; pending operations still to be had, as bits; those of them that are owed."""


class _Nameless:
    """Stands for every value that no operation reads or expects."""

    def __repr__(self) -> str:
        return "(a value that nobody asks for)"


NAMELESS = _Nameless()


class Undecided(Exception):
    """The search was given up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history is. ``illegal`` is the smallest part found that no order explains."""

    legal: bool
    operations: int
    keys: int
    undecided: tuple[str, ...] = ()
    """Keys whose search was given up; the others are what ``legal`` says."""
    illegal: tuple[Operation, ...] = ()
    explanation: str = ""

    def __bool__(self) -> bool:
        return self.legal and not self.undecided


def check(operations: Iterable[Operation], initial: Value = None, steps_max: int = STEPS_MAX) -> Verdict:
    """Whether the history is linearizable; where not, the first key that shows it, as small as was found."""
    by_key: dict[str, list[Operation]] = {}
    count = 0
    for operation in operations:
        count += 1
        by_key.setdefault(operation.key, []).append(operation)
    undecided = []
    for key, history in by_key.items():
        try:
            failing = _Search(history, initial, steps_max).run()
        except Undecided:
            undecided.append(key)
            continue
        if failing is not None:
            part = shrink([one for one in history if one.began <= failing.ended], initial)
            return Verdict(False, count, len(by_key), tuple(undecided), part, timeline(part, initial))
    return Verdict(True, count, len(by_key), tuple(undecided))


class _Search:
    """One key."""

    def __init__(self, history: list[Operation], initial: Value, steps_max: int) -> None:
        self._history = [one for one in history if not (one.unknown and one.kind is Kind.READ)]
        self._naming = Counter(_named(one) for one in self._history)
        """How many operations that name a value, and have not ended, there are."""
        self._put: list[Value] = [
            one.value if one.value is None or one.value in self._naming else NAMELESS for one in self._history
        ]
        """What each operation leaves behind when it takes effect."""
        self._situations: set[Situation] = {(initial, 0, 0)}
        self._steps = steps_max
        self._bit: dict[int, int] = {}
        self._free: list[int] = []
        self._bits = 0
        self._writers: dict[Value, dict[int, int]] = {}
        """Pending writes by value: number → bit."""
        self._changers: dict[int, int] = {}
        """Pending operations that look and change: a compare-and-set, a delete that found something."""
        self._lookers: dict[int, int] = {}
        """Pending operations that only look."""

    def run(self) -> Operation | None:
        """The operation whose answer nothing explains, None when all are explained."""
        for ends, number in self._moments():
            if not ends:
                self._begin(number)
            elif not self._end(number):
                return self._history[number]
        return None

    def _moments(self) -> Iterator[tuple[bool, int]]:
        moments = [(one.began, False, number) for number, one in enumerate(self._history)]
        moments += [(one.ended, True, number) for number, one in enumerate(self._history) if not one.unknown]
        moments.sort()
        for _, ends, number in moments:
            yield ends, number

    def _begin(self, number: int) -> None:
        operation = self._history[number]
        if self._put[number] is not None and not self._naming[self._put[number]]:
            self._put[number] = NAMELESS
        if self._free:
            bit = self._free.pop()
        else:
            bit = 1 << self._bits
            self._bits += 1
        self._bit[number] = bit
        if _only_looks(operation):
            self._lookers[number] = bit
            self._situations = {
                one if _fits(operation, one[0]) else (one[0], one[1] | bit, one[2] | bit) for one in self._situations
            }
            return
        if _writes_blindly(operation):
            self._writers.setdefault(self._put[number], {})[number] = bit
        else:
            self._changers[number] = bit
        owed = 0 if operation.unknown else bit
        self._situations = {(value, at_hand | bit, owes | owed) for value, at_hand, owes in self._situations}

    def _end(self, number: int) -> bool:
        """The answer is reached: the operation has its place by now, in every situation that is left."""
        operation, bit = self._history[number], self._bit.pop(number)
        found: set[Situation] = set()
        for situation in self._situations:
            value, at_hand, owes = situation
            if not owes & bit:
                found.add((value, at_hand & ~bit, owes))
            if at_hand & bit:
                self._place(situation, number, bit, found)
        self._forget(operation, number)
        self._free.append(bit)
        name = _named(operation)
        self._naming[name] -= 1
        if name is not None and not self._naming[name]:
            found = self._forget_name(name, found)
        self._situations = _without_poorer(found) if len(found) > 1 else found
        return bool(found)

    def _forget_name(self, name: Value, found: set[Situation]) -> set[Situation]:
        """Nobody asks for this value any more."""
        writers = self._writers.pop(name, None)
        if writers:
            self._writers.setdefault(NAMELESS, {}).update(writers)
        for number in [*(writers or ()), *self._changers]:
            if self._put[number] == name:
                self._put[number] = NAMELESS
        return {(NAMELESS, one[1], one[2]) if one[0] == name else one for one in found}

    def _forget(self, operation: Operation, number: int) -> None:
        if _only_looks(operation):
            del self._lookers[number]
        elif _writes_blindly(operation):
            writers = self._writers[self._put[number]]
            del writers[number]
            if not writers:
                del self._writers[self._put[number]]
        else:
            del self._changers[number]

    def _place(self, begin: Situation, goal: int, goal_bit: int, found: set[Situation]) -> None:
        """Every way to put the goal in order now, after others that something waits for."""
        seen, waiting = {begin}, [begin]
        while waiting:
            self._steps -= 1
            if self._steps < 0:
                raise Undecided
            situation = waiting.pop()
            for number, bit in self._next(situation, goal, goal_bit):
                after = self._after(situation, number, bit)
                if not after[1] & goal_bit:
                    found.add(after)
                    continue
                if begin[2] & goal_bit and not after[2] & goal_bit:
                    # The goal is a write that may be hidden under this one; it may also come after it.
                    found.add((after[0], after[1] & ~goal_bit, after[2]))
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)

    def _next(self, situation: Situation, goal: int, goal_bit: int) -> Iterator[tuple[int, int]]:
        """What may come next: the goal, whatever looks and changes, and a write that something waits for."""
        value, at_hand, _ = situation
        history = self._history
        if at_hand & goal_bit and _writes_blindly(history[goal]):
            yield goal, goal_bit
        wanted: dict[int, int] = {}
        alike: set[tuple[Value, Value]] = set()
        for number, bit in self._changers.items():
            if at_hand & bit:
                if history[number].unknown:
                    kind = history[number].expected, self._put[number]
                    if kind in alike:
                        continue
                    alike.add(kind)
                fits = _fits(history[number], value)
                if fits:
                    yield number, bit
                if not fits or history[number].kind is Kind.CAS:
                    wanted.update(self._writers_for(history[number], at_hand))
        for number, bit in self._lookers.items():
            if at_hand & bit:
                wanted.update(self._writers_for(history[number], at_hand))
        wanted.pop(goal, None)
        yield from wanted.items()

    def _writers_for(self, operation: Operation, at_hand: int) -> Iterator[tuple[int, int]]:
        """Pending writes after which this operation could come, as few as will do."""
        only = _only_value(operation)
        if only is not None:
            first = self._first_over(self._writers.get(only[0], {}), at_hand)
            if first is not None:
                yield first
            return
        nameless = self._first_over(self._writers.get(NAMELESS, {}), at_hand)
        over_by = self._history[nameless[0]].ended if nameless else inf
        if nameless is not None:
            yield nameless
        for value, writers in self._writers.items():
            first = self._first_over(writers, at_hand) if _fits(operation, value) else None
            if first is not None and (nameless is None or self._history[first[0]].ended < over_by):
                yield first

    def _first_over(self, writers: dict[int, int], at_hand: int) -> tuple[int, int] | None:
        """Of writes of one value the one that must be over first: the others can still serve later."""
        found = [(self._history[number].ended, number, bit) for number, bit in writers.items() if at_hand & bit]
        return min(found)[1:] if found else None

    def _after(self, situation: Situation, number: int, bit: int) -> Situation:
        _, at_hand, owes = situation
        operation = self._history[number]
        value, at_hand, owes = self._put[number], at_hand & ~bit, owes & ~bit
        if owes and operation.kind is not Kind.CAS:
            # A write may come just before another one, and just before a delete that finds something.
            for writers in self._writers.values():
                for hidden in writers.values():
                    owes &= ~hidden
        for other, looker in self._lookers.items():
            if owes & looker and _fits(self._history[other], value):
                at_hand, owes = at_hand & ~looker, owes & ~looker
        return value, at_hand, owes


def _named(operation: Operation) -> Value:
    """The value that it asks for by name; None also where it asks for none."""
    return operation.value if operation.kind is Kind.READ else operation.expected


def _only_looks(operation: Operation) -> bool:
    return operation.kind is Kind.READ or not operation.held


def _writes_blindly(operation: Operation) -> bool:
    """A delete of unknown outcome needs no value to be there: where there is none it changes nothing."""
    return operation.kind is Kind.WRITE or (operation.kind is Kind.DELETE and operation.unknown)


def _fits(operation: Operation, value: Value) -> bool:
    """Whether it could have been answered as it was, on this value."""
    if operation.kind is Kind.READ:
        return bool(operation.value == value)
    if operation.kind is Kind.CAS:
        return (operation.expected == value) == operation.held
    return (value is not None) == operation.held


def _only_value(operation: Operation) -> tuple[Value] | None:
    """The one value on which it could have been answered so; None when there are many."""
    if operation.kind is Kind.READ:
        return (operation.value,)
    if operation.kind is Kind.CAS:
        return (operation.expected,) if operation.held else None
    return None if operation.held else (None,)


def _without_poorer(situations: set[Situation]) -> set[Situation]:
    """Without those beside which another has the same value, as much at hand, and owes no more."""
    by_value: dict[Value, list[tuple[int, int]]] = {}
    for value, at_hand, owes in situations:
        by_value.setdefault(value, []).append((at_hand, owes))
    kept: set[Situation] = set()
    for value, found in by_value.items():
        found.sort(key=lambda one: (-one[0].bit_count(), one[1].bit_count()))
        best: list[tuple[int, int]] = []
        for at_hand, owes in found:
            if not any(at_hand & ~richer == 0 and lighter & ~owes == 0 for richer, lighter in best):
                best.append((at_hand, owes))
        kept.update((value, at_hand, owes) for at_hand, owes in best)
    return kept


SHRINK_STEPS_MAX = 3_000
"""For one try: a part that is harder to judge than this is not smaller in any sense that helps a reader."""
SHRINK_WORK_MAX = 300_000
"""Operations looked at while a history is made smaller: some seconds."""


def shrink(history: list[Operation], initial: Value) -> tuple[Operation, ...]:
    """A small part of an illegal history that is illegal for the same reason.

    Only steps are taken that cannot make a legal history illegal: what only looks is left out, and a change
    is made one of unknown outcome; one of these is left out when nothing that is left could need it.
    Large pieces are tried before small ones (Zeller and Hildebrandt, "Simplifying and isolating
    failure-inducing input", 2002).
    """
    part, work = sorted(history, key=lambda one: (one.began, one.ended)), 0
    piece = len(part)
    while piece > 1:
        piece = (piece + 1) // 2
        start = 0
        while start < len(part) and work < SHRINK_WORK_MAX:
            work += len(part)
            weaker = [*part[:start], *_weaker(part[start : start + piece]), *part[start + piece :]]
            if weaker != part and _illegal(weaker, initial):
                # What was weakened is as a rule gone; the next piece has moved here.
                part = _needed(weaker, initial)
            else:
                start += piece
    return tuple(part)


def _weaker(piece: list[Operation]) -> list[Operation]:
    """Less is said: nothing was read, and nobody knows whether anything was changed."""
    return [
        Operation(one.client, one.key, one.kind, one.began, value=one.value, expected=one.expected)
        for one in piece
        if not _only_looks(one)
    ]


def _needed(part: list[Operation], initial: Value) -> list[Operation]:
    """Without changes of unknown outcome whose value nothing could be waiting for."""
    while True:
        wanted = {value for one in part if (value := _only_value(one)) is not None}
        anything = any(_only_value(one) is None and one.kind is not Kind.WRITE for one in part if not one.unknown)
        kept = [one for one in part if not one.unknown or anything or (one.value,) in wanted]
        if len(kept) == len(part) or not _illegal(kept, initial):
            return part
        part = kept


def _illegal(history: list[Operation], initial: Value) -> bool:
    try:
        return _Search(history, initial, SHRINK_STEPS_MAX).run() is not None
    except Undecided:
        return False
