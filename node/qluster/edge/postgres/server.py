"""The postmaster: started, watched, signalled, and never left behind.

It must not know what the server is for. A holder (``holder.py``) stands between the daemon and the server, and all
stay in one control group; the server's end is seen at once by its pidfd, and the daemon's end is its own, unless the
holder was told to let go. A server that somebody else started can be adopted: it is watched and stopped alike.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qluster.database.settings import FILE_NAME
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.holder import KILLED
from qluster.edge.postgres.programs import Programs
from qluster.edge.process import asleep, ended, finished, halted, start_ticks, watch

log = logging.getLogger(__name__)

HOLDER = str(Path(__file__).with_name("holder.py"))
FAST_LIMIT = 30.0
"""Seconds for a clean stop: long enough for the shutdown checkpoint to reach the replicas."""
IMMEDIATE_LIMIT = 3.0
"""Seconds for a stop without checkpoint; the server itself kills its children after five."""
KILL_LIMIT = 5.0
"""Seconds for the kernel to remove what was killed."""
HOLDER_LIMIT = 5.0
"""Seconds for the holder to start the server, or to follow it to its end: a tenth of a second on a busy host."""
ASLEEP_LIMIT = 0.5
"""The same where one of them sleeps in the kernel: until its disk goes on, and no client hears of it any more."""
ORPHAN_GRACE = 0.5
"""Seconds for the children of a dead postmaster to notice; a new server cannot start before they go."""


class Server:
    """The server of one data directory.

    ``started(pid)`` and ``exited(code)`` are called at once; pid and code are of the postmaster.
    """

    def __init__(
        self,
        programs: Programs,
        data_dir: str,
        started: Callable[[int], None],
        exited: Callable[[int], None],
    ) -> None:
        self._programs = programs
        self._data_dir = data_dir
        self._started = started
        self._exited = exited
        self._running: _Running | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._gone: asyncio.Future[int] | None = None
        self._let_go = False
        self.stopping = False

    @property
    def pid(self) -> int | None:
        """The postmaster, None when none runs."""
        return self._running.pid if self._running else None

    @property
    def gone(self) -> asyncio.Future[int]:
        """Done when the postmaster has ended; its exit code."""
        assert self._gone is not None, "no server was started"
        return self._gone

    async def start(self) -> None:
        """Start the postmaster; whether it will answer is seen by asking it."""
        assert self._running is None, "a server runs already"
        await self.end_leftovers()
        self._forget_stale_lock()
        # To its end in any case: a server whose number nobody has read is watched by nobody.
        await finished(self._start())

    async def _start(self) -> None:
        program = self._programs.path("postgres")
        config = f"config_file={os.path.join(self._data_dir, FILE_NAME)}"
        reading, writing = os.pipe()
        try:
            if not os.access(program, os.X_OK):
                raise OSError("it is not there or may not be run")
            words = [str(os.getpid()), str(writing), program, "-D", self._data_dir, "-c", config]
            holder = subprocess.Popen(
                [sys.executable, "-I", "-S", HOLDER, *words],
                stdin=subprocess.DEVNULL,
                env=self._programs.environment(),
                cwd="/",
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            raise PostgresFailed(f"{program} cannot be started: {error.strerror or error}") from error
        finally:
            os.close(writing)
        pid = await _number_said(reading)
        if pid is None:
            holder.kill()
            raise PostgresFailed(f"{program} was not started: its holder ended with code {holder.wait()}")
        self._holder = holder
        self._watch(_Running(pid, start_ticks(pid)))
        if self._let_go:
            self.let_go(True)
        log.info("database-started pid=%d directory=%s", pid, self._data_dir)

    def adopt(self, pid: int) -> None:
        """Take a server that somebody else started for one of ours, but for the tie to the daemon."""
        assert self._running is None, "a server runs already"
        ticks = start_ticks(pid)
        if ticks is None:
            return
        self._watch(_Running(pid, ticks, foreign=not self._ours(pid)))
        log.warning("database-adopted pid=%d directory=%s foreign=%s", pid, self._data_dir, self.foreign)

    def _ours(self, pid: int) -> bool:
        """Whether it was started with the daemon's settings."""
        config = f"config_file={os.path.join(self._data_dir, FILE_NAME)}".encode("utf-8", "surrogateescape")
        try:
            return config in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    @property
    def foreign(self) -> bool:
        """The server that runs was started by somebody else, with other settings."""
        return self._running is not None and self._running.foreign

    def _watch(self, running: _Running) -> None:
        self.stopping = False
        self._running = running
        self._gone = asyncio.get_running_loop().create_future()
        self._started(running.pid)
        watch(running.pid, self._reap)

    def let_go(self, let_go: bool) -> None:
        """Whether the server outlives the daemon. One that was adopted is tied by the guard alone."""
        self._let_go = let_go
        if self._holder is not None and self._holder.poll() is None:
            self._holder.send_signal(signal.SIGUSR1 if let_go else signal.SIGUSR2)

    def _reap(self) -> None:
        """The server is gone; its holder says how, a moment later."""
        holder = self._holder
        if holder is None or holder.poll() is not None:
            self._over()
            return

        def told() -> None:
            late.cancel()
            self._over()

        def untold() -> None:
            unwatch()
            holder.kill()
            self._over()

        unwatch = watch(holder.pid, told)
        late = asyncio.get_running_loop().call_later(HOLDER_LIMIT, untold)

    def _over(self) -> None:
        running, self._running = self._running, None
        assert running is not None and self._gone is not None
        code = self._exit_code()
        log.log(
            logging.INFO if self.stopping else logging.ERROR,
            "database-ended pid=%d code=%d asked=%s",
            running.pid,
            code,
            self.stopping,
        )
        self._gone.set_result(code)
        self._exited(code)

    def _exit_code(self) -> int:
        """As the holder says it; of an adopted server only its lock file tells how it ended."""
        holder, self._holder = self._holder, None
        if holder is None:
            return 0 if self._locked_by() is None else 1
        code = holder.wait()
        return KILLED - code if code > KILLED else code

    @property
    def status(self) -> str:
        """What the postmaster says of itself in its lock file: starting, standby, ready, stopping; or ""."""
        try:
            with open(os.path.join(self._data_dir, "postmaster.pid"), encoding="utf-8") as lock:
                lines = lock.read().splitlines()
        except (OSError, ValueError):
            return ""
        if self.pid is None or not lines or lines[0].strip() != str(self.pid):
            return ""
        return lines[7].strip() if len(lines) > 7 else "ready"

    @property
    def halted(self) -> bool:
        """Somebody stopped the postmaster, which would take in clients: SIGSTOP, or a debugger."""
        return self.pid is not None and halted(self.pid)

    def reload(self) -> None:
        """Have the configuration files read again."""
        self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        running = self._running
        if running is not None and running.ticks is not None and start_ticks(running.pid) == running.ticks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, number)

    async def stop(self, *, fast: bool) -> None:
        """Stop: clean if ``fast``, then without a checkpoint, then by force. Idempotent."""
        if self._running is None:
            await self.end_leftovers()
            return
        self.stopping = True
        steps = [(signal.SIGQUIT, IMMEDIATE_LIMIT)]
        if fast:
            steps.insert(0, (signal.SIGINT, FAST_LIMIT))
        for number, limit in steps:
            self._signal(number)
            if await self._ended_within(limit):
                return
            log.warning("database-stop-slow signal=%s limit=%.0f", number.name, limit)
        await self.kill()

    async def kill(self) -> None:
        """End the postmaster and everything of it by force."""
        if self._running is not None:
            self._signal(signal.SIGKILL)
            if not await self._ended_within(KILL_LIMIT):
                raise PostgresFailed(f"postmaster {self.pid} is killed and does not go: look at its disk")
        await self.end_leftovers()

    async def _ended_within(self, limit: float) -> bool:
        if self._running is None or self._gone is None:
            return True
        done, _ = await asyncio.wait([self._gone], timeout=limit)
        return bool(done)

    # --- what an earlier daemon left ---

    async def end_leftovers(self) -> None:
        """End a server of this directory that is not ours, and children of a dead one."""
        assert self._running is None, "only before a start or after an end"
        if (postmaster := self.leftover()) is not None:
            log.warning("database-leftover pid=%d directory=%s", postmaster, self._data_dir)
            await _end(postmaster, [(signal.SIGINT, FAST_LIMIT), (signal.SIGQUIT, IMMEDIATE_LIMIT)])
        if orphans := self._processes():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORPHAN_GRACE):
                    await asyncio.gather(*(ended(pid) for pid in orphans))
        if orphans := self._processes():
            log.warning("database-orphans pids=%s directory=%s", ",".join(map(str, orphans)), self._data_dir)
            await _end_all(orphans)

    def leftover(self) -> int | None:
        """The living postmaster that postmaster.pid names."""
        pid = self._locked_by()
        return pid if pid is not None and pid in self._processes() else None

    def _locked_by(self) -> int | None:
        try:
            with open(os.path.join(self._data_dir, "postmaster.pid"), encoding="utf-8") as lock:
                return int(lock.readline().strip())
        except (OSError, ValueError):
            return None

    def _forget_stale_lock(self) -> None:
        """A number in the lock that now belongs to a stranger would keep the server from starting.

        Who may not be looked at is no stranger for certain: the server itself judges the lock then.
        """
        pid = self._locked_by()
        if pid is None or start_ticks(pid) is None:
            return
        with contextlib.suppress(OSError):
            os.readlink(f"/proc/{pid}/cwd")
            (Path(self._data_dir) / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self) -> list[int]:
        """Processes of this program that work in this directory."""
        program = os.path.realpath(self._programs.path("postgres"))
        found = []
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                mine = os.path.samefile(f"/proc/{name}/cwd", self._data_dir)
                if mine and os.readlink(f"/proc/{name}/exe").removesuffix(" (deleted)") == program:
                    found.append(int(name))
        return found


