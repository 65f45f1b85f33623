"""The arbiter, told anything by anybody, and two nodes of another cluster that it must serve as if they were alone."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from fuzz.source import Source
from qluster.qnet.arbiter import Arbiter
from qluster.qnet.display import listing, status
from qluster.qnet.framing import SIZE_DEFAULT
from qluster.qnet.messages import (
    HEADER,
    AskForVote,
    EchoRequest,
    HeuristicsChange,
    Init,
    Message,
    NodeList,
    Preinit,
    SetOption,
    StartTls,
    VoteInfo,
    VoteInfoReply,
    decode,
    encode,
)
from qluster.qnet.names import (
    SUPPORTED_ALGORITHMS,
    DecisionAlgorithm,
    Heuristics,
    NodeListType,
    TieBreakerMode,
    TlsSupported,
)
from qluster.qnet.output import BeginTls, Close, Send
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import NodeInfo, RingId, TieBreaker

STEPS_MAX = 120
STRANGERS = 4
GOOD = 10_000
PAUSES = (0.0, 0.01, 0.3, 0.6, 2.0, 11.0)
NAMES = (b"strange", b"strange", b"other", b"", b"\xff\0\x1b", None)
RINGS = (RingId(1, 8), RingId(1, 8), RingId(2, 8), RingId(3, 12), RingId(0, 0))
TIES = (TieBreaker(TieBreakerMode.LOWEST), TieBreaker(TieBreakerMode.HIGHEST), TieBreaker(TieBreakerMode.NODE_ID, 2))
CHECKS = (None, Heuristics.PASS, Heuristics.FAIL)
HEARTBEATS = (1000, 8000, 120_000, 0, None)


class Crowd:
    """Strangers by place; a connection that ended is begun anew."""

    def __init__(self, tls: TlsSupported) -> None:
        self.now = 10.0
        self.arbiter = Arbiter(Settings(tls=tls, clients_max=STRANGERS + 2))
        self.connections: dict[int, int] = {}
        self.opened = 0
        self.told: dict[int, list[bytes]] = {}

    def connection(self, place: int) -> int:
        if place not in self.connections:
            self.opened += 1
            self.connections[place] = self.opened
            self.arbiter.connected(self.opened, f"192.0.2.{place}:{self.opened}", self.now)
            self.perform()
        return self.connections.get(place, 0)

    def perform(self) -> None:
        for effect in self.arbiter.take():
            match effect:
                case Send(connection, data):
                    self.told.setdefault(connection, []).append(data)
                    assert len(data) >= HEADER.size and HEADER.unpack_from(data)[1] == len(data) - HEADER.size
                case BeginTls(connection, _):
                    self.arbiter.tls_started(connection, "strange")
                case Close(connection, _):
                    self.connections = {place: one for place, one in self.connections.items() if one != connection}

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.arbiter.tick(self.now)
        self.perform()
        assert self.arbiter.wake_at > self.now

    def bounded(self) -> None:
        for client in self.arbiter.clients:
            assert client.framer.held <= SIZE_DEFAULT + HEADER.size
            assert len(client.outbox) <= self.arbiter.settings.outstanding_max


def run(content: bytes) -> None:
    """Play one row; then two nodes of a cluster of their own join, part, and one of them is acknowledged."""
    source = Source(content)
    crowd = Crowd(source.one_of((TlsSupported.SUPPORTED, TlsSupported.UNSUPPORTED, TlsSupported.REQUIRED)))
    for _ in range(STEPS_MAX):
        if source.empty:
            break
        _step(source, crowd)
        crowd.bounded()
    listing(crowd.arbiter, verbose=True)
    status(crowd.arbiter, "*:5403", verbose=True)
    _serves_others(crowd)


def _step(source: Source, crowd: Crowd) -> None:
    what = source.byte()
    connection = crowd.connection(what % STRANGERS)
    match what // STRANGERS % 16:
        case 0:
            crowd.arbiter.received(connection, source.take(source.byte()), crowd.now)
        case 1:
            data = bytearray(_written(source))
            data[source.byte() % len(data)] ^= source.byte()
            crowd.arbiter.received(connection, bytes(data), crowd.now)
        case 2:
            crowd.arbiter.closed(connection, crowd.now)
            crowd.connections.pop(what % STRANGERS, None)
        case 3:
            crowd.arbiter.blocked(connection)
        case 4:
            crowd.arbiter.unblocked(connection)
        case 5:
            crowd.tick(source.one_of(PAUSES))
        case _:
            crowd.arbiter.received(connection, _written(source), crowd.now)
    crowd.perform()


def _written(source: Source) -> bytes:
    message = _message(source)
    if any(getattr(message, name) not in (None, ()) for name, _ in message.order):
        return encode(message)
    return HEADER.pack(message.type, 0)


def _message(source: Source) -> Message:
    seq = source.byte() % 16 or None
    match source.byte() % 12:
        case 0:
            return Preinit(seq=seq, cluster_name=source.one_of(NAMES))
        case 1 | 2 | 3:
            return Init(
                seq=seq,
                node_id=source.byte() % 5 or None,
                decision_algorithm=source.one_of((*SUPPORTED_ALGORITHMS, DecisionAlgorithm.FFSPLIT, 99, None)),
                heartbeat_interval=source.one_of(HEARTBEATS),
                tie_breaker=source.one_of((*TIES, None)),
                ring_id=source.one_of((*RINGS, None)),
            )
        case 4:
            return SetOption(
                seq=seq,
                heartbeat_interval=source.one_of(HEARTBEATS),
                keep_active_partition_tie_breaker=source.one_of((True, False, None)),
            )
        case 5:
            return HeuristicsChange(seq=seq, heuristics=source.one_of(CHECKS))
        case 6:
            return VoteInfoReply(seq=seq)
        case 7:
            return source.one_of((AskForVote(seq=seq), EchoRequest(seq=seq), StartTls(seq=seq)))
        case _:
            return NodeList(
                seq=seq,
                node_list_type=source.one_of((*NodeListType, NodeListType.MEMBERSHIP, None)),
                ring_id=source.one_of((*RINGS, None)),
                quorate=source.one_of((True, None)),
                nodes=tuple(NodeInfo(1 + source.byte() % 5) for _ in range(source.byte() % 5)),
                heuristics=source.one_of(CHECKS),
            )


def _serves_others(crowd: Crowd) -> None:
    arbiter, now = crowd.arbiter, crowd.now
    one, two = GOOD + 1, GOOD + 2
    for node, connection in ((1, one), (2, two)):
        arbiter.connected(connection, "192.0.2.99:1", now)
        arbiter.received(connection, encode(Preinit(seq=1, cluster_name=b"good")), now)
        if arbiter.settings.tls is TlsSupported.REQUIRED:
            arbiter.received(connection, encode(StartTls(seq=2)), now)
            arbiter.tls_started(connection, "good")
        joining = Init(
            seq=3,
            node_id=node,
            decision_algorithm=DecisionAlgorithm.FFSPLIT,
            heartbeat_interval=8000,
            tie_breaker=TIES[0],
            ring_id=RingId(node, 16),
        )
        arbiter.received(connection, encode(joining), now)
        arbiter.received(connection, encode(_listed(4, NodeListType.INITIAL_CONFIG, 1, 2)), now)
    crowd.told.clear()
    for node, connection in ((1, one), (2, two)):
        arbiter.received(connection, encode(_listed(5, NodeListType.MEMBERSHIP, node)), now)
    assert [(node, effect.vote.name) for node, effect in _votes(crowd, one, two)][-1] == (2, "NACK")
    _confirm(crowd, two)
    assert _votes(crowd, one, two)[-1][1].vote.name == "ACK", "a good cluster is served whatever strangers said"


def _listed(seq: int, kind: NodeListType, *nodes: int) -> NodeList:
    ring = RingId(nodes[0], 16) if kind is NodeListType.MEMBERSHIP else None
    return NodeList(seq=seq, node_list_type=kind, ring_id=ring, nodes=tuple(NodeInfo(node) for node in nodes))


def _votes(crowd: Crowd, one: int, two: int) -> list[tuple[int, VoteInfo]]:
    """Node and vote, in order for each node."""
    for effect in crowd.arbiter.take():
        if isinstance(effect, Send):
            crowd.told.setdefault(effect.connection, []).append(effect.data)
    found = []
    for node, connection in ((1, one), (2, two)):
        for data in crowd.told.get(connection, []):
            message = decode(HEADER.unpack_from(data)[0], data[HEADER.size :])
            if isinstance(message, VoteInfo):
                found.append((node, message))
    return found


def _confirm(crowd: Crowd, connection: int) -> None:
    last = _votes(crowd, 0, connection)[-1][1]
    crowd.told.clear()
    crowd.arbiter.received(connection, encode(VoteInfoReply(seq=last.seq)), crowd.now)
