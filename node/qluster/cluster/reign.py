"""Decides, on a new leader, how the next primary is found: ask, count, hand over or begin to reign.

Must not know how positions are read, nor how an entry is committed.

Why ask at all: the election picks the node with the newest log, the database needs the node
with the newest WAL. Why it loses nothing that was replicated: whoever answers has no upstream
of an earlier term any more, so what it holds is final; and the best of all answers goes on.
With synchronous replication so many must answer that one of them has whatever was acknowledged.
Why the last primary need not ask: nobody else was allowed to write since. One that was chosen and never served asks
again where nothing is guaranteed: who has come back since may have what was left behind.
Why one need not ask to whom the last primary handed over in order: it has that primary's last record, and the log
says that this primary writes no more before there is another reign.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from msgspec.structs import replace

from qluster.cluster.commands import Forced, Guarantee, Reign, Yielded
from qluster.cluster.messages import PositionReply
from qluster.cluster.synchronous import needed_of, shortfall
from qluster.config import Synchronous

RATE_MARGIN = 2.0
"""The fastest second that was seen may have been less than the fastest there was."""

BURST = 16 << 20
"""Bytes of WAL that an idle primary may write before anybody sees it: one file of WAL."""

BRANCHES = 64
"""So many reigns after another have timelines of different numbers, also when none could follow the one before."""
HAND_OVERS_MAX = 3
"""How often leadership is offered to the same node in one term: after that it counts as unfit,
since a node that cannot be elected three times will not be the fourth time either."""
OFFERS_PAUSE = 10.0
"""Seconds after which it is offered again all the same, where nobody else can take over: it may have been slow."""

REIGNS_SKIPPED = 1000
"""Numbers that the first reign after a forced quorum leaves out for each second between the two foundings: the nodes
that were given up may have begun reigns that nobody here has heard of, and what served in one of those must not be
taken for something of this one. Where quorum was forced on two sides the later founding goes on, and has the higher
numbers."""

LANE = 16
"""Timelines that are left to each node on which quorum may have been forced beside this one: so many reigns later they
still have other numbers than those of this founding."""

DEAF_SHARE = 8
"""Part of the patience for nodes that are heard and have answered this leader nothing at all yet: a former leader
that hears nobody is no use, and those who hear answer the new one as soon as their disk has its first entry."""
DEAF_SECONDS_MAX = 0.5
"""No longer than that for them, however long silence is borne otherwise: clients wait meanwhile."""


@dataclass(frozen=True, slots=True)
class View:
    """What the leader knows when it decides."""

    now: float
    term: int
    me: int
    reign: Reign | None
    own: PositionReply | None
    """This node's own answer; None while its database is not settled."""
    intact: bool
    """The database here is the cluster's own and can be started."""
    system_id: int | None
    """System identifier of the database directory here."""
    asked: frozenset[int]
    """Other nodes with a database that are alive: their answers are waited for."""
    patience: float
    """Seconds after which missing answers are no longer waited for."""
    retry: float
    """Seconds between two questions."""
    primary_seen: tuple[int, int] | None = None
    """Timeline and position that the former primary last reported."""
    reigns: tuple[Reign, ...] = ()
    """The reigns so far, oldest first."""
    guarantees: tuple[Guarantee, ...] = ()
    """Whose answers prove that they have all that was acknowledged."""
    mode: Synchronous = "off"
    """For whom the next reign waits."""
    maximum_lag: float = inf
    """Bytes of WAL that a new primary may lack by itself, where nothing is guaranteed."""
    accepted: bool = False
    """An operator would rather lose something than wait."""
    unseen: float | None = None
    """Seconds since the former primary was last heard; None: never, by this node."""
    wal_rate: float = 0.0
    """Most bytes of WAL a second that it was seen to write."""
    databases: frozenset[int] = frozenset()
    """Nodes that may take over, this one included."""
    deaf: frozenset[int] = frozenset()
    """Nodes that have answered nothing in this term."""
    yielded: Yielded | None = None
    """To whom the last primary handed over, and where its WAL ended."""
    given_up: bool = False
    """This node's own reign in force was declared over: it goes on with another one."""
    found_at: tuple[int, int] = (1, 0)
    """Timeline and position with which the first reign begins: later ones in a database that was recovered."""
    waitable: frozenset[int] | None = None
    """Those of them for whom a transaction may wait; None: all."""
    priorities: Mapping[int, int] = field(default_factory=dict)
    """Node → its operator's preference among those who have equally much; 0 where not given."""
    standby: bool = False
    """Nothing is written here: whoever reigns follows an installation outside, and promotes nothing."""
    unserved: bool = False
    """The reign in force is this node's, who followed another primary and has not served since."""
    forced: tuple[Forced, ...] = ()
    """How quorum was forced since the reign in force: others may have reigned after it, of whom nobody here knows."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now, and why; look again at ``until``."""

    reason: str
    until: float = inf