@dataclass(frozen=True, slots=True)
class _Running:
    """A postmaster that cannot be mistaken for another process."""

    pid: int
    ticks: int | None
    foreign: bool = False


async def _number_said(reading: int) -> int | None:
    """The number that the holder says; None when it ends without."""
    loop = asyncio.get_running_loop()
    said: asyncio.Future[None] = loop.create_future()
    loop.add_reader(reading, lambda: None if said.done() else said.set_result(None))
    try:
        await asyncio.wait([said], timeout=HOLDER_LIMIT)
        text = os.read(reading, 64) if said.done() else b""
    finally:
        loop.remove_reader(reading)
        os.close(reading)
    return int(text) if text.strip().isdigit() else None


async def _end(pid: int, steps: list[tuple[signal.Signals, float]]) -> None:
    ticks = start_ticks(pid)
    for number, limit in [*steps, (signal.SIGKILL, KILL_LIMIT)]:
        if ticks is None or start_ticks(pid) != ticks:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended(pid), limit)
    if start_ticks(pid) == ticks:
        raise _Lasting(pid)


async def _end_all(pids: list[int]) -> None:
    """Kill them all before any is waited for: one that sleeps in the kernel must not spare the others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    limit = ASLEEP_LIMIT if any(asleep(pid) for pid in pids) else KILL_LIMIT
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await asyncio.gather(*(ended(pid) for pid in pids))
    lasting = [pid for pid in pids if start_ticks(pid) is not None]
    if lasting:
        raise _Lasting(lasting[0])


class _Lasting(PostgresFailed):
    """It goes when its disk goes on, and returns to no client before; nothing new is started meanwhile."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} of the former server is killed and does not go: look at its disk",
                         passing=True)  # fmt: skip
