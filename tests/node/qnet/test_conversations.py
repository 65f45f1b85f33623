"""Whatever clients of ffsplit say in whatever order, two halves are never acknowledged at once.

A random world: nodes that lose and find each other, connect, disconnect, and confirm late or never. What is checked
rests on the messages alone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from qluster.qnet.messages import HeuristicsChange, NodeListReply, VoteInfo, VoteInfoReply
from qluster.qnet.names import Heuristics, Vote
from qnet.stage import Stage

STEPS = 150
WHAT = ["split", "heuristics", "leave", *3 * ["say"], *3 * ["confirm"]]


@dataclass
class Node:
    """A node as the arbiter can know it: its connection, what it said, what it was told, what it confirmed."""

    number: int
    name: str = ""
    ring: str = ""
    members: frozenset[int] = frozenset()
    said: str = ""
    """The ring of the last membership that it sent over this connection."""
    told: VoteInfo | None = None
    open: list[VoteInfo] = field(default_factory=list)
    confirmed: int = 0


class World:
    """Some nodes, some partitions, one arbiter."""

    def __init__(self, random: Random, size: int) -> None:
        self.random = random
        self.stage = Stage()
        self.nodes = {number: Node(number) for number in range(1, size + 1)}
        self.connections = 0
        self.rings = 0
        self.acknowledged = 0
        self.partition([frozenset(self.nodes)])

    def partition(self, parts: list[frozenset[int]]) -> None:
        """Each part forms a ring of its own; its nodes will say so sooner or later."""
        self.rings += 4
        for part in parts:
            for number in part:
                self.nodes[number].members = part
                self.nodes[number].ring = f"{min(part):x}.{self.rings:x}"

    def step(self) -> None:
        node = self.nodes[self.random.choice(list(self.nodes))]
        what = self.random.choice(WHAT)
        if what == "split" and self.random.random() < 0.5:
            shuffled = self.random.sample(list(self.nodes), len(self.nodes))
            cut = self.random.randint(0, len(shuffled))
            self.partition([frozenset(part) for part in (shuffled[:cut], shuffled[cut:]) if part])
        elif what == "leave" and node.name and self.random.random() < 0.3:
            self.stage.close(node.name)
            node.name, node.said, node.told, node.open, node.confirmed = "", "", None, [], 0
        elif not node.name:
            self.connect(node)
        elif what == "say" and node.said != node.ring:
            node.said = node.ring
            self.hear(self.stage.membership(node.name, node.ring, *node.members), node)
        elif what == "confirm" and node.open:
            vote = node.open.pop(0)
            node.confirmed = vote.seq or 0
            self.stage.say(node.name, VoteInfoReply(seq=vote.seq))
        elif what == "heuristics":
            result = self.random.choice([Heuristics.PASS, Heuristics.FAIL])
            self.stage.say(node.name, HeuristicsChange(seq=9, heuristics=result))
        self.deliver()

    def connect(self, node: Node) -> None:
        self.connections += 1
        node.name = f"c{self.connections}"
        self.stage.join(node.name, node.number, at=node.ring)
        self.stage.config(node.name, *self.nodes)
        node.said = node.ring
        self.hear(self.stage.membership(node.name, node.ring, *node.members), node)

    def deliver(self) -> None:
        """All that was sent in this step. Acknowledgements are judged before anything else happens."""
        by_name = {node.name: node for node in self.nodes.values() if node.name}
        for name in list(self.stage.bytes):
            self.hear(self.stage.take(name), by_name[name])

    def hear(self, messages: list[object], node: Node) -> None:
        told = [one for one in messages if isinstance(one, VoteInfo)]
        replies = [one for one in messages if isinstance(one, NodeListReply)]
        assert all(one.vote in (Vote.NO_CHANGE, Vote.WAIT_FOR_REPLY, Vote.ASK_LATER) for one in replies)
        for vote in told:
            node.told = vote
            node.open.append(vote)
            assert str(vote.ring_id) == node.said
        self.judge(node, told)

    def judge(self, node: Node, told: list[VoteInfo]) -> None:
        """Who is acknowledged is so alone: nobody outside may still hold a vote, or be sent one."""
        if not any(vote.vote is Vote.ACK for vote in told):
            return
        self.acknowledged += 1
        for other in self.nodes.values():
            if not other.name or other.said == node.said:
                continue
            last = other.told
            if last is not None:
                assert last.vote is Vote.NACK, f"{other.number} was told {last.vote} and {node.number} is acknowledged"
                assert last.seq == other.confirmed, f"{other.number} has not confirmed, {node.number} is acknowledged"


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_nobody_outside_holds_a_vote_when_a_partition_is_acknowledged(size: int) -> None:
    acknowledged = 0
    for seed in range(25):
        world = World(Random(f"{size} {seed}"), size)
        for _ in range(STEPS):
            world.step()
        acknowledged += world.acknowledged
    assert acknowledged > 200
