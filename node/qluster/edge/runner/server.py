"""The runner: takes the orders of one daemon at a time, tells it what happens, outlives it.

It must not know why anything is ordered. A new connection takes the place of the old one: a daemon that was started
anew does not wait until the kernel has noticed that its predecessor is gone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable
from itertools import islice

import msgspec

from qluster.config import Config
from qluster.config.structure import Tasks
from qluster.edge import clock
from qluster.edge.runner import place, record
from qluster.edge.runner.flushing import sync
from qluster.edge.runner.forker import Forker
from qluster.edge.runner.groups import Groups
from qluster.edge.runner.prepare import Preparing, leftover_mark, real_path
from qluster.edge.runner.record import Record
from qluster.edge.runner.run import ActiveRun, World, clear_leftovers
from qluster.edge.runner.works import Works
from qluster.edge.watchdog import Watchdog
from qluster.tasks import policy
from qluster.tasks.bodies import Verdict
from qluster.tasks.frames import Frames, Overlong, framed
from qluster.tasks.runner import (
    ForgetRun,
    Happening,
    Lease,
    Own,
    Run,
    RunEnded,
    RunnerFault,
    RunnerFound,
    StartRun,
    StopRun,
    decode_order,
    encode,
)
from qluster.tasks.tether import Tether

log = logging.getLogger("qluster.runner")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the disk, and two signs of life."""
PRUNE_INTERVAL = 30.0
"""Seconds between two looks whether output must make room."""
UNSENT_MAX = 16 << 20
"""Bytes that wait for a daemon that reads nothing; it finds all again when it connects anew."""
ENDS_MAX = 200
"""Ends in one message, of four kilobytes each at most, where what was said has no letter of one byte."""
OWN_INTERVAL = 0.01
"""Seconds between two looks whether what another node had run here is dead."""
GRACE = 5.0
"""Seconds that programs have to end when the runner is stopped."""
STOPPED = "its task runner was stopped"

Claim = tuple[int, int]


class RunnerFailed(Exception):
    """The runner cannot start; the message says why and what to do."""


