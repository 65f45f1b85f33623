"""Says what an operator should know of how the votes of a list are distributed.

Must not change or decide anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from qluster.consensus.electorate import Electorate
from qluster.consensus.members import FORMULA, Members
from qluster.consensus.membership import tie_breaker


def total_votes(members: Members) -> int:
    """The votes of all voters: expected votes."""
    return sum(member.votes for member in members if member.voter)


def tie_in_force(members: Members) -> int | None:
    """The node with whom half of the votes are enough; None where no half exists."""
    return members.tie if members.tie and total_votes(members) % 2 == 0 else None


def resting(members: Members) -> list[int]:
    """Listeners that vote when they keep up: they were not reached, stop, or are new."""
    return [member.node for member in members if not member.voter and member.role == "node"]


def remarks(members: Members, rule: str) -> list[str]:
    """One sentence for each thing that is easily overlooked; ``rule`` is cluster.auto-tie-breaker."""
    return [*_heavy(members), *_tie(members, rule), *_device(members)] if members.voters else []


def _heavy(members: Members) -> Iterator[str]:
    total = total_votes(members)
    for member in members:
        alone = member.voter and 2 * member.votes > total and len(members.voters) > 1
        if alone and members.quorum_replication and members.replication_factor < 2:
            yield (
                f"node {member.node} has {member.votes} of {total} votes: it elects and confirms alone, so what is "
                "confirmed may lie on one disk. Give it fewer, or set cluster.replication-factor to 2"
            )


def _device(members: Members) -> Iterator[str]:
    if members.way == FORMULA and members.device:
        needs = Electorate.of(members).needs
        yield (
            "the arbiter counts by formula: it helps to elect and never to write, and writes take "
            f"{max(needs.commit, needs.copies)} of {total_votes(members)} votes of the nodes. To let fewer go on, use "
            "an arbiter that keeps memories, or the algorithm ffsplit"
        )


def _tie(members: Members, rule: str) -> Iterator[str]:
    total, wanted = total_votes(members), tie_breaker(members, rule)
    if rule != "off" and members.device:
        yield f"cluster.auto-tie-breaker ({rule}) has no effect while the device has votes ({members.device})"
    elif rule != "off" and total % 2 and len(members.voters) > 1:
        yield f"cluster.auto-tie-breaker ({rule}) has no effect while the number of all votes is odd ({total})"
    elif rule != "off" and not wanted and len(members.voters) > 1:
        yield f"cluster.auto-tie-breaker ({rule}) names no node that votes"
    elif wanted != members.tie:
        now = f"node {members.tie}" if members.tie else "none"
        yield (
            f"cluster.auto-tie-breaker ({rule}) asks for {f'node {wanted}' if wanted else 'none'}, and {now} is in "
            "force: it changes when all nodes have this version and enough of them are there"
        )
