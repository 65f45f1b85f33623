"""Decides for which standbys the primary waits, and whose answers prove that no acknowledged transaction is lost.

Must not know how a server is told to wait, nor how an entry is committed.

A guarantee says: what was acknowledged while it held is on its primary and on ``needed`` of its standbys. WAL is
a sequence, so whoever has a transaction has all before it. A change goes in four steps, like a change of members
with both lists in force: the log names both guarantees; the server waits for the new one; enough of the new
standbys have all that was written until then; the log drops the old one. While several stand in the log, an
election must satisfy each, whatever of the steps was under way when the primary was lost. The order covers both
directions of invariant I6, and needs no cases: of a set that grows, shrinks or is exchanged, either guarantee
holds for every transaction.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import inf

from qluster.cluster.commands import Guarantee
from qluster.cluster.messages import PositionReply
from qluster.config import Synchronous

RELOAD_SECONDS = 1.0
"""So long after a server was told its new standbys, all its processes have read that: they do between two messages."""


def shortfall(
    guarantees: Sequence[Guarantee],
    answers: Mapping[int, PositionReply],
    reigns: Mapping[int, int],
    reach: tuple[int, int] | None = None,
    begun: Mapping[int, tuple[int, int]] | None = None,
) -> str:
    """Why these answers do not prove that they have all that was acknowledged; "" when they do.

    ``answers``: node → its final position, of nodes that could take over; ``reigns``: number → node;
    ``reach``: timeline and position of the best of them, the one that would (None: further than anybody);
    ``begun``: timeline → the reign that began it, and the position where.
    """
    guarantees = _standing(guarantees, answers, reigns)
    since = _stands_in(reach, begun or {}, reigns)
    guarantees = [one for one in guarantees if one.reign >= since]
    if not guarantees:
        return ""
    # By what it served a directory is known, also when its node has lost its state and has another number now.
    served = {answer.served for answer in answers.values()}
    if _answered_itself(guarantees[-1], served, reigns):
        return ""  # it became the primary with all that was acknowledged before
    replaced = {node for node, answer in answers.items() if _lacks(answer, reach)}
    for guarantee in guarantees:
        have = sum(node in answers and node not in replaced for node in guarantee.standbys)
        enough = len(guarantee.standbys) - guarantee.needed + 1
        if have < enough and not _answered_itself(guarantee, served, reigns):
            return _sentence(guarantee, have, enough) + _not_counted(replaced & set(guarantee.standbys))
    return ""


def _lacks(answer: PositionReply, reach: tuple[int, int] | None) -> bool:
    """Whether a node may have confirmed, in a directory that it has no more, what nobody here has.

    A copy may be of somebody who was behind. Up to where the primary had written when this node stopped confirming
    is known; whoever has that much has all that the lost directory confirmed.
    """
    return answer.owed is not None and reach is not None and reach < answer.owed


def _stands_in(
    reach: tuple[int, int] | None, begun: Mapping[int, tuple[int, int]], reigns: Mapping[int, int]
) -> int:
    """The first of the row of one node's reigns in whose own WAL the best of them is; 0: not known.

    Who became its primary had all that was acknowledged before, and it is all in front of that place. Else a cluster
    would wait for the primaries of reigns that are long over, while their rows are with everybody who answers. A
    guarantee goes on through a row of reigns of its primary, so nothing of the row itself is proven.
    """
    if reach is None or reach[0] not in begun:
        return 0
    number, position = begun[reach[0]]
    while reigns.get(number - 1) == reigns[number]:
        number -= 1
    known = number == 1 or number - 1 in reigns
    return number if known and reach[1] >= position else 0


def _standing(
    guarantees: Sequence[Guarantee], answers: Mapping[int, PositionReply], reigns: Mapping[int, int]
) -> Sequence[Guarantee]:
    """Those under which anything can have been acknowledged: not that of a reign which nobody ever served.

    Its node says so itself, by a directory that cannot have been replaced: nobody reigned later whom it could have
    followed. Else two fit databases would wait for a third one, which has nothing that they lack.
    """
    unserved = set()
    for number in sorted(reigns, reverse=True):
        answer = answers.get(reigns[number])
        if answer is None or answer.served >= number:
            break
        unserved.add(number)
    return [guarantee for guarantee in guarantees if guarantee.reign not in unserved]


def _answered_itself(guarantee: Guarantee, served: Set[int], reigns: Mapping[int, int]) -> bool:
    """Whether the very directory answered that was the primary's: a copy made since may lack what it had."""
    return any(number >= guarantee.reign and reigns.get(number) == guarantee.primary for number in served)


def _sentence(guarantee: Guarantee, have: int, enough: int) -> str:
    only = f"only node {guarantee.primary} has all that it acknowledged in reign {guarantee.reign}"
    if enough > len(guarantee.standbys):
        return only
    names = ", ".join(map(str, guarantee.standbys))
    return f"{only}, or {enough} of nodes {names} together, of which {have} can take over"


def _not_counted(replaced: Set[int]) -> str:
    """Of nodes that do answer, why that is no proof."""
    if not replaced:
        return ""
    names = ", ".join(map(str, sorted(replaced)))
    return f" (not counted: {names}, copied anew since, and nobody has all that was confirmed before that)"


def shown_is_safe(guarantees: Sequence[Guarantee], me: int) -> bool:
    """Whether what a promotion here shows cannot be lost by the next failover, although the standbys lack it yet.

    What its old primary had not acknowledged is on this node alone, perhaps. Nobody can take over without this
    node's answer where each one of its guarantee's standbys must answer; where fewer are enough, somebody can.
    """
    return any(guarantee.needed == 1 and me in guarantee.standbys for guarantee in guarantees)


