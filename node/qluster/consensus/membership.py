"""Decides whose votes and copies count, and which change of the members may come next.

Must not know messages or time-outs of elections.

A list of members is in force as soon as its entry is in the log (S14). Until that entry is known to
be committed the list before it counts as well: an election and a commit then need a quorum of both.
So a change of members, or of the commit rule, can never open a gap between what is committed and who
can be elected, whatever the quorums are. As a leader appends a list only after the one before it
was committed, no more than two lists can matter.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from msgspec.structs import replace

from qluster.consensus.electorate import Electorate
from qluster.consensus.members import EPISODE, FORMULA, MEMORY, SLOTS, Member, Members

NOBODY = Members(())


@dataclass(frozen=True)
class Configuration:
    """The one or two electorates that count; none where no list has come yet."""

    electorates: tuple[Electorate, ...] = ()

    @cached_property
    def voters(self) -> frozenset[int]:
        """Everybody whose vote counts in at least one of them."""
        return frozenset().union(*(electorate.voters for electorate in self.electorates))

    @cached_property
    def devices(self) -> frozenset[int]:
        """Keys of the devices that count in one of them."""
        return frozenset(electorate.device[0] for electorate in self.electorates if electorate.device)

    def slot(self, node: int) -> int:
        """Which terms are this node's own; 0 where no device counts by formula, or for who does not vote there."""
        return max((dict(electorate.slots).get(node, 0) for electorate in self.electorates), default=0)

    def elects(self, granted: Collection[int]) -> bool:
        """Whether these votes elect. Votes of others than voters count nothing (S4)."""
        return bool(self.electorates) and all(electorate.elects(granted) for electorate in self.electorates)

    def may_elect(self, refused: Collection[int]) -> bool:
        """Whether an election can still be won after these refusals."""
        return all(electorate.may_elect(refused) for electorate in self.electorates)

    def commits(self, holders: Collection[int]) -> bool:
        """Whether an entry on these nodes is on a commit quorum."""
        return bool(self.electorates) and all(electorate.commits(holders) for electorate in self.electorates)

    def keeps(self, nodes: Collection[int]) -> bool:
        """Whether a leader that hears these goes on."""
        return bool(self.electorates) and all(electorate.keeps(nodes) for electorate in self.electorates)

    def committed(self, match: Callable[[int], float]) -> float:
        """The highest index that a commit quorum holds."""
        return min(electorate.committed(match) for electorate in self.electorates)

    def contacted(self, value: Callable[[int], float]) -> float:
        """The highest value (a time, a round) that a contact quorum has reached."""
        return min(electorate.contacted(value) for electorate in self.electorates)


class Membership:
    """The lists of members in the log, oldest first."""

    def __init__(self) -> None:
        self._lists: list[tuple[int, Members]] = []
        self._configurations: dict[bool, Configuration] = {}
        self.index = 0
        """Index of the newest list, 0 when there is none."""
        self.latest = NOBODY
        """The newest list, committed or not."""

    @property
    def previous(self) -> Members:
        """The list before the newest one."""
        return self._lists[-2][1] if len(self._lists) > 1 else NOBODY

    @property
    def quorums_changed(self) -> bool:
        """Whether others are enough by the newest list than by the one before it."""
        former = self.previous
        return len(former) > 0 and Electorate.of(former) != Electorate.of(self.latest)

    def at(self, index: int) -> Members:
        """The list in force at an index of the log."""
        return next((members for where, members in reversed(self._lists) if where <= index), NOBODY)

    def contained(self, node: int, index: int) -> bool:
        """Whether one of the lists up to an index had this node."""
        return any(where <= index and members.get(node) is not None for where, members in self._lists)

    def configuration(self, commit_index: int) -> Configuration:
        """Whose votes count, for somebody who knows this index to be committed."""
        joint = self.index > commit_index
        if joint not in self._configurations:
            lists = [members for _, members in (self._lists[-2:] if joint else self._lists[-1:])]
            self._configurations[joint] = Configuration(
                tuple(Electorate.of(members) for members in lists if members.voters)
            )
        return self._configurations[joint]

    def append(self, index: int, members: Members) -> None:
        """A list came into the log."""
        assert index > self.index, f"list of members at {index} after one at {self.index}"
        self._hold([*self._lists, (index, members)])

    def cut_from(self, index: int) -> None:
        """The log lost its entries from this index on: so do the lists."""
        self._hold([(where, members) for where, members in self._lists if where < index])

    def forget_up_to(self, index: int) -> None:
        """Keep the list in force at this index and later ones."""
        old = [where for where, _ in self._lists if where <= index]
        self._hold([(where, members) for where, members in self._lists if where >= max(old, default=0)])

    def restart_at(self, index: int, members: Members) -> None:
        """A snapshot took the place of the log."""
        self._hold([(index, members)] if len(members) else [])

    def _hold(self, lists: list[tuple[int, Members]]) -> None:
        self._lists = lists
        self.index, self.latest = lists[-1] if lists else (0, NOBODY)
        self._configurations.clear()


