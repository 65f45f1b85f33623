"""The arbiter of a simulated cluster on the wire: production client, protocol and arbiter, simulated connections.

Bytes are late, come in pieces and stand still while a link is cut; a connection dies with either end, and the other end
learns that late or from its own time-outs. The arbiter answers when what it keeps is durable, as its driver has it; it
dies with that under way, and comes back with what was durable, or with another memory where its disk was lost.
Clocks, weather and the rules that are checked are those of the worlds without a wire.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING

from config.test_device_section import config as device_config
from consensus import arbiter
from consensus.world import CLUSTER, World
from msgspec.structs import replace
from qluster.consulting import Consulting
from qluster.events import DeviceAnswered, DeviceQuestion, DeviceShown
from qluster.qdevice.orders import Came, Close, Ended, Happening, Open, Opened, Order, Say
from qluster.qnet import output
from qluster.qnet.arbiter import Arbiter as Server
from qluster.qnet.memories import Key, Memories
from qluster.qnet.memory import Kept
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import Settings
from qluster.votes.information import Ring

if TYPE_CHECKING:
    from consensus.world import Host
    from qluster.consensus.qraft import QRaft

NAME = b"qlab"
KEY: Key = (NAME, CLUSTER)
NODES = range(1, 10)


@dataclass(slots=True)
class Line:
    """One TCP connection. ``up``, ``down``: bytes on their way to the arbiter, and to the node."""

    number: int
    link: Link
    attempt: int
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    of_client: bool = True
    """The node's end is open."""
    of_server: bool = True
    """The arbiter's end is open."""


class Link:
    """What one daemon has of the arbiter, for as long as it lives."""

    def __init__(self, host: Host, qraft: QRaft, random: Random) -> None:
        device = replace(device_config("tls: off").device, timeout=0.5, sync_timeout=1.0)  # type: ignore[type-var]
        self.host, self.qraft = host, qraft
        self.consulting = Consulting(device, NAME.decode(), random)
        self.woken_at = inf
        self.given: deque[Happening] = deque()
        """What happened while the daemon stood still."""

    @property
    def lives(self) -> bool:
        return self.host.qraft is self.qraft


