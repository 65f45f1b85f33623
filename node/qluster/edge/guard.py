"""Keeps the guard process running and tells it until when the database may live.

It must not know why a deadline is what it is. The guard itself is ``guard_process.py``: it ends the
database when a deadline passes without another, or when this daemon is gone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path

from qluster.edge import clock
from qluster.edge.process import start_ticks, watch

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("guard_process.py")
START_LIMIT = 10.0
"""Seconds the guard may take to answer: on a loaded host a Python start is seconds, not more."""
RESTARTS_MOST = 5
"""A guard that ends five times is not kept by a sixth start; the daemon must not run without one."""
RELEASE_LIMIT = 10.0
"""Seconds a released guard may take to end."""


class GuardFailed(Exception):
    """There is no guard: no primary may run."""


class Guard:
    """The daemon's end of the pipe.

    ``ended(line)`` is called when the guard ended the database, ``lost(sentence)`` when no guard
    can be kept: the daemon must then stop the database itself.
    """

    def __init__(
        self,
        data_dir: str,
        ended: Callable[[str], None] = lambda line: None,
        lost: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._data_dir = data_dir
        self._ended = ended
        self._lost = lost
        self._process: subprocess.Popen[bytes] | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._ready = asyncio.Event()
        self._server = (0, 0)
        self._deadline = inf
        self._untied = False
        self._restarts = 0
        self._heard = b""

    @property
    def pid(self) -> int | None:
        """Process id of the guard."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the guard and wait until it watches; raises :class:`GuardFailed`."""
        self._spawn()
        try:
            await asyncio.wait_for(self._ready.wait(), START_LIMIT)
        except TimeoutError:
            raise GuardFailed(f"the guard did not start within {START_LIMIT:g} seconds") from None

    def server(self, pid: int) -> None:
        """Tell which process is the database's postmaster (0: none)."""
        ticks = start_ticks(pid) if pid else None
        self._server = (pid, ticks) if ticks is not None else (0, 0)
        self._say(f"server {self._server[0]} {self._server[1]}")
        # Again, for this server: when it was said first there may have been none to end.
        self._say_deadline()

    def deadline(self, at: float) -> None:
        """The database may live until then (``clock.monotonic``) or until another deadline.

        inf: no limit. -inf: it ends now, whatever is said next.
        """
        if at != self._deadline:
            self._deadline = at
            self._say_deadline()

    def _say_deadline(self) -> None:
        """By the guard's own clock, which stands still while the host sleeps: it minds that by itself."""
        self._say(f"deadline {clock.awake_at(self._deadline)!r}")

    def untie(self, untied: bool) -> None:
        """Whether the database outlives the daemon: only in a pause."""
        if untied != self._untied:
            self._untied = untied
            self._say(f"untied {int(untied)}")

    async def stop(self) -> None:
        """End the guard; the database is not touched, so it must have been stopped before."""
        process, self._process = self._process, None
        if process is None:
            return
        self._unwatch()
        assert process.stdin is not None
        asyncio.get_running_loop().remove_reader(_descriptor(process))
        with contextlib.suppress(OSError):
            os.write(process.stdin.fileno(), b"release\n")
        gone = asyncio.Event()
        unwatch = watch(process.pid, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), RELEASE_LIMIT)
        except TimeoutError:
            log.error("guard-hangs pid=%d limit=%.1f", process.pid, RELEASE_LIMIT)
            process.kill()
        finally:
            unwatch()
            self._close(process)

    def _spawn(self) -> None:
        self._ready.clear()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={},
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise GuardFailed(f"the guard cannot be started: {error.strerror or error}") from error
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(_descriptor(process), False)
        self._process = process
        self._heard = b""
        asyncio.get_running_loop().add_reader(_descriptor(process), self._hear)
        self._unwatch = watch(process.pid, self._again)
        self._say(f"database {self._data_dir}")
        self._say("server {} {}".format(*self._server))
        self._say(f"untied {int(self._untied)}")
        self._say_deadline()

    def _again(self) -> None:
        """The guard is gone: nobody asked it to. Another one at once, a few times."""
        process, self._process = self._process, None
        assert process is not None
        asyncio.get_running_loop().remove_reader(_descriptor(process))
        self._close(process)
        self._restarts += 1
        log.error("guard-ended code=%s restarts=%d", process.returncode, self._restarts)
        if self._restarts > RESTARTS_MOST:
            self._lost(f"the guard ended {self._restarts} times, last with code {process.returncode}")
            return
        try:
            self._spawn()
        except GuardFailed as failure:
            self._lost(str(failure))

    def _hear(self) -> None:
        assert self._process is not None
        with contextlib.suppress(BlockingIOError):
            data = os.read(_descriptor(self._process), 4096)
            if not data:
                asyncio.get_running_loop().remove_reader(_descriptor(self._process))
            *lines, self._heard = (self._heard + data).split(b"\n")
            for line in lines:
                self._take(line.decode("ascii", "replace"))

    def _take(self, line: str) -> None:
        if line == "ready":
            self._ready.set()
        elif line.startswith("ended "):
            self._server = (0, 0)
            log.error("database-ended-by-guard detail=%s", line.removeprefix("ended "))
            self._ended(line)

    def _say(self, line: str) -> None:
        """A guard that does not read is not told: then the old deadline passes, and the database ends."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), line.encode("utf-8", "surrogateescape") + b"\n")
        except OSError as error:
            log.error("guard-deaf line=%s error=%s", line, error)

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def _descriptor(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return process.stdout.fileno()