@dataclass(frozen=True, slots=True)
class Ask:
    """Multicast the question."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give the leadership to the node with the best position."""

    node: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Propose this reign."""

    reign: Reign


Decision = Wait | Ask | HandOver | Begin


@dataclass(frozen=True, slots=True)
class Choice:
    """Who would be the next primary, and at what price."""

    best: PositionReply | None
    against: str
    """Why it does not become it by itself; "" when it does."""
    standbys: tuple[int, ...] = ()
    lost: int = 0
    """Bytes of WAL that are known to be missing there."""
    bound: int | None = None
    """Bytes of WAL that can be missing there at most; None: nobody can tell."""


@dataclass(slots=True)
class Succession:
    """The search for a primary in one term of one leader."""

    term: int
    began: float
    asked_at: float = -inf
    replies: dict[int, PositionReply] = field(default_factory=dict)
    offered: dict[int, int] = field(default_factory=dict)
    offered_at: float = -inf
    until: float = inf
    """When answers that are missing are no longer waited for."""

    def receive(self, reply: PositionReply) -> None:
        """Note an answer. Answers to another term's question are dropped."""
        if reply.term == self.term:
            self.replies[reply.node] = reply

    def decide(self, view: View) -> Decision:
        """The next step; called again after everything that changes the view."""
        assert view.term == self.term, (view.term, self.term)
        reign = view.reign
        if reign is None:
            return self._found(view)
        if view.standby and not reign.standby:
            return Wait("cluster.standby-of is set while this cluster has a primary of its own: take it away again")
        binds = reign.standby == view.standby
        if binds and reign.node == view.me and reign.term == view.term and not view.given_up:
            return Wait("this node reigns")
        onward = None
        if binds and reign.node == view.me and view.intact and not view.forced:
            onward = Begin(_next(view, reign, reign.timeline, reign.position, _standbys_before(view)))
            if not view.unserved or view.guarantees or view.mode != "off":
                return onward
        if view.yielded is not None and (view.yielded.reign, view.yielded.node) == (reign.number, view.me):
            if view.own is None and view.now < self.began + view.patience:
                return Wait("the database here lets go of its upstream", self.began + view.patience)
            if view.own is not None and _has_all(view.own, view.yielded, reign):
                return Begin(_next(view, reign, view.own.timeline, view.own.position, _standbys_left(view, reign)))
        missing = view.asked - set(self.replies)
        briefly = min(view.patience / DEAF_SHARE, DEAF_SECONDS_MAX)
        self.until = self.began + (briefly if missing <= view.deaf else view.patience)
        if missing and view.now < self.until:
            return self._ask(view, f"waiting for the position of node {_names(missing)}")
        if (view.standby or onward) and view.own is None and view.now < self.began + view.patience:
            # It is preferred, see below.
            return Wait("the database here lets go of its upstream", self.began + view.patience)
        if onward is not None:
            choice = self.choice(view, reign)
            better = view.own is not None and choice.best is not None and choice.best.node != view.me
            if not better or choice.against:
                return onward  # it was chosen already, and whatever that may have cost has been said
        return self._choose(view, reign)

    def _found(self, view: View) -> Decision:
        if view.system_id is None or not view.intact:
            return Wait("the database is being founded")
        standbys, needed = _guaranteed_by((), view)
        timeline, position = view.found_at
        return Begin(Reign(
            1, view.me, view.term, timeline, position, view.system_id, 0, standbys, needed, branch=timeline,
            standby=view.standby,
        ))  # fmt: skip

    def _ask(self, view: View, reason: str) -> Decision:
        if view.now >= self.asked_at + view.retry:
            self.asked_at = view.now
            return Ask()
        again = self.asked_at + view.retry
        return Wait(reason, min(again, self.until) if view.now < self.until else again)

    def _choose(self, view: View, reign: Reign) -> Decision:
        choice = self.choice(view, reign)
        best = choice.best
        if best is None or (choice.against and not view.accepted):
            if self.offered and view.now >= self.offered_at + OFFERS_PAUSE:
                self.offered.clear()
            return self._ask(view, choice.against)
        if best.node != view.me:
            self.offered_at = view.now
            self.offered[best.node] = self.offered.get(best.node, 0) + 1
            return HandOver(best.node)
        begun = _next(view, reign, best.timeline, best.position, choice.standbys)
        if view.standby:
            return Begin(begun)  # what it lacks comes once more from outside: nothing is left behind
        accepted = bool(choice.against)
        return Begin(replace(begun, lost_bytes=choice.lost, bound_bytes=choice.bound, accepted=accepted))

    def choice(self, view: View, reign: Reign) -> Choice:
        """Who would follow ``reign`` by the answers that are here, and what stands against it."""
        answers = dict(self.replies)
        if view.own is not None:
            answers[view.me] = view.own
        able = [answer for answer in answers.values() if self._able(answer, reign)]
        if not able:
            return Choice(None, "no node has a database that can take over: " + _faults(answers, reign))
        reigns = {one.number: one.node for one in view.reigns}
        line = _of_newest_line(able, view.reigns)
        preferred = _preferences(able, reign, view)
        best = max(line, key=lambda one: (one.timeline, one.position, preferred(one), one.node == view.me, -one.node))
        reach = best.timeline, best.position
        proofs = {answer.node: answer for answer in able}
        unproven = shortfall(view.guarantees, proofs, reigns, reach, _beginnings(view.reigns))
        best = _near_enough(best, line, view)
        lost = _lost(best, answers, view)
        against = ""
        if unproven:
            against = f"nobody is known to have all that was acknowledged: {unproven}"
        elif not view.guarantees and not reign.standby and lost > view.maximum_lag:
            against = (
                f"node {best.node} has the newest database and lacks {lost} bytes of WAL that there were; "
                f"cluster.maximum-lag allows {view.maximum_lag:.0f}"
            )
        proven = bool(view.guarantees) and not unproven
        bound = 0 if proven else _bound(lost, final=_answered(answers, reign), view=view)
        if reign.standby:
            bound = None  # what was written outside since its last word nobody knows here
        return Choice(best, against, _first_standbys(able, view), lost, bound)

    def _able(self, answer: PositionReply, reign: Reign) -> bool:
        return (
            answer.fit
            and answer.system_id == reign.system_id
            and self.offered.get(answer.node, 0) < HAND_OVERS_MAX
        )


