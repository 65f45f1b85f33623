"""What corosync-qnetd-tool prints, sign for sign.

Must not know how it was asked for.

Only names that a client made up differ where a terminal could be fooled: what cannot be printed is escaped.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

from qluster.qnet.arbiter import Arbiter
from qluster.qnet.client import Client, Cluster, Nodes
from qluster.qnet.names import DecisionAlgorithm, Heuristics, TieBreakerMode, TlsSupported, Vote

TLS = {
    TlsSupported.UNSUPPORTED: "Unsupported",
    TlsSupported.SUPPORTED: "Supported",
    TlsSupported.REQUIRED: "Required",
}
ALGORITHM = {
    DecisionAlgorithm.TEST: "Test",
    DecisionAlgorithm.FFSPLIT: "Fifty-Fifty split",
    DecisionAlgorithm.TWO_NODE_LMS: "2 Node LMS",
    DecisionAlgorithm.LMS: "LMS",
}
VOTE = {
    Vote.ACK: "ACK",
    Vote.NACK: "NACK",
    Vote.ASK_LATER: "Ask later",
    Vote.WAIT_FOR_REPLY: "Wait for reply",
    Vote.NO_CHANGE: "No change",
}
HEURISTICS = {Heuristics.UNDEFINED: "Undefined", Heuristics.PASS: "Pass", Heuristics.FAIL: "Fail"}


def status(arbiter: Arbiter, address: str, verbose: bool = False) -> str:
    """``-s``, and ``-sv``. The address is where the server listens: ``*:5403``."""
    settings = arbiter.settings
    certificate = settings.tls is not TlsSupported.UNSUPPORTED and settings.client_certificate_required
    lines = [
        f"QNetd address:\t\t\t{address}",
        f"TLS:\t\t\t\t{TLS[settings.tls]}" + (" (client certificate required)" if certificate else ""),
        f"Connected clients:\t\t{sum(1 for _ in arbiter.clients)}",
        f"Connected clusters:\t\t{len(arbiter.clusters)}",
    ]
    if verbose:
        if settings.clients_max:
            lines.append(f"Maximum allowed clients:\t{settings.clients_max}")
        lines.append(f"Maximum send/receive size:\t{settings.reply_size_max}/{settings.request_size_max} bytes")
    return _text(lines)


def listing(arbiter: Arbiter, verbose: bool = False, cluster: str = "") -> str:
    """``-l``, and ``-lv``; with ``-c`` of one cluster alone."""
    shown = [one for one in arbiter.clusters.values() if cluster in ("", one.label)]
    return _text([line for one in shown for line in _cluster(one, verbose)])


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _cluster(cluster: Cluster, verbose: bool) -> Iterator[str]:
    first = cluster.clients[0]
    kap = all(one.algorithm is DecisionAlgorithm.FFSPLIT and one.kap for one in cluster.clients)
    yield f'Cluster "{cluster.label}":'
    yield f"    Algorithm:\t\t{ALGORITHM[first.algorithm]}" + (" (KAP Tie-breaker)" if kap else "")
    yield f"    Tie-breaker:\t{_tie_breaker(first)}"
    for client in cluster.clients:
        yield f"    Node ID {client.node_id}:"
        for name, value in _client(client, verbose):
            yield f"        {name}{value}"


def _tie_breaker(client: Client) -> str:
    match client.tie_breaker.mode:
        case TieBreakerMode.LOWEST:
            return "Node with lowest node ID"
        case TieBreakerMode.HIGHEST:
            return "Node with highest node ID"
        case TieBreakerMode.NODE_ID:
            return f"Node with node ID {client.tie_breaker.node_id}"


def _client(client: Client, verbose: bool) -> Iterator[tuple[str, str]]:
    yield "Client address:\t\t", client.address
    if verbose:
        yield "HB interval:\t\t", f"{client.heartbeat}ms"
    if client.config_version is not None:
        yield "Configuration version:\t", str(client.config_version)
    if client.config:
        yield "Configured node list:\t", _nodes(client.config)
    if verbose:
        yield "Ring ID:\t\t", str(client.ring)
    if client.membership:
        yield "Membership node list:\t", _nodes(client.membership)
    if verbose or client.heuristics is not Heuristics.UNDEFINED:
        yield "Heuristics:\t\t", _heuristics(client, verbose)
    if verbose:
        yield "TLS active:\t\t", _tls(client)
    if client.vote is not None:
        bracket = f" ({VOTE[client.vote_yes_no]})" if client.vote_yes_no is not None else ""
        yield "Vote:\t\t\t", VOTE[client.vote] + bracket


def _nodes(nodes: Nodes) -> str:
    return ", ".join(
        f"{node.node_id} ({node.data_center_id})" if node.data_center_id else str(node.node_id) for node in nodes
    )


def _heuristics(client: Client, verbose: bool) -> str:
    result = HEURISTICS[client.heuristics]
    if not verbose:
        return result
    membership, regular = HEURISTICS[client.heuristics_membership], HEURISTICS[client.heuristics_regular]
    return f"{result} (membership: {membership}, regular: {regular})"


def _tls(client: Client) -> str:
    if not client.tls.started:
        return "No"
    return "Yes (client certificate verified)" if client.tls.verified else "Yes"
