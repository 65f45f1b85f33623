"""Who belongs to the cluster and what each may become: the payload of entries of kind ``members``.

Must not know how such an entry travels or when it takes effect.

The list also carries the rule by which entries are committed, so that a change of the rule goes
through the log like a change of the members: while it is not committed both rules hold.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from qluster.config.tags import Tags

ROLES = ("node", "listener")
MEMBERS_MAX = 64
"""More would not fit into one entry of the smallest sensible max-log-size."""
NODE_MAX = 2**63 - 1
"""Largest number that messages carry."""
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


class Members(msgspec.Struct, frozen=True, array_like=True):
    """All members and the commit rule."""

    all: tuple[Member, ...]
    quorum_replication: bool = True
    replication_factor: int = 0
    configured: int = 0
    """Voters after the last change that was no automatic removal: the floor for further ones."""

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

    def promoted(self, node: int) -> Members:
        """With this member as a voter."""
        member = self.get(node)
        assert member is not None, f"node {node} is no member"
        return self.with_member(msgspec.structs.replace(member, voter=True))

    def encode(self) -> bytes:
        """The bytes of the entry."""
        return _ENCODER.encode(self)

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
        return fault or ("" if self.voters else "nobody would be left to vote")


def _fault_of_member(member: Member) -> str:
    """What no host can be; datagrams are sent to these addresses."""
    if member.role not in ROLES:
        return f"node {member.node} has role {member.role!r}, not one of {', '.join(ROLES)}"
    if member.voter and member.role != "node":
        return f"node {member.node} is a listener for good and cannot vote"
    if not 0 <= member.uid <= UID_MAX:
        return f"node {member.node} has uid {member.uid}, not one of 64 bits"
    ports = [member.api_port, member.udp_port, *([] if member.db_port is None else [member.db_port])]
    if not all(1 <= port <= PORT_MAX for port in ports):
        return f"node {member.node} has ports {ports}, not 1 to {PORT_MAX}"
    try:
        ip_address(member.ip)
    except ValueError:
        return f"node {member.node} has the address {member.ip!r}, which is no IP address"
    return ""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Members)
