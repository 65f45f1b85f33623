"""Random conversations of clients with the arbiter: messages late, connections cut, restarts on either side.

What the arbiter said is read off the wire by itself, and compared with what the client makes of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from qdevice.world import Line, World
from qluster.qdevice.episode import Break
from qluster.qdevice.orders import Close, Order
from qluster.qnet.messages import AskForVoteReply, HeuristicsChangeReply, InitReply, NodeListReply, decode
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, Vote
from qluster.qnet.tlv import RingId
from qnet.recorded import frames

SEEDS = 150 if os.environ.get("QLUSTER_FULL_TESTS") else 12
STEPS = 250
WHAT = ["part", "join", "cut", "reboot", "arbiter", "check", "sync", *3 * ["wait"], *4 * ["tell"], *14 * ["deliver"]]


class Wild(World):
    """Knows by its own reckoning what each client may hold."""

    def __init__(self, nodes: int, seed: str, **settings: object) -> None:
        super().__init__(nodes, seed=seed, **settings)
        self.rings = 8
        self.part: dict[int, tuple[RingId, tuple[int, ...]]] = {}
        self.words: dict[int, list[tuple[RingId, Vote]]] = {}
        """What came over each connection."""
        self.joined: set[int] = set()
        """Connections over which the arbiter took its client in."""
        self.broken: dict[int, Break | None] = dict.fromkeys(self.clients, Break.RESTART)
        self.holding = 0
        self.divide([tuple(self.clients)])

    def divide(self, parts: list[tuple[int, ...]]) -> None:
        """Each part forms a ring; each node hears of it when it is told."""
        self.rings += 4
        for part in parts:
            for node in part:
                self.part[node] = RingId(min(part), self.rings), part

    def tell(self, node: int) -> None:
        ring, members = self.part[node]
        self.clients[node].membership(ring, members, self.now)
        self.clients[node].quorum(len(members) > 1, [], self.now)
        self.perform(node)

    def deliver(self, line: Line, up: bool) -> None:
        if not up and not line.client_ended:
            self.hear(line, line.down[0])
        super().deliver(line, up)

    def hear(self, line: Line, data: bytes) -> None:
        for frame in frames(data):
            message = decode(*frame)  # type: ignore[misc]
            if isinstance(message, AskForVoteReply | NodeListReply | HeuristicsChangeReply):
                assert message.ring_id is not None and message.vote is not None
                self.words.setdefault(line.number, []).append((message.ring_id, message.vote))
                if message.vote is Vote.NACK:
                    self.broken[line.node] = Break.REFUSED
            if isinstance(message, InitReply) and message.reply_error_code == ErrorCode.NO_ERROR:
                self.joined.add(line.number)

    def _end_client(self, line: Line, reason: str) -> None:
        self._note_end(line)
        super()._end_client(line, reason)

    def _note_end(self, line: Line) -> None:
        if not line.client_ended and line.number in self.joined:
            self.broken[line.node] = Break.LOST

    def _perform(self, node: int, order: Order) -> None:
        if isinstance(order, Close):
            for line in self.lines_of(node):
                self._note_end(line)
        super()._perform(node, order)

    def boot_again(self, node: int) -> None:
        self.boot(node)
        self.broken[node] = Break.RESTART
        # A node that comes back is in no ring that it was in before.
        self.divide([part for part in {members for _, members in self.part.values()}])

    def step(self) -> None:
        node, what = self.random.choice(list(self.clients)), self.random.choice(WHAT)
        lines = [line for line in self.lines.values() if line.up or line.down]
        if what == "deliver" and lines:
            line = self.random.choice(lines)
            self.deliver(line, up=bool(line.up) and (not line.down or self.random.random() < 0.5))
        elif what == "part" and self.random.random() < 0.3:
            shuffled = self.random.sample(list(self.clients), len(self.clients))
            cut = self.random.randint(0, len(shuffled))
            self.divide([tuple(part) for part in (shuffled[:cut], shuffled[cut:]) if part])
        elif what == "join" and self.random.random() < 0.3:
            self.divide([tuple(self.clients)])
        elif what == "cut" and self.random.random() < 0.3:
            for line in self.lines_of(node):
                self.cut(line)
        elif what == "reboot" and self.random.random() < 0.1:
            self.boot_again(node)
        elif what == "arbiter" and self.random.random() < 0.2:
            self.stop_arbiter() if self.arbiter is not None else self.start_arbiter()
        elif what == "check" and self.checks[node]:
            self.check(node, self.random.choice(["", "it failed"]))
        elif what == "sync":
            self.sync(node)
        elif what == "tell":
            self.tell(node)
        elif what == "wait":
            self.wait(self.random.uniform(0.0, 2.0), settle=self.random.random() < 0.5)

    def sync(self, node: int) -> None:
        """True news, old news, and news of another ring."""
        ring = self.random.choice([self.part[node][0], RingId(1, 4)])
        asked = self.random.choice([self.now, self.now - 3.0])
        client = self.clients[node]
        if client.held is not None and client.held.ring == ring and client.held.since <= asked:
            self.broken[node] = None
        client.in_sync(ring, asked, self.now)

    def judge(self) -> None:
        rings = set()
        for node, client in self.clients.items():
            assert client.episode.broken is self.broken[node], node
            said = client.voting.said
            if said is not None:
                self.judge_word(node)
            if client.held is not None:
                rings.add(client.held.ring)
                assert client.held.ring == client.voting.ring
        assert len(rings) <= 1, f"two memberships are acknowledged at once: {rings}"
        self.holding += len(rings)

    def judge_word(self, node: int) -> None:
        """What counts is the last word over the connection that stands, and it was for the present ring."""
        client = self.clients[node]
        said = client.voting.said
        assert said is not None and said.ring == client.voting.ring
        [line] = self.lines_of(node)
        words = [vote for ring, vote in self.words[line.number] if vote is not Vote.NO_CHANGE and ring == said.ring]
        assert words[-1] is said.vote


@pytest.mark.parametrize("heuristics", ["off", "on"])
@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_votes_are_those_of_the_present_membership_and_connection(nodes: int, heuristics: str) -> None:
    holding = 0
    for seed in range(SEEDS):
        world = Wild(nodes, f"{nodes} {heuristics} {seed}", heuristics=heuristics)
        for _ in range(STEPS):
            world.step()
            world.judge()
        holding += world.holding
        come_together(world)
    assert holding > SEEDS


def come_together(world: Wild) -> None:
    """Whatever was before: when all is well again everybody gets the vote within a minute or two."""
    if world.arbiter is None:
        world.start_arbiter()
    world.divide([tuple(world.clients)])
    for node in world.clients:
        world.tell(node)
    for _ in range(150):
        world.wait(1.0)
        for node in world.clients:
            if world.checks[node]:
                world.check(node)
        world.judge()
        if all(client.held is not None for client in world.clients.values()):
            return
    raise AssertionError({node: client.reason for node, client in world.clients.items()})


@pytest.mark.parametrize("algorithm", ["test", "lms", "two_node_lms"])
def test_other_algorithms_are_asked_as_well(algorithm: str) -> None:
    for seed in range(4):
        world = Wild(2, f"{algorithm} {seed}", algorithm=DecisionAlgorithm[algorithm.upper()])
        for _ in range(STEPS):
            world.step()
        come_together_at_all(world)


def come_together_at_all(world: Wild) -> None:
    if world.arbiter is None:
        world.start_arbiter()
    world.divide([(1, 2)])
    for node in (1, 2):
        world.tell(node)
    world.wait(150.0)
    assert [world.clients[node].voting.cast for node in (1, 2)] == [True, True]
