"""The five runs of D6 that lose an entry when one rule of the device's vote is weakened and do not when it is kept,
and one for what mends an episode.

Two nodes with the real client and the real arbiter; of consensus only what the rules speak of: logs, a leader, who has
what. Nodes are 1 and 2 here; a stock arbiter prefers 1 in a tie.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qdevice.world import World
from qluster.qdevice.client import Client
from qluster.qdevice.counting import WAYS, why_not
from qluster.qdevice.episode import Episode
from qluster.qnet.names import DecisionAlgorithm, Vote
from qluster.qnet.tlv import RingId

NEEDED = 2
"""Votes of three: two nodes, one device."""


class Cluster:
    """Two logs over one world. ``weak`` names the rule that is not kept."""

    def __init__(self, weak: str, algorithm: DecisionAlgorithm = DecisionAlgorithm.FFSPLIT) -> None:
        self.weak = weak
        self.world = World(2, algorithm=algorithm)
        self.log: dict[int, list[str]] = {1: [], 2: []}
        self.committed: list[str] = []
        self.leads: set[int] = set()
        self.seq = 8
        self.lost = False

    def together(self) -> None:
        self.seq += 4
        self.world.ring(RingId(1, self.seq), 1, 2)

    def split(self) -> None:
        self.seq += 4
        for node in (1, 2):
            self.world.ring(RingId(node, self.seq), node)

    def alone(self, node: int) -> None:
        self.seq += 4
        self.world.ring(RingId(node, self.seq), node)

    def counts(self, node: int, office: bool = False) -> bool:
        client = self.world.clients[node]
        keeps = self.weak != "episode" and not (office and self.weak == "office")
        episode = client.episode if keeps else Episode(None)
        algorithm = DecisionAlgorithm.FFSPLIT if self.weak == "lms" else client.settings.algorithm
        ring = client.voting.ring if self.weak != "ring" else client.voting.said and client.voting.said.ring
        return why_not(algorithm, "" if client.held or self.weak == "ring" else "none", ring, client.voting.said,
                       episode) == ""  # fmt: skip

    def elect(self, node: int, *others: int) -> bool:
        """By its own vote, those of others whose log is no longer, and the device's."""
        votes = 1 + sum(len(self.log[other]) <= len(self.log[node]) for other in others)
        if votes + self.counts(node) >= NEEDED:
            self.leads.add(node)
            return True
        return False

    def commit(self, node: int, entry: str, *copies: int) -> bool:
        """A leader's entry, which these others have as well."""
        assert node in self.leads
        for one in (node, *copies):
            self.log[one] = [*self.log[node][: len(self.log[node])], entry] if one == node else list(self.log[node])
        members = [one.node_id for one in self.world.clients[node]._members]
        everybody = all(entry in self.log[one] for one in members) or self.weak == "copies"
        by_episode = WAYS[self.world.clients[node].settings.algorithm] == "episode" or self.weak == "lms"
        device = self.counts(node, office=True) and everybody and by_episode
        if 1 + len(copies) + device < NEEDED:
            return False
        index = len(self.log[node])
        self.lost |= self.committed[:index] != self.log[node][: len(self.committed[:index])]
        self.committed = self.committed if self.lost else list(self.log[node])
        return True

    def in_sync(self) -> None:
        for node in (1, 2):
            client = self.world.clients[node]
            if client.voting.ring is not None:
                client.in_sync(client.voting.ring, self.world.now, self.world.now)
            if self.weak == "anywhere":
                client.episode = Episode(None)

    def lose_arbiter(self, node: int) -> None:
        """For good: the way between the two is cut."""
        for line in self.world.lines_of(node):
            self.world.cut(line)
        self.world.clients[node]._open_at = float("inf")

    def crash(self, node: int) -> None:
        self.lose_arbiter(node)
        self.leads.discard(node)

    def boot(self, node: int) -> None:
        self.world.boot(node)
        self.leads.discard(node)

    def wait(self) -> None:
        self.world.wait(2.0)


def both_lead_by_1(weak: str, leader: int = 1, algorithm: DecisionAlgorithm = DecisionAlgorithm.FFSPLIT) -> Cluster:
    cluster = Cluster(weak, algorithm)
    cluster.together()
    cluster.wait()
    assert cluster.elect(leader, 3 - leader)
    assert cluster.commit(leader, "first", 3 - leader)
    cluster.in_sync()
    assert cluster.world.clients[1].reason == cluster.world.clients[2].reason == ""
    return cluster