def _near_enough(best: PositionReply, line: list[PositionReply], view: View) -> PositionReply:
    """In a standby cluster this node itself, if it is hardly behind: what it lacks comes once more from outside."""
    own = next((one for one in line if one.node == view.me), None)
    if not view.standby or own is None or own.timeline != best.timeline:
        return best
    return own if best.position - own.position <= BURST else best


def _has_all(own: PositionReply, yielded: Yielded, reign: Reign) -> bool:
    """Whether the standby here has the last record of the primary that handed over to it."""
    same = own.system_id == reign.system_id and own.timeline == yielded.timeline and not own.served
    return own.fit and same and own.position > yielded.position


def _of_newest_line(able: list[PositionReply], reigns: tuple[Reign, ...]) -> list[PositionReply]:
    """Those who have something of the newest line of reigns of which anybody here has something.

    A line is an unbroken row of reigns of one node: nobody else wrote in between.

    Position alone does not tell branches apart: a former primary that was cut off may have written far on its
    own. But the log says which timeline each reign began. Its primary knows that it served in it; a standby
    that followed it past the promotion is on that timeline or a later one. A line that left no trace with anybody who
    answered has no row that could still be lost: the one before it counts.
    """
    end = _lane_end(reigns)
    for place in range(len(reigns) - 1, -1, -1):
        begins_line = place == 0 or not _goes_on(reigns[place - 1], reigns[place])
        holders = [one for one in able if _has_something_of(one, reigns[place], end)] if begins_line else []
        if holders:
            return holders
    return able


