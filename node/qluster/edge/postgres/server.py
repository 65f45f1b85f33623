"""The postmaster: started, watched, signalled, and never left behind.

It must not know what the server is for. The server is a child of the daemon and stays in its control
group; its end is seen at once by its pidfd, and the daemon's end is its own (``tied.py``).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from qluster.database.settings import FILE_NAME
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.programs import Programs, tie_words
from qluster.edge.process import ended, halted, start_ticks, watch

log = logging.getLogger(__name__)

FAST_LIMIT = 30.0
"""Seconds for a clean stop: long enough for the shutdown checkpoint to reach the replicas."""
IMMEDIATE_LIMIT = 3.0
"""Seconds for a stop without checkpoint; the server itself kills its children after five."""
KILL_LIMIT = 5.0
"""Seconds for the kernel to remove what was killed."""
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
        self._process: subprocess.Popen[bytes] | None = None
        self._gone: asyncio.Future[int] | None = None
        self.stopping = False

    @property
    def pid(self) -> int | None:
        """The postmaster, None when none runs."""
        return self._process.pid if self._process else None

    @property
    def gone(self) -> asyncio.Future[int]:
        """Done when the postmaster has ended; its exit code."""
        assert self._gone is not None, "no server was started"
        return self._gone

    async def start(self) -> None:
        """Start the postmaster; whether it will answer is seen by asking it."""
        assert self._process is None, "a server runs already"
        await self.end_leftovers()
        self._forget_stale_lock()
        config = f"config_file={os.path.join(self._data_dir, FILE_NAME)}"
        program = self._programs.path("postgres")
        try:
            if not os.access(program, os.X_OK):
                raise OSError("it is not there or may not be run")
            process = subprocess.Popen(
                [*tie_words(), program, "-D", self._data_dir, "-c", config],
                stdin=subprocess.DEVNULL,
                env=self._programs.environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise PostgresFailed(f"{program} cannot be started: {error.strerror or error}") from error
        self.stopping = False
        self._process = process
        self._gone = asyncio.get_running_loop().create_future()
        self._started(process.pid)
        watch(process.pid, self._reap)
        log.info("database-started pid=%d directory=%s", process.pid, self._data_dir)

    def _reap(self) -> None:
        process, self._process = self._process, None
        assert process is not None and self._gone is not None
        code = process.wait()
        log.log(
            logging.INFO if self.stopping else logging.ERROR,
            "database-ended pid=%d code=%d asked=%s",
            process.pid,
            code,
            self.stopping,
        )
        self._gone.set_result(code)
        self._exited(code)

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
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def stop(self, *, fast: bool) -> None:
        """Stop: clean if ``fast``, then without a checkpoint, then by force. Idempotent."""
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
        if self._process is not None:
            self._signal(signal.SIGKILL)
            if not await self._ended_within(KILL_LIMIT):
                raise PostgresFailed(f"postmaster {self.pid} is killed and does not go: look at its disk")
        await self.end_leftovers()

    async def _ended_within(self, limit: float) -> bool:
        if self._process is None or self._gone is None:
            return True
        done, _ = await asyncio.wait([self._gone], timeout=limit)
        return bool(done)

    # --- what an earlier daemon left ---

    async def end_leftovers(self) -> None:
        """End a server of this directory that is not ours, and children of a dead one."""
        assert self._process is None, "only before a start or after an end"
        if (postmaster := self.leftover()) is not None:
            log.warning("database-leftover pid=%d directory=%s", postmaster, self._data_dir)
            await _end(postmaster, [(signal.SIGINT, FAST_LIMIT), (signal.SIGQUIT, IMMEDIATE_LIMIT)])
        if orphans := self._processes():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORPHAN_GRACE):
                    await asyncio.gather(*(ended(pid) for pid in orphans))
        for orphan in self._processes():
            log.warning("database-orphan pid=%d directory=%s", orphan, self._data_dir)
            await _end(orphan, [])

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
        raise PostgresFailed(f"process {pid} of an earlier server is killed and does not go: look at its disk")
