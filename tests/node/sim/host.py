"""One host: a daemon around the real node, its guard, its disk, its database. Mirrors ``daemon.py``.

What of the daemon matters is kept: one group of saves is under way at a time while events go on, a look at
the database that overlaps the end of a job is thrown away, and the deadline goes to the guard at once.
Each host has a clock of its own, which may run a little too fast or too slow.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from qluster.config import Config
from qluster.events import Address, DatagramReceived, Effects, Event, FactsRead, Leave, Save, SaveEnded, TimePassed
from qluster.node import Node
from qluster.pausing import was_paused
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key

from sim.database import SimDatabase
from sim.disk import SimDisk
from sim.jobs import Jobs
from sim.runner import SimRunner
from sim.stock import Stock

if TYPE_CHECKING:
    from sim.world import World

KEY = Key(1, bytes(range(32)))
EVENTS_MAX = 4096
"""As the daemon's: a datagram that finds the queue full is dropped."""
TURN_EVENTS_MAX = 256
FACTS_INTERVAL = 0.5
FACTS_SECONDS = (0.001, 0.03)
GUARD_DELAY = 0.05
"""Seconds a guard needs to end a database once its deadline has passed; measured ones are shorter."""
WAKE_GRAIN = 0.0005
"""A timer is never more exact than this."""