def standby_name(node: int) -> str:
    """The name under which a node replicates."""
    return f"node{node}"


def node_named(name: str) -> int | None:
    """The node that replicates under a name; None when it is nobody of the cluster."""
    number = name.removeprefix("node")
    return int(number) if name.startswith("node") and number.isdecimal() else None


def waits_for(guarantee: Guarantee | None) -> tuple[tuple[str, ...], int]:
    """The names of those for whom a transaction waits, and how many of them must confirm; none: for nobody."""
    if guarantee is None or not guarantee.needed:
        return (), 0
    return tuple(standby_name(node) for node in guarantee.standbys), guarantee.needed


def needed_of(mode: Synchronous, standbys: int, databases: int) -> int:
    """For how many of so many standbys a transaction waits; ``databases``: all that the cluster has.

    With ``quorum`` the primary and those who confirm are a majority of the databases, as far as so many stream.
    """
    return standbys if mode == "all" else min(standbys, databases // 2)


@dataclass(frozen=True, slots=True)
class Standby:
    """One that replicates from the primary: whether it keeps up, and how far it has flushed (bytes of WAL)."""

    streaming: bool
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the leader that reigns sees of its own primary."""

    now: float
    mode: Synchronous
    strict: bool
    """Rather nothing is acknowledged than by the primary alone."""
    me: int
    reign: int
    guarantees: tuple[Guarantee, ...]
    databases: frozenset[int]
    """Nodes with a database that may take over, this one included."""
    waitable: frozenset[int] | None = None
    """Those of them for whom a transaction may wait; None: all."""
    standbys: Mapping[int, Standby]
    """Of the other nodes, those who replicate from here."""
    told: tuple[tuple[str, ...], int] | None
    """The standbys, and how many of them, that the server here was last told to wait for; None: not known."""
    position: int | None
    """How far the WAL here is flushed (bytes); None: not known."""
    seen_at: float = inf
    """When the server was looked at, which said this; inf: just now."""
    patience: float
    """Seconds without streaming after which a standby is waited for no longer."""
    silent: frozenset[int] = frozenset()
    """Nodes that have not been heard for so long already, or have answered nothing since this one leads: who never
    streamed in this reign gets no time to begin."""


@dataclass(slots=True)
class Synchrony:
    """The guarantees of one reign, step by step."""

    _streamed_at: dict[int, float] = field(default_factory=dict)
    _last: Guarantee | None = None
    """The last guarantee in the log, when it was last looked at."""
    _told_at: float = inf
    """Since when the server waits for its standbys; inf while it does not."""
    _mark: int | None = None
    """What was written before that, and perhaps confirmed by those of the guarantee before."""

    def interrupted(self) -> None:
        """The primary is away: nobody can stream from it, and all get their time again when it is back."""
        self._streamed_at = {}

    def step(self, scene: Scene) -> tuple[Guarantee, ...] | None:
        """The guarantees to propose; None when nothing is to be changed now."""
        for node, standby in scene.standbys.items():
            if standby.streaming:
                self._streamed_at[node] = scene.now
        if scene.mode == "off":
            return () if scene.guarantees else None
        if not scene.guarantees:
            # Switched on just now: what was acknowledged until the standbys have caught up is on this node alone.
            return (Guarantee(scene.reign, scene.me, (), 0),)
        if scene.guarantees[-1].primary != scene.me:
            return (*scene.guarantees, self._target(scene, ()))
        last = scene.guarantees[-1]
        for node in set(last.standbys) - scene.silent:
            self._streamed_at.setdefault(node, scene.now)
        if self._last != last or scene.told != waits_for(last):
            # The same standbys may be waited for again after a while in which they were not.
            self._last, self._told_at, self._mark = last, inf, None
        elif self._told_at == inf:
            self._told_at = scene.now
        if len(scene.guarantees) > 1 and self._settled(last, scene):
            return (last,)
        target = self._target(scene, last.standbys)
        same = (target.standbys, target.needed) == (last.standbys, last.needed)
        return None if same else (*scene.guarantees, target)

    def _target(self, scene: Scene, before: Sequence[int]) -> Guarantee:
        """Whoever streams, and who did until just now: a standby that went away for a moment stays."""
        eligible = (scene.databases if scene.waitable is None else scene.waitable) - {scene.me}
        streams = {node for node, standby in scene.standbys.items() if standby.streaming}
        missed = {node for node in before if scene.now < self._streamed_at.get(node, -inf) + scene.patience}
        standbys = tuple(sorted(eligible & (streams | missed)))
        if not standbys and scene.strict and eligible:
            return Guarantee(scene.reign, scene.me, tuple(sorted(eligible)), 1)
        needed = needed_of(scene.mode, len(standbys), len(scene.databases))
        return Guarantee(scene.reign, scene.me, standbys, needed)

    def _settled(self, last: Guarantee, scene: Scene) -> bool:
        """Whether all that was acknowledged before the last guarantee is covered by it too."""
        if not last.needed:
            return True  # its primary has everything
        if scene.position is None or min(scene.now, scene.seen_at) < self._told_at + RELOAD_SECONDS:
            return False  # what was seen before may have been confirmed by the others since
        if self._mark is None:
            self._mark = scene.position
        positions = (scene.standbys[node].position for node in last.standbys if node in scene.standbys)
        mark = self._mark
        return sum(position >= mark for position in positions) >= last.needed
