"""Turns what a node knows into what load balancers ask for, at a small cost for each of their requests.

Must not decide who may be read from, nor change anything. Nothing is kept between two requests: what depends on
the time, the lease above all, is true at the moment of the answer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from qluster.keeper import role_of
from qluster.status import DatabaseHealth, Health

if TYPE_CHECKING:
    from qluster.node import Node


def health(node: Node, now: float) -> Health:
    """What is asked of this node by whoever spreads clients over the nodes."""
    qraft, reign = node.qraft, node.state.reign
    leader = qraft.leader if qraft is not None else None
    member = qraft.members.get(leader) if qraft is not None and leader is not None else None
    return Health(
        node=node.me or None,
        joined=qraft is not None,
        message="" if qraft is not None else node.short or node.message,
        stopping=node.stopping,
        uptime=now - node.started,
        turned_ago=now - node.settled_at,
        term=qraft.term if qraft is not None else 0,
        reign=reign.number if reign is not None else 0,
        leader=leader,
        leader_at=(member.ip, member.api_port, member.db_port) if member is not None else None,
        may_write=node.hosting.may_write(now),
        standby=node.hosting.follows_outside,
        leads_standby=node.keeper.wanted.kind == "outside" and reign is not None,
        down=node.me in node.state.down,
        covered=_covered(node),
        patience=node.config.cluster.node_timeout,
        database=_database(node, now) if node.config.database is not None else None,
    )


def _covered(node: Node) -> bool:
    """Whether whatever the primary acknowledges waits for this node, among others."""
    guarantees, reign = node.state.guarantees, node.state.reign
    return (
        bool(guarantees)
        and reign is not None
        and all(each.primary == reign.node and node.me in each.standbys for each in guarantees)
    )


def _database(node: Node, now: float) -> DatabaseHealth:
    keeper, reign = node.keeper, node.state.reign
    facts, config = keeper.facts, node.config.database
    assert config is not None, "asked of a host with a database"
    if facts is None:
        return DatabaseHealth(role="stopped", doing=keeper.state, answers=False, answered_ago=None)
    standby = facts.in_recovery is True
    behind = (
        node.reports.published.behind(reign.number, reign.node, facts.replayed, now)
        if standby and reign is not None
        else None
    )
    size, seconds = (behind.size, behind.seconds) if behind is not None else (None, None)
    known_ago = behind.known_ago if behind is not None else None
    if node.hosting.follows_outside:
        size, seconds, known_ago = _behind_outside(node, now)
    return DatabaseHealth(
        role=role_of(facts),
        doing=keeper.state,
        answers=facts.server == "running" and facts.in_recovery is not None,
        answered_ago=_ago(keeper.looked_at, now),
        halted=facts.halted,
        # Who was primary before it follows may have what nobody else has, until that was compared.
        genuine=not standby
        or (facts.standby and not facts.last_reign and not facts.fresh and facts.standing != "diverged"),
        paused=facts.paused or facts.starved,
        balanced=not config.no_load_balance,
        streamed_ago=_ago(keeper.streamed_at, now),
        lag_bytes=size,
        lag_seconds=seconds,
        lag_known_ago=known_ago,
    )


def _behind_outside(node: Node, now: float) -> tuple[int | None, float | None, float | None]:
    """Bytes and seconds behind the installation outside, as far as is known here, and since when it is.

    Each node hears from whom it follows how far that one is, and from the node that leads how far those outside are.
    """
    keeper, reign, facts = node.keeper, node.state.reign, node.keeper.facts
    assert facts is not None, "asked of a database that was looked at"
    said = [facts.ahead]
    known_ago = _ago(keeper.streamed_at, now)
    if reign is not None and reign.node != node.me:
        report, heard_at = node.reports.last(reign.node), node.reports.heard_at(reign.node)
        database = report.database if report is not None else None
        said.append(database.ahead if database is not None else None)
        fresh = database is not None and database.streaming and known_ago is not None and heard_at is not None
        known_ago = max(known_ago or 0.0, now - (heard_at or 0.0)) if fresh else None
    newest = max((one for one in said if one is not None), default=None)
    size = lag_of(newest, facts.replayed)
    return size, known_ago if size == 0 else None, known_ago


def lag_of(ahead: int | None, replayed: int | None) -> int | None:
    """Bytes of WAL that whom it follows had by its last word, and that are not replayed here; None: not known."""
    return max(0, ahead - replayed) if ahead is not None and replayed is not None else None


def _ago(at: float, now: float) -> float | None:
    return now - at if at > -inf else None
