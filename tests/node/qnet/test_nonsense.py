"""No bytes stop the arbiter, make it grow without limit, or reach another cluster."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from qluster.qnet.display import listing, status
from qluster.qnet.framing import SIZE_DEFAULT
from qluster.qnet.messages import (
    HEADER,
    AskForVote,
    EchoRequest,
    HeuristicsChange,
    Message,
    NodeList,
    Preinit,
    SetOption,
    StartTls,
    VoteInfoReply,
    encode,
    frame,
)
from qluster.qnet.names import DecisionAlgorithm, Heuristics, NodeListType, TlsSupported
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import TieBreaker
from qnet.recorded import load
from qnet.shorthand import HIGHEST, LOWEST, naming, nodes, ring
from qnet.stage import Stage, init

SMALL = some.integers(0, 4)
SEQ = some.none() | SMALL
RINGS = some.sampled_from([ring("1.8"), ring("2.8"), ring("1.c"), ring("0.0")])
TIES: some.SearchStrategy[TieBreaker] = some.sampled_from([LOWEST, HIGHEST, naming(2)])
INITS = some.builds(
    init,
    SEQ,
    SMALL,
    some.sampled_from(["1.8", "2.8", "0.0"]),
    some.sampled_from([*DecisionAlgorithm, 9]),
    TIES,
    some.sampled_from([0, 1000, 8000, 2**32 - 1]),
)
LISTS = some.builds(
    NodeList,
    seq=SEQ,
    node_list_type=some.none() | some.sampled_from(NodeListType),
    ring_id=some.none() | RINGS,
    config_version=some.none() | SMALL,
    quorate=some.none() | some.booleans(),
    nodes=some.lists(some.integers(1, 4), max_size=4).map(lambda numbers: nodes(*numbers)),
    heuristics=some.sampled_from([None, Heuristics.PASS, Heuristics.FAIL]),
)
MESSAGES: some.SearchStrategy[Message] = some.one_of(
    some.builds(Preinit, seq=some.just(1), cluster_name=some.sampled_from([b"one", b"two", b"", None])),
    INITS,
    INITS,
    LISTS,
    LISTS,
    LISTS,
    some.builds(SetOption, seq=some.just(3), heartbeat_interval=some.sampled_from([None, 1, 1000, 120_000])),
    some.builds(HeuristicsChange, seq=SMALL, heuristics=some.sampled_from([None, Heuristics.PASS, Heuristics.FAIL])),
    some.builds(VoteInfoReply, seq=SMALL),
    some.builds(AskForVote, seq=SMALL),
    some.builds(EchoRequest, seq=SMALL),
    some.builds(StartTls, seq=SMALL),
)


def written(message: Message) -> bytes:
    """Also those that cannot be written: they have no body then."""
    whole = any(getattr(message, name) not in (None, ()) for name, _ in message.order)
    return encode(message) if whole else frame(message.type, b"")


def harmed(data: bytes, place: int, value: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([value]) + data[place + 1 :]


SPEECH = some.one_of(
    MESSAGES.map(written),
    MESSAGES.map(written),
    some.builds(harmed, MESSAGES.map(written), some.integers(0, 400), some.integers(0, 255)),
    some.binary(max_size=40),
)
CLIENTS = some.sampled_from(["a", "b", "c", "d"])
DEEDS = some.lists(
    some.one_of(
        some.tuples(some.just("say"), CLIENTS, SPEECH),
        some.tuples(some.just("say"), CLIENTS, SPEECH),
        some.tuples(some.just("say"), CLIENTS, SPEECH),
        some.tuples(some.just("close"), CLIENTS, some.just(b"")),
        some.tuples(some.sampled_from(["blocked", "unblocked"]), CLIENTS, some.just(b"")),
        some.tuples(some.just("wait"), CLIENTS, some.binary(min_size=1, max_size=1)),
    ),
    max_size=60,
)


class Crowd:
    """Clients that do as they are told, and connect anew when they were closed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.connected: dict[str, str] = {}
        self.count = 0

    def do(self, what: str, who: str, data: bytes) -> None:
        stage = self.stage
        if what == "wait":
            stage.wait(data[0] / 16)
            return
        name = self.connected.get(who, "")
        if not name or name in stage.closed:
            self.count += 1
            name = self.connected[who] = f"{who}{self.count}"
            stage.connect(name)
        match what:
            case "say":
                stage.give(name, data)
                if stage.tls.pop(name, None) is not None:
                    stage.handshake(name, "one")
            case "close":
                stage.close(name)
                stage.closed[name] = "by itself"
            case "blocked":
                stage.arbiter.blocked(stage.numbers[name])
            case "unblocked":
                stage.arbiter.unblocked(stage.numbers[name])
        stage.perform()


