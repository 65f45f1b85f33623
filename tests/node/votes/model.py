"""Several nodes that exchange their votes inside partitions: the words of the recordings as operations."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from qluster.votes.information import Ring
from qluster.votes.options import Options
from qluster.votes.view import QuorumChanged, View
from qluster.votes.votequorum import Votequorum

ROUNDS_MAX = 50
"""Nodes that still have something to tell each other after so many rounds never stop."""


class Cluster:
    """All nodes, the partition each is in, and a clock. What a node says reaches its partition at once, in order."""

    def __init__(self, options: Options, *, start: bool = True) -> None:
        self.options = options
        self.now = 0.0
        self.nodes: dict[int, Votequorum] = {}
        self.partition: dict[int, int] = {}
        self.tracked: dict[int, int] = {}
        self.events: list[tuple[int, QuorumChanged]] = []
        self._seq = count(5, 4)
        self._grouped: dict[int, frozenset[int]] = {}
        if start:
            for node, _ in options.nodes:
                self._boot(node, 0)
            self.regroup()

    def _boot(self, node: int, partition: int) -> None:
        self.nodes[node] = Votequorum(self.options, node, self.now, tracked=self.tracked.get(node, 0))
        self.partition[node] = partition
        self._grouped.pop(node, None)

    def up(self, node: int, partition: int = 0) -> None:
        self._boot(node, partition)
        self.regroup()

    def down(self, node: int, *, clean: bool = False) -> None:
        if clean:
            self.nodes[node].leave(self.now)
            self.deliver()
        del self.nodes[node], self.partition[node]
        self.regroup()

    def split(self, moves: dict[int, int]) -> None:
        self.partition.update(moves)
        self.regroup()

    def join(self, one: int, other: int) -> None:
        self.partition = {node: one if where == other else where for node, where in self.partition.items()}
        self.regroup()

    def wait(self, seconds: float) -> None:
        """Let time pass, step by step as the nodes want to be woken."""
        end = self.now + seconds
        while True:
            due = min((vq.wake_at for vq in self.nodes.values()), default=end)
            self.now = max(self.now, min(due, end))
            for vq in self.nodes.values():
                if vq.wake_at <= self.now:
                    vq.tick(self.now)
            self.deliver()
            if due > end:
                self.now = end
                return

    def members(self, partition: int) -> frozenset[int]:
        return frozenset(node for node, where in self.partition.items() if where == partition)

    def regroup(self) -> None:
        """Every partition whose members changed gets a new ring."""
        seq = next(self._seq)
        for partition in sorted(set(self.partition.values())):
            members = self.members(partition)
            if any(self._grouped.get(node) != members for node in members):
                ring = Ring(min(members), seq)
                for node in members:
                    self.nodes[node].membership(ring, members, self.now)
                    self._grouped[node] = members
        self.deliver()

    def deliver(self) -> None:
        """What was said reaches the partition; what follows from it too."""
        for _ in range(ROUNDS_MAX):
            said = [(node, vq.take()) for node, vq in sorted(self.nodes.items())]
            for node, output in said:
                if output.track is not None:
                    self.tracked[node] = output.track
                self.events += [(node, event) for event in output.events]
                for message in output.tell:
                    for other in sorted(self.members(self.partition[node]) - {node}):
                        self.nodes[other].heard(message, self.now)
            if not any(output.tell for _, output in said):
                return
        raise AssertionError(f"nodes still talk after {ROUNDS_MAX} rounds")

    def poll(self, node: int, cast: bool) -> None:
        """The device of a node says its word on the current ring."""
        vq = self.nodes[node]
        assert vq.device(True, cast, vq.view().ring, self.now) == ""
        self.deliver()

    def register(self, nodes: Iterable[int] | None = None) -> None:
        for node in sorted(self.nodes if nodes is None else nodes):
            assert self.nodes[node].register("Qdevice", self.now) == ""
        self.deliver()

    def quorate(self) -> frozenset[int]:
        return frozenset(node for node, vq in self.nodes.items() if vq.quorate)

    def view(self, node: int) -> View:
        return self.nodes[node].view()

    def figures(self, node: int) -> tuple[int, int, int, bool]:
        """Expected votes, total votes, quorum, quorate."""
        view = self.view(node)
        return view.expected, view.total, view.quorum, view.quorate

    def words(self) -> dict[str, str]:
        """As the recordings say it: per node, `quorate 1+2`."""
        said = {}
        for node, vq in sorted(self.nodes.items()):
            members = "+".join(str(one.node) for one in vq.view().members)
            said[str(node)] = f"{'quorate' if vq.quorate else 'inquorate'} {members}"
        return said


def even(number: int) -> tuple[tuple[int, int], ...]:
    """So many nodes with one vote each."""
    return tuple((node, 1) for node in range(1, number + 1))
