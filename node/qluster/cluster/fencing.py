"""Decides whether a new leader must fence the former primary's host first, and what the log remembers of it.

Must not know how an agent is run, nor how an entry is committed.

What is certain without any agent: whoever is elected was elected after the former leader's lease, since a quorum kept
its promise that long. So a fencing never replaces that rule. It adds proof where clocks, a guard or a hung host may
have broken it: the leader holds its reign back until the former primary's host is known to be off or rebooted. What
fails, hangs or says nothing certain proves nothing and shortens nothing; it only ends the holding back.

What a success must mean: it was ordered by this leader after the last contact with the host, and there was none since.
A host that is heard after it has either come back (then it is asked, and gives word), or the agent lied.

Why nobody shoots by turns for ever: only the leader of a term whose first entry is committed shoots, only at the node
of the reign in force and never at itself, and each shot is an entry of the log before it is fired: no reign ever costs
more than :data:`SHOTS_MAX` of them, whoever leads.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from qluster.cluster.commands import FencingBegun, FencingConfirmed, FencingEnded, Reign

SHOTS_MAX = 6
"""Shots at one node for one reign, by all leaders together: two leaders in a row may try as often as is usual."""
SAID_MAX = 300
"""Letters kept of what an agent said."""


# --- what the log remembers ---------------------------------------------------------------


class Fenced(Struct, frozen=True, array_like=True):
    """The last fencing of one node."""

    node: int
    reign: int
    by: int
    term: int
    index: int
    """Of the entry that ordered it."""
    at: float
    """Seconds since 1970, by the clock of who ordered it."""
    shots: int = 1
    """Shots at it so far for this reign."""
    success: bool | None = None
    """None: its outcome is not known (yet)."""
    said: str = ""
    ended_at: float = 0.0
    asked: bool = False
    """An operator asked for it."""
    confirmed: bool = False
    """An operator said that the host is off."""


class Fencings(Struct, frozen=True, array_like=True):
    """The last fencing of each node."""

    last: tuple[Fenced, ...] = ()

    def of(self, node: int) -> Fenced | None:
        """The last one of a node."""
        return next((one for one in self.last if one.node == node), None)

    def after(self, body: FencingBegun | FencingEnded | FencingConfirmed, index: int, reign: Reign | None) -> Fencings:
        """What a committed command makes of it. A shot for a reign that is over was never fired."""
        number = reign.number if reign is not None else 0
        match body:
            case FencingBegun(node, of_reign, by, term, at, asked):
                before = self.of(node)
                if of_reign != number:
                    return self
                shots = before.shots + 1 if before is not None and before.reign == of_reign else 1
                return self._with(Fenced(node, of_reign, by, term, index, at, shots, asked=asked))
            case FencingEnded(node, begun, success, said, at):
                before = self.of(node)
                if before is None or before.index != begun or before.success is not None:
                    return self
                return self._with(replace(before, success=success, said=said[:SAID_MAX], ended_at=at))
            case FencingConfirmed(node, of_reign, at):
                before = self.of(node)
                if of_reign != number:
                    return self
                shots = before.shots if before is not None and before.reign == of_reign else 0
                said = "an operator confirmed that the host is off"
                return self._with(Fenced(node, of_reign, 0, 0, index, at, shots, True, said, at, True, True))

    def among(self, nodes: list[int]) -> Fencings:
        """Without nodes that are no members any more."""
        return Fencings(tuple(one for one in self.last if one.node in nodes))

    def _with(self, fenced: Fenced) -> Fencings:
        others = tuple(one for one in self.last if one.node != fenced.node)
        return Fencings(tuple(sorted((*others, fenced), key=lambda one: one.node)))


# --- what a leader decides --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shot:
    """A shot that this node fired, as it knows it."""

    index: int
    """Of the entry that ordered it."""
    ordered_at: float
    ended_at: float | None = None
    success: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the leader knows when it could begin to reign."""

    now: float
    me: int
    term: int
    reign: int
    """Number of the reign in force."""
    target: int
    """Its node: the former primary."""
    ip: str = "ADDRESS"
    """Where that is."""
    word: str = ""
    """How that node said that it reigns no more, "" when it did not."""
    lease: bool = True
    """This node's own lease holds: a quorum follows it."""
    paused: bool = False
    configured: bool = False
    """This host's file says how the target's host is fenced."""
    known: bool = True
    """All members that were heard know of fencings in the log."""
    heard_at: float | None = None
    """When the target was last heard."""
    since: float = 0.0
    """When this leader could have begun to reign for the first time."""
    delay: float = 0.0
    attempts: int = 2
    retry_pause: float = 1.0
    must_succeed: bool = False
    """What failed is waited for, instead of going on because the lease has ended."""
    last: Fenced | None = None
    """What the log has of the target."""
    shot: Shot | None = None
    """This node's last shot at it."""


