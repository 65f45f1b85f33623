"""Decides whether the value of a parameter is one that its pattern lets through.

Must not know where the two come from. Who operates the cluster may give any value, and it is matched by the node that
leads, between two heartbeats: so in time that grows with the length of the value alone. All ways through the pattern
are followed side by side, and none is tried after another. A pattern may have what one of ``re`` has, but for what
looks ahead or back or refers to what was matched; it means the same.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

STEPS_MAX = 2048
"""Of one pattern with its repeats written out. For each letter of a value each of them is looked at once at most."""
DEPTH_MAX = 32
"""Groups within groups."""
FREE_MAX = 2
"""Repeats of single letters, and none of groups: what tries one way after the other needs milliseconds for these."""

_LETTER = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[dDwWsStnrfv]|[^A-Za-z0-9])|"
                     r"[^\\\[(){*+?|^$]", re.DOTALL)  # fmt: skip
_REPEAT = re.compile(r"(?:[*+?]|\{(?=[0-9]|,[0-9])(?P<least>[0-9]{0,4})(?P<to>,(?P<most>[0-9]{0,4}))?\})\??")


class Unreadable(ValueError):
    """The pattern cannot be read; the message says why."""


class Letter(NamedTuple):
    """One letter of this kind."""

    kind: re.Pattern[str]


class Row(NamedTuple):
    """One after the other."""

    parts: tuple[Part, ...]


class Ways(NamedTuple):
    """One of these."""

    parts: tuple[Part, ...]


class Repeat(NamedTuple):
    """So many times; ``most`` None: without end."""

    part: Part
    least: int
    most: int | None


Part = Letter | Row | Ways | Repeat


class Step(NamedTuple):
    """One letter is taken, and the next step follows (``kind``); or two ways go on from here, or one twice."""

    kind: re.Pattern[str] | None
    one: int = 0
    other: int = 0


class Machine(NamedTuple):
    """A pattern that was read: as text for who tries one way after the other, or its steps where that may last."""

    text: str
    steps: tuple[Step, ...]
    tame: bool


def fits(pattern: str, value: str) -> bool:
    """Whether the whole value matches; raises :class:`Unreadable`."""
    machine = read(pattern)
    if machine.tame:
        return re.fullmatch(machine.text, value) is not None
    now = _closed(machine.steps, [0])
    for letter in value:
        taken = [place + 1 for place in now if (kind := machine.steps[place].kind) is not None and kind.match(letter)]
        now = _closed(machine.steps, taken)
    return len(machine.steps) - 1 in now


def _closed(steps: tuple[Step, ...], places: list[int]) -> set[int]:
    """These, and all to which forks lead from them."""
    found: set[int] = set()
    while places:
        place = places.pop()
        if place not in found:
            found.add(place)
            if steps[place].kind is None and place < len(steps) - 1:
                places += (steps[place].one, steps[place].other)
    return found


@lru_cache(maxsize=1024)
def read(pattern: str) -> Machine:
    """The pattern; raises :class:`Unreadable`. ``^`` and ``$`` around it say what is so anyway."""
    text = pattern.removeprefix("^")
    if text.endswith("$") and (len(text) - 1 - len(text[:-1].rstrip("\\"))) % 2 == 0:
        text = text[:-1]
    reader = _Reader(text)
    part = reader.ways(0)
    if reader.place < len(text):
        raise Unreadable(f"has a ) too many after {text[:reader.place]!r}")
    steps: list[Step] = []
    _write(part, steps)
    tame = reader.free <= FREE_MAX and not reader.grouped
    return Machine(text, (*steps, Step(None)), tame)


class _Reader:
    """Where it is in a text."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.free = 0
        """Repeats that may be longer or shorter."""
        self.grouped = False
        """One of them is of a group."""

    def ways(self, depth: int) -> Part:
        """Up to the end, or to the bracket that closes it."""
        found = [self._row(depth)]
        while self.text[self.place : self.place + 1] == "|":
            self.place += 1
            found.append(self._row(depth))
        return found[0] if len(found) == 1 else Ways(tuple(found))

    def _row(self, depth: int) -> Part:
        found: list[Part] = []
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            group = self.text[self.place] == "("
            found.append(self._repeated(self._group(depth) if group else self._letter(), group=group))
        return Row(tuple(found))

    def _group(self, depth: int) -> Part:
        begin = self.place
        self.place += 3 if self.text.startswith("(?:", begin) else 1
        if self.text.startswith("?", self.place) or depth >= DEPTH_MAX:
            raise Unreadable(f"has {self.text[begin:begin + 4]!r}, of groups only ( and (?: are possible")
        found = self.ways(depth + 1)
        if self.place >= len(self.text):
            raise Unreadable(f"has a ( that is not closed: {self.text[begin:begin + 20]!r}")
        self.place += 1
        return found

    def _letter(self) -> Part:
        found = _LETTER.match(self.text, self.place)
        if found is None:
            raise Unreadable(f"has {self.text[self.place:self.place + 4]!r}, which is not possible here")
        try:
            kind = re.compile(found[0], re.DOTALL if found[0] != "." else re.NOFLAG)
        except re.error as fault:
            raise Unreadable(f"has {found[0]!r}: {fault}") from None
        self.place = found.end()
        return Letter(kind)

    def _repeated(self, part: Part, *, group: bool) -> Part:
        found = _REPEAT.match(self.text, self.place)
        if found is None:
            return part
        self.place = found.end()
        sign = found[0][0]
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(sign, (int(found["least"] or 0), None))
        if sign == "{":
            most = int(found["most"]) if found["most"] else None if found["to"] else least
        if (most is not None and most < least) or _REPEAT.match(self.text, self.place):
            raise Unreadable(f"repeats {found[0]!r} what cannot be repeated so")
        self.free += least != most
        self.grouped |= group and (most is None or most > 1)
        return Repeat(part, least, most)


def _write(part: Part, steps: list[Step]) -> None:
    """Its steps, behind those that there are."""
    match part:
        case Letter(kind):
            steps.append(Step(kind))
        case Row(parts):
            for one in parts:
                _write(one, steps)
        case Ways(parts):
            _write_ways(parts, steps)
        case Repeat(one, least, most):
            for _ in range(least):
                _write(one, steps)
            _write_more(one, None if most is None else most - least, steps)
    if len(steps) > STEPS_MAX:
        raise Unreadable(f"has more than {STEPS_MAX} steps with its repeats written out")


def _write_ways(parts: tuple[Part, ...], steps: list[Step]) -> None:
    exits = []
    for number, one in enumerate(parts):
        fork = len(steps)
        if number < len(parts) - 1:
            steps.append(Step(None))
        _write(one, steps)
        if number < len(parts) - 1:
            exits.append(len(steps))
            steps.append(Step(None))
            steps[fork] = Step(None, fork + 1, len(steps))
    for place in exits:
        steps[place] = Step(None, len(steps), len(steps))


def _write_more(one: Part, most: int | None, steps: list[Step]) -> None:
    """Once more or not, so many times or without end."""
    forks = []
    for _ in range(1 if most is None else most):
        forks.append(len(steps))
        steps.append(Step(None))
        _write(one, steps)
    if most is None:
        steps.append(Step(None, forks[0], forks[0]))
    for place in forks:
        steps[place] = Step(None, place + 1, len(steps))