def fault_of_change(old: Members, new: Members, alive: Collection[int]) -> str:
    """Why this change must not be made, "" when it may."""
    fault = new.fault()
    if fault:
        return fault
    if not new.voters:
        return "nobody would be left to vote"
    for member in new:
        before = old.get(member.node)
        if before is not None and before.uid != member.uid:
            return (
                f"node {member.node} has uid {before.uid:016x}, not {member.uid:016x}: "
                "a node that lost its state must get a number of its own"
            )
    if 0 < len(new.voters) < new.replication_factor and len(new.voters) < len(old.voters):
        return (
            f"{len(new.voters)} voters would be left, replication-factor is {new.replication_factor}: "
            "lower it first"
        )
    return _fault_of_quorum(old, new, alive)


def _fault_of_quorum(old: Members, new: Members, alive: Collection[int]) -> str:
    """A change that could not be committed, or that leaves a cluster that cannot elect."""
    electorate, former = Electorate.of(new), Electorate.of(old) if old.voters else None
    if electorate == former:
        return ""
    living, needs = electorate.everybody.intersection(alive), electorate.needs
    if former is not None and former.device not in (None, electorate.device) and not former.commits(alive):
        # The device of before may be lost, its successor knows nothing: who holds the log must agree without it.
        needed = _needed(former, needs.commit, needs.copies)
        held = _held(former, former.voters.intersection(alive))
        return f"{held} are alive and {needed} are needed to let the device go"
    if (new.voters - old.voters or _recounted(old, new)) and not (
        electorate.elects(living) and electorate.commits(living)
    ):
        needed = _needed(electorate, max(needs.commit, needs.election), max(needs.copies, needs.electors))
        return f"of {len(new.voters)} voters {_held(electorate, living)} would be alive and {needed} are needed"
    if not electorate.commits(living):
        needed = _needed(electorate, needs.commit, needs.copies)
        return f"{_held(electorate, living)} of the voters left are alive and {needed} are needed to commit"
    return ""


def _recounted(old: Members, new: Members) -> bool:
    """Whether a voter that stays counts for more or less than before."""
    before = {member.node: member.votes for member in old if member.voter}
    rule = (new.tie, new.device, new.device_uid, new.way) != (old.tie, old.device, old.device_uid, old.way)
    return rule or any(before.get(one.node, one.votes) != one.votes for one in new if one.voter)


def _needed(electorate: Electorate, weight: int, count: int) -> str:
    """So much it takes, for people: voters where each counts once."""
    if electorate.plain:
        return str(max(weight, count))
    return f"{max(count, 1)} with a weight of {weight}"


def _held(electorate: Electorate, living: Collection[int]) -> str:
    if electorate.plain:
        return str(len(living))
    count, everybody = len(electorate.voters.intersection(living)), electorate.weight(electorate.everybody)
    device = " and the device" if electorate.device and electorate.device[0] in living else ""
    return f"{count}{device} with a weight of {electorate.weight(living)} (of {everybody})"


def fault_of_version(old: Members, new: Members, levels: Mapping[int, int]) -> str:
    """Why this list must not be written yet: somebody would count it by another rule than the others.

    Each list asks for the level that it needs itself (:attr:`Members.level`), so in an upgrade the newest feature keeps
    nobody from changing a list that does without it. ``levels``: what nodes have said that their versions understand.
    Listeners too: a snapshot that an older version takes lacks what it does not know, and its node may vote one day.
    Where a list needed as much already nobody who does not know that was admitted; who becomes a voter says it again.
    """
    if not new.level:
        return ""
    before, after = ({member.node for member in members} for members in (old, new))
    concerned = (after - before) | (new.voters - old.voters) if old.level >= new.level else before | after
    unknowing = sorted(node for node in concerned if levels.get(node, 0) < new.level)
    if not unknowing:
        return ""
    what = {1: "votes", 2: "an arbiter's memory"}.get(new.level, "an arbiter, or one of two nodes,")
    return (
        f"nodes {', '.join(map(str, unknowing))} have not said that their version counts {what}: install this version "
        f"on all nodes, and have them running, before the list of members says anything of that"
    )


