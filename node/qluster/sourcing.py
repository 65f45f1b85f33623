"""Decides from which database a copy is made, and which replica is followed in the primary's place.

Must not know how a copy is made or a database followed. What the others last reported is all there is to go by:
whether it still holds is seen by the hand before it begins, and what cannot be had from a replica comes from the
primary.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from math import inf

from qluster.cluster.messages import Report
from qluster.config.tags import NONE
from qluster.consensus.members import Member, Members
from qluster.events import Address
from qluster.status import DatabaseStatus

CLONE_LAG = 64 << 20
"""Bytes of WAL that a replica may be behind the primary and still be copied: read again in a second."""


def clone_source(
    members: Members, last: Callable[[int], Report | None], alive: Set[int], primary: int, me: int
) -> Address | None:
    """The replica to copy: one that is meant for it, then the one with the fewest readers of its WAL.

    None: the primary. ``alive``: the nodes that are heard; ``primary``: whose reign it is; ``me``: who copies.
    """
    leading = _database(last, primary)
    if leading is None or leading.role != "primary" or leading.position is None:
        return None
    able = []
    for member in members:
        database = _database(last, member.node)
        if member.node in (primary, me) or member.node not in alive or member.db_port is None:
            continue
        if database is None or not _follows(database, leading):
            continue
        meant = (member.tags or NONE).clone_from
        able.append((not meant, database.senders, -(database.position or 0), member.node))
    return _address(members, min(able)[-1]) if able else None


def followed_replica(
    members: Members, last: Callable[[int], Report | None], alive: Set[int], primary: int, me: int, named: str
) -> Address | None:
    """The replica at the address that the operator named, while it follows the primary; None: the primary.

    Who would in the end follow itself is not followed, by nobody in the ring.
    """
    leading = _database(last, primary)
    by_ip = {member.ip: member for member in members}
    member = by_ip.get(named)
    if leading is None or member is None or member.node in (primary, me) or member.node not in alive:
        return None
    database = _database(last, member.node)
    if database is None or database.role != "replica" or not database.streaming:
        return None
    if database.timeline != leading.timeline or _in_ring(by_ip, member, me):
        return None
    return _address(members, member.node)


def _in_ring(by_ip: Mapping[str, Member], member: Member, me: int) -> bool:
    """Whether the row of those who are followed comes back to this node, or to itself."""
    seen = {me}
    following: Member | None = member
    while following is not None:
        if following.node in seen:
            return True
        seen.add(following.node)
        following = by_ip.get((following.tags or NONE).replicate_from)
    return False


@dataclass(slots=True)
class Steady:
    """Lets a replica go at once when it is no longer good, and takes it only after it has been for a while."""

    _found: Address | None = None
    _since: float = -inf

    def step(self, found: Address | None, now: float, patience: float) -> Address | None:
        """What is to be followed now."""
        if found != self._found:
            self._found, self._since = found, now
        return found if now >= self._since + patience else None


def _database(last: Callable[[int], Report | None], node: int) -> DatabaseStatus | None:
    report = last(node)
    return report.database if report is not None else None


def _follows(database: DatabaseStatus, leading: DatabaseStatus) -> bool:
    """Whether it has nearly all that the primary has, and nothing else."""
    return (
        database.role == "replica"
        and database.streaming
        and database.state == "idle"
        and not database.error
        and not database.barred
        and database.timeline == leading.timeline
        and min(database.position or 0, database.replayed or 0) + CLONE_LAG >= (leading.position or 0)
    )


def _address(members: Members, node: int) -> Address | None:
    member: Member | None = members.get(node)
    return (member.ip, member.db_port) if member is not None and member.db_port is not None else None