class Host:
    """One host; ``node`` is None while its daemon is down."""

    def __init__(self, world: World, name: str, config: Config, disk: SimDisk, database: SimDatabase | None) -> None:
        self.world = world
        self.name = name
        self.ip = config.ip
        self.config = config
        self.proper = config
        """The configuration that the cluster agreed on; ``config`` may be a wrong one for a while."""
        self.disk = disk
        self.database = database
        self.node: Node | None = None
        self.jobs = Jobs(self)
        self.runner: SimRunner | None = None
        """The process that runs tasks here."""
        self.pool_target: Address | None = None
        self.pool_reign = (0, 0)
        self.pool_held_since = inf
        """Since when clients of the pool here wait for a switchover."""
        self.left = ""
        self.held = False
        """Kept down until it is started on purpose."""
        self.off_at: float | None = None
        """Since when its power is off; None: it is on."""
        self.unfenceable = False
        """No agent reaches the device that its power comes from."""
        self.unrevivable = False
        """Agents cannot switch it on again."""
        self.lied_at = -inf
        """When an agent last said that it was switched off, and it was not."""
        self.last_off_at = -inf
        """When it was switched off the last time, by an agent."""
        self.clock_rate, self.clock_offset = 1.0, 0.0
        self.slept = 0.0
        """Seconds for which it slept, by its own clock: that of its runner stood still meanwhile."""
        self._fell_asleep = inf
        self.lag = 1.0
        """Chance that the stream moves in one interval: small for a replica that is behind."""
        self.stuck_until = -inf
        """Until then every order for the database here fails: its disk does not answer."""
        self.frozen_until = -inf
        self.host_frozen = False
        """The guard and the database stand still as well."""
        self.alive_until = inf
        self.untied = False
        """The database outlives the daemon."""
        self.up_since = -inf
        self.saving: list[Save] | None = None
        """The group of saves that is on its way to the disk."""
        self.unsaved: list[Effects] = []
        """Effects whose saves wait for that group's end."""
        self.endings = 0
        self.wakes = 0
        """Times that the node was woken by its own timer, counted in :attr:`wakes_since`."""
        self.wakes_since = 0.0
        self.queue: deque[Event] = deque()
        self.turns = 0
        self._wake_at = inf
        self._guard_at = inf
        self._look_at = inf

    # --- time ---------------------------------------------------------------------

    def clock(self) -> float:
        """What this host's clock says, the daemon's: it goes on while the host sleeps."""
        return self.world.now * self.clock_rate + self.clock_offset

    def world_time(self, local: float) -> float:
        """When this host's clock says that."""
        return (local - self.clock_offset) / self.clock_rate

    def awake_at(self, local: float) -> float:
        """The same time by the clock that stands still while the host sleeps, that of its runner."""
        return local - self.slept

    @property
    def frozen(self) -> bool:
        """The daemon does nothing now."""
        return self.world.now < self.frozen_until

    @property
    def reachable(self) -> bool:
        """Clients and standbys can talk to the server here."""
        database = self.database
        return database is not None and database.running and not (self.host_frozen and self.frozen)

    @property
    def writes(self) -> bool:
        """A client could write here now."""
        return self.reachable and self.database is not None and self.database.writable

    def freeze(self, seconds: float, *, whole: bool, asleep: bool = False) -> None:
        """The daemon (``whole``: the host) stands still; ``asleep``: and so does the clock of its other processes."""
        if self.frozen:
            return
        self.frozen_until, self.host_frozen = self.world.now + seconds, whole
        self._fell_asleep = self.world.now if asleep else inf
        self.world.at(self.frozen_until, self._thaw)

    def _awake(self) -> None:
        seconds, self._fell_asleep = max(0.0, self.world.now - self._fell_asleep), inf
        self.slept += seconds * self.clock_rate

    def _thaw(self) -> None:
        if self.frozen:
            return
        self._awake()
        if self.host_frozen:
            # The guard is a process of its own and runs first: only /dev/watchdog would be quicker.
            self.host_frozen = False
            if self.alive_until <= self.clock():
                self._end_database()
            self._watch_deadline(GUARD_DELAY)
            if self.runner is not None:
                self.runner.thawed()
        if self.node is not None:
            self.turn()

    # --- starting and ending -------------------------------------------------------

    def start(self, founding: int = 0, *, again: bool = False) -> None:
        """Start the daemon, or (``again``) its node anew in the same process."""
        world = self.world
        assert self.node is None, f"{self.name} runs already"
        self.held, self.left, self.off_at = False, "", None
        saved = self.disk.load()
        if self.database is not None and not was_paused(saved) and not again:
            self.database.kill()
        if self.database is not None and self.database.running:
            self.database.adopted = True
        now = self.clock()
        link = Link("sim", saved.uid, saved.boot, [KEY], LinkSettings(), world.random, now)
        self.node = Node(
            self.config, saved, link, random=world.random, wall=1e9 + world.now, now=now, founding=founding
        )
        self.jobs.clear()
        self.queue.clear()
        self.alive_until, self.untied, self.saving, self.unsaved = inf, was_paused(saved), None, []
        self._look_at = inf
        world.tell(f"{self.name} starts (uid {saved.uid % 10000}, boot {saved.boot})")
        self.up_since = world.now
        if world.arbiter is not None and self.database is not None:
            self.node.consulting.asks = True
            world.arbiter.connect(self)
        if self.runner is not None:
            self.runner.connect(self.node)
        world.checks.started(self, founding)
        self.turn()
        self.look()

    def crash(self, *, held: bool = False, power: bool = False) -> None:
        """The daemon is gone, and its database with it but for a pause (``power``: in any case)."""
        world = self.world
        world.tell(f"{self.name} crashes")
        if self.saving is not None:
            self.disk.tear(self.saving, world.random.random())
        self._down(held=held, spared=self.untied and not power)
        if power and self.runner is not None:
            self.runner.power_lost()
        if not held:
            world.at(world.now + world.random.uniform(0.5, 3.0), self._restart)

    def switch_off(self) -> None:
        """Its power is cut: what ran here runs no more, whatever it was."""
        self.off_at = self.last_off_at = self.world.now
        if self.node is not None:
            self.crash(held=True, power=True)
        elif self.database is not None:
            self.database.kill()
            if self.runner is not None:
                self.runner.power_lost()
        self.held = True

    def switch_on(self) -> None:
        """Its power is back; the daemon starts unless an operator must see to it first."""
        if self.off_at is not None and self.node is None and not self.left:
            self.start()

    def _down(self, *, held: bool, spared: bool = False) -> None:
        self.node, self.saving, self.unsaved, self.held = None, None, [], held
        if self.world.arbiter is not None:
            self.world.arbiter.lost(self)
        still, self.frozen_until = self.host_frozen and self.frozen, -inf
        self._awake()
        if still and self.runner is not None:
            self.runner.thawed()
        self._wake_at = inf
        self.jobs.clear()
        self.queue.clear()
        if self.database is not None and not spared:
            self.database.kill()

    def _restart(self) -> None:
        if self.node is None and not self.held:
            self.start()

    def _leave(self, leave: Leave) -> None:
        world = self.world
        world.tell(f"{self.name} leaves: {leave.message}")
        # Who begins again goes on with the server that runs here, and sees it at its first look.
        self._down(held=True, spared=self.untied or leave.rejoin)
        if leave.rejoin:
            self.disk.set_aside(
                world.random.getrandbits(63), joins=not leave.founding, refound=leave.refound)
            self.start(leave.founding, again=True)
            return
        self.left = "" if leave.clean else leave.message

    # --- events -----------------------------------------------------------------------

    def give(self, event: Event) -> None:
        """An event for the daemon."""
        if self.node is None:
            return
        if len(self.queue) >= EVENTS_MAX and isinstance(event, DatagramReceived):
            self.world.count("event dropped")
            return
        self.queue.append(event)
        self.turn()

    def turn(self) -> None:
        """Take what waits, unless the daemon stands still."""
        if self.node is None or self.frozen:
            return
        node, now = self.node, self.clock()
        for _ in range(max(1, min(len(self.queue), TURN_EVENTS_MAX))):
            node.take(self.queue.popleft() if self.queue else TimePassed(), now)
        effects = node.settle(now)
        self.alive_until, self.untied = effects.alive_until, effects.untied
        self.world.checks.after_event(self, node)
        if self.world.votes is not None:
            self.world.votes.after_event(self, node)
        self.turns += 1
        self._watch_deadline(GUARD_DELAY)
        self._perform(node, effects)

    def _perform(self, node: Node, effects: Effects) -> None:
        """As the daemon does: send, start, answer what may go now, and begin to save."""
        world = self.world
        for send in effects.send:
            world.network.send(self, send.datagram, send.to)
        for question in effects.memory if world.arbiter is not None else ():
            assert world.arbiter is not None
            world.arbiter.asked(self, node, question)
        if effects.start and world.seam(self, "between send and start"):
            return
        for job in effects.start:
            self.jobs.start(node, job)
        for answer in effects.answer:
            world.clients.answered(self, answer)
        world.checks.after_turn(self, node)
        if effects.tasks and self.runner is not None:
            self.runner.ordered(node, effects.tasks)
        if world.tasks is not None:
            world.tasks.after_turn(self, node, effects)
        if effects.device and isinstance(world.arbiter, Stock):
            world.arbiter.ordered(self, node, effects.device)
        if effects.save:
            self.unsaved.append(effects)
        if effects.leave is not None:
            self._leave(effects.leave)
            return
        self._set_timer(effects.wake_at)
        self._save(node)

    def _save(self, node: Node) -> None:
        """Begin to save all that waits, as one group, unless a group is on its way."""
        world = self.world
        if self.saving is not None or not self.unsaved or world.seam(self, "before save"):
            return
        group, self.unsaved = self.unsaved, []
        self.saving = [save for effects in group for save in effects.save]
        seconds = world.save_seconds()
        if seconds:
            world.at(world.now + seconds, lambda: self._slow_save_ended(node, group[-1].number))
        else:
            self._save_ended(node, group[-1].number)

    def _slow_save_ended(self, node: Node, number: int) -> None:
        if self.node is not node or self.saving is None:
            return
        if self.frozen:
            self.world.at(self.frozen_until, lambda: self._slow_save_ended(node, number))
        else:
            self._save_ended(node, number)

    def _save_ended(self, node: Node, number: int) -> None:
        assert self.saving is not None
        self.disk.save(self.saving)
        self.saving = None
        if self.world.seam(self, "between save and send"):
            return
        self.queue.append(SaveEnded(number))
        self.turn()
        if self.node is node:
            self._save(node)

    # --- timers ---------------------------------------------------------------------

    def _set_timer(self, local: float) -> None:
        if local == inf:
            self._wake_at = inf
            return
        at = max(self.world_time(local), self.world.now + WAKE_GRAIN)
        if at != self._wake_at:
            self._wake_at = at
            self.world.at(at, lambda: self._wake(at))

    def _wake(self, at: float) -> None:
        if at != self._wake_at or self.node is None:
            return
        self._wake_at = inf
        self.world.checks.woken(self)
        self.turn()

    def look(self) -> None:
        """Look at the database now, and then at regular times."""
        world = self.world
        at = self._look_at = world.now
        world.at(at, lambda: self._read_facts(at))

    def _read_facts(self, at: float) -> None:
        database, node, world = self.database, self.node, self.world
        if at != self._look_at or database is None or node is None:
            return
        if self.frozen:
            self._look_at = again = self.frozen_until
            world.at(again, lambda: self._read_facts(again))
            return
        facts = database.facts(lambda address: world.network.server(self, address), world.replicas(self), world.now)
        endings = self.endings
        self._look_at = at = world.now + world.random.uniform(*FACTS_SECONDS)
        world.at(at, lambda: self._facts_read(at, node, FactsRead(facts), endings))

    def _facts_read(self, at: float, node: Node, event: FactsRead, endings: int) -> None:
        if at != self._look_at or self.node is not node:
            return
        if not self.facts_current(endings):
            self.look()
            return
        self._look_at = again = self.world.now + FACTS_INTERVAL
        self.world.at(again, lambda: self._read_facts(again))
        self.give(event)

    def facts_current(self, endings: int) -> bool:
        """Begun before a job ended: half of what was seen may be from before it."""
        return endings == self.endings

    # --- the guard --------------------------------------------------------------------

    def _watch_deadline(self, delay: float) -> None:
        if self.database is None or self.alive_until == inf:
            return
        at = max(self.world_time(self.alive_until), self.world.now) + delay
        if at < self._guard_at or self._guard_at <= self.world.now:
            self._guard_at = at
            self.world.at(at, lambda: self._guard(at))

    def _guard(self, at: float) -> None:
        if at != self._guard_at:
            return
        self._guard_at = inf
        database = self.database
        if database is None or self.alive_until == inf or (self.host_frozen and self.frozen):
            return
        late = self.world_time(self.alive_until) + GUARD_DELAY
        if self.world.now + 1e-9 < late and self.alive_until > self.clock():
            self._watch_deadline(GUARD_DELAY)
        else:
            self._end_database()

    def _end_database(self) -> None:
        if self.database is not None and self.database.running:
            self.world.tell(f"{self.name} guard ends the database")
            self.database.kill()
            self.look()

    def server_started(self) -> None:
        """The hand told the guard of a server."""
        self._watch_deadline(GUARD_DELAY)
