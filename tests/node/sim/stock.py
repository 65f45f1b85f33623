"""An arbiter that remembers nothing beside a simulated cluster: the production one, asked by the clients of the nodes
over connections as ``wires.py`` has them. The rings are those that the nodes find.

Only seeds of :data:`STOCKED` have one, and its chances are its own. Strikes on it are those on one that remembers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import TYPE_CHECKING

from config.test_device_section import config as device_config
from msgspec.structs import replace
from qluster.config import Config
from qluster.consensus.members import EPISODE, FORMULA, Members
from qluster.consensus.membership import usual_votes
from qluster.events import DeviceHeard, DeviceQuestion
from qluster.node import Node
from qluster.qdevice.orders import Close, Happening, Open, Say
from wires import Wires

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

STOCKED = range(300_000, 400_000)
"""Seeds of clusters with an arbiter that remembers nothing."""


def told_of(config: Config, algorithm: str) -> Config:
    """This configuration, with a section ``device``."""
    section = f"algorithm: {algorithm}, tls: off, timeout: 2s, sync-timeout: 4s"
    return replace(config, device=device_config(section).device)


def algorithm_of(seed: int) -> str:
    """Mostly the one by which it decides something."""
    return "lms" if seed % 5 == 4 else "ffsplit"


class Stock:
    """One arbiter."""

    def __init__(self, world: World, algorithm: str) -> None:
        self._world = world
        self._way = EPISODE if algorithm == "ffsplit" else FORMULA
        self.random = Random(f"stock {world.seed}")
        self.wires = Wires(world.at, lambda: world.now, self._delay, pause=0.1)
        self.wires.stalled = lambda place: world.hosts[str(place)].frozen
        self._nodes: dict[str, Node] = {}

    # --- looks ----------------------------------------------------------------

    def uid(self, founding: int) -> int:
        """It has no memory."""
        return 0

    def holds(self, node: Node, members: Members, holders: Collection[int], index: int, term: int) -> bool:
        """Whether its vote stands beside these, who have an entry that this leader calls committed."""
        return members.way == EPISODE and node.qraft is not None and node.qraft.standing.by_episode(holders)

    def right_list(self, node: Node) -> str:
        """Why the list of this leader does not count it as it should, "" when it does."""
        members = node.settled
        if node.qraft is None or members.way != self._way or members.device != usual_votes(members):
            return f"the list counts a device by {members.way or 'no way'} with {members.device} votes"
        if members.device_uid != (node.qraft.standing.arbiter if self._way == EPISODE else 0):
            return f"the list counts the device {members.device_uid:016x}, this node asks another one"
        return node.qraft.device_fault(node.settled_at) if members.device else ""

    # --- connections ----------------------------------------------------------

    def connect(self, host: Host) -> None:
        """A daemon has started; it connects by itself."""
        if host.node is not None:
            self._nodes[host.ip] = host.node

    def lost(self, host: Host) -> None:
        """A daemon is gone."""
        node = self._nodes.pop(host.ip, None)
        if node is not None:
            self.wires.close(node)

    def asked(self, host: Host, node: Node, question: DeviceQuestion) -> None:
        """Nobody hears that."""
        raise AssertionError(f"{host.name} asks a memory that it has not opened: {question}")

    def ordered(self, host: Host, node: Node, orders: Sequence[object]) -> None:
        """What a daemon's client wants done."""
        for order in orders:
            match order:
                case Open(attempt):
                    self.wires.open(node, host.ip, attempt, lambda what: self._hear(host, node, what))
                case Say(attempt, data):
                    self.wires.say(node, attempt, data)
                case Close(attempt):
                    self.wires.close(node, attempt)
                case _:
                    pass

    def _hear(self, host: Host, node: Node, what: Happening) -> None:
        if host.node is node:
            host.give(DeviceHeard(what))

    def _delay(self) -> float:
        faults = self._world.faults
        if faults.late and self.random.random() < faults.late:
            return self.random.uniform(0.1, 1.5)
        return self.random.uniform(*faults.delay)

    # --- what happens to it ---------------------------------------------------

    def crash(self, *, lost: bool = False, down: float | None = None) -> None:
        """It is gone for a while; with or without its disk is the same."""
        if self.wires.crash():
            self._world.tell("the arbiter crashes")
            down = self.random.uniform(0.02, 3.0) if down is None else down
            self._world.at(self._world.now + down, self.start)

    def start(self) -> None:
        """It is there again."""
        self._world.tell("the arbiter starts")
        self.wires.start()

    def cut(self, host: Host, *, to: bool, back: bool) -> None:
        """Nothing passes between a host and it."""
        self._world.tell(f"{host.name} and the arbiter do not reach each other")
        self.wires.cut.add(host.ip)

    def mend(self) -> None:
        """Everybody reaches it."""
        self.wires.cut.clear()

    def heal(self) -> None:
        """It is there."""
        self.mend()
        self.start()