def bounded(stage: Stage) -> None:
    """Nothing in the arbiter is larger than it may be."""
    for client in stage.arbiter.clients:
        assert client.framer.held <= SIZE_DEFAULT + HEADER.size
        assert len(client.outbox) <= stage.arbiter.settings.outstanding_max
    members = [client for cluster in stage.arbiter.clusters.values() for client in cluster.clients]
    assert all(cluster.clients for cluster in stage.arbiter.clusters.values())
    assert {client.connection for client in members} <= {client.connection for client in stage.arbiter.clients}
    assert not stage.arbiter._out.doomed
    assert len(stage.arbiter._deadlines._at) <= 2 * sum(1 for _ in stage.arbiter.clients)


@pytest.mark.parametrize("tls", TlsSupported)
@settings(max_examples=150)
@given(deeds=DEEDS)
def test_no_bytes_stop_the_arbiter_and_it_stays_bounded(tls: TlsSupported, deeds: list[Any]) -> None:
    stage = Stage(Settings(tls=tls, clients_max=3))
    crowd = Crowd(stage)
    for deed in deeds:
        crowd.do(*deed)
        bounded(stage)
    listing(stage.arbiter, verbose=True)
    status(stage.arbiter, "*:5403", verbose=True)


@settings(max_examples=150)
@given(deeds=DEEDS)
def test_other_clusters_get_the_same_bytes_whatever_one_cluster_says(deeds: list[Any]) -> None:
    """A cluster splits and heals while others talk nonsense: it is answered as if it were alone."""
    [case] = [case for case in load("scripted")["cases"] if case["id"] == "ffsplit-2n-split-lowest"]
    sends = [step for step in case["steps"] if step["do"] in ("connect", "send")]
    deeds = [deed for deed in deeds if deed[0] != "wait"]
    alone, crowded = Stage(Settings(clients_max=0)), Stage(Settings(clients_max=0))
    crowd = Crowd(crowded)
    for place, step in enumerate(sends):
        for deed in deeds[place * len(deeds) // len(sends) : (place + 1) * len(deeds) // len(sends)]:
            crowd.do(*deed)
        for stage in (alone, crowded):
            if step["do"] == "connect":
                stage.connect(step["conn"], step["address"])
            else:
                stage.give(step["conn"], load("scripted")["messages"][step["send"]])
        for conn in ("n1", "n2"):
            assert crowded.raw(conn) == alone.raw(conn)
    assert listing(crowded.arbiter, verbose=True, cluster="qlab") == listing(alone.arbiter, verbose=True)


@pytest.mark.parametrize("name", ["scripted", "sessions"])
def test_every_truncation_and_every_changed_byte_of_what_was_recorded_is_survived(name: str) -> None:
    """Each in a connection of its own, behind a good beginning."""
    for data in load(name)["messages"]:
        if len(data) > 1000:
            continue
        stage = Stage(Settings(clients_max=0))
        stage.join("n1", 1)
        stage.config("n1", 1, 2)
        for place in range(0, len(data), 1 + len(data) // 8):
            for harm in (data[:place], harmed(data, place, data[place] ^ 0x80), harmed(data, place, 0xFF)):
                other = f"x{len(stage.numbers)}"
                stage.connect(other)
                stage.say(other, Preinit(seq=1, cluster_name=b"qlab"), init(2, 2))
                stage.give(other, harm + bytes(20))
                bounded(stage)
                stage.close(other)
