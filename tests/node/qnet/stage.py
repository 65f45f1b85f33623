"""An arbiter with clients that have names, and what each of them got."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import defaultdict

from qluster.qnet.arbiter import Arbiter
from qluster.qnet.memories import Key, Memories
from qluster.qnet.memory import Kept
from qluster.qnet.messages import Init, Message, NodeList, Preinit, SetOption, VoteInfo, VoteInfoReply, decode, encode
from qluster.qnet.names import (
    SUPPORTED_MESSAGES,
    SUPPORTED_OPTIONS,
    DecisionAlgorithm,
    Heuristics,
    NodeListType,
    Vote,
)
from qluster.qnet.output import BeginTls, Close, Happened, Keep, Send
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import TieBreaker
from qnet.recorded import frames
from qnet.shorthand import LOWEST, nodes, ring


class Stage:
    """Drives one arbiter. ``got`` collects the messages of each client until ``take`` is called for it."""

    def __init__(self, settings: Settings | None = None, memories: Memories | None = None) -> None:
        self.memories = memories if memories is not None else ()
        self.arbiter = Arbiter(settings or Settings(), memories)
        self.now = 0.0
        self.numbers: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.bytes: defaultdict[str, list[bytes]] = defaultdict(list)
        self.closed: dict[str, str] = {}
        self.tls: dict[str, bytes] = {}
        self.happened: list[Happened] = []
        self.kept: list[tuple[Key, Kept]] = []
        self.order: list[str] = []
        """What was sent and what was kept, one after the other."""
        self.seq: defaultdict[str, int] = defaultdict(int)

    # what happens

    def connect(self, name: str, address: str = "") -> None:
        self.numbers[name] = len(self.names) + 1
        self.names[self.numbers[name]] = name
        self.arbiter.connected(self.numbers[name], address or f"192.0.2.1:{40000 + self.numbers[name]}", self.now)
        self._perform()

    def give(self, name: str, data: bytes) -> None:
        self.arbiter.received(self.numbers[name], data, self.now)
        self._perform()

    def say(self, name: str, *messages: Message) -> None:
        for message in messages:
            self.give(name, encode(message))

    def close(self, name: str) -> None:
        self.arbiter.closed(self.numbers[name], self.now)
        self._perform()

    def handshake(self, name: str, certificate: str | None) -> None:
        self.arbiter.tls_started(self.numbers[name], certificate)
        self._perform()

    def wait(self, seconds: float) -> None:
        """Time passes, and the arbiter is woken when it wants to be."""
        end = self.now + seconds
        while self.arbiter.wake_at <= end:
            self.now = max(self.now, self.arbiter.wake_at)
            self.arbiter.tick(self.now)
            self._perform()
        self.now = end

    # what came of it

    def raw(self, name: str) -> list[bytes]:
        """The messages of one client since the last look, as bytes."""
        return self.bytes.pop(name, [])

    def take(self, name: str) -> list[Message]:
        """The same, read."""
        return [decode(frame.kind, frame.body) for data in self.raw(name) for frame in frames(data)]

    def perform(self) -> None:
        """After a call to the arbiter itself."""
        self._perform()

    def _perform(self) -> None:
        for effect in self.arbiter.take():
            match effect:
                case Send(connection, data):
                    self.bytes[self.names[connection]].append(data)
                    self.order.append("send")
                case Keep(key, kept):
                    self.kept.append((key, kept))
                    self.order.append("keep")
                case BeginTls(connection, rest):
                    self.tls[self.names[connection]] = rest
                case Close(connection, reason):
                    assert self.names[connection] not in self.closed, "closed twice"
                    self.closed[self.names[connection]] = reason
                case Happened():
                    self.happened.append(effect)

    # whole conversations

    def next_seq(self, name: str) -> int:
        self.seq[name] += 1
        return self.seq[name]

    def join(
        self,
        name: str,
        node: int,
        at: str = "1.8",
        cluster: str = "qlab",
        algorithm: DecisionAlgorithm = DecisionAlgorithm.FFSPLIT,
        tie_breaker: TieBreaker = LOWEST,
        heartbeat: int = 8000,
        kap: bool | None = True,
    ) -> None:
        """Connect, PREINIT, INIT and, if said, the option; the answers are taken away."""
        self.connect(name)
        self.say(name, Preinit(seq=self.next_seq(name), cluster_name=cluster.encode()))
        self.say(name, init(self.next_seq(name), node, at, algorithm, tie_breaker, heartbeat))
        if kap is not None:
            self.say(name, SetOption(seq=self.next_seq(name), keep_active_partition_tie_breaker=kap))
        self.raw(name)

    def config(self, name: str, *numbers: int, changed: bool = False, version: int | None = None) -> list[Message]:
        kind = NodeListType.CHANGED_CONFIG if changed else NodeListType.INITIAL_CONFIG
        seq = self.next_seq(name)
        self.say(name, NodeList(seq=seq, node_list_type=kind, config_version=version, nodes=nodes(*numbers)))
        return self.take(name)

    def membership(
        self, name: str, at: str, *numbers: int, heuristics: Heuristics | None = None
    ) -> list[Message]:
        self.say(
            name,
            NodeList(
                seq=self.next_seq(name),
                node_list_type=NodeListType.MEMBERSHIP,
                ring_id=ring(at),
                nodes=nodes(*numbers),
                heuristics=heuristics,
            ),
        )
        return self.take(name)

    def confirm(self, name: str, vote: VoteInfo) -> None:
        self.say(name, VoteInfoReply(seq=vote.seq))


def init(
    seq: int | None,
    node: int,
    at: str = "1.8",
    algorithm: int = DecisionAlgorithm.FFSPLIT,
    tie_breaker: TieBreaker = LOWEST,
    heartbeat: int = 8000,
) -> Init:
    return Init(
        seq=seq,
        supported_messages=SUPPORTED_MESSAGES,
        supported_options=SUPPORTED_OPTIONS,
        node_id=node,
        decision_algorithm=algorithm,
        heartbeat_interval=heartbeat,
        tie_breaker=tie_breaker,
        ring_id=ring(at),
    )


def votes(messages: list[Message]) -> list[tuple[type[Message], Vote, str]]:
    """Kind, vote and ring of each answer."""
    return [(type(one), one.vote, str(one.ring_id)) for one in messages]  # type: ignore[attr-defined]


def two_together(kap: bool = True) -> Stage:
    """Two nodes on one ring, both acknowledged and confirmed."""
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, kap=kap)
        stage.config(f"n{node}", 1, 2)
        stage.membership(f"n{node}", "1.8", 1, 2)
    for name, seq in (("n1", 2), ("n2", 1)):
        stage.say(name, VoteInfoReply(seq=seq))
        stage.raw(name)
    return stage
