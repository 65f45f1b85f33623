"""Whether a client may join its cluster, and the error it is told if not.

Must not know connections or time. Messages and clients in, error codes out.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.qnet.client import Client, Cluster
from qluster.qnet.messages import Init
from qluster.qnet.names import SUPPORTED_ALGORITHMS, DecisionAlgorithm, ErrorCode, TieBreakerMode
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import TieBreaker

_NONE = ErrorCode.NO_ERROR
_MISSING = ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION


def error_in_init(message: Init, preinit: bool, settings: Settings) -> ErrorCode:
    """What is wrong with the message by itself; ``preinit``: the client has named its cluster.

    In the order of the released server, where an error that was found stays, but for two later ones that overwrite it:
    a heartbeat out of range (0, if there is none) and an unknown algorithm.
    """
    error = _NONE if preinit else ErrorCode.PREINIT_REQUIRED
    if error is _NONE and (message.node_id is None or message.ring_id is None):
        error = _MISSING
    if error is _NONE and message.heartbeat_interval is None:
        error = _MISSING
    elif not heartbeat_allowed(message.heartbeat_interval or 0, settings):
        error = ErrorCode.INVALID_HEARTBEAT_INTERVAL
    if error is _NONE and (message.tie_breaker is None or message.decision_algorithm is None):
        error = _MISSING
    if message.decision_algorithm is not None and message.decision_algorithm not in SUPPORTED_ALGORITHMS:
        error = ErrorCode.UNSUPPORTED_DECISION_ALGORITHM
    return error


def heartbeat_allowed(interval: int, settings: Settings) -> bool:
    """Whether a client may have this heartbeat, in milliseconds."""
    return settings.heartbeat_min <= interval <= settings.heartbeat_max


def error_in_cluster(message: Init, client: Client, cluster: Cluster) -> ErrorCode:
    """What is wrong beside those who are in the cluster: the first of them, by node id, who objects says why.

    A client that is in already finds itself.
    """
    assert message.tie_breaker is not None
    for other in cluster.clients:
        if other is client:
            return ErrorCode.DUPLICATE_NODE_ID
        if not _same(message.tie_breaker, other.tie_breaker):
            return ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES
        if message.decision_algorithm != other.algorithm:
            return ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES
        if message.node_id == other.node_id:
            return ErrorCode.DUPLICATE_NODE_ID
    return _NONE


def take_over(message: Init, client: Client, settings: Settings) -> None:
    """What an INIT without an error says of its client."""
    assert message.node_id is not None and message.ring_id is not None and message.tie_breaker is not None
    assert message.heartbeat_interval is not None and message.decision_algorithm is not None
    client.node_id = message.node_id
    client.ring = message.ring_id
    client.heartbeat = message.heartbeat_interval
    client.tie_breaker = message.tie_breaker
    client.algorithm = DecisionAlgorithm(message.decision_algorithm)
    client.kap = settings.keep_active_partition


def _same(one: TieBreaker, other: TieBreaker) -> bool:
    return one.mode is other.mode and (one.mode is not TieBreakerMode.NODE_ID or one.node_id == other.node_id)
