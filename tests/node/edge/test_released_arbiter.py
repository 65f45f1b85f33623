"""Random conversations with corosync's own arbiter: ours answers each of them with the same messages.

Left out is what is answered otherwise on purpose; ``docs/arbiter.md`` lists it, and each is held by a test of its own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from edge.released_arbiter import PROGRAM, Both, Released, released
from qluster.qnet.messages import (
    AskForVote,
    EchoReply,
    HeuristicsChange,
    Init,
    InitReply,
    Message,
    NodeList,
    Preinit,
    PreinitReply,
    ServerError,
    SetOption,
    VoteInfoReply,
    encode,
    frame,
)
from qluster.qnet.names import DecisionAlgorithm, Heuristics, NodeListType, Vote
from qnet.shorthand import HIGHEST, LOWEST, naming, nodes, ring
from qnet.stage import init

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="corosync-qnetd is not here (package corosync-qnetd)")

CONVERSATIONS = 60 if os.environ.get("QLUSTER_FULL_TESTS") else 8
STEPS = 50
FFSPLIT, LMS, TWO = DecisionAlgorithm.FFSPLIT, DecisionAlgorithm.LMS, DecisionAlgorithm.TWO_NODE_LMS
HEARTBEAT = 120_000
"""So long that no time plays a part."""
RESULTS = [Heuristics.PASS, Heuristics.FAIL]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    with released(Path(tmp_path_factory.mktemp("released"))) as running:
        yield running


class Nodes:
    """Nodes that lose and find each other, and say so sooner or later."""

    def __init__(self, both: Both, algorithm: DecisionAlgorithm, size: int, seed: str) -> None:
        self.random = Random(seed)
        self.both = both
        self.algorithm, self.size, self.name = algorithm, size, seed.encode()
        self.rings = self.seq = 0
        self.place: dict[int, tuple[str, tuple[int, ...]]] = {}
        self.clients: dict[int, str] = {}
        self.ties = [LOWEST, HIGHEST] if algorithm is LMS else [LOWEST, HIGHEST, naming(1), naming(2)]
        self.tie = self.random.choice(self.ties)
        self.heuristics = self.random.random() < 0.5 and (algorithm is not FFSPLIT or size == 2)
        # Halves of two and more count who leaves, and lms refuses newcomers, in other ways than ours.
        self.leaving = algorithm is not LMS and (size == 2 or size % 2 == 1) and self.random.random() < 0.5
        self.part([tuple(range(1, size + 1))])
        for node in range(1, size + 1):
            self.join(node)

    def part(self, parts: list[tuple[int, ...]]) -> None:
        self.rings += 4
        for part in parts:
            for node in part:
                self.place[node] = f"{min(part):x}.{self.rings:x}", part

    def next(self) -> int:
        self.seq += 1
        return self.seq

    def result(self) -> Heuristics | None:
        return self.random.choice([None, *RESULTS]) if self.heuristics else None

    def join(self, node: int) -> None:
        self.clients[node] = name = f"{node}-{self.next()}"
        at = self.place[node][0]
        self.both.connect(name)
        self.both.say(
            name,
            Preinit(seq=self.next(), cluster_name=self.name),
            init(self.next(), node, at, self.algorithm, self.tie, HEARTBEAT),
            SetOption(seq=self.next(), keep_active_partition_tie_breaker=self.random.random() < 0.8),
            self.config(NodeListType.INITIAL_CONFIG, self.size),
        )
        self.tell(node)

    def config(self, kind: NodeListType, size: int) -> NodeList:
        version = self.random.choice([None, 7])
        return NodeList(seq=self.next(), node_list_type=kind, config_version=version, nodes=nodes(*range(1, size + 1)))

    def tell(self, node: int) -> None:
        at, members = self.place[node]
        self.say(
            node,
            NodeList(
                seq=self.next(),
                node_list_type=NodeListType.MEMBERSHIP,
                ring_id=ring(at),
                nodes=nodes(*members),
                heuristics=self.result(),
            ),
        )

    def say(self, node: int, message: Message) -> None:
        self.both.say(self.clients[node], message)
        self.confirm(Vote.ACK)

    def confirm(self, vote: Vote) -> None:
        """ACKs at once, NACKs in time; one of a decision before the last is taken otherwise, and left out."""
        while waiting := [name for name, told in self.both.told.items() if told.vote is vote]:
            name = self.random.choice(waiting)
            self.both.say(name, VoteInfoReply(seq=self.both.told.pop(name).seq))
            if vote is Vote.NACK:
                return self.confirm(Vote.ACK)
        return None

    def step(self) -> None:
        chance, node = self.random.random(), self.random.randint(1, self.size)
        if node not in self.clients:
            self.join(node)
        elif chance < 0.15:
            shuffled = self.random.sample(sorted(self.place), self.size)
            first, second = sorted(self.random.randint(0, self.size) for _ in range(2))
            parts = shuffled[:first], shuffled[first:second], shuffled[second:]
            self.part([tuple(part) for part in parts if part])
        elif chance < 0.5:
            self.tell(node)
        elif chance < 0.75:
            self.confirm(Vote.NACK)
        elif chance < 0.8:
            quorum = NodeList(seq=self.next(), node_list_type=NodeListType.QUORUM, quorate=True, nodes=nodes(node))
            self.say(node, quorum)
        elif chance < 0.85:
            self.say(node, AskForVote(seq=self.next()))
        elif chance < 0.9 and self.heuristics:
            self.say(node, HeuristicsChange(seq=self.next(), heuristics=self.random.choice(RESULTS)))
        elif chance < 0.95 and not self.leaving:
            self.say(node, self.config(NodeListType.CHANGED_CONFIG, self.size + self.random.randint(0, 1)))
        elif self.leaving:
            self.both.leave(self.clients.pop(node))
            self.confirm(Vote.ACK)


@pytest.mark.parametrize("algorithm", DecisionAlgorithm)
def test_random_conversations_are_answered_as_by_the_released_arbiter(
    server: Released, algorithm: DecisionAlgorithm
) -> None:
    for number in range(CONVERSATIONS):
        size = 2 if algorithm is TWO else 2 + number % 5
        with Both(server) as both:
            world = Nodes(both, algorithm, size, f"{algorithm.name} {number}")
            for _ in range(STEPS):
                world.step()
            both.compare_tools()


def nonsense(random: Random) -> Message:
    """Any message of a client, with whatever in it."""
    seq = random.choice([None, 1, 2, 3, 4])
    lists = random.choice([(1, 2), (1, 2, 3), (1,), (2,), (3,), (), (4, 2)])
    kinds: list[Message] = [
        Preinit(seq=seq, cluster_name=random.choice([b"nonsense", None])),
        *2 * [
            Init(
                seq=seq,
                supported_messages=random.choice([None, (1, 2)]),
                supported_options=random.choice([None, ()]),
                node_id=random.choice([None, 1, 2, 3]),
                decision_algorithm=random.choice([None, FFSPLIT, FFSPLIT, LMS, 9]),
                heartbeat_interval=random.choice([None, 0, 999, 120_001, HEARTBEAT, HEARTBEAT]),
                tie_breaker=random.choice([None, LOWEST, LOWEST, HIGHEST, naming(2)]),
                ring_id=random.choice([None, ring("1.4"), ring("2.4")]),
            )
        ],
        *4 * [
            NodeList(
                seq=seq,
                node_list_type=random.choice([None, *NodeListType, NodeListType.MEMBERSHIP]),
                ring_id=random.choice([None, ring("1.4"), ring("2.4"), ring("1.8")]),
                quorate=random.choice([None, True, False]),
                nodes=nodes(*lists),
            )
        ],
        SetOption(seq=1, heartbeat_interval=random.choice([None, 1, HEARTBEAT])),
        HeuristicsChange(seq=seq),
        AskForVote(seq=seq),
        random.choice(
            [PreinitReply(seq=seq), InitReply(seq=seq), ServerError(seq=seq), EchoReply(seq=seq), VoteInfoReply()]
        ),
    ]  # fmt: skip
    return random.choice(kinds)


def written(message: Message, random: Random) -> bytes:
    """Also what cannot be written, and some of it cut short inside."""
    whole = any(getattr(message, name) not in (None, ()) for name, _ in message.order)
    data = encode(message) if whole else frame(message.type, b"")
    if random.random() < 0.15:
        return frame(message.type, data[6 : random.randint(6, len(data))])
    if random.random() < 0.05:
        return random.choice([frame(99, b"x"), frame(18, bytes(9)), frame(8, bytes(40_000))])
    return data


@pytest.mark.parametrize("seed", range(CONVERSATIONS))
def test_nonsense_is_refused_as_by_the_released_arbiter(server: Released, seed: int) -> None:
    random = Random(f"nonsense {seed}")
    with Both(server) as both:
        for name in ("a", "b", "c"):
            both.connect(name)
        for _ in range(3 * STEPS):
            name, message = random.choice("abc"), nonsense(random)
            if not joined(both, name) or not isinstance(message, Preinit | Init):
                both.say(name, written(message, random))
        both.compare_tools()
        # A client that leaves while others have sent no configuration would end the released arbiter.
        for name in filter(lambda name: joined(both, name), "abc"):
            both.say(name, NodeList(seq=9, node_list_type=NodeListType.INITIAL_CONFIG, nodes=nodes(1, 2, 3)))


def joined(both: Both, name: str) -> bool:
    return any(one.cluster for one in both.stage.arbiter.clients if one.connection == both.stage.numbers[name])