def _goes_on(before: Reign, reign: Reign) -> bool:
    """Whether nobody else can have reigned between these two; a gap in the numbers is a forced quorum."""
    return before.node == reign.node and before.number + 1 == reign.number


def _lane_end(reigns: tuple[Reign, ...]) -> float:
    """From this timeline on numbers are those of another side on which quorum was forced as well."""
    first = next((two for one, two in reversed(list(pairwise(reigns))) if one.number + 1 < two.number), None)
    if first is None or first.standby or reigns[-1].standby:
        return inf
    end = _begun_by(first) + LANE
    return end if _begun_by(reigns[-1]) < end else inf


def _has_something_of(answer: PositionReply, reign: Reign, end: float) -> bool:
    if reign.number == 1:
        return True  # it began with the database itself: every standby was cloned from it
    return answer.served >= reign.number if answer.served else _begun_by(reign) <= answer.timeline < end


def _next(view: View, reign: Reign, timeline: int, position: int, standbys: tuple[int, ...]) -> Reign:
    guaranteed, needed = _guaranteed_by(standbys, view)
    if view.standby:
        branch = timeline
    elif reign.standby:
        branch = timeline + BRANCHES + 1  # outside, the next ones belong to others
    elif view.forced:
        # The next ones may be those of who was given up, the ones after them of another side.
        branch = max(timeline, _begun_by(reign)) + BRANCHES + 1 + _lane(view.forced[-1])
    else:
        branch = _branch(timeline, _begun_by(reign))
    number = reign.number + (_skipped(view.forced) if view.forced else 1)
    return Reign(
        number, view.me, view.term, timeline, position, reign.system_id, 0, guaranteed, needed, 0,
        branch=branch, standby=view.standby,
    )  # fmt: skip


def _skipped(forced: tuple[Forced, ...]) -> int:
    return REIGNS_SKIPPED * max(1, forced[-1].founding - forced[0].former)


def _lane(forced: Forced) -> int:
    """Where the timelines of this side begin: two that were forced from one founding know the same nodes."""
    nodes = sorted({forced.node, *forced.named, *(node for node, _ in forced.left_out)})
    return LANE * nodes.index(forced.node)


def _branch(timeline: int, last: int) -> int:
    """The timeline that a promotion from this one begins, when the last one that may have been begun is known.

    A reign of the same node uses up a number, mostly for nothing: after many of them numbers begin again, since a
    promotion writes a file for each that it leaves out. Above as many that an installation outside may have taken
    they begin again there.
    """
    ahead = max(last, timeline) - timeline
    return timeline + 1 + (BRANCHES if ahead > BRANCHES else 0) + ahead % BRANCHES