def episode_ignored(weak: str) -> Cluster:
    cluster = both_lead_by_1(weak)
    cluster.crash(2)
    cluster.alone(1)
    cluster.wait()
    assert cluster.commit(1, "e")
    cluster.boot(2)
    cluster.lose_arbiter(1)
    cluster.alone(2)
    cluster.wait()
    assert cluster.world.clients[2].held is not None
    if cluster.elect(2):
        cluster.commit(2, "f")
    return cluster


def episode_not_asked_of_a_leader_in_office(weak: str) -> Cluster:
    cluster = both_lead_by_1(weak, leader=2)
    cluster.split()
    cluster.wait()
    assert cluster.world.clients[2].episode.broken and cluster.elect(1)
    assert cluster.commit(1, "e")
    cluster.lose_arbiter(1)
    cluster.wait()
    assert cluster.world.clients[2].held is not None
    cluster.commit(2, "f")
    return cluster


def commit_without_every_node(weak: str) -> Cluster:
    cluster = both_lead_by_1(weak)
    cluster.commit(1, "e")
    cluster.crash(1)
    cluster.alone(2)
    cluster.wait()
    assert cluster.elect(2)
    assert cluster.commit(2, "f")
    return cluster


class Believing(Client):
    """Takes every vote for one of the present ring."""

    def _vote(self, vote: Vote, ring: RingId, now: float) -> None:
        self._sent_ring = self.voting.ring
        assert self.voting.ring is not None
        super()._vote(vote, self.voting.ring, now)


def vote_not_tied_to_its_ring(weak: str) -> Cluster:
    cluster = Cluster(weak)
    world = cluster.world
    if weak == "ring":
        world.clients[2].__class__ = Believing
    cluster.alone(2)
    world.tick()
    [slow] = world.lines_of(2)
    while slow.up or (slow.down and slow.down[0][:2] != b"\x00\x0e"):
        world.deliver(slow, up=bool(slow.up))
    assert slow.down[0][:2] == b"\x00\x0e", "a vote is under way"
    # Node 1 comes, and both are in sync; what the arbiter says to node 2 stays under way.
    cluster.together()
    world.tick()
    while quick := [line for line in world.lines.values() if line.up or (line.down and line is not slow)]:
        world.deliver(quick[0], up=bool(quick[0].up))
    assert cluster.elect(1, 2) and cluster.commit(1, "first", 2)
    cluster.in_sync()
    cluster.split()
    while slow.up:
        world.deliver(slow, up=True)
    world.deliver(slow, up=False)
    if weak == "ring":
        world.clients[2].episode = Episode(None)  # it was in sync, and nothing has refused or cut it since
    if cluster.elect(2):
        cluster.commit(2, "e")
    cluster.lose_arbiter(2)
    cluster.wait()
    cluster.in_sync()
    assert world.clients[1].held is not None
    cluster.commit(1, "f")
    return cluster


def acknowledged_before_the_other_is_refused(weak: str) -> Cluster:
    cluster = both_lead_by_1(weak, algorithm=DecisionAlgorithm.LMS)
    # Each waits for the other to say the same, and is looked at again a quarter of a heartbeat later: 1 goes first.
    cluster.alone(1)
    cluster.world.wait(1.0)
    cluster.alone(2)
    cluster.world.wait(1.2)
    assert cluster.world.clients[1].held is not None and cluster.world.clients[2].held is None
    cluster.commit(1, "e")
    cluster.lose_arbiter(1)
    cluster.wait()
    assert cluster.world.clients[2].held is not None
    if cluster.elect(2):
        cluster.commit(2, "f")
    return cluster


def mended_without_an_arbiter(weak: str) -> Cluster:
    cluster = both_lead_by_1(weak)
    cluster.lose_arbiter(2)
    cluster.in_sync()
    cluster.split()
    cluster.wait()
    assert cluster.commit(1, "e"), "nobody was there to be refused"
    cluster.lose_arbiter(1)
    cluster.world.clients[2]._open_at = cluster.world.now
    cluster.wait()
    assert cluster.world.clients[2].held is not None
    if cluster.elect(2):
        cluster.commit(2, "f")
    return cluster


RUNS = [
    ("episode", episode_ignored),
    ("office", episode_not_asked_of_a_leader_in_office),
    ("copies", commit_without_every_node),
    ("ring", vote_not_tied_to_its_ring),
    ("lms", acknowledged_before_the_other_is_refused),
    ("anywhere", mended_without_an_arbiter),
]


@pytest.mark.parametrize(("weak", "run"), RUNS, ids=[weak for weak, _ in RUNS])
def test_the_rule_keeps_the_entry_and_its_weakening_loses_it(weak: str, run: object) -> None:
    assert callable(run)
    assert not run("").lost
    assert run(weak).lost
