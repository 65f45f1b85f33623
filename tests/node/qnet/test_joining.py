"""Who may join, and the error that who may not is told."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace
from qluster.qnet.joining import error_in_init
from qluster.qnet.messages import Init, InitReply, Preinit
from qluster.qnet.names import DecisionAlgorithm, ErrorCode
from qluster.qnet.settings import CLUSTER_CLIENTS_MAX, Settings
from qluster.qnet.tlv import TieBreaker
from qnet.shorthand import HIGHEST, LOWEST, naming
from qnet.stage import Stage, init

OK, MISSING = ErrorCode.NO_ERROR, ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION
NEEDED = ("node_id", "ring_id", "heartbeat_interval", "tie_breaker", "decision_algorithm")


def released_order(message: Init, preinit: bool) -> ErrorCode:
    """The checks as the released server makes them, one after the other; what is missing there is 0."""
    error = OK if preinit else ErrorCode.PREINIT_REQUIRED
    for name in NEEDED:
        value = getattr(message, name)
        if error is OK and value is None:
            error = MISSING
        elif name == "heartbeat_interval" and not 1000 <= (value or 0) <= 120_000:
            error = ErrorCode.INVALID_HEARTBEAT_INTERVAL
        elif name == "decision_algorithm" and (value or 0) > 3:
            error = ErrorCode.UNSUPPORTED_DECISION_ALGORITHM
    return error


@pytest.mark.parametrize("preinit", [True, False])
def test_order_of_the_checks_is_that_of_the_released_server(preinit: bool) -> None:
    whole = init(1, 1)
    for node, at, heartbeat, tie, algorithm in product(
        (None, 1), (None, whole.ring_id), (None, 999, 1000, 120_000, 120_001), (None, LOWEST), (None, 0, 1, 3, 4, 65535)
    ):
        message = replace(
            whole, node_id=node, ring_id=at, heartbeat_interval=heartbeat, tie_breaker=tie, decision_algorithm=algorithm
        )
        assert error_in_init(message, preinit, Settings()) is released_order(message, preinit), message


def answer(stage: Stage, name: str, message: Init) -> ErrorCode:
    stage.say(name, message)
    [reply] = stage.take(name)
    assert isinstance(reply, InitReply) and reply.reply_error_code is not None
    return ErrorCode(reply.reply_error_code)


def preinit(stage: Stage, name: str, cluster: bytes = b"qlab") -> None:
    stage.connect(name)
    stage.say(name, Preinit(seq=1, cluster_name=cluster))
    stage.raw(name)


@pytest.mark.parametrize(
    ("node", "algorithm", "tie_breaker", "expected"),
    [
        (2, DecisionAlgorithm.FFSPLIT, LOWEST, OK),
        (1, DecisionAlgorithm.FFSPLIT, LOWEST, ErrorCode.DUPLICATE_NODE_ID),
        (2, DecisionAlgorithm.LMS, LOWEST, ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES),
        (2, DecisionAlgorithm.FFSPLIT, HIGHEST, ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES),
        (2, DecisionAlgorithm.FFSPLIT, naming(1), ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES),
        (1, DecisionAlgorithm.LMS, HIGHEST, ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES),
        (1, DecisionAlgorithm.LMS, LOWEST, ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES),
    ],
)
def test_clients_of_a_cluster_must_agree(
    node: int, algorithm: DecisionAlgorithm, tie_breaker: TieBreaker, expected: ErrorCode
) -> None:
    stage = Stage()
    stage.join("first", 1)
    preinit(stage, "x")
    assert answer(stage, "x", init(2, node, algorithm=algorithm, tie_breaker=tie_breaker)) is expected
    preinit(stage, "elsewhere", b"other")
    assert answer(stage, "elsewhere", init(2, node, algorithm=algorithm, tie_breaker=tie_breaker)) is OK


def test_named_tie_breakers_agree_by_node() -> None:
    stage = Stage()
    stage.join("first", 1, tie_breaker=naming(1))
    preinit(stage, "x")
    assert answer(stage, "x", init(2, 2, tie_breaker=naming(2))) is ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES
    assert answer(stage, "x", init(3, 2, tie_breaker=naming(1))) is OK


def test_first_by_node_who_objects_says_why() -> None:
    stage = Stage()
    stage.join("two", 2)
    stage.join("one", 1)
    preinit(stage, "x")
    assert answer(stage, "x", init(2, 2)) is ErrorCode.DUPLICATE_NODE_ID
    assert answer(stage, "x", init(2, 2, tie_breaker=HIGHEST)) is ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES


def test_second_init_finds_its_own_client_and_changes_nothing() -> None:
    stage = Stage()
    stage.join("a", 1, at="1.8", heartbeat=2000)
    again = init(9, 5, at="5.9", algorithm=DecisionAlgorithm.LMS, tie_breaker=HIGHEST, heartbeat=9000)
    assert answer(stage, "a", again) is ErrorCode.DUPLICATE_NODE_ID
    stage.say("a", Preinit(seq=10, cluster_name=b"other"))
    stage.raw("a")
    assert answer(stage, "a", again) is ErrorCode.DUPLICATE_NODE_ID
    [cluster] = stage.arbiter.clusters.values()
    [client] = cluster.clients
    assert (cluster.name, client.node_id, str(client.ring), client.heartbeat) == (b"qlab", 1, "1.8", 2000)


def test_refused_init_may_be_tried_again_and_left_nothing_behind() -> None:
    stage = Stage()
    preinit(stage, "a")
    assert answer(stage, "a", init(2, 1, heartbeat=5)) is ErrorCode.INVALID_HEARTBEAT_INTERVAL
    assert not stage.arbiter.clusters
    assert answer(stage, "a", init(3, 1)) is OK


def test_refused_init_leaves_the_time_for_the_next_one() -> None:
    stage = Stage()
    stage.join("first", 1, heartbeat=120_000)
    preinit(stage, "a")
    assert answer(stage, "a", init(2, 1, heartbeat=1000)) is ErrorCode.DUPLICATE_NODE_ID
    stage.wait(179)
    assert not stage.closed
    assert answer(stage, "a", init(3, 2, heartbeat=1000)) is OK
    stage.wait(1.6)
    assert "a" in stage.closed


def test_lists_of_what_is_supported_are_sent_to_who_sent_its_own() -> None:
    stage = Stage()
    preinit(stage, "a")
    stage.say("a", replace(init(2, 1), supported_messages=None, supported_options=()))
    [reply] = stage.take("a")
    assert isinstance(reply, InitReply)
    assert reply.supported_messages is None and reply.supported_options == tuple(range(24))


def test_cluster_has_no_more_clients_than_corosync_can_have_members() -> None:
    stage = Stage(Settings(clients_max=0))
    for node in range(CLUSTER_CLIENTS_MAX):
        stage.join(f"n{node}", node + 1)
    preinit(stage, "one more")
    stage.say("one more", init(2, 1000))
    assert not stage.raw("one more")
    assert list(stage.closed) == ["one more"]
    assert len(stage.arbiter.clusters[b"qlab"].clients) == CLUSTER_CLIENTS_MAX


def test_last_cluster_name_before_init_counts() -> None:
    stage = Stage()
    preinit(stage, "a", b"first")
    stage.say("a", Preinit(seq=2, cluster_name=b"second"))
    stage.say("a", init(3, 1))
    assert list(stage.arbiter.clusters) == [b"second"]
