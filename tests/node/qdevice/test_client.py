"""The client alone: what each word of an arbiter, each fault and each moment makes it do."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from qdevice.world import World, together
from qluster.qdevice.backoff import LASTING_MAX, Backoff
from qluster.qdevice.checks import GRACE
from qluster.qdevice.client import Client
from qluster.qdevice.orders import Came, Check, Checked, Close, Ended, Open, Opened, Poll, Say, Secure, Secured
from qluster.qdevice.sentences import REFUSALS, refusal
from qluster.qdevice.settings import Settings
from qluster.qnet.messages import (
    EchoReply,
    HeuristicsChange,
    Init,
    InitReply,
    Message,
    NodeList,
    NodeListReply,
    Preinit,
    PreinitReply,
    ServerError,
    SetOption,
    StartTls,
    VoteInfo,
    VoteInfoReply,
    decode,
    encode,
    frame,
)
from qluster.qnet.names import (
    SUPPORTED_ALGORITHMS,
    SUPPORTED_MESSAGES,
    SUPPORTED_OPTIONS,
    DecisionAlgorithm,
    ErrorCode,
    Heuristics,
    NodeListType,
    Option,
    TlsSupported,
    Vote,
)
from qluster.qnet.settings import Settings as ServerSettings
from qluster.qnet.tlv import RingId
from qnet.recorded import frames

RING, NEXT = RingId(1, 8), RingId(1, 12)


class Alone:
    """A client whose arbiter is the test."""

    def __init__(self, **settings: Any) -> None:
        self.client = Client(Settings(**{"cluster_name": "qlab", "node": 1, "tls": "off", **settings}), Random(4))
        self.now = 0.0
        self.orders: list[Any] = []
        self.client.configured((1, 2), 7, 0.0)
        self.client.membership(RING, (1, 2), 0.0)
        self.client.tick(0.0)

    def take(self) -> list[Any]:
        """Orders since the last time; messages are read."""
        found: list[Any] = []
        for order in self.client.take():
            found += [decode(*one) for one in frames(order.data)] if isinstance(order, Say) else [order]  # type: ignore[misc]
        return found

    def messages(self) -> list[Message]:
        return [one for one in self.take() if isinstance(one, Message)]

    def hear(self, *messages: Message) -> None:
        attempt = self.client._attempts
        for message in messages:
            self.client.handle(Came(attempt, encode(message)), self.now)

    def open(self) -> None:
        self.client.handle(Opened(self.client._attempts), self.now)

    def greet(self, tls: TlsSupported = TlsSupported.UNSUPPORTED) -> None:
        self.open()
        number = self.client._numbers.last
        self.hear(PreinitReply(seq=number, tls_supported=tls, tls_client_cert_required=True))

    def join(self, **changes: Any) -> None:
        self.greet()
        self.hear(taken_in(self.client._numbers.last, **changes))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.client.wake_at <= end:
            self.now = max(self.now, self.client.wake_at)
            self.client.tick(self.now)
        self.now = end

    def live(self, seconds: float) -> None:
        """The same beside an arbiter that answers each echo within a second."""
        for _ in range(int(seconds)):
            self.wait(1.0)
            conversation = self.client.conversation
            if conversation is not None and conversation._echo_open:
                self.hear(EchoReply(seq=conversation._echo))

    @property
    def reason(self) -> str:
        assert self.client.fault is not None
        return self.client.fault.reason


def taken_in(seq: int, **changes: Any) -> InitReply:
    content: dict[str, Any] = {
        "reply_error_code": 0, "supported_messages": SUPPORTED_MESSAGES, "supported_options": SUPPORTED_OPTIONS,
        "server_maximum_request_size": 32768, "server_maximum_reply_size": 32768,
        "supported_decision_algorithms": SUPPORTED_ALGORITHMS,
    }  # fmt: skip
    return InitReply(seq=seq, **{**content, **changes})


def test_it_greets_joins_and_says_its_lists() -> None:
    alone = Alone()
    [opening] = alone.take()
    assert isinstance(opening, Open)
    alone.open()
    assert [type(one) for one in alone.take()] == [Preinit]
    alone.hear(PreinitReply(seq=1, tls_supported=TlsSupported.SUPPORTED, tls_client_cert_required=True))
    [init] = alone.messages()
    assert isinstance(init, Init) and (init.node_id, init.heartbeat_interval, init.ring_id) == (1, 8000, RING)
    alone.client.quorum(True, [], 0.0)
    alone.hear(taken_in(2))
    option, config, membership, quorum = alone.messages()
    assert isinstance(option, SetOption) and option.keep_active_partition_tie_breaker
    assert isinstance(config, NodeList) and (config.config_version, len(config.nodes)) == (7, 2)
    assert isinstance(membership, NodeList) and membership.ring_id == RING and membership.heuristics is None
    assert isinstance(quorum, NodeList) and quorum.quorate
    assert [one.seq for one in (option, config, membership, quorum)] == [3, 4, 5, 6]


@pytest.mark.parametrize("code", [*ErrorCode, None, 77])
@pytest.mark.parametrize("where", ["greeting", "joining", "later"])
def test_every_refusal_is_told_in_a_sentence_and_tried_again(code: int | None, where: str) -> None:
    alone = Alone()
    if where == "joining":
        if code in (None, 0):
            return
        alone.greet()
        alone.hear(taken_in(alone.client._numbers.last, reply_error_code=code))
    else:
        alone.greet() if where == "greeting" else alone.join()
        alone.hear(ServerError(seq=9, reply_error_code=code))
    assert alone.reason == refusal(code).reason and len(alone.reason) > 40
    assert any(isinstance(one, Close) for one in alone.take())
    assert alone.client.state == "waiting to connect again"
    alone.wait(LASTING_MAX)
    assert any(isinstance(one, Open) for one in alone.take())


def test_every_code_has_a_sentence_of_its_own() -> None:
    assert len({fault.reason for fault in REFUSALS.values()}) == len(ErrorCode)
    passing = {code for code, fault in REFUSALS.items() if not fault.lasting}
    assert passing == {
        ErrorCode.INTERNAL_ERROR, ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES,
        ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES, ErrorCode.DUPLICATE_NODE_ID,
    }  # fmt: skip
    assert "error 17, duplicate node id" in refusal(17).reason


TLS = {
    ("off", 0): "plain", ("off", 1): "plain", ("off", 2): "requires TLS",
    ("on", 0): "plain", ("on", 1): "tls", ("on", 2): "tls",
    ("required", 0): "has no TLS", ("required", 1): "tls", ("required", 2): "tls",
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "offered"), TLS)
def test_tls_is_what_both_sides_make_of_it(wanted: str, offered: int) -> None:
    alone = Alone(tls=wanted)
    alone.greet(TlsSupported(offered))
    said = alone.take()
    match TLS[wanted, offered]:
        case "plain":
            assert isinstance(said[-1], Init)
        case "tls":
            assert isinstance(said[-2], StartTls) and isinstance(said[-1], Secure)
            alone.client.handle(Secured(1), 0.0)
            assert isinstance(alone.take()[0], Init)
        case reason:
            assert reason in alone.reason and alone.client.fault is not None and alone.client.fault.lasting


def test_a_certificate_that_is_not_taken_is_told_as_such() -> None:
    alone = Alone(tls="required")
    alone.greet(TlsSupported.REQUIRED)
    alone.client.handle(Secured(1), 0.0)
    alone.client.handle(Ended(1, "closed by the arbiter"), 0.0)
    assert "does not take the client's certificate" in alone.reason
    bare = Alone(tls="required", certificate=False)
    bare.greet(TlsSupported.REQUIRED)
    assert "Set device.certificate-file" in bare.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seq": 9}, "another INIT"),
        ({"supported_messages": None}, "all messages"),
        ({"supported_options": None}, "which options"),
        ({"supported_decision_algorithms": (0, 3)}, "decide by ffsplit"),
        ({"server_maximum_request_size": 32767}, "32767 bytes, 32768 are needed"),
        ({"server_maximum_reply_size": 16777217}, "are taken"),
        ({"server_maximum_reply_size": None}, "of None bytes"),
        ({"supported_options": tuple(range(22))}, "knows no heuristics"),
    ],
)
def test_an_arbiter_that_cannot_serve_is_told_why(changes: dict[str, Any], said: str) -> None:
    alone = Alone(heuristics="sync")
    alone.greet()
    alone.hear(msgspec.structs.replace(taken_in(alone.client._numbers.last), **changes))
    assert said in alone.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode(PreinitReply(seq=1)), "sent PREINIT_REPLY while this node was connected"),
        (encode(NodeList(seq=1)), "sent NODE_LIST while"),
        (encode(VoteInfo(seq=1, ring_id=RING)), "without vote, ring or number"),
        (encode(EchoReply(seq=1)), "echoes 1, and was sent 0"),
        (frame(99, b"x"), "of type 99"),
        (frame(14, bytes(40_000)), "of 40006 bytes"),
        (frame(14, b""), "cannot be read"),
    ],
)
def test_nonsense_ends_the_connection(data: bytes, said: str) -> None:
    alone = Alone()
    alone.join()
    alone.client.handle(Came(1, data), 0.0)
    assert said in alone.reason


def test_an_arbiter_that_runs_wild_is_left_and_not_read_to_the_end() -> None:
    alone = Alone()
    alone.join()
    flood = encode(VoteInfo(seq=1, vote=Vote.ACK, ring_id=RING)) * 20_000
    alone.take()
    alone.client.handle(Came(1, flood), 0.0)
    assert "more than 4096 messages" in alone.reason
    assert len(alone.messages()) <= 4096
    calm = Alone()
    calm.join()
    for _ in range(20):
        calm.client.handle(Came(1, flood[: 35 * 1000]), calm.now)
        calm.live(8.0)
    assert calm.client.fault is None


def test_an_arbiter_that_is_away_is_told_of_once() -> None:
    world = together()
    world.stop_arbiter()
    world.wait(600.0)
    assert [told.facts["reason"] for node, told in world.told if node == 1 and told.word == "arbiter-lost"] == [
        "the connection was reset", "connection refused",
    ]  # fmt: skip


def test_what_comes_of_a_former_connection_is_void() -> None:
    alone = Alone()
    alone.join()
    alone.client.handle(Ended(1, "reset"), 0.0)
    alone.wait(1.0)
    assert alone.client._attempts == 2
    alone.client.handle(Came(1, encode(VoteInfo(seq=1, vote=Vote.ACK, ring_id=RING))), alone.now)
    alone.client.handle(Ended(1, "reset"), alone.now)
    assert alone.client.conversation is not None and alone.client.voting.said is None


def test_an_arbiter_that_says_nothing_is_left() -> None:
    alone = Alone(connect_timeout=3.0)
    alone.open()
    alone.wait(3.0)
    assert "did not take this node in within 3 s (waiting for the arbiter's greeting)" in alone.reason
    other = Alone()
    other.join()
    other.wait(8.0)
    assert other.client._connected
    other.wait(8.0)
    assert "has not answered for 8 s" in other.reason


def test_votes_are_told_to_votequorum_at_once_and_again() -> None:
    alone = Alone()
    alone.join()
    alone.take()
    alone.hear(VoteInfo(seq=1, vote=Vote.ACK, ring_id=RING))
    assert alone.take()[0:2] != [] and alone.client.voting.cast is True
    alone.hear(NodeListReply(seq=5, node_list_type=NodeListType.MEMBERSHIP, ring_id=RING, vote=Vote.NO_CHANGE))
    alone.take()
    alone.wait(7.0)
    assert [one for one in alone.take() if isinstance(one, Poll)] == [Poll(RING, True)]
    alone.hear(VoteInfo(seq=2, vote=Vote.WAIT_FOR_REPLY, ring_id=RING))
    assert alone.client.voting.cast is None
    alone.hear(VoteInfo(seq=3, vote=Vote.NACK, ring_id=RING))
    order, poll = [one for one in alone.take() if isinstance(one, Poll | VoteInfoReply)][-2:]
    assert order == Poll(RING, False) and isinstance(poll, VoteInfoReply) and poll.seq == 3


def test_a_vote_of_another_ring_is_confirmed_and_not_taken() -> None:
    alone = Alone()
    alone.join()
    alone.client.membership(NEXT, (1,), 0.0)
    alone.take()
    alone.hear(VoteInfo(seq=1, vote=Vote.ACK, ring_id=RING))
    assert [type(one) for one in alone.messages()] == [VoteInfoReply]
    assert alone.client.voting.said is None and alone.client.voting.cast is None


@pytest.mark.parametrize(
    ("algorithm", "waits", "quorate", "cast"),
    [
        ("ffsplit", False, True, False), ("ffsplit", True, True, False), ("lms", False, True, False),
        ("lms", True, False, False), ("lms", True, True, True), ("two_node_lms", False, False, True),
    ],
)  # fmt: skip
def test_a_lost_connection_keeps_the_vote_only_where_corosync_does(
    algorithm: str, waits: bool, quorate: bool, cast: bool
) -> None:
    alone = Alone(algorithm=DecisionAlgorithm[algorithm.upper()], wait_for_all=waits)
    alone.client.quorum(quorate, [], 0.0)
    alone.join()
    alone.hear(VoteInfo(seq=1, vote=Vote.ACK, ring_id=RING))
    alone.client.handle(Ended(1, "reset"), 0.0)
    assert alone.client.voting.cast is cast
    assert alone.client.held is None, "votequorum may be told of it, the log may not count it"
    alone.client.membership(NEXT, (1,), 0.0)
    assert alone.client.voting.cast is False


def test_the_arbiter_hears_of_each_change() -> None:
    alone = Alone()
    alone.join()
    alone.take()
    alone.client.configured((1, 2, 3), 8, 0.0)
    alone.client.configured((1, 2, 3), 8, 0.0)
    alone.client.membership(NEXT, (1, 2, 3), 0.0)
    alone.client.membership(NEXT, (1, 2, 3), 0.0)
    alone.client.quorum(True, [], 0.0)
    alone.client.quorum(True, [], 0.0)
    kinds = [one.node_list_type for one in alone.messages() if isinstance(one, NodeList)]
    assert kinds == [NodeListType.CHANGED_CONFIG, NodeListType.MEMBERSHIP, NodeListType.QUORUM]
    with pytest.raises(AssertionError, match="must never come again"):
        alone.client.membership(RING, (1, 2), 0.0)
    with pytest.raises(AssertionError, match="without this node"):
        alone.client.membership(RingId(2, 16), (2, 3), 0.0)


def test_it_stops_for_good() -> None:
    alone = Alone(heuristics="on")
    alone.join()
    alone.take()
    alone.client.stop(0.0)
    assert any(isinstance(one, Close) for one in alone.take())
    alone.wait(1000.0)
    assert alone.take() == [] and alone.client.state == "stopped"


# --- checks ------------------------------------------------------------------


def test_lists_wait_for_the_checks_and_carry_their_result() -> None:
    world = World(heuristics="sync")
    world.ring(RING, 1, 2)
    assert [check.limit for check in world.checks[1]] == [5.0]
    world.wait(1.0)
    for node in (1, 2):
        assert world.clients[node]._listed is False
        world.check(node, "" if node == 1 else "it failed")
    world.wait(0.1)
    assert world.arbiter is not None
    assert [one.heuristics for one in world.arbiter.clients] == [Heuristics.PASS, Heuristics.FAIL]
    for node in (1, 2):
        world.ring(RingId(node, 12), node)
        assert [check.limit for check in world.checks[node]] == [15.0]
        assert world.clients[node].voting.said is None and world.clients[node].voting.cast is None
        world.check(node, "" if node == 2 else "it failed")
    world.wait(0.1)
    # Node 2 passes, so its half has the vote although the tie-breaker is the lowest.
    assert [client.held is not None for client in world.clients.values()] == [False, True]
    world.wait(100.0)
    assert world.checks == {1: [], 2: []}


def test_regular_checks_tell_only_what_is_new() -> None:
    alone = Alone(heuristics="on", heuristics_interval=20.0)
    alone.join()
    told = []
    for fault in ("", "", "bad", "bad", ""):
        [check] = [one for one in alone.take() if isinstance(one, Check)][-1:]
        alone.client.handle(Checked(check.number, fault), alone.now)
        told.append([one.heuristics for one in alone.messages() if isinstance(one, HeuristicsChange)])
        alone.live(20.0)
    assert told == [[], [], [Heuristics.FAIL], [], [Heuristics.PASS]]


def test_a_check_that_never_comes_back_has_failed() -> None:
    alone = Alone(heuristics="sync")
    alone.join()
    alone.wait(5.0 + GRACE - 2.1)
    assert alone.client.checks.running is not None
    alone = Alone(heuristics="sync", connect_timeout=60.0, timeout=60.0)
    alone.join()
    alone.wait(30.0 + GRACE)
    assert alone.client.checks.result is Heuristics.FAIL and alone.client._listed


def test_heuristics_off_says_nothing_of_them() -> None:
    world = together()
    assert world.checks == {1: [], 2: []} and world.arbiter is not None
    assert {one.heuristics for one in world.arbiter.clients} == {Heuristics.UNDEFINED}


# --- coming back -------------------------------------------------------------


def test_attempts_never_end_and_pauses_are_bounded_and_random() -> None:
    for lasting, most in ((False, 8.0), (True, LASTING_MAX)):
        backoff = Backoff(Random(1), 8.0)
        pauses = [backoff.next(lasting) for _ in range(60)]
        assert max(pauses) <= most and min(pauses[10:]) >= most / 2 and len(set(pauses)) == 60
    assert Backoff(Random(1), 8.0).next(False) <= 0.5
    backoff.succeeded()
    assert backoff.next(False) <= 0.5


def test_a_node_comes_back_when_the_arbiter_does() -> None:
    world = together()
    world.stop_arbiter()
    assert [client.held for client in world.clients.values()] == [None, None]
    world.wait(3600.0)
    attempts = world.clients[1]._attempts
    assert 3600 / 8 < attempts < 3600 / 4 + 10
    world.start_arbiter()
    world.wait(8.1)
    assert all(client.held is not None for client in world.clients.values())


def test_an_arbiter_that_takes_nodes_in_and_throws_them_out_is_not_asked_faster_and_faster() -> None:
    alone = Alone()
    pauses = []
    for _ in range(8):
        alone.join()
        alone.hear(ServerError(seq=1, reply_error_code=ErrorCode.INVALID_CONFIG_NODE_LIST))
        pauses.append(alone.client._open_at - alone.now)
        alone.wait(pauses[-1])
    assert pauses[-1] >= LASTING_MAX / 2


def test_a_node_that_restarts_waits_until_its_former_connection_is_given_up() -> None:
    world = together(server=ServerSettings())
    [old] = world.lines_of(1)
    old.client_ended = True  # the host died: nobody tells the arbiter
    world.boot(1)
    world.ring(RingId(1, 12), 1, 2)
    world.wait(1.0)
    assert "duplicate node id" in world.clients[1].reason
    world.wait(20.0)
    assert world.clients[1].held is not None


def test_options_that_the_arbiter_lacks_are_left_out() -> None:
    alone = Alone()
    options = tuple(one for one in SUPPORTED_OPTIONS if one is not Option.KEEP_ACTIVE_PARTITION_TIE_BREAKER)
    alone.join(supported_options=options)
    assert not any(isinstance(one, SetOption) for one in alone.messages())
    other = Alone(algorithm=DecisionAlgorithm.LMS)
    other.join()
    assert not any(isinstance(one, SetOption) for one in other.messages())
