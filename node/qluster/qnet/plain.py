"""What the arbiter knows, as plain values for programs; ``display.py`` has it for people.

Must not know how it was asked for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

from qluster.qnet.arbiter import Arbiter
from qluster.qnet.client import Client, Cluster, Nodes, printable
from qluster.qnet.names import DecisionAlgorithm, TieBreakerMode, TlsSupported

Plain = dict[str, Any]

_TLS = {TlsSupported.UNSUPPORTED: "off", TlsSupported.SUPPORTED: "on", TlsSupported.REQUIRED: "required"}
_ALGORITHM = {
    DecisionAlgorithm.TEST: "test",
    DecisionAlgorithm.FFSPLIT: "ffsplit",
    DecisionAlgorithm.TWO_NODE_LMS: "2nodelms",
    DecisionAlgorithm.LMS: "lms",
}


def plain(arbiter: Arbiter, address: str, cluster: str = "") -> Plain:
    """The whole, or with one cluster alone. The words are those of configuration files."""
    settings = arbiter.settings
    return {
        "address": address,
        "tls": _TLS[settings.tls],
        "client_certificate_required": settings.client_certificate_required,
        "connected_clients": sum(1 for _ in arbiter.clients),
        "connected_clusters": len(arbiter.clusters),
        "clients_max": settings.clients_max,
        "request_size_max": settings.request_size_max,
        "reply_size_max": settings.reply_size_max,
        "clusters": [_cluster(one) for one in arbiter.clusters.values() if cluster in ("", one.label)],
        "memories": _memories(arbiter, cluster),
    }


def _memories(arbiter: Arbiter, cluster: str) -> list[Plain] | None:
    """What is remembered; None where nothing is."""
    if arbiter.memories is None:
        return None
    in_use = {client.memory for client in arbiter.clients}
    return [
        {
            "cluster": label, "founding": founding, "uid": f"{kept.uid:016x}", "term": kept.term,
            "voted_for": kept.vote or None, "entry": [kept.last_term, kept.index] if kept.index else None,
            "promise_ms": kept.promise, "in_use": (name, founding) in in_use,
        }
        for (name, founding), kept in sorted(arbiter.memories) if cluster in ("", label := printable(name))
    ]  # fmt: skip


def _cluster(cluster: Cluster) -> Plain:
    first = cluster.clients[0]
    ffsplit = first.algorithm is DecisionAlgorithm.FFSPLIT
    return {
        "name": cluster.label,
        "algorithm": _ALGORITHM[first.algorithm],
        "tie_breaker": _tie_breaker(first),
        "keep_active_partition": ffsplit and all(one.kap for one in cluster.clients),
        "nodes": [_node(one) for one in cluster.clients],
    }


def _tie_breaker(client: Client) -> str | int:
    mode = client.tie_breaker.mode
    return client.tie_breaker.node_id if mode is TieBreakerMode.NODE_ID else mode.name.lower()


def _node(client: Client) -> Plain:
    return {
        "node": client.node_id,
        "address": client.address,
        "heartbeat_ms": client.heartbeat,
        "config_version": client.config_version,
        "configured": _nodes(client.config),
        "ring": str(client.ring),
        "members": _nodes(client.membership),
        "heuristics": client.heuristics.name.lower(),
        "heuristics_membership": client.heuristics_membership.name.lower(),
        "heuristics_regular": client.heuristics_regular.name.lower(),
        "tls": client.tls.started,
        "certificate_verified": client.tls.verified,
        "vote": None if client.vote is None else client.vote.name.lower(),
        "vote_yes_no": None if client.vote_yes_no is None else client.vote_yes_no.name.lower(),
    }


def _nodes(nodes: Nodes) -> list[int]:
    return [node.node_id for node in nodes]
