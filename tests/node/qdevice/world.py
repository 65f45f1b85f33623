"""Clients and one arbiter in one process: bytes travel when the test says so, each side can be cut or restart."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from random import Random

from qluster.qdevice.client import Client
from qluster.qdevice.orders import (
    Came,
    Check,
    Checked,
    Close,
    Ended,
    Open,
    Opened,
    Order,
    Poll,
    Say,
    Secure,
    Secured,
    StopCheck,
    Told,
)
from qluster.qdevice.settings import Settings
from qluster.qnet import output
from qluster.qnet.arbiter import Arbiter
from qluster.qnet.settings import Settings as ServerSettings
from qluster.qnet.tlv import RingId


@dataclass
class Line:
    """One TCP connection: bytes on their way in both directions."""

    number: int
    node: int
    attempt: int
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    client_ended: bool = False
    server_ended: bool = False


class World:
    """``deliver`` moves one piece; ``settle`` moves all there are."""

    def __init__(
        self, nodes: int = 2, server: ServerSettings | None = None, seed: str = "", **settings: object
    ) -> None:
        self.random = Random(seed)
        self.server_settings = server or ServerSettings()
        self.arbiter: Arbiter | None = Arbiter(self.server_settings)
        self.settings = settings
        self.now = 0.0
        self.lines: dict[int, Line] = {}
        self.clients: dict[int, Client] = {}
        self.polls: dict[int, Poll | None] = {}
        self.told: list[tuple[int, Told]] = []
        self.checks: dict[int, list[Check]] = {}
        self.certificate: str | None = "qlab"
        self.size = nodes
        self._numbers = 0
        for node in range(1, nodes + 1):
            self.boot(node)

    # what happens to whom

    def boot(self, node: int) -> Client:
        """The daemon of a node starts, for the first time or again."""
        for line in self.lines_of(node):
            self.cut(line)
        own = Settings(cluster_name="qlab", node=node, **self.settings)  # type: ignore[arg-type]
        client = self.clients[node] = Client(own, Random(self.random.random()))
        self.polls[node], self.checks[node] = None, []
        client.configured(list(range(1, self.size + 1)), None, self.now)
        return client

    def ring(self, ring: RingId, *members: int) -> None:
        """These nodes form a ring, and each hears of it."""
        for node in members:
            self.clients[node].membership(ring, members, self.now)
            self.perform(node)

    def cut(self, line: Line) -> None:
        """A connection ends, and both sides hear of it."""
        line.up.clear()
        line.down.clear()
        self._end_server(line)
        self._end_client(line, "the connection was reset")

    def stop_arbiter(self) -> None:
        """It is gone with all that it remembers."""
        self.arbiter = None
        for line in list(self.lines.values()):
            self.cut(line)

    def start_arbiter(self) -> None:
        """A new one, which remembers nothing."""
        self.arbiter = Arbiter(self.server_settings)

    def wait(self, seconds: float, settle: bool = True) -> None:
        """Time passes, and whoever wants to be woken is."""
        end = self.now + seconds
        if settle:
            self.settle()
        while True:
            moments = [client.wake_at for client in self.clients.values()]
            moments.append(self.arbiter.wake_at if self.arbiter is not None else inf)
            if min(moments) > end:
                break
            self.now = max(self.now, min(moments))
            self.tick()
            if settle:
                self.settle()
        self.now = end

    def tick(self) -> None:
        for node, client in self.clients.items():
            if client.wake_at <= self.now:
                client.tick(self.now)
                self.perform(node)
        if self.arbiter is not None and self.arbiter.wake_at <= self.now:
            self.arbiter.tick(self.now)
            self._perform_arbiter()

    def settle(self) -> None:
        """Everything under way arrives."""
        while pending := [line for line in self.lines.values() if line.up or line.down]:
            self.deliver(pending[0], up=bool(pending[0].up))

    def deliver(self, line: Line, up: bool) -> None:
        """The next bytes in one direction arrive."""
        if up:
            data = line.up.popleft()
            if self.arbiter is not None and not line.server_ended:
                self.arbiter.received(line.number, data, self.now)
                self._perform_arbiter()
        else:
            data = line.down.popleft()
            if not line.client_ended:
                self.clients[line.node].handle(Came(line.attempt, data), self.now)
                self.perform(line.node)

    def check(self, node: int, fault: str = "") -> None:
        """The commands that run on a node end."""
        [check] = self.checks[node]
        self.checks[node] = []
        self.clients[node].handle(Checked(check.number, fault), self.now)
        self.perform(node)

    def lines_of(self, node: int) -> list[Line]:
        return [line for line in self.lines.values() if line.node == node and not line.client_ended]

    # the hands

    def perform(self, node: int) -> None:
        for order in self.clients[node].take():
            self._perform(node, order)

    def _perform(self, node: int, order: Order) -> None:
        match order:
            case Open(attempt):
                self._connect(node, attempt)
            case Say(attempt, data):
                self._line(node, attempt).up.append(data)
            case Secure(attempt):
                self._secure(self._line(node, attempt))
            case Close(attempt):
                for line in self.lines_of(node):
                    line.client_ended = True
                    self._end_server(line)
            case Check():
                assert not self.checks[node], "one at a time"
                self.checks[node].append(order)
            case StopCheck(number):
                self.checks[node] = [check for check in self.checks[node] if check.number != number]
            case Poll():
                self.polls[node] = order
            case Told():
                self.told.append((node, order))

    def _connect(self, node: int, attempt: int) -> None:
        assert not self.lines_of(node), "one connection at a time"
        if self.arbiter is None:
            self.clients[node].handle(Ended(attempt, "connection refused"), self.now)
            self.perform(node)
            return
        self._numbers += 1
        line = self.lines[self._numbers] = Line(self._numbers, node, attempt)
        self.arbiter.connected(line.number, f"192.0.2.{node}:{40000 + line.number}", self.now)
        self._perform_arbiter()
        self.clients[node].handle(Opened(attempt), self.now)
        self.perform(node)

    def _secure(self, line: Line) -> None:
        """The handshake is over at once, after what was sent before it."""
        while line.up:
            self.deliver(line, up=True)
        if not line.server_ended and self.arbiter is not None:
            self.arbiter.tls_started(line.number, self.certificate)
            self.clients[line.node].handle(Secured(line.attempt), self.now)
            self.perform(line.node)

    def _line(self, node: int, attempt: int) -> Line:
        [line] = [line for line in self.lines_of(node) if line.attempt == attempt]
        return line

    def _perform_arbiter(self) -> None:
        assert self.arbiter is not None
        for effect in self.arbiter.take():
            match effect:
                case output.Send(connection, data):
                    self.lines[connection].down.append(data)
                case output.Close(connection, reason):
                    line = self.lines[connection]
                    line.server_ended = True
                    while line.down and not line.client_ended:
                        self.deliver(line, up=False)
                    self._end_client(line, f"closed by the arbiter ({reason})")
                case _:
                    pass

    def _end_server(self, line: Line) -> None:
        if not line.server_ended:
            line.server_ended = True
            if self.arbiter is not None:
                self.arbiter.closed(line.number, self.now)
                self._perform_arbiter()

    def _end_client(self, line: Line, reason: str) -> None:
        if not line.client_ended:
            line.client_ended = True
            self.clients[line.node].handle(Ended(line.attempt, reason), self.now)
            self.perform(line.node)


def together(nodes: int = 2, **settings: object) -> World:
    """All nodes in one ring, all acknowledged."""
    world = World(nodes, **settings)  # type: ignore[arg-type]
    world.ring(RingId(1, 8), *world.clients)
    world.wait(0.1)
    return world