def _begun_by(reign: Reign) -> int:
    """The timeline that this reign began, if it was promoted and not only started again."""
    return reign.branch or reign.timeline + 1


def _beginnings(reigns: tuple[Reign, ...]) -> dict[int, tuple[int, int]]:
    """Timeline → number of the one reign that began it, and the position where; none of a number that came again."""
    found = {reign.branch: (reign.number, reign.position) for reign in reigns if reign.branch and not reign.standby}
    times = Counter(reign.branch for reign in reigns)
    return {branch: one for branch, one in found.items() if times[branch] == 1}


def _guaranteed_by(standbys: tuple[int, ...], view: View) -> tuple[tuple[int, ...] | None, int]:
    """With whom a reign's first guarantee begins, and for how many of them it waits."""
    if view.mode == "off":
        return None, 0
    return standbys, needed_of(view.mode, len(standbys), len(view.databases))


def _first_standbys(able: list[PositionReply], view: View) -> tuple[int, ...]:
    """With whom a new primary begins: never with nobody, where it is not alone.

    Else the reign of a node that dies before it served could only be ended by that node: it would seem to have
    acknowledged something alone. Where all must confirm, those who did not answer are not waited for from the first.
    """
    answered = {answer.node for answer in able} & view.databases
    waitable = view.databases if view.waitable is None else view.waitable
    others = answered if view.mode == "all" and answered & waitable - {view.me} else view.databases
    return tuple(sorted(others & waitable - {view.me}))


def _preferences(able: list[PositionReply], reign: Reign, view: View) -> Callable[[PositionReply], int]:
    """How much each is preferred by operators: only where the former primary is not among those who answered.

    Else it stopped in order, and somebody has been chosen already: who it is must not be decided anew.
    """
    if any(one.served >= reign.number for one in able):
        return lambda one: 0
    return lambda one: view.priorities.get(one.node, 0)


def _standbys_before(view: View) -> tuple[int, ...]:
    """The last primary goes on with those who followed it."""
    return view.guarantees[-1].standbys if view.guarantees else ()


def _standbys_left(view: View, reign: Reign) -> tuple[int, ...]:
    """With whom a reign begins that was handed over: who has just stopped is let in when it streams.

    Unless there is nobody else: never with nobody, as above.
    """
    others = (view.databases if view.waitable is None else view.waitable) - {view.me}
    if view.mode == "all":
        others = (view.asked & others) - {reign.node} or others
    return tuple(sorted(others))


def _lost(best: PositionReply, answers: dict[int, PositionReply], view: View) -> int:
    """Bytes of WAL known to exist, or to have existed, beyond the chosen position."""
    known = [(answer.timeline, answer.position) for answer in answers.values()]
    if view.primary_seen is not None:
        known.append(view.primary_seen)
    return max(0, *(position - best.position for timeline, position in known if timeline >= best.timeline), 0)


def _answered(answers: dict[int, PositionReply], reign: Reign) -> bool:
    """Whether the former primary's own directory has said where its WAL ends: then nothing is unknown."""
    return any(answer.fit and answer.served == reign.number for answer in answers.values())


def _bound(lost: int, *, final: bool, view: View) -> int | None:
    """What can be missing at most: what is known, and what was written since the former primary was last heard.

    It could write until its lease ended, which is over by now.
    """
    if final:
        return lost
    if view.unseen is None:
        return None
    return lost + max(BURST, int(RATE_MARGIN * view.wal_rate * view.unseen))


def _names(nodes: frozenset[int]) -> str:
    return ", ".join(str(node) for node in sorted(nodes))


def _faults(answers: dict[int, PositionReply], reign: Reign) -> str:
    faults = [
        f"node {node}: {answer.reason or 'belongs to another cluster'}"
        for node, answer in sorted(answers.items())
        if not answer.fit or answer.system_id != reign.system_id
    ]
    return "; ".join(faults) or "no answer"
