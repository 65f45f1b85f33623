"""Decides whether a node can take over by plan, and who would do it best.

Must not know why somebody should, nor how it is done. A failover asks less: it must take what is left.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.cluster.messages import Report
from qluster.leading import Scene
from qluster.status import DatabaseStatus

LAG_MAX = 16 << 20
"""Bytes of WAL by which a successor may be behind: one segment, which is replayed within the patience for the proof."""


def unfit(scene: Scene, node: int) -> str:
    """Why a node cannot take over by plan, in words that follow its number; "" when it can."""
    member = scene.settled.get(node)
    if member is None or not member.voter:
        return "it is a listener"
    if node not in scene.alive:
        return "it is not heard"
    if node in scene.state.down:
        return "it is marked down"
    if member.tags is not None and member.tags.no_failover:
        return "database.no-failover is set in its config.yaml"
    report = scene.report(node)
    if report is not None and report.short:
        return "its disk is full"
    return _unfit_database(scene, node, report) if scene.state.reign is not None else ""


def _unfit_database(scene: Scene, node: int, report: Report | None) -> str:
    database = report.database if report is not None else None
    if database is None:
        return "it reports no database"
    if database.error or database.barred:
        return database.error or database.barred
    if database.role != "replica" or not database.streaming:
        return f"its database is {database.role} and does not stream from the primary"
    return _behind(scene, database) or _uncovered(scene, node)


def _behind(scene: Scene, database: DatabaseStatus) -> str:
    primary = scene.own_database
    if primary is None or primary.position is None or primary.timeline is None:
        return ""
    if database.timeline != primary.timeline:
        return f"its database is on timeline {database.timeline}, the primary on {primary.timeline}"
    lag = primary.position - (database.replayed or 0)
    return f"its database is {lag} bytes behind the primary, more than {LAG_MAX}" if lag > LAG_MAX else ""


def _uncovered(scene: Scene, node: int) -> str:
    last = scene.state.guarantees[-1] if scene.state.guarantees else None
    if last is None or not last.needed or node in last.standbys:
        return ""
    return "it is none of the replicas that transactions wait for"


def best_fit(scene: Scene) -> int | None:
    """The fittest: what it has replayed decides; None when nobody is fit."""
    fit = []
    for member in scene.settled:
        if member.voter and member.node != scene.me and not unfit(scene, member.node):
            report = scene.report(member.node)
            database = report.database if report is not None else None
            priority = member.tags.priority if member.tags is not None else 0
            fit.append(((database.replayed or 0) if database is not None else 0, priority, -member.node))
    return -max(fit)[-1] if fit else None
