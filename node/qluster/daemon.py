"""The loop: take events, ask the node, perform the effects in their order.

Decides nothing. Between two turns of the loop lies one save: whatever came in
meanwhile goes into the next turn, so one flush of the disk covers all of it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from qluster.api import routes, views
from qluster.api.routes import Probe, Reply, Request
from qluster.api.shapes import Whole
from qluster.cluster import parcel
from qluster.cluster.state import MalformedState
from qluster.config import Config, Database, Pool
from qluster.consensus.journal import JournalDamaged
from qluster.database.facts import Facts
from qluster.database.orders import Look
from qluster.edge import client, clock
from qluster.edge.device import DeviceHand
from qluster.edge.disk import Disk, DiskTrouble
from qluster.edge.fencing import FenceAgents
from qluster.edge.guard import Guard, GuardFailed
from qluster.edge.multicast import Multicast, NetworkUnusable
from qluster.edge.outputs import Outputs
from qluster.edge.postgres import PostgresFailed
from qluster.edge.rest import RestServer, RestUnavailable
from qluster.edge.saving import Saver
from qluster.edge.tasks import TaskHand
from qluster.edge.watchdog import Watchdog
from qluster.events import (
    Address,
    Answer,
    CheckFence,
    DatagramReceived,
    DeviceHeard,
    FactsRead,
    Fence,
    FetchSnapshot,
    HoldPool,
    JobEnded,
    Leave,
    PowerOn,
    Repoint,
    Saved,
    SaveEnded,
    SpaceChanged,
    StopRequested,
    TasksHeard,
    WallClockRead,
)
from qluster.jobs import Jobs
from qluster.looking import output_place
from qluster.node import Node
from qluster.opening import FULL_RETRY, open_state
from qluster.overview import headline, link_settings
from qluster.pausing import was_paused
from qluster.status import Health, Status
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key, KeyFault, parse_keys
from qluster.turns import Hands, Turns

if TYPE_CHECKING:
    from qluster.edge.pooler import Pooler
    from qluster.edge.postgres.duty import BackupDuty
    from qluster.edge.postgres.hand import Postgres

log = logging.getLogger("qluster.daemon")

FACTS_INTERVAL = 0.5
"""Seconds between two looks at the database; what ends or is ordered is looked at at once."""

ADMIT_INTERVAL = 0.03
"""The same while clients wait to be admitted: a look takes a few milliseconds."""

ALIVE_INTERVAL = 0.5
"""Seconds between two signs of life to the service manager while turns follow each other."""

SPACE_INTERVAL = 2.0
"""Seconds between two looks for space while the disk is full."""

CLOCK_DRIFT = 0.1
"""Seconds by which the wall clock may go otherwise than the monotonic one before the node is told: what operators
date, they date to the second."""
PAUSED_SIGN = "paused"
"""Name of the file in the state directory that is there while the database outlives the daemon."""

EXIT_CLEAN, EXIT_REFUSED = 0, 1


class Trouble(Exception):
    """The daemon cannot start or go on; the message is for the operator."""


def run(config: Config, file: str = "") -> int:
    """Run a node until it is asked to stop; the exit code. ``file`` is where the configuration was read."""
    try:
        return asyncio.run(Daemon(config, file).run())
    except (Trouble, DiskTrouble, NetworkUnusable, RestUnavailable, GuardFailed, PostgresFailed) as trouble:
        log.error("%s", trouble)
        return EXIT_REFUSED


class Daemon:
    """One node with its hands."""

    def __init__(self, config: Config, file: str = "") -> None:
        self._config = config
        self._file = file
        self._backups: BackupDuty | None = None
        self._tickets: dict[int, asyncio.Future[Answer | None]] = {}
        self._over = False
        self._ticket = 0
        self._untied = False
        self._rejoined_at = -inf
        self._alive_at = -inf
        self._looked_for_space_at = -inf
        self._disk = Disk(config.state_dir, config.cluster.name)
        self._saver = Saver(
            self._disk.save,
            lambda number: self._turns.put(SaveEnded(number)),
            lambda fault: self._turns.fail(fault),
        )
        self._network = Multicast(
            config.ip, config.udp.socket, self._received, drained=lambda: self._turns.drained()
        )
        self._jobs = Jobs(self._do, self._job_ended)
        self._device = DeviceHand(config.device, lambda what: self._turns.put(DeviceHeard(what)))
        self._tasks = TaskHand(config.tasks, config.state_dir, lambda what: self._turns.put(TasksHeard(what)))
        self._turns = Turns(
            Hands(self._limit, self._network.send, self._jobs.start, self._answer, self._saver.save, self._turned,
                  self._device.perform, self._tasks.perform)
        )  # fmt: skip
        self._outputs = Outputs(config, lambda task: output_place(self._node, task))
        self._rest = RestServer(config, self._serve, self._snapshot, self._judge)
        self._watchdog = Watchdog()
        self._postgres: Postgres | None = None
        self._guard: Guard | None = None
        self._pooler = _pooler(config.pool) if config.pool is not None else None
        self._agents = FenceAgents(config.fencing) if config.fencing is not None else None
        self._node: Node | None = None
        self._look = asyncio.Event()

    async def run(self) -> int:
        """From the first look at the disk to the clean end."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._disk.close)
            stack.push_async_callback(self._saver.close)
            saved = await open_state(self._disk, self._waits_for_space)
            stack.callback(self._network.close)
            self._network.open()
            await self._open_database(stack, was_paused(saved))
            self._node = self._make_node(saved)
            stack.push_async_callback(self._rest.stop)
            await self._rest.start()
            stack.callback(self._answer_all)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
            stack.push_async_callback(self._jobs.end)
            stack.push_async_callback(self._device.close)
            stack.push_async_callback(self._tasks.close)
            self._tasks.start(self._broke)
            stack.callback(self._watchdog.close)
            self._watchdog.ready()
            # What is there by now stays: looking through it again and again would only cost pauses of 30 ms.
            gc.collect()
            gc.freeze()
            return await self._live()

    def _waits_for_space(self, reason: str) -> None:
        """The start takes as long as it takes somebody to make some."""
        self._watchdog.extend(2 * FULL_RETRY)
        self._watchdog.alive(reason)

    async def _open_database(self, stack: contextlib.AsyncExitStack, let_go: bool) -> None:
        database = self._config.database
        if database is None:
            return
        guard = Guard(database.data_dir, self._look_again, self._guard_lost)
        stack.push_async_callback(guard.stop)
        await guard.start()
        self._guard = guard
        postgres = self._make_postgres(database, guard)
        stack.push_async_callback(postgres.close)
        self._postgres = postgres
        self._let_go(let_go)
        await postgres.adopt(let_go=let_go)
        self._begin_backups(stack)
        watching = asyncio.create_task(self._watch_database(postgres))
        watching.add_done_callback(self._broke)
        stack.callback(watching.cancel)

    def _begin_backups(self, stack: contextlib.AsyncExitStack) -> None:
        if self._config.backup is None or not self._file:
            return
        from qluster.edge.postgres.duty import BackupDuty

        duty = BackupDuty(self._config, self._file, self._seen)
        task = asyncio.create_task(duty.run())
        task.add_done_callback(self._broke)
        stack.push_async_callback(_end, task)
        self._backups = duty

    def _seen(self) -> Whole | None:
        """The cluster as a reader of the REST interface sees it."""
        return views.whole(self._status()) if self._node is not None and self._node.qraft is not None else None

    def _make_postgres(self, database: Database, guard: Guard) -> Postgres:
        # With the driver of PostgreSQL it takes 4 MiB of memory, which a host without a database spares.
        from qluster.edge.postgres.hand import Postgres

        return Postgres(
            database, self._config.ip, self._config.state_dir, started=guard.server, exited=self._database_exited,
            backup=self._config.backup,
        )

    def _make_node(self, saved: Saved, founding: int = 0) -> Node:
        config, now = self._config, clock.monotonic()
        random = Random(clock.seed())
        of_the_network = LinkSettings(
            recv_buffer_size=self._network.recv_buffer_size,
            datagram_size=self._network.datagram_size,
            group_size=self._network.group_size,
        )
        settings = link_settings(of_the_network, config)
        link = Link(config.cluster.name, saved.uid, saved.boot, self._read_keys(), settings, random, now)
        try:
            return Node(config, saved, link, random=random, wall=clock.wall(), now=now, founding=founding)
        except (JournalDamaged, MalformedState) as fault:
            raise Trouble(
                f"{config.state_dir}: {fault}. Nothing was deleted. Start the version that wrote it; or let this node "
                f"join anew with an empty state: `qluster set-aside --config FILE`, and start it again."
            ) from fault

    def _read_keys(self) -> list[Key]:
        file = self._config.cluster.key_file
        try:
            return parse_keys(Path(file).read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError, KeyFault) as fault:
            raise Trouble(f"cluster.key-file {file}: {fault}") from fault

    # --- turns --------------------------------------------------------------------

    def _received(self, datagram: bytes, source: Address) -> None:
        self._turns.put_datagram(DatagramReceived(datagram, source))

    async def _live(self) -> int:
        while True:
            assert self._node is not None
            code = await self._leave(await self._turns.live(self._node))
            if code is not None:
                return code

    def _turned(self, node: Node, now: float) -> None:
        if now < self._alive_at + ALIVE_INTERVAL:
            return
        self._alive_at = now
        if self._watchdog.supervised:
            self._watchdog.alive(headline(node, now))
        self._mind_group(node, now)
        self._mind_space(node, now)
        self._mind_clock(node, now)

    def _mind_clock(self, node: Node, now: float) -> None:
        """Say when somebody has set the wall clock."""
        wall = clock.wall()
        if abs(wall - node.wall(now)) > CLOCK_DRIFT:
            self._turns.put(WallClockRead(wall))

    def _mind_space(self, node: Node, now: float) -> None:
        """Say when the disk is full, and look now and then whether it still is."""
        short = self._disk.short or bool(self._saver.trouble)
        reason = f"no space left in {self._config.state_dir}: free some on its file system" if short else ""
        if node.short != reason:
            self._turns.put(SpaceChanged(reason))
        if self._disk.short and now >= self._looked_for_space_at + SPACE_INTERVAL:
            self._looked_for_space_at = now
            self._saver.between(self._disk.relieve)

    def _mind_group(self, node: Node, now: float) -> None:
        """Join the group again when it is silent while others are heard; a leader hears only answers anyway."""
        limit = node.config.cluster.node_timeout
        leads = node.qraft is not None and node.qraft.role == "leader"
        if not leads and now >= self._rejoined_at + limit and node.link.deaf(now, limit):
            self._rejoined_at = now
            self._network.rejoin()

    def _limit(self, alive_until: float, untied: bool) -> None:
        """Law 7: the deadline does not wait for the disk."""
        if self._guard is None or self._postgres is None:
            return
        if untied != self._untied:
            self._let_go(untied)
        self._guard.deadline(alive_until)

    def _let_go(self, untied: bool) -> None:
        """In a pause the database outlives the daemon; the file says so to the service manager."""
        assert self._guard is not None and self._postgres is not None
        self._untied = untied
        self._guard.untie(untied)
        self._postgres.let_go(untied)
        sign = Path(self._config.state_dir) / PAUSED_SIGN
        try:
            sign.touch() if untied else sign.unlink(missing_ok=True)
        except OSError as error:
            log.error("paused-sign-failed file=%s error=%s", sign, error)
        log.info("database-%s", "outlives-the-daemon" if untied else "ends-with-the-daemon")

    def _answer(self, answer: Answer) -> None:
        waiting = self._tickets.pop(answer.ticket, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _leave(self, leave: Leave) -> int | None:
        """End, or begin again as a new node (None)."""
        if leave.clean:
            log.info("stopped")
            return EXIT_CLEAN
        if not leave.rejoin:
            raise Trouble(leave.message)
        log.warning("begins-again reason=%s", leave.message)
        await self._jobs.end()
        await self._device.close()
        await self._saver.drain()
        self._turns.forget()
        self._answer_waiting()
        if self._node is not None and self._node.stopping:
            self._turns.put(StopRequested())
        self._disk.set_aside(leave.message, joins=not leave.founding, refound=leave.refound)
        saved = await open_state(self._disk, self._waits_for_space)
        self._node = self._make_node(saved, leave.founding)
        self._tasks.again()
        self._look.set()
        return None

    # --- jobs ------------------------------------------------------------------------

    def _job_ended(self, ended: JobEnded) -> None:
        self._turns.put(ended)
        self._look.set()

    async def _do(self, order: object) -> object:
        match order:
            case FetchSnapshot(address, index):
                token = Path(self._config.api.operate_token_file).read_text(encoding="ascii").strip()
                cluster = self._node.cluster if self._node else 0
                fetched = await client.fetch_snapshot(address, token, self._config.api.ca_file, index)
                return await asyncio.to_thread(parcel.unpack, fetched, cluster, index)
            case Repoint(primary, reign, founding, replicas):
                assert self._pooler is not None, "only a pool host repoints"
                await self._pooler.repoint(primary, reign, founding, replicas)
                return None
            case HoldPool(_, patience):
                assert self._pooler is not None, "only a pool host holds one"
                await self._pooler.hold(patience)
                return None
            case Fence() | CheckFence() | PowerOn():
                assert self._agents is not None, "only a host with fence agents is ordered to run them"
                return await self._agents.perform(order)
            case Look(seconds):
                await asyncio.sleep(seconds)
                return None
        assert self._postgres is not None, "only a database host is ordered about its database"
        return await self._postgres.perform(order)  # type: ignore[arg-type]

    # --- the database --------------------------------------------------------------------

    def _look_again(self, line: str = "") -> None:
        """Something ended that the node must know of now."""
        if line:
            log.warning("database-ended %s", line)
        self._look.set()

    def _database_exited(self, code: int) -> None:
        if self._guard is not None:
            self._guard.server(0)
        self._look_again(f"code={code}")

    def _guard_lost(self, sentence: str) -> None:
        log.error("guard-lost %s", sentence)
        self._stop()

    def _broke(self, task: asyncio.Task[None]) -> None:
        """What runs beside the turns for as long as the daemon does: without it the daemon begins anew."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.critical("task-broke hint=the daemon stops, to be started again", exc_info=fault)
            self._stop()

    def _stop(self) -> None:
        """The service manager, an operator, or the loss of the guard wants an end."""
        self._watchdog.stopping("stops the database, hands over, leaves")
        self._turns.put(StopRequested())

    async def _watch_database(self, postgres: Postgres) -> None:
        while True:
            self._look.clear()
            endings = self._jobs.endings
            facts: Facts = await postgres.read_facts()
            if endings != self._jobs.endings:
                # Begun before a job ended: half of what was seen may be from before it.
                continue
            self._turns.put(FactsRead(facts))
            with contextlib.suppress(TimeoutError):
                closed = facts.closed or (facts.terms is not None and not facts.terms.admits)
                await asyncio.wait_for(self._look.wait(), ADMIT_INTERVAL if closed else FACTS_INTERVAL)

    # --- clients ---------------------------------------------------------------------------

    async def _serve(self, request: Request) -> Reply:
        node = self._node
        assert node is not None, "the server starts after the node"
        self._ticket += 1
        ticket = self._ticket
        decided = routes.decide(request, self._status, ticket, self._health)
        if isinstance(decided, Reply):
            return decided if decided.file != "output" else await self._outputs.answer(request, decided.values)
        if self._over:
            return routes.unanswered(request)
        waiting: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = waiting
        try:
            self._turns.put(decided)
            answer = await waiting
        finally:
            self._tickets.pop(ticket, None)
        return routes.unanswered(request) if answer is None else routes.reply(request, answer.outcome, self._status)

    def _judge(self, probe: Probe) -> Reply:
        return routes.answer_probe(probe, self._health())

    def _health(self) -> Health:
        assert self._node is not None, "the server starts after the node"
        return self._node.health(clock.monotonic())

    def _answer_all(self) -> None:
        """No turn will follow: whoever still waits is told so; else the server would wait for it before it ends."""
        self._over = True
        self._answer_waiting()

    def _answer_waiting(self) -> None:
        """The node that was asked is gone."""
        for waiting in self._tickets.values():
            if not waiting.done():
                waiting.set_result(None)

    def _status(self) -> Status:
        """What the node knows of itself and its cluster, with the counters of its hands."""
        assert self._node is not None, "the server starts after the node"
        status = self._node.status(clock.monotonic())
        counters = {**status.own.counters, **self._network.counters, "events_dropped": self._turns.dropped}
        backups = self._backups.status() if self._backups is not None else None
        own = msgspec.structs.replace(status.own, counters=counters)
        return msgspec.structs.replace(status, own=own, backups=backups)

    async def _snapshot(self, index: int) -> bytes | None:
        node = self._node
        snapshot = node.snapshot if node is not None else None
        if node is None or snapshot is None or snapshot.index < index:
            return None
        return await asyncio.to_thread(parcel.pack, node.cluster, snapshot)

    def _reload(self) -> None:
        try:
            self._rest.reload()
            keys = self._read_keys()
        except (RestUnavailable, Trouble) as fault:
            log.error("reload-refused %s", fault)
            return
        if self._node is not None:
            self._node.link.rekey(keys)
            log.info("reloaded sending-key=%d keys=%s", keys[0].id, ",".join(str(key.id) for key in keys))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _pooler(pool: Pool) -> Pooler:
    # It loads the driver of PostgreSQL as well: only where there is a pool.
    from qluster.edge.pooler import Pooler

    return Pooler(pool)