def tie_breaker(members: Members, rule: str) -> int:
    """The voter that a rule names in this list, 0 for none."""
    able = sorted(member.node for member in members if member.voter and member.votes)
    if rule == "off" or len(able) < 2 or members.device:
        return 0
    if rule in ("lowest", "highest"):
        return able[0] if rule == "lowest" else able[-1]
    return next((node for node in map(int, rule.split()) if node in able), 0)


def usual_votes(members: Members) -> int:
    """What a device has if nobody says otherwise: the vote that breaks a tie, and none where there is no tie."""
    votes = sum(member.votes for member in members if member.voter)
    return 1 if votes > 1 and votes % 2 == 0 else 0


def last_votes(members: Members) -> int:
    """What a device has that lets the last voter go on, whichever that is (`lms`)."""
    return max(0, sum(member.votes for member in members if member.voter) - 1)


def with_device(members: Members, uid: int, votes: int | None, way: str = MEMORY) -> Members:
    """With the memory of this uid, or a device that counts in another way, and so many votes; None: as many as usual.

    With no device: uid 0 of memory. By episode the uid says which arbiter it is.
    """
    if way == MEMORY and not uid:
        return replace(members, way="", device=0, device_uid=0)
    votes = usual_votes(members) if votes is None else votes
    return replace(members, way=way, device=votes, device_uid=uid, tie=0 if votes else members.tie)


def with_usual_votes(old: Members, new: Members) -> Members:
    """With what a device usually has among these voters, where it had that among those of before; and with slots."""
    if new.way not in (MEMORY, EPISODE, FORMULA):
        return _with_slots(old, new)
    votes = sum(member.votes for member in new if member.voter)
    usual = old.way == new.way and old.device == new.device == usual_votes(old)
    device = usual_votes(new) if usual else max(0, min(new.device, votes - 1))
    return _with_slots(old, replace(new, device=device))


def _with_slots(old: Members, new: Members) -> Members:
    """Each voter has terms of its own where a device counts by formula. Who has a slot keeps it while it is a member.

    A slot of the list before, which is committed, is nobody else's: its owner may stand by that list until the new
    one is committed, and from then on whoever elects by the old one meets somebody who has the new one.
    """
    if new.way != FORMULA or not new.device:
        return replace(new, all=tuple(replace(one, slot=0) if one.slot else one for one in new.all))
    slots = {one.node: one.slot for one in old if one.slot}
    free = (slot for slot in range(1, SLOTS + 1) if slot not in set(slots.values()))
    rows = []
    for one in new.all:
        slot = slots.get(one.node, 0) or (next(free) if one.voter else 0)
        rows.append(replace(one, slot=slot) if one.slot != slot else one)
    return replace(new, all=tuple(rows))


def next_promotion(members: Members, steady: Collection[int]) -> Member | None:
    """The listener to be made a voter next: one that may vote and keeps up steadily."""
    waiting = [one for one in members if not one.voter and one.role == "node" and one.node in steady]
    return min(waiting, key=lambda member: member.node, default=None)


def removal_floor(members: Members, autoremove_minimum: int) -> int:
    """Fewer voters than this are never left by automatic removals.

    Each removal lowers the quorum: without the half of what an operator last configured, two
    removals in a row would turn a cluster that survives two failures into one that survives one.
    """
    return max(autoremove_minimum, members.replication_factor, members.configured // 2 + 1)


def next_removal(
    members: Members, autoremove_minimum: int, unreachable: Collection[int]
) -> Member | None:
    """The voter to be removed next, out of those that a quorum has not reached for long enough."""
    if len(members.voters) <= removal_floor(members, autoremove_minimum):
        return None
    gone = [member for member in members if member.voter and member.node in unreachable]
    return min(gone, key=lambda member: member.node, default=None)
