"""What a client may do wrong, row by row, and the protocol's own error that it is told; nobody else notices.

Where the certificate or the handshake is wrong nothing is told and the connection ends: ``test_arbiter.py``, and
``edge/test_qnetd_tls.py`` with certificates that are expired, foreign, or of another cluster. Heuristics that hang,
fail or do not exist are the client's: ``edge/test_device.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from qluster.qnet.framing import SIZE_DEFAULT
from qluster.qnet.messages import (
    KINDS,
    AskForVote,
    EchoRequest,
    HeuristicsChange,
    InitReply,
    Message,
    NodeList,
    Preinit,
    ServerError,
    SetOption,
    StartTls,
    VoteInfoReply,
    encode,
    frame,
)
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, Heuristics, MessageType, NodeListType, TlsSupported
from qluster.qnet.settings import Settings
from qnet.shorthand import HIGHEST, nodes, ring
from qnet.stage import Stage, init

E, A = ErrorCode, DecisionAlgorithm
FFSPLIT, LMS, TWO, TEST = A.FFSPLIT, A.LMS, A.TWO_NODE_LMS, A.TEST
PREINIT = Preinit(seq=1, cluster_name=b"qlab")
INIT = init(2, 9)
CONFIG = NodeList(seq=3, node_list_type=NodeListType.INITIAL_CONFIG, nodes=nodes(1, 9))
MEMBERSHIP = NodeList(seq=4, node_list_type=NodeListType.MEMBERSHIP, ring_id=ring("9.8"), nodes=nodes(9))
QUORUM = NodeList(seq=5, node_list_type=NodeListType.QUORUM, quorate=True, nodes=nodes(9))
CHANGE = HeuristicsChange(seq=6, heuristics=Heuristics.PASS)
AFTER_INIT: dict[str, Message] = {
    "set option": SetOption(seq=3, heartbeat_interval=2000), "echo": EchoRequest(seq=3), "config": CONFIG,
    "membership": MEMBERSHIP, "quorum": QUORUM, "ask for vote": AskForVote(seq=3),
    "confirmation": VoteInfoReply(seq=3), "heuristics": CHANGE,
}  # fmt: skip
"""What a client may say only when it has joined."""
FROM_SERVERS = (
    MessageType.PREINIT_REPLY, MessageType.INIT_REPLY, MessageType.SERVER_ERROR, MessageType.SET_OPTION_REPLY,
    MessageType.ECHO_REPLY, MessageType.NODE_LIST_REPLY, MessageType.ASK_FOR_VOTE_REPLY, MessageType.VOTE_INFO,
    MessageType.HEURISTICS_CHANGE_REPLY,
)  # fmt: skip


def joined(algorithm: int = FFSPLIT, *before: Message) -> tuple[Message, ...]:
    return (PREINIT, init(2, 9, algorithm=algorithm), *before)


def raw(kind: int, body: bytes) -> bytes:
    return frame(kind, body)


Row = tuple[Sequence[Message | bytes], ErrorCode]
TOLD_BY_SERVER_ERROR: dict[str, Row] = {
    **{f"premature: {name}": ((PREINIT, one), E.INIT_REQUIRED) for name, one in AFTER_INIT.items()},
    **{f"before all: {name}": ((one,), E.INIT_REQUIRED) for name, one in AFTER_INIT.items()},
    "premature: TLS": ((StartTls(seq=1),), E.PREINIT_REQUIRED),
    **{f"a server's message: {kind.name.lower()}": ((*joined(), raw(kind, b"\0\0\0\4\0\0\0\7")), E.UNEXPECTED_MESSAGE)
       for kind in FROM_SERVERS if kind is not MessageType.VOTE_INFO},
    "unknown type": ((*joined(), raw(300, b"\0\0\0\4\0\0\0\7")), E.UNSUPPORTED_MESSAGE),
    "oversized": ((PREINIT, raw(MessageType.INIT, bytes(SIZE_DEFAULT))), E.MESSAGE_TOO_LONG),
    "malformed: longer than its message": (
        (PREINIT, raw(MessageType.INIT, b"\0\0\0\4\0\0\0\7" + b"\0\x09\0\x09" + bytes(4))), E.ERROR_DECODING_MSG),
    "malformed: of a wrong length": (
        (PREINIT, raw(MessageType.INIT, b"\0\0\0\4\0\0\0\7" + b"\0\x09\0\2" + bytes(2))), E.ERROR_DECODING_MSG),
    "malformed: empty": ((PREINIT, raw(MessageType.INIT, b"")), E.ERROR_DECODING_MSG),
    "no cluster name": ((replace(PREINIT, cluster_name=None),), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "list without type": ((*joined(), replace(CONFIG, node_list_type=None)), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "list without number": ((*joined(), replace(CONFIG, seq=None)), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "membership without ring": ((*joined(), replace(MEMBERSHIP, ring_id=None)), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "quorum without quorate": ((*joined(), replace(QUORUM, quorate=None)), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "confirmation without number": ((*joined(), raw(MessageType.VOTE_INFO_REPLY, b"\x0f\xff\0\0")),
                                    E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "heuristics without result": ((*joined(), replace(CHANGE, heuristics=None)), E.DOESNT_CONTAIN_REQUIRED_OPTION),
    "heartbeat too short": ((*joined(), SetOption(seq=3, heartbeat_interval=999)), E.INVALID_HEARTBEAT_INTERVAL),
    "heartbeat too long": ((*joined(), SetOption(seq=3, heartbeat_interval=120_001)), E.INVALID_HEARTBEAT_INTERVAL),
    "config without the sender": ((*joined(), replace(CONFIG, nodes=nodes(1, 2))), E.INVALID_CONFIG_NODE_LIST),
    "config that is empty": ((*joined(), replace(CONFIG, nodes=())), E.INVALID_CONFIG_NODE_LIST),
    "membership without the sender": (
        (*joined(FFSPLIT, CONFIG), replace(MEMBERSHIP, nodes=nodes(1, 2))), E.INVALID_MEMBERSHIP_NODE_LIST),
    "ffsplit is asked for a vote": ((*joined(), AskForVote(seq=3)), E.UNSUPPORTED_DECISION_ALGORITHM_MESSAGE),
    "2nodelms with three nodes": (
        (*joined(TWO), replace(CONFIG, nodes=nodes(1, 2, 9))), E.UNSUPPORTED_DECISION_ALGORITHM),
}  # fmt: skip

TOLD_BY_INIT_REPLY: dict[str, Row] = {
    "no greeting": ((INIT,), E.PREINIT_REQUIRED),
    **{f"no {name}": ((PREINIT, replace(INIT, **{name: None})), E.DOESNT_CONTAIN_REQUIRED_OPTION)
       for name in ("node_id", "ring_id", "tie_breaker", "decision_algorithm", "heartbeat_interval")},
    "heartbeat too short": ((PREINIT, init(2, 9, heartbeat=999)), E.INVALID_HEARTBEAT_INTERVAL),
    "unknown algorithm": ((PREINIT, init(2, 9, algorithm=4)), E.UNSUPPORTED_DECISION_ALGORITHM),
    "other tie-breaker": ((PREINIT, init(2, 9, tie_breaker=HIGHEST)), E.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES),
    "other algorithm": ((PREINIT, init(2, 9, algorithm=LMS)), E.ALGORITHM_DIFFERS_FROM_OTHER_NODES),
    "node of the same number": ((PREINIT, init(2, 1)), E.DUPLICATE_NODE_ID),
}  # fmt: skip


@pytest.fixture
def stage() -> Stage:
    """Two clusters that are well; in the first one node 1 is connected."""
    made = Stage()
    made.join("first", 1)
    for node in (1, 2):
        made.join(f"well{node}", node, cluster="other")
        made.config(f"well{node}", 1, 2)
        made.membership(f"well{node}", "1.8", 1, 2)
    for name in ("first", "well1", "well2"):
        made.raw(name)
    return made


def told(stage: Stage, said: Sequence[Message | bytes], name: str = "wrong") -> list[Message]:
    """What comes back for the last of these messages."""
    stage.connect(name)
    for one in said:
        stage.raw(name)
        stage.give(name, one if isinstance(one, bytes) else encode(one))
    return stage.take(name)


def nobody_else_notices(stage: Stage) -> bool:
    return "wrong" not in stage.closed and not any(stage.raw(name) for name in ("well1", "well2"))


@pytest.mark.parametrize("row", TOLD_BY_SERVER_ERROR)
def test_wrong_message_is_answered_by_an_error_and_the_connection_stays(stage: Stage, row: str) -> None:
    said, code = TOLD_BY_SERVER_ERROR[row]
    if row.startswith("2nodelms"):
        stage.close("first")
    [answer] = told(stage, said)
    assert isinstance(answer, ServerError) and ErrorCode(answer.reply_error_code or 0) is code
    assert nobody_else_notices(stage)
    if code not in (E.UNSUPPORTED_MESSAGE, E.MESSAGE_TOO_LONG, E.ERROR_DECODING_MSG, E.PREINIT_REQUIRED):
        number = None if row == "confirmation without number" else getattr(said[-1], "seq", 7)
        assert answer.seq == number, "an error says which message it is about"


@pytest.mark.parametrize("row", TOLD_BY_INIT_REPLY)
def test_wrong_greeting_is_refused_and_may_be_tried_again(stage: Stage, row: str) -> None:
    said, code = TOLD_BY_INIT_REPLY[row]
    [answer] = told(stage, said)
    assert isinstance(answer, InitReply) and ErrorCode(answer.reply_error_code or 0) is code
    assert nobody_else_notices(stage)
    stage.say("wrong", PREINIT)
    stage.raw("wrong")
    stage.say("wrong", INIT)
    [again] = stage.take("wrong")
    assert isinstance(again, InitReply) and again.reply_error_code == ErrorCode.NO_ERROR


@pytest.mark.parametrize("name", ["init", *AFTER_INIT])
def test_in_clear_nothing_but_the_greeting_is_served_where_tls_is_required(name: str) -> None:
    stage = Stage(Settings(tls=TlsSupported.REQUIRED))
    [answer] = told(stage, (PREINIT, INIT if name == "init" else AFTER_INIT[name]))
    assert isinstance(answer, ServerError) and answer.reply_error_code == ErrorCode.TLS_REQUIRED


def test_every_error_that_the_released_server_sends_has_its_row() -> None:
    """The first two it never sends; an internal error is no answer to a message; no error is none."""
    rows = {code for _, code in (*TOLD_BY_SERVER_ERROR.values(), *TOLD_BY_INIT_REPLY.values())} | {E.TLS_REQUIRED}
    assert set(ErrorCode) - rows == {
        E.NO_ERROR, E.UNSUPPORTED_NEEDED_MESSAGE, E.UNSUPPORTED_NEEDED_OPTION, E.INTERNAL_ERROR}


def test_every_message_is_tried_out_of_its_place() -> None:
    tried = {type(one).type for one in AFTER_INIT.values()} | set(FROM_SERVERS)
    assert set(KINDS) - tried == {MessageType.PREINIT, MessageType.STARTTLS, MessageType.INIT}



@pytest.mark.parametrize("said", [CONFIG, MEMBERSHIP, CHANGE], ids=lambda one: type(one).__name__)
def test_who_was_refused_decides_nothing(stage: Stage, said: Message) -> None:
    """A node of another algorithm is in nobody's lists, whatever it says next."""
    [answer] = told(stage, (PREINIT, init(2, 9, algorithm=LMS), said))
    assert isinstance(answer, ServerError) and answer.reply_error_code == ErrorCode.INIT_REQUIRED
    assert [client.node_id for client in stage.arbiter.clusters[b"qlab"].clients] == [1]
