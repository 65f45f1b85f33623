"""The arbiter with its clients: order of messages, time, TLS, limits."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.qnet.messages import (
    EchoReply,
    EchoRequest,
    HeuristicsChange,
    HeuristicsChangeReply,
    Message,
    Preinit,
    PreinitReply,
    ServerError,
    SetOption,
    SetOptionReply,
    StartTls,
    VoteInfo,
    encode,
    frame,
)
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, Heuristics, Option, TlsSupported, Vote
from qluster.qnet.output import Word
from qluster.qnet.settings import REFUSALS_TOLD_MAX, Settings
from qluster.qnet.tlv import option
from qnet.shorthand import ring
from qnet.stage import Stage, init, two_together, votes

LMS, TWO = DecisionAlgorithm.LMS, DecisionAlgorithm.TWO_NODE_LMS


def test_silence_ends_a_connection_and_any_message_is_a_sign_of_life() -> None:
    stage = two_together()
    stage.wait(11.9)
    stage.say("n2", EchoRequest(seq=1))
    stage.wait(0.2)
    assert list(stage.closed) == ["n1"]
    assert stage.take("n2") == [EchoReply(seq=1), VoteInfo(seq=2, vote=Vote.ACK, ring_id=ring("1.8"))]
    stage.wait(11.7)
    assert list(stage.closed) == ["n1"]
    stage.wait(0.2)
    assert list(stage.closed) == ["n1", "n2"]
    assert not stage.arbiter.clusters and stage.arbiter.wake_at == float("inf")


def test_message_that_cannot_be_read_is_a_sign_of_life_and_one_that_is_skipped_is_none() -> None:
    stage = two_together()
    for _ in range(3):
        stage.wait(5)
        stage.give("n1", frame(0, b""))
        stage.give("n2", frame(77, b""))
    assert list(stage.closed) == ["n2"]


def test_heartbeat_may_be_changed() -> None:
    stage = two_together()
    stage.say("n1", SetOption(seq=9, heartbeat_interval=1000), SetOption(seq=10, heartbeat_interval=999))
    assert stage.take("n1") == [
        SetOptionReply(seq=9, heartbeat_interval=1000),
        ServerError(seq=10, reply_error_code=ErrorCode.INVALID_HEARTBEAT_INTERVAL),
    ]
    stage.wait(1.6)
    assert list(stage.closed) == ["n1"]


def test_before_init_a_client_has_three_minutes() -> None:
    stage = Stage()
    stage.connect("a")
    stage.wait(179)
    assert not stage.closed
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"))
    stage.wait(179)
    assert not stage.closed
    stage.wait(2)
    assert stage.closed == {"a": "silent for 180 s"}


def test_who_says_half_a_message_is_silent() -> None:
    stage = Stage()
    stage.connect("a")
    stage.give("a", encode(Preinit(seq=1, cluster_name=bytes(1000)))[:10])
    for _ in range(40):
        stage.give("a", b"\0")
        stage.wait(5)
    assert list(stage.closed) == ["a"]


def test_detection_of_dead_clients_can_be_off() -> None:
    stage = Stage(Settings(dead_peer_detection=False))
    stage.join("n1", 1)
    stage.wait(10_000)
    assert not stage.closed and stage.arbiter.wake_at == float("inf")


def test_coefficient_of_silence_is_a_setting() -> None:
    stage = Stage(Settings(dead_peer_coefficient=4))
    stage.join("n1", 1, heartbeat=1000)
    stage.wait(3.9)
    assert not stage.closed
    stage.wait(0.2)
    assert list(stage.closed) == ["n1"]


def test_more_clients_than_may_be_are_turned_away() -> None:
    stage = Stage(Settings(clients_max=2))
    stage.join("a", 1)
    stage.join("b", 2)
    stage.connect("c")
    assert list(stage.closed) == ["c"]
    stage.say("c", Preinit(seq=1, cluster_name=b"x"))
    assert not stage.raw("c"), "what it still sends is nobody's"
    stage.close("a")
    stage.connect("d")
    assert list(stage.closed) == ["c"]


def test_who_has_not_joined_makes_room_the_oldest_first() -> None:
    stage = Stage(Settings(clients_max=3))
    stage.join("member", 1)
    for name in ("old", "new", "newest"):
        stage.connect(name)
    assert stage.closed == {"old": "it has not joined a cluster, and its place is needed"}
    stage.join("another", 2)
    assert list(stage.closed) == ["old", "new"]
    stage.join("third", 3)
    assert list(stage.closed) == ["old", "new", "newest"]
    stage.connect("late")
    assert list(stage.closed)[-1] == "late"
    assert [len(cluster.clients) for cluster in stage.arbiter.clusters.values()] == [3]


def test_client_that_does_not_read_may_have_a_number_of_messages_waiting() -> None:
    stage = two_together()
    stage.arbiter.blocked(stage.numbers["n2"])
    for seq in range(32):
        stage.say("n2", EchoRequest(seq=seq))
    assert not stage.raw("n2") and not stage.closed
    stage.arbiter.unblocked(stage.numbers["n2"])
    stage.perform()
    assert [one.seq for one in stage.take("n2")] == list(range(32))
    stage.arbiter.blocked(stage.numbers["n2"])
    for seq in range(33):
        stage.say("n2", EchoRequest(seq=seq))
    assert list(stage.closed) == ["n2"]
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.ACK, "1.8")], "it is decided without"


def test_overflow_of_another_client_closes_that_one_and_decides_again() -> None:
    stage = two_together()
    stage.arbiter.blocked(stage.numbers["n1"])
    for seq in range(33):
        stage.say("n2", HeuristicsChange(seq=seq, heuristics=Heuristics.PASS))
    assert list(stage.closed) == ["n1"]
    said = stage.take("n2")
    assert sum(isinstance(one, HeuristicsChangeReply) for one in said) == 33
    assert sum(isinstance(one, VoteInfo) for one in said) == 34


def test_what_a_log_hears_of_one_connections_refusals_is_bounded() -> None:
    stage = Stage()
    stage.connect("a")
    for seq in range(100):
        stage.say("a", EchoRequest(seq=seq))
    assert len(stage.raw("a")) == 100
    told = [one for one in stage.happened if one.word is Word.REFUSED]
    assert len(told) == REFUSALS_TOLD_MAX and "not told" in str(told[-1].facts["why"])


def test_names_are_told_in_a_harmless_form() -> None:
    stage = Stage()
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=b"x\x1b[2J\n\xff" + b"y" * 3000))
    stage.say("a", init(2, 1))
    [joined] = [one for one in stage.happened if one.word is Word.JOINED]
    name = str(joined.facts["cluster"])
    assert name.startswith("x\\x1b[2J\\n\\xff") and name.isprintable() and len(name) < 100


def error(seq: int | None, code: ErrorCode) -> list[Message]:
    return [ServerError(seq=seq, reply_error_code=code)]


def test_error_says_a_number_only_if_the_message_had_one() -> None:
    stage = Stage()
    stage.connect("a")
    stage.give("a", frame(12, option(Option.CONFIG_VERSION, bytes(8))))
    assert stage.take("a") == error(None, ErrorCode.INIT_REQUIRED)


def test_empty_message_cannot_be_read() -> None:
    stage = Stage()
    stage.connect("a")
    stage.give("a", frame(0, b""))
    assert stage.take("a") == error(None, ErrorCode.ERROR_DECODING_MSG)


@pytest.mark.parametrize("body", [b"", b"x", bytes(50_000)])
def test_unknown_type_is_refused_as_such_with_and_without_a_body(body: bytes) -> None:
    stage = Stage()
    stage.connect("a")
    stage.give("a", frame(99, body))
    assert stage.take("a") == error(None, ErrorCode.UNSUPPORTED_MESSAGE)


def test_option_that_sets_nothing_and_has_no_number_gets_no_empty_answer() -> None:
    stage = two_together()
    stage.give("n1", frame(6, option(999, b"")))
    assert stage.take("n1") == error(None, ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION)
    stage.say("n1", SetOption(seq=9))
    assert stage.take("n1") == [SetOptionReply(seq=9)]


def test_refused_list_leaves_the_former_one() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 2)
    client = stage.arbiter.clusters[b"qlab"].clients[0]
    assert (str(client.ring), client.members) == ("1.8", {1, 2})


def test_preinit_without_a_number_is_answered_without_one() -> None:
    stage = Stage(Settings(tls=TlsSupported.UNSUPPORTED, client_certificate_required=False))
    stage.connect("a")
    stage.say("a", Preinit(cluster_name=b"qlab"))
    assert stage.take("a") == [
        PreinitReply(tls_supported=TlsSupported.UNSUPPORTED, tls_client_cert_required=False)
    ]


def tls_stage(certificate: str | None = "qlab", required: bool = True, name: bytes = b"qlab") -> Stage:
    stage = Stage(Settings(client_certificate_required=required))
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=name), StartTls(seq=2))
    assert stage.tls.pop("a") == b""
    stage.handshake("a", certificate)
    stage.raw("a")
    return stage


@pytest.mark.parametrize(
    ("certificate", "required", "name", "closed"),
    [
        ("qlab", True, b"qlab", False),
        ("QLAB", True, b"qlab", True),
        ("", True, b"qlab", True),
        (None, True, b"qlab", True),
        (None, False, b"qlab", False),
        ("other", False, b"qlab", False),
        ("grün", True, "grün".encode(), False),
    ],
)
def test_certificate_is_looked_at_with_the_first_message(
    certificate: str | None, required: bool, name: bytes, closed: bool
) -> None:
    stage = tls_stage(certificate, required, name)
    assert not stage.closed
    stage.say("a", init(3, 1))
    assert bool(stage.closed) is closed
    assert bool(stage.raw("a")) is not closed, "a wrong certificate gets no answer"


def test_bytes_behind_starttls_belong_to_tls() -> None:
    stage = Stage()
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"))
    stage.give("a", encode(StartTls(seq=2)) + b"\x16\x03\x01 hello")
    assert stage.tls == {"a": b"\x16\x03\x01 hello"}


def test_answer_before_starttls_is_sent_before_tls_begins_also_if_it_had_to_wait() -> None:
    stage = Stage()
    stage.connect("a")
    stage.arbiter.blocked(stage.numbers["a"])
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"))
    assert not stage.bytes
    stage.say("a", StartTls(seq=2))
    assert [type(one) for one in stage.take("a")] == [PreinitReply] and "a" in stage.tls


def test_clear_bytes_after_starttls_end_the_connection() -> None:
    stage = Stage()
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"), StartTls(seq=2), EchoRequest(seq=3))
    assert stage.closed == {"a": "bytes in clear after STARTTLS"}


def test_starttls_is_refused_by_closing_where_tls_is_off_or_on_already() -> None:
    stage = Stage(Settings(tls=TlsSupported.UNSUPPORTED))
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"), StartTls(seq=2))
    assert stage.closed == {"a": "it wants TLS, which is off here"} and not stage.tls
    stage = tls_stage()
    stage.say("a", StartTls(seq=3))
    assert stage.closed == {"a": "it wants TLS within TLS"}


def test_certificate_of_one_cluster_opens_no_other() -> None:
    """The released server looks at it once: who has one for its own cluster may name another one then."""
    stage = tls_stage()
    stage.say("a", EchoRequest(seq=3), Preinit(seq=4, cluster_name=b"victim"))
    stage.raw("a")
    stage.say("a", init(5, 1))
    assert list(stage.closed) == ["a"] and not stage.arbiter.clusters


def test_tls_that_begins_after_init_is_looked_at_too() -> None:
    stage = Stage()
    stage.join("n1", 1)
    stage.say("n1", StartTls(seq=8))
    stage.handshake("n1", "other")
    stage.say("n1", EchoRequest(seq=9))
    assert list(stage.closed) == ["n1"]


def test_silence_during_the_handshake_ends_it() -> None:
    stage = Stage()
    stage.connect("a")
    stage.say("a", Preinit(seq=1, cluster_name=b"qlab"), StartTls(seq=2))
    stage.wait(181)
    assert list(stage.closed) == ["a"]


def test_stop_closes_all_and_decides_nothing() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 1)
    stage.arbiter.stop()
    stage.perform()
    assert set(stage.closed) == {"n1", "n2"} and not stage.bytes
    stage.close("n1")
    assert stage.arbiter.wake_at == float("inf") and not stage.bytes


def test_what_happens_is_told_in_words_and_facts() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    stage.close("n2")
    assert [(one.word, one.facts.get("node"), one.facts.get("vote")) for one in stage.happened] == [
        (Word.JOINED, 1, None),
        (Word.VOTE, 1, "ACK"),
        (Word.JOINED, 2, None),
        (Word.VOTE, 2, "ACK"),
        (Word.VOTE, 2, "NACK"),
        (Word.LEFT, 2, None),
    ]
