"""Who belongs to the cluster and what each may become: the payload of entries of kind ``members``.

Must not know how such an entry travels or when it takes effect.

The list also carries the rule by which entries are committed, so that a change of the rule goes
through the log like a change of the members: while it is not committed both rules hold.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address

import msgspec

from qluster.config.tags import VOTES_MAX, Tags

ROLES = ("node", "listener")
MEMBERS_MAX = 64
"""More would not fit into one entry of the smallest sensible max-log-size."""
NODE_MAX = 2**63 - 1
"""Largest number that messages carry."""
MEMORY = "memory"
"""A way in which a device votes: an arbiter that remembers, by the rules of a voter without a log."""
EPISODE = "episode"
"""Another: any arbiter of ffsplit, for whom its refusals cannot have missed; see ``arbitration.py``."""
FORMULA = "formula"
"""Another: any arbiter at all. It helps to elect, and so much more it takes to commit."""
LEVEL_MAX = 4
"""What this version understands of a list: 0 counts nodes, 1 votes and a tie-breaker, 2 an arbiter's memory, 3 an
arbiter without one, and that one of two may go on once the other one's host is off, 4 which arbiter counts by episode.
See :attr:`Members.level`."""
SLOTS = 2 * MEMBERS_MAX
"""Terms go round by so many: each member has one of them to itself, and a new one has that of nobody just removed."""
UID_MAX = 2**64 - 1
PORT_MAX = 65_535


class MalformedMembers(ValueError):
    """Bytes that are no list of members, or a list that contradicts itself."""


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One host. ``role`` is what it may become: a ``node`` votes one day, a ``listener`` never."""

    node: int
    uid: int
    ip: str
    api_port: int
    udp_port: int
    db_port: int | None = None
    voter: bool = False
    role: str = "node"
    pool: bool = False
    tags: Tags | None = None
    """What its operator says of its database; None when that is nothing."""
    votes: int = 1
    """What it counts for in elections and commits, once it votes."""
    slot: int = 0
    """Which terms are its own, modulo :data:`SLOTS`, where a device counts by formula; 0: none."""


