"""Nodes with disks that take time, and a network that loses, delays, repeats and cuts in one direction.

What must hold at every moment is asserted where a ring comes into force: no two rings of one number, and on each node
numbers that grow, over its restarts too.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from itertools import count
from random import Random

from qluster.ring.messages import Message, decode, encode
from qluster.ring.rings import Rings
from qluster.votes.information import Ring

PATIENCE = 2.0


class Host:
    """One node and its disk: what it says after it ordered a save waits until that is durable."""

    def __init__(self, sea: Sea, node: int) -> None:
        self.sea, self.node = sea, node
        self.boot = self.seq = 0
        self.forgets = False
        """A planted fault: the seq is lost with each restart."""
        self.rings: Rings | None = None
        self.saving: list[int] = []
        self.held: list[tuple[int, Message]] = []
        self.entered: list[tuple[Ring, frozenset[int]]] = []

    def start(self) -> None:
        self.boot += 1
        self.seq = 0 if self.forgets else self.seq
        self.saving, self.held = [], []
        self.rings = Rings(7, self.node, self.boot, seq=self.seq, patience=PATIENCE, now=self.sea.now)
        self.rings.allow(self.sea.hosts, self.sea.now)
        self.settle()

    def crash(self) -> None:
        self.rings = None

    def settle(self) -> None:
        rings = self.rings
        assert rings is not None
        output = rings.take()
        if output.save is not None:
            self.saving.append(output.save)
            self.sea.after(self.sea.save_seconds(), lambda: self._saved(rings, output.save or 0))
        for message in output.tell:
            if self.saving:
                self.held.append((self.saving[-1], message))
            else:
                self.sea.send(self.node, message)
        if output.ring is not None:
            assert output.ring[0].seq <= self.seq, "a ring that is not durable came into force"
            self.entered.append(output.ring)
            self.sea.entered(self.node, *output.ring)
        wake = rings.wake_at
        if wake < float("inf"):
            self.sea.after(max(0.0005, wake - self.sea.now), lambda: self._wake(rings))

    def _wake(self, rings: Rings) -> None:
        if self.rings is rings and rings.wake_at <= self.sea.now:
            rings.tick(self.sea.now)
            self.settle()

    def _saved(self, rings: Rings, seq: int) -> None:
        if self.rings is not rings:
            return
        assert seq > self.seq, f"node {self.node} saves {seq} after {self.seq}"
        self.seq = seq
        self.saving.remove(seq)
        released = [message for number, message in self.held if number <= seq]
        self.held = [(number, message) for number, message in self.held if number > seq]
        for message in released:
            self.sea.send(self.node, message)
        rings.saved(seq, self.sea.now)
        self.settle()

    def hear(self, message: Message) -> None:
        if self.rings is not None:
            self.rings.receive(message, self.sea.now)  # type: ignore[arg-type]
            self.settle()


class Sea:
    """All of them, and a clock."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.random = Random(seed)
        self.now = 100.0
        self.loss = 0.0
        self.delay = (0.0002, 0.002)
        self.slow = 0.0
        self.cut: set[tuple[int, int]] = set()
        self.said = 0
        self.made: dict[Ring, frozenset[int]] = {}
        self.last: dict[int, int] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.hosts = {node: Host(self, node) for node in range(1, nodes + 1)}

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), what))

    def save_seconds(self) -> float:
        return self.random.uniform(0.001, 0.5) if self.random.random() < self.slow else 0.0005

    def send(self, sender: int, message: Message) -> None:
        self.said += 1
        heard = decode(encode(message))
        for node, host in self.hosts.items():
            if node == sender or (sender, node) in self.cut:
                continue
            for _ in range(2 if self.random.random() < self.loss else 1):
                if self.random.random() >= self.loss:
                    delay = self.random.uniform(*self.delay)
                    self.after(delay, lambda host=host: host.hear(heard))  # type: ignore[misc]

    def entered(self, node: int, ring: Ring, members: frozenset[int]) -> None:
        assert self.made.setdefault(ring, members) == members, f"ring {ring} of {self.made[ring]} and of {members}"
        assert node in members and ring.node == min(members)
        assert ring.seq > self.last.get(node, 0), f"node {node}: ring {ring} after {self.last[node]}"
        self.last[node] = ring.seq

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Let time pass; how much did, until it was so."""
        begin, end = self.now, self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            if until is not None and until():
                return self.now - begin
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = end
        return seconds

    def one_ring(self, nodes: Collection[int] | None = None) -> bool:
        """Whether these, or all that run, are in one ring with nobody else."""
        there = frozenset(nodes if nodes is not None else (
            node for node, host in self.hosts.items() if host.rings is not None))
        rings = {(host.rings.ring, host.rings.members) for node, host in self.hosts.items()
                 if host.rings is not None and node in there}
        return len(rings) == 1 and next(iter(rings))[1] == there

    def split(self, *sides: Collection[int]) -> None:
        self.cut |= {(one, other) for side in sides for one in side for other in self.hosts if other not in side}
