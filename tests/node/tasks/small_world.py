"""Tasks alone: the real parts of leader and node around an idea of a log, a hundred times as fast as whole nodes.

The log is given: who leads holds a lease until its successor begins, what it proposed is committed, or lost with its
leadership, or committed by its successor; nodes read it late, and a daemon that was started anew reads it again from
some place before. Messages are lost, late, doubled; hosts crash, stand still, are cut off. One seed makes everything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any

from qluster.clients import Done, Refused
from qluster.cluster import commands
from qluster.cluster.messages import Granted, Working
from qluster.cluster.messages import encode as encode_message
from qluster.cluster.state import State, decode, encode
from qluster.consensus.members import Member, Members
from qluster.consensus.refusals import Overloaded, TooLarge
from qluster.events import Answer, Entry, TasksHeard
from qluster.tasking import Tasking as NodeTasking
from qluster.transport.limits import LinkSettings
from sim.runner import SimRunner
from sim.tasks import Tasking
from sim.world import configuration

LEASE, PROMISE = 1.5, 2.0
"""Seconds from the last contact with a majority: a leader acts so long, and nobody else leads for so long."""
MESSAGE_LIMIT = LinkSettings().message_limit
HOSTS = 4
WAKES_MAX = 100


class SmallNode:
    """As much of a node as its tasks look at."""

    def __init__(self, host: SmallHost, state: State) -> None:
        world = host.world
        self.host, self.config, self.me, self.cluster = host, host.config, host.number, 1
        self.state, self.settled, self.stopping = state, world.members, False
        knows = SimpleNamespace(tasks=True, database=None)
        self.reports = SimpleNamespace(last=lambda number: knows, said=None, wall_of=self._wall_of)
        self.started, self.boot = host.clock(), host.boots
        self.set_clock()
        self.settled_at = -inf
        self.qraft: Any = self
        self.tasking = NodeTasking(self)  # type: ignore[arg-type]

    def _wall_of(self, number: int, now: float) -> float | None:
        """By its last report, which is as good as new."""
        other = self.host.world.hosts[f"10.0.0.{number}"]
        reaches = other.node is not None and self.host.world.connected(other, self.host)
        return other.node.wall(other.clock()) if reaches and other.node is not None else None

    def set_clock(self) -> None:
        """Somebody says what the wall clock says."""
        self._ahead = 1e9 + self.host.world.now + self.host.wrong - self.host.clock()

    @property
    def leader(self) -> int | None:
        world = self.host.world
        reaches = world.head is not None and (self.host is world.head or world.connected(world.head, self.host))
        return world.head.number if reaches and world.head is not None else None

    @property
    def role(self) -> str:
        return "leader" if self.leads else "follower"

    @property
    def term(self) -> int:
        return self.host.world.term

    @property
    def leads(self) -> bool:
        world = self.host.world
        return world.head is self.host and self.state.applied >= world.ready_at

    @property
    def lease_until(self) -> float:
        return self.host.local(self.host.world.contact + LEASE) if self.leads else -inf

    def propose(self, kind: str, payload: bytes, now: float, *, urgent: bool = False) -> tuple[int, int]:
        if len(payload) > self.config.udp.max_log_size:
            raise TooLarge(f"{len(payload)} bytes")
        return self.host.world.propose(payload)

    def wall(self, now: float) -> float:
        return now + self._ahead

    def monotonic_of(self, wall: float) -> float:
        return wall - self._ahead

    def address(self, number: int) -> tuple[str, int]:
        return self.host.world.members.get(number).ip, 1  # type: ignore[union-attr]

    def tell(self, message: Any, to: tuple[str, int], now: float) -> None:
        self.host.world.send(self.host, message, to[0])

    def take(self, event: Any, now: float) -> None:
        match event:
            case TasksHeard(what):
                self.tasking.heard(what, now)
            case Working():
                self.tasking.dispatching.receive(event, now)
            case Granted():
                self.tasking.workload.granted(event, now)
            case Entry():
                if event.index == self.state.applied + 1:
                    self.state.perform(event, commands.decode(event.payload))
            case None:
                pass
            case _ if hasattr(event, "consistency"):
                self.tasking.looked(event, now)
            case _:
                self.host.world.ask(self, event, now)

    def settle(self, now: float) -> float:
        self.settled_at = now
        for _ in range(16):
            if not self.tasking.step(now):
                break
        return self.tasking.due_at


class SmallHost:
    """A host with its daemon; the task runner is that of the whole simulator."""

    def __init__(self, world: SmallWorld, number: int) -> None:
        self.world, self.number = world, number
        self.config = self.proper = configuration(number, number == HOSTS)
        self.ip, self.name, self.database = self.config.ip, f"host{number}", None if number == HOSTS else "there"
        self.node: SmallNode | None = None
        self.runner: SimRunner | None = None
        self.frozen_until, self.host_frozen = -inf, False
        self.slept, self._fell_asleep = 0.0, inf
        """Seconds for which it slept, by its own clock, and since when it does."""
        self.boots = 0
        self.wrong = 0.0
        """Seconds by which its wall clock is wrong."""
        self.clock_rate, self.clock_offset = world.random.uniform(0.97, 1.03), world.random.uniform(-900.0, 900.0)
        self._wake_at = inf
        self._wakes, self._second = 0, 0.0
        self._waiting: list[Any] = []

    def clock(self) -> float:
        return self.local(self.world.now)

    def local(self, at: float) -> float:
        return at * self.clock_rate + self.clock_offset

    def world_time(self, local: float) -> float:
        return (local - self.clock_offset) / self.clock_rate

    def awake_at(self, local: float) -> float:
        return local - self.slept

    @property
    def frozen(self) -> bool:
        return self.world.now < self.frozen_until

    def start(self) -> None:
        """The daemon starts, with what it has read of the log by some moment before."""
        if self.node is not None:
            return
        self.boots += 1
        place = self.world.random.choice([0.0, 0.5, 0.9, 1.0])
        self.node = SmallNode(self, self.world.state_at(int(place * self.world.length)))
        if self.runner is not None:
            self.runner.connect(self.node)  # type: ignore[arg-type]
        late = self.world.random.uniform(0.0, self.world.behind)
        self.world.at(self.world.now + late, lambda: self.world.feed(self))
        self.give(None)

    def crash(self, *, power: bool = False) -> None:
        """The daemon, or the whole host, is gone."""
        still = self.host_frozen and self.frozen
        self._awake()
        self.frozen_until, self.node, self._wake_at = -inf, None, inf
        self._waiting.clear()
        if self.world.head is self:
            self.world.head, self.world.ready_at = None, 1 << 60
        if self.runner is not None:
            if still:
                self.runner.thawed()
            if power:
                self.runner.power_lost()
        self.world.at(self.world.now + self.world.random.choice([0.2, 2.0, 8.0, 20.0]), self.start)

    def freeze(self, seconds: float, *, whole: bool, asleep: bool = False) -> None:
        """It stands still; ``asleep``: and so does the clock of its runner."""
        if not self.frozen:
            self.frozen_until, self.host_frozen = self.world.now + seconds, whole
            self._fell_asleep = self.world.now if asleep else inf
            self.world.at(self.frozen_until, self._thaw)

    def _awake(self) -> None:
        """The clock of the runner goes on from where it stood."""
        seconds, self._fell_asleep = max(0.0, self.world.now - self._fell_asleep), inf
        self.slept += seconds * self.clock_rate

    def _thaw(self) -> None:
        if self.frozen:
            return
        self._awake()
        if self.host_frozen and self.runner is not None:
            self.runner.thawed()
        self.host_frozen = False
        self.give(None)

    def give(self, event: Any) -> None:
        """An event for the daemon."""
        if self.node is None:
            return
        self._waiting.append(event)
        if not self.frozen:
            self._turn(self.node)

    def _turn(self, node: SmallNode) -> None:
        """What waits; of much only the first, as of a flood of datagrams: the rest has its turn in a moment."""
        some = len(self._waiting)
        if some > 2 and self.world.random.random() < 0.3:
            some = self.world.random.randint(1, some - 1)
            self.world.at(self.world.now + self.world.random.choice([0.0, 0.2]), lambda: self.give(None))
        now, events, self._waiting = self.clock(), self._waiting[:some], self._waiting[some:]
        for event in events:
            node.take(event, now)
        wake = node.settle(now)
        if self.runner is not None:
            self.runner.ordered(node, node.tasking.take())  # type: ignore[arg-type]
        self.world.tasks.board.after_turn(self, node)  # type: ignore[arg-type]
        at = max(self.world_time(wake), self.world.now + 0.0005) if wake < inf else inf
        if at != self._wake_at and wake < inf:
            self.world.at(at, lambda: self._wake(at))
        self._wake_at = at

    def _wake(self, at: float) -> None:
        if at != self._wake_at or self.node is None:
            return
        if self.world.now >= self._second + 1.0:
            self._wakes, self._second = 0, self.world.now
        self._wakes += 1
        assert self._wakes <= WAKES_MAX, f"{self.name} wakes more than {WAKES_MAX} times a second"
        self._wake_at = inf
        self.give(None)


class SmallWorld:
    """Everything, and its clock."""

    def __init__(self, seed: int) -> None:
        self.seed, self.now = seed, 1000.0
        self.random = Random(f"small {seed}")
        self.loss, self.late = self.random.choice([0.0, 0.05, 0.3]), self.random.choice([0.0, 0.0, 0.02])
        self.slow = self.random.choice([0.001, 0.001, 0.05, 0.4, 1.0])
        """Seconds that a commit takes."""
        self.behind = self.random.choice([0.0, 0.0, 3.0])
        """Seconds that who comes back needs at most before it reads the log again."""
        self.refusal = 0.03
        """Chance that a runner does not begin what it is told to."""
        self.cut: set[str] = set()
        self.injected: dict[str, int] = {}
        self.story: list[str] = []
        self._order, self._queue = itertools.count(), list[tuple[float, int, Callable[[], None]]]()
        self.checks = SimpleNamespace(committed={})
        self.length = 0
        self._states: list[bytes] = [encode(State())]
        self.head: SmallHost | None = None
        self.term, self.ready_at, self.contact, self._unlit = 0, 0, -inf, -inf
        self._pending: list[tuple[bytes, list[Callable[[int, Any], None]]]] = []
        self._fed: dict[str, int] = {}
        self.members = Members(tuple(
            Member(number, number, f"10.0.0.{number}", 1, 1, None if number == HOSTS else 5432, number != HOSTS,
                   "listener" if number == HOSTS else "node", number == HOSTS) for number in range(1, HOSTS + 1)
        ))  # fmt: skip
        self.hosts = {f"10.0.0.{number}": SmallHost(self, number) for number in range(1, HOSTS + 1)}
        self.tasks = Tasking(self)  # type: ignore[arg-type]
        for host in self.hosts.values():
            host.start()
        self._agree()

    # --- time --------------------------------------------------------------------------

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._queue, (time, next(self._order), what))

    def run(self, seconds: float, until: Callable[[], bool] | None = None, every: float = 0.25) -> bool:
        """Let time pass."""
        end, ask_at = self.now + seconds, self.now
        while self._queue and self._queue[0][0] < end:
            if until is not None and self.now >= ask_at:
                ask_at = self.now + every
                if until():
                    return True
            time, _, what = heapq.heappop(self._queue)
            self.now = max(self.now, time)
            what()
        self.now = end
        return until is None or until()

    def tell(self, line: str) -> None:
        self.story.append(f"{self.now - 1000:9.3f} {line}")

    def count(self, name: str, *, fault: bool = True) -> None:
        self.injected[name] = self.injected.get(name, 0) + 1

    def leader(self) -> SmallHost | None:
        return self.head if self.head is not None and self.head.node is not None else None

    # --- the log ----------------------------------------------------------------------

    def connected(self, one: SmallHost, other: SmallHost) -> bool:
        return one is other or not ({one.ip, other.ip} & self.cut)

    def voters(self, host: SmallHost) -> list[SmallHost]:
        return [one for one in self.hosts.values() if one.database and one.node is not None and not one.frozen
                and self.connected(host, one)]  # fmt: skip

    def _agree(self) -> None:
        """Heartbeats and elections."""
        head = self.head
        if head is not None and head in self.voters(head) and len(self.voters(head)) > 1:
            self.contact = self.now
        elif head is not None and self.now > self.contact + LEASE and (head.node is None or not head.frozen):
            self._lose(head)
        if self.now > self.contact + PROMISE * 1.1:
            able = [one for one in self.hosts.values() if one in self.voters(one) and len(self.voters(one)) > 1]
            if able:
                self.elect(self.random.choice(able))
        self.at(self.now + self.random.uniform(0.1, 0.3), self._agree)

    def elect(self, host: SmallHost) -> None:
        former = self.head
        if former is not None:
            self._lose(former)
        self.head, self.term, self.contact = host, self.term + 1, self.now
        self._pending = self._pending[: self.random.randint(0, len(self._pending))]  # what it has of its predecessor's
        self._pending = [(payload, []) for payload, _ in self._pending]
        reign = commands.Reign(self.term, host.number, self.term, 1, 0, 7)
        self.ready_at = self.length + len(self._pending) + 1
        self.tell(f"{host.name} leads term {self.term}")
        for _ in self._pending:
            self.at(self.now + self.slow, lambda term=self.term: self._commit(term))  # type: ignore[misc]
        self.propose(commands.encode(reign))
        if former is not None:
            former.give(None)

    def _lose(self, head: SmallHost) -> None:
        self.head, self.ready_at = None, 1 << 60
        head.give(None)

    def propose(self, payload: bytes, then: Callable[[int, Any], None] | None = None) -> tuple[int, int]:
        """Put it behind what waits."""
        if len(self._pending) > 64:
            raise Overloaded("too many wait")
        self._pending.append((payload, [then] if then is not None else []))
        term = self.term
        self.at(self.now + self.slow * self.random.uniform(0.5, 1.5), lambda: self._commit(term))
        return self.length + len(self._pending), self.term

    def _commit(self, term: int) -> None:
        """The leader has it on a majority, or tries again."""
        if term != self.term or not self._pending:
            return
        if self.head is None or self.head.frozen or self.now > self.contact + 0.3:
            self.at(self.now + 0.3, lambda: self._commit(term))
            return
        payload, told = self._pending.pop(0)
        self.length += 1
        entry = Entry(self.length, term, "command", payload)
        self.checks.committed[1, self.length] = entry
        state = decode(self._states[-1])
        outcome = state.perform(entry, commands.decode(payload))
        self._states.append(encode(state))
        index = self.length
        for host in self.hosts.values():
            if host is self.head:
                self.feed(host)
            elif host.node is not None and host.node.state.applied == index - 1:
                self.at(self.now + self.random.choice([0.001, 0.01, 0.3]), lambda host=host: self.feed(host))  # type: ignore[misc]
        for each in told:
            each(index, outcome)

    def feed(self, host: SmallHost) -> None:
        """It reads what is committed, as long as somebody tells it."""
        if self.head is None or host.node is None or not self.connected(self.head, host) or self.head.frozen:
            if host.node is not None:
                late = self.random.uniform(0.0, self.behind) if self.behind else 0.5
                self.at(self.now + late + 0.1, lambda: self.feed(host))
            return
        for index in range(host.node.state.applied + 1, self.length + 1):
            host.give(self.checks.committed[1, index])
            if host.node is None or host.node.state.applied < index:
                self.at(self.now + 0.5, lambda: self.feed(host))
                return

    def state_at(self, index: int) -> State:
        """As it stood after this entry."""
        return decode(self._states[index])

    def ask(self, node: SmallNode, request: Any, now: float) -> None:
        """A client asks."""
        if not node.leads:
            return
        body = node.tasking.asked(request, now)
        if isinstance(body, Done | Refused) or not isinstance(body, commands.Body):
            self._answer(node, request.ticket, body)
            return
        payload = commands.encode(body, request.key, b"12345678" if request.key else b"")

        def told(index: int, outcome: Any) -> None:
            # The answer is given when this node has applied the entry, as a leader has.
            if node.state.applied >= index:
                self._answer(node, request.ticket, outcome or Done(index, {}))

        try:
            self.propose(payload, told)
        except Overloaded:
            return

    def _answer(self, node: SmallNode, ticket: int, outcome: Any) -> None:
        self.tasks.after_turn(node.host, node, SimpleNamespace(answer=[Answer(ticket, outcome)]))  # type: ignore[arg-type]

    # --- messages ----------------------------------------------------------------------

    def send(self, host: SmallHost, message: Any, ip: str) -> None:
        """To one host."""
        size = len(encode_message(message))
        assert size <= MESSAGE_LIMIT, f"a message of {size} bytes would end the daemon of {host.name}"
        other, random = self.hosts[ip], self.random
        for _ in range(1 + (random.random() < 0.05)):
            if random.random() >= self.loss:
                delay = random.uniform(0.1, 9.0) if random.random() < self.late else random.uniform(0.0002, 0.05)
                self.at(self.now + delay, lambda: self._arrive(host, other, message))

    def _arrive(self, host: SmallHost, other: SmallHost, message: Any) -> None:
        if self.connected(host, other):
            other.give(message)
