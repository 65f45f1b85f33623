"""Many simulated days of participants of QRaft: time, messages, saves, and jumps over spans in which nothing happens.

Must not know which faults come when (storms.py) nor what clients ask (clients.py).
Events happen one at a time in the order of their time; one seed makes everything.
Messages are handed over as they are: they are immutable. A part of them goes through its bytes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import heapq
from collections.abc import Callable
from math import ceil, inf
from random import Random
from typing import Any

from msgspec.structs import replace
from qluster.consensus.members import LEVEL_MAX, Members
from qluster.consensus.messages import AnyMessage, Append, AppendReply, decode, encode
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import Settings
from qluster.events import Entry, SaveSnapshot, SaveVote
from qluster.holding import unbound
from swarm.host import CLUSTER, Chance, Host, blank, copied
from swarm.quiet import GRAIN, LONG_AGO, LOOKED_BACK, digest, on_grid, shift
from swarm.registers import Registers
from swarm.rules import Rules, Violated
from swarm.weather import Counts, Weather, member

SPINS_MAX = 50
"""Timers of one node at one moment of time."""

FLOOD_EVENTS = 8192
FLOOD_SECONDS = 2.0
"""Nine busy nodes need a minute for so many messages."""

DIGESTS_MAX = 10
"""A cluster that has come through a storm needs some rounds until all is as it was."""

NUMBERS_MAX = 1000
"""More than any run gives to nodes."""

SETTLING = max(LOOKED_BACK.values())
"""Seconds: nothing looks the same as before while the last answers age."""

BYTES_EVERY = 64
"""Of so many messages one is encoded and decoded on its way."""


SNAPSHOT_CRASHES = 15.0
"""Saves of snapshots are rare, and power is lost so much more often in them."""


class World:
    """A cluster, its network and its clock."""

    def __init__(self, seed: int, nodes: int, listeners: int, settings: Settings, votes: tuple[int, ...] = ()) -> None:
        """``votes``: of the first nodes; where there are some, all members say that they count them."""
        self.seed = seed
        self.random = Random(seed)
        self.settings = settings
        self._votes = votes
        self.now = 0.0
        self.weather = Weather()
        self.calm = False
        self.cut: set[tuple[int, int]] = set()
        self.hosts: dict[int, Host] = {}
        self.gone: list[Host] = []
        """Hosts whose state is lost: what they confirmed before still counts for whoever heard it."""
        self.rules = Rules(self)
        self.counts = Counts()
        self.story: list[str] = []
        self.clients: Any = None
        self.sends_first = False
        """A planted fault: what waits for a save does not wait."""
        self.jumps = True
        """Whether quiet spans are jumped over."""
        self.flying = 0
        self.compaction = 0
        """A snapshot is taken after so many entries; 0: never."""
        self._queue: list[tuple[float, int, int, Any]] = []
        """Messages (host's number and message) and timers (host's number and None)."""
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._flood_since = -1.0
        self._leading: dict[int, Host] = {}
        self._digests: dict[object, tuple[float, int]] = {}
        self._look_again_at = 0.0
        first = self._first_list(nodes, listeners)
        for one in first:
            entries = [Entry(1, 1, "members", first.encode())]
            self.add(one.node, one.role, entries)
        self.next_node = nodes + listeners + 1

    def _first_list(self, nodes: int, listeners: int) -> Members:
        rule = self.settings.quorum_replication, self.settings.replication_factor
        members = [member(node) for node in range(1, nodes + 1)]
        for place, count in enumerate(self._votes):
            members[place] = replace(members[place], votes=count)
        members += [member(nodes + place, False, "listener") for place in range(1, listeners + 1)]
        return Members(tuple(members), *rule, configured=nodes)

    def add(self, node: int, role: str, entries: list[Entry]) -> Host:
        """A host with this number; it runs."""
        host = Host(node, blank(node, entries), Chance(self.random.getrandbits(32)), role)
        host.local = on_grid(self.random.uniform(0, 1000.0))
        host.since = self.now
        host.joining = not entries
        self.hosts[node] = host
        if entries:
            self.start(host)
        return host

    # --- time ----------------------------------------------------------------------------

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self._order += 1
        heapq.heappush(self._calls, (self.now + on_grid(seconds), self._order, what))

    def run(self, until: float) -> None:
        """Let time pass."""
        assert until == on_grid(until), f"{until} is not on the grid of times"
        queue, calls, began, skipped = self._queue, self._calls, self.now, self.counts.skipped
        while True:
            call_at = calls[0][0] if calls else inf
            if queue and queue[0][0] < call_at:
                if queue[0][0] > until:
                    break
                self.now, _, node, message = heapq.heappop(queue)
                self.counts.events += 1
                if self.counts.events % FLOOD_EVENTS == 0:
                    self._look_for_flood()
                if message is None:
                    self._timer(node, min(call_at, until))
                else:
                    self.flying -= 1
                    self._arrive(node, message)
            elif call_at <= until:
                self.now, _, what = heapq.heappop(calls)
                self.disturbed()
                what()
            else:
                break
        self.now = until
        self.counts.stepped += until - began - (self.counts.skipped - skipped)

    def _look_for_flood(self) -> None:
        """Law 6: nobody sends without end."""
        if self.now < self._flood_since + FLOOD_SECONDS:
            raise Violated(f"law 6: {FLOOD_EVENTS} messages in {self.now - self._flood_since:.2f}s")
        self._flood_since = self.now

    def _timer(self, node: int, limit: float) -> None:
        host = self.hosts.get(node)
        if host is None or host.wake != self.now:
            return
        host.wake = -1.0
        if host.qraft is None:
            return
        if self.now < host.hung_until:
            self._wake(host, host.hung_until)
            return
        due = host.world_time(host.qraft.wake_at)
        if due > self.now:
            self._wake(host, due)
            return
        quiet = self.calm and self.jumps and not self.flying and self.now >= self._look_again_at
        if quiet and host.qraft._office is not None:
            self._jump(host, limit)
        host.qraft.tick(host.clock(self.now))
        host.spins += 1
        if host.spins > SPINS_MAX:
            raise Violated(f"liveness: node {node} wants to be woken again and again at {self.now}")
        self.perform(host)

    def _wake(self, host: Host, at: float) -> None:
        if 0 <= host.wake <= at:
            return
        if at > self.now:
            host.spins = 0
        host.wake = max(at, self.now)
        self._order += 1
        heapq.heappush(self._queue, (host.wake, self._order, host.node, None))

    def set_timer(self, host: Host) -> None:
        """As its participant wants to be woken."""
        assert host.qraft is not None
        wake_at = host.qraft.wake_at
        if wake_at < inf:
            self._wake(host, host.world_time(wake_at))

    # --- quiet spans ---------------------------------------------------------------------

    def disturbed(self) -> None:
        """Something came from outside: what was seen before it says nothing any more."""
        self._digests.clear()
        self._look_again_at = self.now + SETTLING

    def _jump(self, leader: Host, limit: float) -> None:
        """When all is as some rounds before, go on to the last such moment before anything comes from outside."""
        assert leader.qraft is not None and leader.qraft._office is not None
        number = leader.qraft._office.rounds.newest.number
        found = self.digest()
        if found is None:
            return
        before = self._digests.get(found)
        if before is None:
            if len(self._digests) >= DIGESTS_MAX:
                self._digests.clear()
                self._look_again_at = self.now + LONG_AGO
            self._digests[found] = self.now, number
            return
        self._digests.clear()
        span, rounds = self.now - before[0], number - before[1]
        times = ceil((limit - self.now) / span) - 1 if limit < inf else 0
        if times < 1:
            self._look_again_at = limit
            return
        self._pass_over(times * span, times * rounds)
        self.counts.jumps += 1
        self._look_again_at = limit

    def _pass_over(self, seconds: float, rounds: int) -> None:
        for host in self.hosts.values():
            if host.qraft is not None:
                shift(host.qraft, seconds, rounds, host.clock(self.now))
        self.now += seconds
        self.counts.skipped += seconds
        self._queue.clear()
        for host in self.hosts.values():
            host.wake = -1.0
            if host.qraft is not None:
                self.set_timer(host)

    def digest(self) -> object | None:
        """All that decides what will happen, relative to now; None when somebody is not at rest."""
        hosts = [host for _, host in sorted(self.hosts.items()) if host.qraft is not None]
        for host in hosts:
            at_rest = host.rate == 1.0 and host.hung_until <= self.now and not host.saving
            if not at_rest or host.holding.waiting:
                return None
        return tuple((host.node, digest(host.qraft, host.clock(self.now))) for host in hosts if host.qraft is not None)

    # --- hosts ---------------------------------------------------------------------------

    def start(self, host: Host) -> None:
        """The daemon starts from what is durable."""
        saved = host.saved
        host.qraft = QRaft(host.node, self.settings, copied(saved), host.chance, host.clock(self.now))
        if self._votes:
            host.qraft._me.levels = dict.fromkeys(range(1, NUMBERS_MAX), LEVEL_MAX)
        host.read_anew()
        host.promised = saved.term, saved.vote
        self.rules.started(host)
        host.joining = False
        host.holding, host.saving, host.busy = type(host.holding)(), [], False
        host.applied = host.commit = saved.snapshot.index if saved.snapshot else 0
        host.registers = Registers.decode(saved.snapshot.state) if saved.snapshot else Registers()
        self.tell(f"node {host.node} starts at {host.last_index}, term {saved.term}")
        self.perform(host)

    def crash(self, host: Host, stays: bool = False) -> None:
        """All that is not durable is gone, and what a disk only said that it had."""
        self.tell(f"node {host.node} crashes")
        self.counts.crashes += 1
        self._tear(host)
        if host.lose_power():
            self.counts.faults["tail lost by a lying disk"] += 1
            self.tell(f"node {host.node} lost what its disk had confirmed")
        host.qraft, host.wake = None, -1.0
        self._leading.pop(host.node, None)
        host.hung_until = -1.0
        host.stay_down = stays
        if self.clients is not None:
            self.clients.crashed(host)
        if not stays:
            down = self.random.choice([2.0, 20.0, 120.0])
            self.at(self.random.uniform(0.1, down), lambda: self._restart(host))

    def _tear(self, host: Host) -> None:
        """Of what was on its way to the disk a beginning is there."""
        saves = [save for _, group in host.saving for save in group]
        done = self.random.randint(0, len(saves))
        for save in saves[:done]:
            self.rules.before_save(host, save)
            host.save(save)
        if done < len(saves) and isinstance(saves[done], SaveSnapshot) and self.random.random() < 0.5:
            self.counts.faults["torn between snapshot and log"] += 1
            host.saved.snapshot = saves[done].snapshot
        host.saving = []

    def _restart(self, host: Host) -> None:
        if host.qraft is None and not host.stay_down and not host.joining and self.hosts.get(host.node) is host:
            self.start(host)

    def forget(self, host: Host) -> None:
        """The host's state is lost: it is gone under this number."""
        self.gone.append(self.hosts.pop(host.node))
        self._leading.pop(host.node, None)

    def leaders(self) -> list[Host]:
        """Those that believe to lead."""
        return list(self._leading.values())

    def leader(self) -> Host | None:
        """The one in the newest term."""
        return max(self._leading.values(), key=lambda host: host.qraft.term if host.qraft else 0, default=None)

    # --- performing ------------------------------------------------------------------------

    def perform(self, host: Host) -> None:
        """As the daemon does: send what may go, begin to save, apply what is committed."""
        qraft = host.qraft
        assert qraft is not None
        output, holding = qraft.take(), host.holding
        for destination, message in output.send:
            free = unbound(message, qraft.saved_index)
            number = 0 if self.sends_first else holding.wait_for(output.save, unbound=free)
            if number:
                holding.hold(number, (destination, message))  # type: ignore[arg-type]
            else:
                self._send(host, destination, message)
        for save in output.save:
            if isinstance(save, SaveVote):
                host.promised = save.term, save.vote
        for line in output.log:
            self.counts.elections += line.startswith("candidate")
            self.tell(f"node {host.node} {line}")
        if qraft._office is None:
            self._leading.pop(host.node, None)
        else:
            self._leading[host.node] = host
        self._apply(host, output)
        self.rules.after(host)
        if output.save:
            number = qraft.saving()
            holding.order(number, output.save)
            self._save(host, number, output.save)
        if host.qraft is not qraft:
            return
        if self.compaction and host.applied >= qraft.snapshot_index + self.compaction:
            self._compact(host, qraft)
        else:
            self.set_timer(host)

    def _compact(self, host: Host, qraft: QRaft) -> None:
        qraft.compact(host.applied, host.registers.encode())
        if self.random.random() < 0.5:
            qraft._me.journal._rebase(qraft.snapshot_index)
            qraft._me.membership.forget_up_to(qraft.snapshot_index)
        self.counts.faults["compaction"] += 1
        self.perform(host)

    def _save(self, host: Host, number: int, saves: list[Any]) -> None:
        weather = self.weather
        host.saving.append((number, saves))
        snapshot = any(isinstance(one, SaveSnapshot) for one in saves)
        chance = weather.crash * (SNAPSHOT_CRASHES if snapshot else 1.0)
        if weather.crash and self.random.random() < chance:
            self.counts.faults["crash at a seam"] += 1
            if self.random.random() < 0.4:
                self._write(host, number)
            self.crash(host)
            return
        if not host.busy:
            self._begin_save(host)

    def _begin_save(self, host: Host) -> None:
        """All that waits goes to the disk as one group; what comes meanwhile is the next one."""
        weather, number = self.weather, host.saving[-1][0]
        if weather.slow_save and self.random.random() < weather.slow_save:
            self.counts.faults["slow save"] += 1
            qraft, seconds, host.busy = host.qraft, self.random.uniform(0.001, weather.save_seconds), True
            self.at(seconds, lambda: self._slow_save_ended(host, qraft, number))
        else:
            self._saved(host, number)

    def _slow_save_ended(self, host: Host, qraft: QRaft | None, number: int) -> None:
        if host.qraft is not qraft or not host.saving:
            return
        if self.now < host.hung_until:
            self.at(host.hung_until - self.now + GRAIN, lambda: self._slow_save_ended(host, qraft, number))
            return
        self._saved(host, number)

    def _write(self, host: Host, number: int) -> None:
        while host.saving and host.saving[0][0] <= number:
            for save in host.saving.pop(0)[1]:
                self.rules.before_save(host, save)
                host.save(save)

    def _saved(self, host: Host, number: int) -> None:
        qraft, host.busy = host.qraft, False
        assert qraft is not None
        self._write(host, number)
        for destination, message in host.holding.ended(number):  # type: ignore[misc]
            self._send(host, destination, message)
        qraft.saved(number, host.clock(self.now))
        self.perform(host)
        if host.saving and not host.busy and host.qraft is qraft:
            self._begin_save(host)

    def _apply(self, host: Host, output: Output) -> None:
        qraft = host.qraft
        if output.restored is not None:
            self.rules.restored(host, output.restored)
            host.applied = output.restored.index
            host.registers = Registers.decode(output.restored.state)
        for entry in output.committed:
            self.rules.applied(host, entry)
            host.applied = entry.index
            held = entry.kind == "command" and host.registers.apply(entry.payload)
            if self.clients is not None:
                self.clients.applied(host, entry, held)
        if output.reads and self.clients is not None:
            for ticket, may in output.reads:
                self.clients.may_read(host, ticket, may)
        if output.fetch is not None:
            node, seconds = output.fetch.node, self.random.uniform(0.01, 5.0)
            self.at(seconds, lambda: self._fetch(host, qraft, node))

    def _fetch(self, host: Host, qraft: QRaft | None, node: int) -> None:
        source = self.hosts.get(node)
        if host.qraft is not qraft or qraft is None:
            return
        away = source is None or source.qraft is None or source.saved.snapshot is None
        if away or (node, host.node) in self.cut or self.random.random() < self.weather.loss:
            self.counts.faults["snapshot lost on its way"] += 1
            qraft.fetch_failed()
        else:
            assert source is not None and source.saved.snapshot is not None
            self.counts.faults["snapshot installed"] += 1
            qraft.install(source.saved.snapshot, host.clock(self.now))
        self.perform(host)

    # --- network ---------------------------------------------------------------------------

    def _send(self, host: Host, destination: int | None, message: AnyMessage) -> None:
        if type(message) is AppendReply:
            self.rules.confirmed(host, message)
        self._order += 1
        if self._order % BYTES_EVERY == 0:
            message = decode(encode(message))
        if destination is not None:
            other = self.hosts.get(destination)
            if other is not None:
                self._transmit(host.node, other, message)
            return
        for other in list(self.hosts.values()):
            if other is not host:
                self._transmit(host.node, other, message)

    def _transmit(self, sender: int, receiver: Host, message: AnyMessage) -> None:
        if receiver.qraft is None:
            return
        if self.calm:
            self._order += 1
            self.flying += 1
            heapq.heappush(self._queue, (self.now + receiver.delay, self._order, receiver.node, message))
            return
        weather, random = self.weather, self.random.random
        if (sender, receiver.node) in self.cut or (weather.loss and random() < weather.loss):
            return
        copies = 1
        if weather.duplication and random() < weather.duplication:
            copies = 2
            self.counts.faults["duplicate"] += 1
        for _ in range(copies):
            delay = GRAIN + weather.delay_max * random()
            if weather.late and random() < weather.late:
                delay = random() * weather.late_max
                self.counts.faults["late message"] += 1
            self._order += 1
            self.flying += 1
            heapq.heappush(self._queue, (self.now + on_grid(delay), self._order, receiver.node, message))

    def _arrive(self, node: int, message: AnyMessage) -> None:
        host = self.hosts.get(node)
        if host is None or host.qraft is None:
            return
        if self.now < host.hung_until:
            self._order += 1
            self.flying += 1
            heapq.heappush(self._queue, (on_grid(host.hung_until) + GRAIN, self._order, node, message))
            return
        host.qraft.receive(message, host.clock(self.now))
        if type(message) is AppendReply:
            self.rules.answered(host, message.node)
        self.perform(host)

    # --- what is told -------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """One line of the story."""
        self.story.append(f"{self.now:14.4f} {line}")


__all__ = ["CLUSTER", "Append", "Counts", "Violated", "Weather", "World"]