class Members(msgspec.Struct, frozen=True, array_like=True):
    """All members and the commit rule."""

    all: tuple[Member, ...]
    quorum_replication: bool = True
    replication_factor: int = 0
    configured: int = 0
    """Voters after the last change that was no automatic removal: the floor for further ones."""
    tie: int = 0
    """The voter with whom half of the votes are a majority; 0: there is none."""
    device: int = 0
    """Votes of the device: an arbiter, which holds no log."""
    way: str = ""
    """How they are counted: "memory", "episode", "formula", or "" where there is no device."""
    two_node: bool = False
    """Whether one of the two voters may go on alone, once the other one's host is switched off: see ``claim.py``."""
    device_uid: int = 0
    """Which memory it is: one that was lost comes back with another uid, and counts when a list says so. By episode
    which arbiter it is; 0: the one that a node asks, as versions wrote it that did not tell them apart."""

    def __iter__(self) -> Iterator[Member]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def voters(self) -> frozenset[int]:
        """Numbers of the members that vote."""
        return frozenset(member.node for member in self.all if member.voter)

    @property
    def listeners(self) -> frozenset[int]:
        """Numbers of the members that only listen, for now or for good."""
        return frozenset(member.node for member in self.all if not member.voter)

    def get(self, node: int) -> Member | None:
        """The member with this number."""
        for member in self.all:
            if member.node == node:
                return member
        return None

    def with_member(self, member: Member) -> Members:
        """With this member added or replaced."""
        others = tuple(one for one in self.all if one.node != member.node)
        return msgspec.structs.replace(self, all=tuple(sorted((*others, member), key=lambda one: one.node)))

    def without(self, node: int) -> Members:
        """Without this member."""
        return msgspec.structs.replace(self, all=tuple(one for one in self.all if one.node != node))

    def rested(self, nodes: Collection[int]) -> Members:
        """With these voters as listeners that are voters again when they are back."""
        return msgspec.structs.replace(
            self,
            all=tuple(msgspec.structs.replace(one, voter=False) if one.node in nodes else one for one in self.all),
        )

    def promoted(self, node: int) -> Members:
        """With this member as a voter."""
        member = self.get(node)
        assert member is not None, f"node {node} is no member"
        return self.with_member(msgspec.structs.replace(member, voter=True))

    @property
    def counted(self) -> bool:
        """Whether something here says how votes are counted that versions which count nodes do not know."""
        rule = self.tie, self.device, self.way, self.two_node, self.device_uid
        return any((member.votes, member.slot) != (1, 0) for member in self.all) or rule != (0, 0, "", False, 0)

    @property
    def level(self) -> int:
        """What a version must understand at least, so that it counts this list as all others do."""
        if self.way == EPISODE and self.device_uid:
            return 4
        if self.two_node or self.way in (EPISODE, FORMULA) or any(member.slot for member in self.all):
            return 3
        if self.way or self.device or self.device_uid:
            return 2
        return int(self.counted)

    def encode(self) -> bytes:
        """The bytes of the entry. What says nothing new is left out: where each node has one vote they are those
        that versions which count nodes write."""
        rows = tuple(_row(member, _MEMBER_KNOWN, _MEMBER_DEFAULTS) for member in self.all)
        return _ENCODER.encode((rows, *_row(self, _MEMBERS_KNOWN, _MEMBERS_DEFAULTS)[1:]))

    @classmethod
    def decode(cls, payload: bytes) -> Members:
        """The list in these bytes. Raises :class:`MalformedMembers`."""
        try:
            members = _DECODER.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMembers(f"not a list of members: {error}") from error
        fault = members.fault()
        if fault:
            raise MalformedMembers(fault)
        return members

    def fault(self) -> str:
        """What contradicts itself in this list, "" when nothing does."""
        numbers = [member.node for member in self.all]
        uids = [member.uid for member in self.all]
        if len(numbers) > MEMBERS_MAX:
            return f"{len(numbers)} members, at most {MEMBERS_MAX} are possible"
        if len(set(numbers)) < len(numbers) or any(not 1 <= number <= NODE_MAX for number in numbers):
            return f"node numbers must differ and begin at 1: {numbers}"
        if len(set(uids)) < len(uids):
            return f"two members have the same uid: {uids}"
        if self.replication_factor < 0 or self.configured < 0:
            return f"counts are negative: replication-factor {self.replication_factor}, voters {self.configured}"
        fault = next(filter(None, map(_fault_of_member, self.all)), "")
        return fault or ("" if self.voters else "nobody would be left to vote") or self._fault_of_votes()

    def _fault_of_votes(self) -> str:
        """What cannot be counted, or not by this version: to count it otherwise would make a second electorate."""
        if not any(member.votes for member in self.all if member.voter):
            return "no voter has a vote"
        if self.tie and self.tie not in self.voters:
            return f"the tie-breaker is node {self.tie}, which does not vote"
        if self.two_node:
            return self._fault_of_two()
        if self.way not in ("", MEMORY, EPISODE, FORMULA) or (not self.way and (self.device or self.device_uid)):
            return (
                f"a device with {self.device} votes (way {self.way!r}) is not known to this version: install the "
                "version of the other nodes"
            )
        return self._fault_of_device() if self.way else ""

    def _fault_of_two(self) -> str:
        """Each entry must be with both: else one of them could go on without what the other one has confirmed."""
        votes = [member.votes for member in self.all if member.voter]
        if votes != [1, 1] or self.tie or self.device or not self.quorum_replication:
            return (
                f"two_node is for two voters with one vote each that both confirm: here are {len(votes)} with {votes} "
                f"votes, the tie-breaker {self.tie}, a device with {self.device} votes, quorum-replication "
                f"{self.quorum_replication}"
            )
        return ""

    def _fault_of_device(self) -> str:
        votes = sum(member.votes for member in self.all if member.voter)
        if self.way == MEMORY and not 1 <= self.device_uid <= UID_MAX:
            return f"the device has uid {self.device_uid}, not one of 64 bits"
        if self.way == FORMULA and self.device_uid:
            return f"the device has uid {self.device_uid:016x}, and by formula any arbiter will do"
        if not 0 <= self.device_uid <= UID_MAX:
            return f"the device has uid {self.device_uid}, not one of 64 bits"
        if self.device and not 0 < self.device < votes:
            return (
                f"the device has {self.device} votes and the nodes together {votes}: it must have fewer, or they could "
                "do nothing without it"
            )
        if self.device and self.tie:
            return f"node {self.tie} is the tie-breaker and the device has {self.device} votes: one of them breaks ties"
        return self._fault_of_slots() if self.way == FORMULA and self.device else ""

    def _fault_of_slots(self) -> str:
        """Two that the device helps may not stand in one term: it says yes to both."""
        slots = [member.slot for member in self.all if member.slot]
        if len(set(slots)) < len(slots) or any(not member.slot for member in self.all if member.voter):
            return f"where a device counts by formula each voter has terms of its own; these are their slots: {slots}"
        return ""


def _fault_of_member(member: Member) -> str:
    """What no host can be; datagrams are sent to these addresses."""
    if member.role not in ROLES:
        return f"node {member.node} has role {member.role!r}, not one of {', '.join(ROLES)}"
    if member.voter and member.role != "node":
        return f"node {member.node} is a listener for good and cannot vote"
    if not 0 <= member.uid <= UID_MAX:
        return f"node {member.node} has uid {member.uid}, not one of 64 bits"
    if not 0 <= member.votes <= VOTES_MAX:
        return f"node {member.node} has {member.votes} votes, not 0 to {VOTES_MAX}"
    if not 0 <= member.slot <= SLOTS:
        return f"node {member.node} has slot {member.slot}, not 0 to {SLOTS}"
    ports = [member.api_port, member.udp_port, *([] if member.db_port is None else [member.db_port])]
    if not all(1 <= port <= PORT_MAX for port in ports):
        return f"node {member.node} has ports {ports}, not 1 to {PORT_MAX}"
    try:
        ip_address(member.ip)
    except ValueError:
        return f"node {member.node} has the address {member.ip!r}, which is no IP address"
    return ""


def _row(struct: Member | Members, known: int, defaults: tuple[object, ...]) -> tuple[object, ...]:
    """The fields in their order, without those at the end that are as they were before there were votes."""
    fields = msgspec.structs.astuple(struct)
    while len(fields) > known and fields[-1] == defaults[len(fields) - known - 1]:
        fields = fields[:-1]
    return fields


_MEMBER_KNOWN = Member.__struct_fields__.index("votes")
_MEMBERS_KNOWN = Members.__struct_fields__.index("tie")
_MEMBER_DEFAULTS: tuple[object, ...] = Member.__struct_defaults__[-(len(Member.__struct_fields__) - _MEMBER_KNOWN):]
_MEMBERS_DEFAULTS: tuple[object, ...] = Members.__struct_defaults__[-(len(Members.__struct_fields__) - _MEMBERS_KNOWN):]
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Members)
