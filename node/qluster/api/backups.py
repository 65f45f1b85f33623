"""Which node takes the backups.

It must not know when one is due, nor how it is taken. Every node comes to the same answer as soon as they see the
same cluster; while they do not, two may try, and the lock of the repository lets one of them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.api.shapes import NodeAnswer, Whole


def taker(whole: Whole, *, from_replicas: bool = True) -> int | None:
    """The first replica that streams; without one the primary; None when there is neither.

    ``from_replicas``: the tool can take one there. In a standby cluster nobody: a standby archives no WAL, and a backup
    without any brings nothing back.
    """
    if whole.cluster.standby is not None:
        return None
    well = [node for node in whole.nodes if node.alive and not node.down and node.database is not None]
    replicas = [node.node for node in well if _streams(node)] if from_replicas else []
    if replicas:
        return min(replicas)
    primaries = [node.node for node in well if node.primary and node.database and node.database.role == "primary"]
    return primaries[0] if primaries else None


def alone(whole: Whole) -> bool:
    """Whether no other member has a database: then the primary waits for no replica."""
    return sum(node.db_port is not None for node in whole.nodes) <= 1


def _streams(node: NodeAnswer) -> bool:
    database = node.database
    return database is not None and database.role == "replica" and database.streaming