class Arbiter(arbiter.Arbiter):
    """One arbiter, and its connections."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, seed)
        self.disk: dict[Key, Kept] = {}
        self._server: Server | None = None
        self._memories: Memories | None = None
        self._links: dict[int, Link] = {}
        self._lines: dict[int, Line] = {}
        self._waiting: deque[output.Effect] = deque()
        self._saving = False
        self._life = 0
        """Which of its lives this is."""
        self._numbers = 0
        self._server_at = inf
        self.counts |= {"connections": 0, "refused": 0, "pieces": 0}
        self._begin()

    @property
    def uid(self) -> int:
        kept = self._memories.kept(KEY) if self._memories is not None else self.disk.get(KEY)
        return kept.uid if kept is not None else 0

    def has_seen(self, uid: int, index: int, term: int) -> bool:
        last_term, newest = self._seen.get(uid, (0, 0))
        return last_term > term or (last_term == term and newest >= index)

    # --- nodes ------------------------------------------------------------------

    def connect(self, host: Host) -> None:
        """A daemon has started."""
        former = self._links.get(host.node)
        if host.qraft is None or (former is not None and former.lives):
            return
        self._bury(host.node)
        link = self._links[host.node] = Link(host, host.qraft, Random(self._random.random()))
        link.consulting.membership(Ring(1, 8 + 4 * self._numbers), NODES, self._time(link))
        self._later_of(link, 0.0, lambda: self._step(link))

    def asked(self, host: Host, question: DeviceQuestion) -> None:
        link = self._links[host.node]
        assert link.lives
        link.consulting.ask([question], self._time(link))
        self._orders(link)

    def _time(self, link: Link) -> float:
        return link.host.clock(self._world.now)

    def _step(self, link: Link) -> None:
        """Time has come, or something has changed: as a node settles."""
        if self._stands_still(link):
            return
        link.woken_at = inf
        while link.given and link.lives:
            self._happens(link, link.given.popleft())
        me = link.qraft._me
        voters = me.membership.at(link.host.applied).voters
        link.consulting.step(link.host.node, voters, CLUSTER, self._time(link))
        self._settle(link)

    def _stands_still(self, link: Link) -> bool:
        if not link.lives:
            return True
        until = link.host.hung_until
        if self._world.now < until:
            self._world.at(until + 1e-4, lambda: self._step(link))
            return True
        return False

    def _happened(self, link: Link, what: Happening) -> None:
        if link.lives:
            link.given.append(what)
            self._step(link)

    def _happens(self, link: Link, what: Happening) -> None:
        link.consulting.handle(what, self._time(link))
        self._settle(link)

    def _settle(self, link: Link) -> None:
        self._orders(link)
        for word in link.consulting.words():
            if link.lives:
                self.counts["votes"] += isinstance(word, DeviceAnswered) and word.granted
                self.counts["shown"] += isinstance(word, DeviceShown) and word.index > 0
                link.qraft.hear_device(word, self._time(link))
        if link.lives:
            self._world.perform(link.host)
        if link.lives:
            self._arm(link)

    def _orders(self, link: Link) -> None:
        for order in link.consulting.take():
            self._perform(link, order)
        link.consulting.polls()
        self._arm(link)

    def _arm(self, link: Link) -> None:
        offset, rate = link.host.clock_offset, link.host.clock_rate
        # Who may vote is looked at again and again.
        due = min((link.consulting.wake_at - offset) / rate, self._world.now + 0.1)
        if due < link.woken_at:
            link.woken_at = due
            self._world.at(max(due, self._world.now) + 1e-5, lambda: self._step(link) if due == link.woken_at else None)

    def _later_of(self, link: Link, seconds: float, what: Callable[[], None]) -> None:
        self._world.at(self._world.now + seconds, lambda: what() if link.lives else None)

    # --- connections ------------------------------------------------------------

    def _perform(self, link: Link, order: Order) -> None:
        match order:
            case Open(attempt):
                self._later_of(link, self._delay(), lambda: self._opened(link, attempt))
            case Say(attempt, data):
                for line in self._lines_of(link):
                    assert line.attempt == attempt, "one connection at a time"
                    line.up += data
                    self._move(line, up=True)
            case Close(attempt):
                for line in self._lines_of(link):
                    self._end_client(line)

    def _opened(self, link: Link, attempt: int) -> None:
        reached = link.host.node not in self._deaf | self._dumb
        if not reached:
            return  # the client gives up by itself
        if self._server is None:
            self._happened(link, Ended(attempt, "connection refused"))
            return
        self._numbers += 1
        self.counts["connections"] += 1
        line = self._lines[self._numbers] = Line(self._numbers, link, attempt)
        self._server.connected(line.number, f"192.0.2.{link.host.node}:{40000 + line.number}", self.clock())
        self._effects()
        self._happened(link, Opened(attempt))

    def _lines_of(self, link: Link) -> list[Line]:
        return [line for line in self._lines.values() if line.link is link and line.of_client]

    def _move(self, line: Line, up: bool) -> None:
        """A piece of what is on its way arrives after a while; what stands still is looked at again."""
        self._world.at(self._world.now + self._delay(), lambda: self._arrive_at(line, up))

    def _arrive_at(self, line: Line, up: bool) -> None:
        buffer, away = (line.up, self._deaf) if up else (line.down, self._dumb)
        if not buffer or not (line.of_server if up else line.of_client):
            return
        if line.link.host.node in away:
            self._world.at(self._world.now + 0.02, lambda: self._arrive_at(line, up))
            return
        whole = self._random.random() < 0.7
        size = len(buffer) if whole else self._random.randint(1, len(buffer))
        piece = bytes(buffer[:size])
        del buffer[:size]
        if buffer:
            self.counts["pieces"] += 1
            self._move(line, up)
        if not up:
            self._happened(line.link, Came(line.attempt, piece))
        elif self._server is not None:
            self._hears(line, piece)

    def _hears(self, line: Line, piece: bytes) -> None:
        assert self._server is not None
        faults = self._world.faults
        if faults.crash and self._random.random() < faults.crash * self.storm.dies * 20:
            self._server.received(line.number, piece, self.clock())
            self._effects()
            self.crash()
            return
        self._server.received(line.number, piece, self.clock())
        self._effects()

    def _end_client(self, line: Line) -> None:
        """The node's end is closed; the arbiter hears of it where the link lets it."""
        line.of_client = False
        line.down.clear()
        if line.of_server:
            self._world.at(self._world.now + self._delay(), lambda: self._end_heard(line))

    def _end_heard(self, line: Line) -> None:
        if not line.of_server or line.link.host.node in self._deaf:
            return  # its own time-out is to find out
        if line.up:
            self._arrive_at(line, up=True)
            self._world.at(self._world.now + 0.001, lambda: self._end_heard(line))
            return
        line.of_server = False
        if self._server is not None:
            self._server.closed(line.number, self.clock())
            self._effects()

    def _bury(self, node: int) -> None:
        """A daemon is gone: its host closes what it had, or is gone as well."""
        link = self._links.get(node)
        for line in self._lines_of(link) if link is not None else ():
            if self._random.random() < 0.7:
                self._end_client(line)
            else:
                line.of_client = False

    def _end_server(self, line: Line, reason: str, flush: bool) -> None:
        """The arbiter's end is closed; the node hears of it where the link lets it."""
        line.of_server = False
        line.up.clear()
        if not flush:
            del line.down[self._random.randint(0, len(line.down)) :]
        self._world.at(self._world.now + self._random.uniform(0.0, 0.2), lambda: self._end_told(line, reason))

    def _end_told(self, line: Line, reason: str) -> None:
        if not line.of_client or line.link.host.node in self._dumb:
            return
        if line.down:
            self._arrive_at(line, up=False)
            self._world.at(self._world.now + 0.001, lambda: self._end_told(line, reason))
            return
        line.of_client = False
        self._happened(line.link, Ended(line.attempt, reason))

    # --- the arbiter ------------------------------------------------------------

    def _begin(self) -> None:
        self._life += 1
        self._memories = Memories(self.load_all(), Random(self._random.random()), self.clock())
        self._server = Server(Settings(tls=TlsSupported.UNSUPPORTED), self._memories)
        self._waiting.clear()
        self._saving = False
        self._server_at = inf

    def load_all(self) -> dict[Key, Kept]:
        """What is on its disk, read at a start."""
        return dict(self.disk)

    def _effects(self) -> None:
        """As the driver performs them: behind what is to be kept everything waits."""
        if self._server is None:
            return
        self._waiting.extend(self._server.take())
        while self._waiting and not self._saving:
            if isinstance(self._waiting[0], output.Keep):
                self._save()
            else:
                self._do(self._waiting.popleft())
        wake_at = (self._server.wake_at - 7.0) / self._rate
        if wake_at < self._server_at:
            self._server_at = wake_at
            life = self._life
            self._world.at(max(wake_at, self._world.now) + 1e-5, lambda: self._wake(life, wake_at))

    def _wake(self, life: int, at: float) -> None:
        if self._server is not None and life == self._life and at == self._server_at:
            self._server_at = inf
            self._server.tick(self.clock())
            self._effects()

    def _save(self) -> None:
        keeps = {one.key: one.kept for one in self._waiting if isinstance(one, output.Keep)}
        others = [one for one in self._waiting if not isinstance(one, output.Keep)]
        self._waiting = deque(others)
        self._saving = True
        self._world.at(self._world.now + self._random.uniform(0.0, 0.004), partial(self._saved, self._life, keeps))

    def _saved(self, life: int, keeps: dict[Key, Kept]) -> None:
        if life != self._life:
            return
        self.disk.update(keeps)
        for kept in keeps.values():
            self._keep(kept)
        self._saving = False
        self._effects()

    def _do(self, effect: output.Effect) -> None:
        match effect:
            case output.Send(number, data):
                line = self._lines[number]
                line.down += self.tamper(data)
                self._move(line, up=False)
            case output.Close(number, reason):
                self._end_server(self._lines[number], reason, flush=True)
            case output.Happened(word, _):
                self.counts["refused"] += word is output.Word.REFUSED

    def tamper(self, data: bytes) -> bytes:
        """What it sends in place of this message."""
        return data

    def crash(self, *, lost: bool = False, down: float = 0.0) -> None:
        if self._server is None:
            return
        self.counts["crash"] += 1
        self._server, self._memories, self.memory = None, None, None
        self._life += 1
        if lost:
            self.counts["lost"] += 1
            self.disk = {}
        for line in self._lines.values():
            if line.of_server:
                self._end_server(line, "the connection was reset", flush=False)
        self._world.at(self._world.now + (down or self._random.uniform(0.01, 0.8)), self.start)

    def start(self) -> None:
        if self._server is None:
            self._begin()
            self.memory = self.load()

    def heal(self) -> None:
        self._deaf, self._dumb, self._aimed = set(), set(), False
        self.start()

    def _lose_link(self, node: int) -> None:
        """A middlebox resets it for both."""
        for line in self._lines_of(self._links[node]) if node in self._links else ():
            line.of_client = False
            self._happened(line.link, Ended(line.attempt, "the connection was reset"))


class WireWorld(World):
    """Participants that speak with their arbiter by its protocol."""

    make_arbiter = Arbiter