class Runner:
    """One runner."""

    def __init__(self, config: Config, forker: Forker, groups: Groups, lease: float,
                 reread: Callable[[], Config | None] = lambda: None) -> None:  # fmt: skip
        assert config.tasks is not None
        self._tasks: Tasks = config.tasks
        self._reread = reread
        self._directory = place.tasks_dir(config.tasks.dir, config.state_dir)
        self._runs = os.path.join(self._directory, "runs")
        self._tether = Tether(lease, clock.slept())
        self._forker = forker
        self._groups = groups
        self._works = Works(config.tasks.work_dir, self._runs, forker.sweep)
        self._preparing = Preparing(config, groups, self._works, forker.users)
        self._world = World(self._runs, self._works, forker, groups, self._preparing, self._troubled, self._orphaned)
        self._owner = record.owner(self._directory)
        self._owning = asyncio.Lock()
        self._active: dict[Claim, ActiveRun] = {}
        self._ended: dict[Claim, RunEnded] = {}
        self._living: set[asyncio.Task[None]] = set()
        self._daemon: _Daemon | None = None
        self._fault = ""
        self._broken = ""
        """What the disk did not take since it was looked at last."""
        self._pruned_at = 0.0
        self._sizes: dict[str, int] = {}
        self._stopping = asyncio.Event()
        self._watchdog = Watchdog()

    async def run(self) -> None:
        """From the first look at the disk to the end of all runs."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._recover)
        server = await self._listen()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._watchdog.ready("takes orders")
        log.info("runner-ready directory=%s runs=%d", self._directory, len(self._ended))
        try:
            while not self._stopping.is_set():
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LOOK_INTERVAL)
        finally:
            self._watchdog.stopping("ends what runs")
            await self._end_all()
            server.close()
            if self._daemon is not None:
                self._daemon.close()
            self._forker.close()

    # --- orders --------------------------------------------------------------------------

    def obey(self, order: object) -> None:
        """Do what the daemon wants."""
        match order:
            case StartRun():
                self._start(order)
            case StopRun(task, fence):
                if (task, fence) in self._active:
                    self._active[task, fence].stop(order)
            case ForgetRun(task, fence):
                self._forget((task, fence))
            case Own():
                owning = asyncio.create_task(self._own(order))
                self._living.add(owning)
                owning.add_done_callback(self._living.discard)
            case Lease(until):
                self._tether.take(until, clock.awake(), clock.slept())
                self._world.until = self._tether.until
                for run in self._active.values():
                    run.tie(self._tether.until)

    async def _own(self, own: Own) -> None:
        """What another node had run here is killed and forgotten: this one may have tasks of the same numbers. What
        was said by runs that it knows of stays."""
        async with self._owning:
            if own.owner != self._owner.owner:
                log.warning("runs-disowned former=%d-%d runs=%d", *self._owner.owner, len(self._active))
                for run in list(self._active.values()):
                    order = run.order
                    run.stop(StopRun(order.task, order.fence, Verdict.CANCELLED, "it is another node's", 0.0))
                while self._active:
                    await asyncio.sleep(OWN_INTERVAL)
                self._ended.clear()
                try:
                    await asyncio.to_thread(self._hand_over, own)
                    self._owner = own
                    self._sizes.clear()
                except OSError as error:
                    self._troubled(error)
                    await asyncio.sleep(LOOK_INTERVAL)  # the daemon hears that nothing has changed, and says it again
        self._tell_found()

    def _hand_over(self, own: Own) -> None:
        for kept in record.records(self._runs):
            self._works.clear(kept.path.name)
        record.hand_over(self._directory, self._runs, own)

    def _start(self, order: StartRun) -> None:
        claim = order.task, order.fence
        if claim in self._active:
            return
        if claim in self._ended:
            self._tell(self._ended[claim])
            return
        verdict, reason = self._against(order)
        if verdict is not None:
            self._over(RunEnded(order.task, order.fence, verdict, clock.wall(), reason))
            return
        run = self._active[claim] = ActiveRun(order, self._world)
        task = asyncio.create_task(self._live(claim, run))
        self._living.add(task)
        task.add_done_callback(self._living.discard)

    def _against(self, order: StartRun) -> tuple[Verdict | None, str]:
        if self._stopping.is_set():
            return Verdict.UNBEGUN, STOPPED
        if self._fault:
            return Verdict.UNBEGUN, self._fault
        if self._tether.passed(clock.awake(), clock.slept()):
            return Verdict.UNBEGUN, "the lease of this node had passed"
        rules = policy.Rules(self._tasks.commands, self._tasks.allowed_users, self._tasks.sql_roles, self._tasks.shell)
        reason = policy.refusal(order.work, order.template, rules, real_path(order.work))
        return (Verdict.REFUSED, reason) if reason else (None, "")

    async def _live(self, claim: Claim, run: ActiveRun) -> None:
        try:
            ended = await run.live(self._tell)
        except Exception as fault:
            log.exception("run-broke run=%d-%d", *claim)
            ended = RunEnded(*claim, Verdict.VANISHED, clock.wall(), f"the task runner broke: {fault}",
                             began_at=run.began_at)  # fmt: skip
        del self._active[claim]
        self._over(ended)

    def _over(self, ended: RunEnded) -> None:
        self._ended[ended.task, ended.fence] = ended
        self._tell(ended)

    def _forget(self, claim: Claim) -> None:
        if self._ended.pop(claim, None) is None:
            return
        task = asyncio.create_task(asyncio.to_thread(self._forget_on_disk, Record(self._runs, *claim)))
        self._living.add(task)
        task.add_done_callback(self._living.discard)

    def _forget_on_disk(self, kept: Record) -> None:
        self._works.clear(kept.path.name)
        try:
            kept.forget()
        except OSError as error:  # it will be told again after a restart, and then forgotten
            log.warning("forgetting-failed run=%s error=%s", kept.path.name, error)

    # --- the daemon ------------------------------------------------------------------------

    def came(self, daemon: _Daemon) -> None:
        """A daemon connected."""
        if self._daemon is not None:
            self._daemon.close()
        self._daemon = daemon
        log.info("daemon-came runs=%d", len(self._active) + len(self._ended))
        self._tell_found()

    def _found(self) -> RunnerFound:
        runs = [Run(*claim, run.began_at) for claim, run in self._active.items()]
        for number, (claim, ended) in enumerate(self._ended.items()):
            runs.append(Run(*claim, ended.began_at, ended if number < ENDS_MAX else None))
        return RunnerFound(tuple(runs), os.getpid(), self._fault, self._owner.owner, void=self._owner.void)

    def _tell_found(self) -> None:
        """The runs that there are; ends for which one message has no room follow."""
        self._tell(self._found())
        for ended in islice(self._ended.values(), ENDS_MAX, None):
            self._tell(ended)

    def left(self, daemon: _Daemon) -> None:
        """It is gone; what runs goes on for as long as its lease."""
        if self._daemon is daemon:
            self._daemon = None
            log.info("daemon-left")

    def _tell(self, happening: Happening) -> None:
        if self._daemon is not None:
            self._daemon.tell(happening)

    async def _listen(self) -> asyncio.Server:
        path = place.socket_path(self._directory)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            return await asyncio.get_running_loop().create_unix_server(lambda: _Daemon(self), path)
        except OSError as error:
            raise RunnerFailed(f"{path}: {error.strerror or error}") from None
        finally:
            os.umask(before)

    # --- the disk --------------------------------------------------------------------------

    def _recover(self) -> None:
        """What a former runner left: ends that were not told, runs that nobody saw end."""
        kept = set()
        for found in record.records(self._runs):
            if found.forgotten:
                continue
            ended = found.end()
            if ended is not None and found.fence <= self._owner.void:
                # Of a former owner, kept for what it said: this one begins no claim of so small a number.
                with contextlib.suppress(OSError):
                    found.forget()
                continue
            kept.add(found.path.name)
            if ended is None:
                if found.order() is None and found.birth() is None:
                    self._works.clear(found.path.name)
                    found.remove()  # the order was never kept: it was never begun
                    continue
                mark = leftover_mark(found.path)
                if clear_leftovers(found, self._groups, mark, self._world.boot):
                    log.warning("run-left-over run=%s action=killed", found.path.name)
                with contextlib.suppress(OSError):
                    self._forker.end_marked(mark)
                reason = "the host or its task runner was down while it ran"
                ended = found.vanished(reason, clock.wall())
                with contextlib.suppress(OSError):
                    for path in found.ended(ended):
                        sync(path)
            self._ended[ended.task, ended.fence] = ended
        self._works.clear_others(kept)
        for name in self._groups.left():
            self._groups.kill(name)
            self._groups.remove(name)

    async def _look(self) -> None:
        now = clock.awake()
        broken, self._broken = self._broken, ""
        self._set_fault(broken or await asyncio.to_thread(self._lack))
        if now >= self._pruned_at + PRUNE_INTERVAL:
            self._pruned_at = now
            gone = await asyncio.to_thread(self._prune)
            if gone:
                log.info("output-pruned runs=%d", gone)
        self._watchdog.alive(f"{len(self._active)} runs" + (f"; {self._fault}" if self._fault else ""))

    def _lack(self) -> str:
        return record.lack(self._runs) or self._works.lack()

    def _prune(self) -> int:
        return record.prune(self._runs, self._tasks.output_total << 20, self._sizes)

    def _troubled(self, error: OSError) -> None:
        self._broken = record.fault_of(error, self._runs)
        self._set_fault(self._broken)

    def _orphaned(self) -> None:
        """Only a process without threads may be forked: that is another runner."""
        if not self._stopping.is_set():  # each run that is to begin says so
            log.critical("forker-lost hint=somebody killed it; the runner ends what runs, and stops to begin anew")
        self._stopping.set()

    def _set_fault(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            log.error("runner-fault %s", fault)
        else:
            log.info("runner-well")
        self._tell(RunnerFault(fault))

    # --- the end -----------------------------------------------------------------------------

    async def _end_all(self) -> None:
        self._fault = STOPPED
        self._tell(RunnerFault(STOPPED))
        for run in list(self._active.values()):
            order = run.order
            run.stop(StopRun(order.task, order.fence, Verdict.DRAINED, STOPPED, GRACE))
        if self._living:
            await asyncio.wait(self._living, timeout=2 * GRACE)

    def _reload(self) -> None:
        config = self._reread()
        if config is None or config.tasks is None:
            log.error("reload-refused hint=the configuration is wrong, or has no section tasks; the old rules hold")
            return
        self._tasks = config.tasks
        self._preparing.reread(config)
        log.info("reloaded commands=%d shell=%s", len(self._tasks.commands), self._tasks.shell)


class _Daemon(asyncio.Protocol):
    """One connection."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def tell(self, happening: Happening) -> None:
        """Send it."""
        assert self._transport is not None
        self._transport.write(framed(encode(happening)))
        if self._transport.get_write_buffer_size() > UNSENT_MAX:
            log.error("daemon-deaf hint=it does not read; it finds all when it connects anew")
            self.close()

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()

    # the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        user = _peer(transport.get_extra_info("socket"))
        if user not in (0, os.geteuid()):
            log.error("stranger-refused uid=%d", user)
            transport.abort()
            return
        self._runner.came(self)

    def data_received(self, data: bytes) -> None:
        try:
            for text in self._frames.take(data):
                self._runner.obey(decode_order(text))
        except (Overlong, msgspec.MsgspecError) as fault:
            log.error("daemon-unreadable error=%s hint=daemon and task runner are of different versions", fault)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._runner.left(self)


def _peer(connection: socket.socket) -> int:
    """The user at the other end."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