@dataclass(frozen=True, slots=True)
class Go:
    """Nothing stands against the reign, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The reign does not begin yet, and why; look again at ``until``."""

    reason: str
    until: float = inf


@dataclass(frozen=True, slots=True)
class Order:
    """Put a shot into the log."""


@dataclass(frozen=True, slots=True)
class Fire:
    """The shot at this entry is committed: run the agents."""

    index: int


Decision = Go | Hold | Order | Fire


def decide(view: View) -> Decision:
    """What comes before the reign."""
    if view.target == view.me:
        return Go("the former primary is this node")
    if view.word:
        return Go(view.word)
    if view.last is not None and view.last.confirmed and view.last.reign == view.reign:
        return Go("an operator confirmed that its host is off")
    if succeeded(view):
        return Go("its host was fenced")
    if not view.configured:
        return Go("no agent is configured for its host, and its lease has ended")
    if not view.known:
        return Go("not all nodes have a version that knows of fencing, and its lease has ended")
    if view.paused:
        return Hold("the cluster is paused")
    if not view.lease:
        return Hold("no quorum follows this node")
    return _shoot(view)


def succeeded(view: View) -> bool:
    """Whether this leader's shot proves that what ran on the target ran no more."""
    shot, last = view.shot, view.last
    if shot is None or shot.ended_at is None or not shot.success or last is None:
        return False
    ordered_here = (last.reign, last.term, last.by, last.index) == (view.reign, view.term, view.me, shot.index)
    return ordered_here and not _heard_since(view, shot)


def _heard_since(view: View, shot: Shot) -> bool:
    return view.heard_at is not None and view.heard_at > shot.ordered_at


def _shoot(view: View) -> Decision:
    name, last, shot = f"node {view.target}", view.last, view.shot
    mine = last is not None and last.reign == view.reign and (last.term, last.by) == (view.term, view.me)
    if shot is not None and shot.ended_at is None:
        return Hold(f"{name}, the former primary, is being fenced")
    if last is not None and mine and (shot is None or shot.index != last.index):
        return Fire(last.index)
    if view.now < view.since + view.delay:
        return Hold(f"{name}, the former primary, is fenced after the delay that is configured",
                    view.since + view.delay)  # fmt: skip
    spent = last.shots if last is not None and last.reign == view.reign else 0
    if spent >= min(view.attempts, SHOTS_MAX) and (mine or spent >= SHOTS_MAX):
        return _failed(view, _complaint(view, shot) if mine else "")
    if mine and shot is not None and shot.ended_at is not None and view.now < shot.ended_at + view.retry_pause:
        again_at = shot.ended_at + view.retry_pause
        return Hold(f"{name}, the former primary, is fenced once more: {_complaint(view, shot)}", again_at)
    return Order()


def _complaint(view: View, shot: Shot | None) -> str:
    if shot is None:
        return ""
    return "it was heard again after its agents had said that it was fenced" if shot.success else shot.said


def _failed(view: View, said: str) -> Decision:
    why = f": {said}" if said else ""
    if not view.must_succeed:
        return Go(f"fencing it failed{why}; its lease has ended")
    return Hold(
        f"node {view.target}, the former primary, could not be fenced{why}. Switch its host off and say so with "
        f"`qluster fence {view.ip} --node {view.target} --confirm-off`, or start it"
    )
