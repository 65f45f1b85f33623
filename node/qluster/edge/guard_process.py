"""Ends the database when the daemon is late or gone: law 7, in a process of its own.

It must not import anything of the daemon: it starts in a few milliseconds (``python -I -S``), holds
no locks, opens no files but /proc and postmaster.pid, and so works while the daemon hangs in a slow fsync.

Lines on standard input:

- ``database DIRECTORY``: whose server is guarded;
- ``server PID TICKS``: the postmaster and its start time in the kernel's ticks; ``server 0 0`` for none;
- ``deadline SECONDS``: on CLOCK_MONOTONIC; ``inf`` while only the daemon's death matters; ``-inf`` ends the
  server for certain, also when a later deadline came in before this line was read;
- ``untied 1``: the daemon's death is not the database's end, until ``untied 0``: a pause;
- ``release``: end without ending anything.

The end of the input is the daemon's death. A line on standard output tells what was done.
A process is killed only when it is certain who it is: by its start time, or because postmaster.pid
names it and it works in the directory.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from math import inf

TICK = 0.25
"""Seconds between looks at the clocks while a deadline is set: a host that slept is seen by then."""
SLEEP_LIMIT = 0.05
"""Seconds by which the host may have slept (CLOCK_MONOTONIC stands still meanwhile): less than what is left of the
shortest node-timeout after its lease, which is 167 ms of 500."""
GRACE = 1.0
"""Seconds between the order to quit and SIGKILL."""
STARTING_LIMIT = 2.0
"""After the daemon's death a server that it had just started may not have written postmaster.pid yet."""
KILLED_LIMIT = 5.0
"""Seconds to wait for what was killed; longer means that it hangs in the kernel and writes nothing."""


def start_ticks(pid: int) -> int | None:
    """When a process started; None when it is gone or only waits to be reaped."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for another."""

    pid: int
    ticks: int

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.ticks

    def send(self, number: int) -> None:
        """Signal it; between the look and the signal a pidfd holds its identity."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(descriptor, number)
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            os.close(descriptor)

    def gone_within(self, seconds: float) -> bool:
        """Wait for its end."""
        until = time.monotonic() + seconds
        try:
            descriptor = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            return True
        try:
            while self.alive():
                left = until - time.monotonic()
                if left <= 0:
                    return False
                select.select([descriptor], [], [], min(left, TICK))
        finally:
            os.close(descriptor)
        return True


def recorded_server(directory: str) -> Process | None:
    """The postmaster that postmaster.pid names, if it is alive and works in the directory."""
    try:
        with open(os.path.join(directory, "postmaster.pid"), encoding="utf-8", errors="replace") as record:
            pid = int(record.readline().strip())
    except (OSError, ValueError):
        return None
    ticks = start_ticks(pid)
    if ticks is None or not works_in(pid, directory):
        return None
    return Process(pid, ticks)


def works_in(pid: int, directory: str) -> bool:
    """Whether a process has this directory as its own: every process of a server has."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:
        return False


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def kin(server: Process, directory: str, program: str) -> list[Process]:
    """The processes of a server: its children, and orphans of the same program in the same directory."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) in (server.pid, os.getpid()):
            continue
        pid = int(name)
        fields = _stat(pid)
        if not fields or fields[0] in ("Z", "X"):
            continue
        orphan = bool(program) and _program(pid) == program and works_in(pid, directory)
        if int(fields[1]) == server.pid or orphan:
            found.append(Process(pid, int(fields[19])))
    return found


def end_server(server: Process, directory: str) -> str:
    """Quit, then kill. The answer says how it went.

    The sessions are told too: they acknowledge commits without asking a postmaster, which may hang.
    """
    program = _program(server.pid)
    server.send(signal.SIGQUIT)
    children = kin(server, directory, program)
    for child in children:
        child.send(signal.SIGQUIT)
    until = time.monotonic() + GRACE
    if all(process.gone_within(until - time.monotonic()) for process in (server, *children)):
        return "quit"
    children += kin(server, directory, program)
    server.send(signal.SIGKILL)
    for child in (*children, *kin(server, directory, program)):
        child.send(signal.SIGKILL)
    gone = [process.gone_within(KILLED_LIMIT) for process in (server, *children)]
    return "killed" if all(gone) else "hanging"


class Watch:
    """What the daemon has said so far, and what follows from it."""

    def __init__(self) -> None:
        self.directory = ""
        self.server: Process | None = None
        self.deadline = inf
        self.condemned = False
        self.slept = 0.0
        self.released = False
        self.untied = False
        self._input = b""

    def take(self, data: bytes) -> None:
        """Take whole lines; what is no line of ours is a fault of the daemon, and ends nothing."""
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("utf-8", "surrogateescape").partition(" ")
            with contextlib.suppress(ValueError):
                self._obey(word, rest)

    def _obey(self, word: str, rest: str) -> None:
        if word == "database":
            self.directory = rest
        elif word == "server":
            pid, ticks = (int(number) for number in rest.split())
            self.server = Process(pid, ticks) if pid else None
            self.condemned = False
        elif word == "deadline":
            at = float(rest)
            # What came in while the host slept makes a new deadline of rounds before that: it is none.
            late = inf not in (at, self.deadline) and self._has_slept()
            self.deadline = at
            self.condemned = self.condemned or late or at == -inf
            self.slept = _slept_at_most()
        elif word == "untied":
            self.untied = rest == "1"
        elif word == "release":
            self.released = True

    def overdue(self) -> bool:
        """Whether the deadline has passed, or the host slept and the clock stood still."""
        if self.condemned or self.deadline == inf:
            return self.condemned
        return time.monotonic() >= self.deadline or self._has_slept()

    def _has_slept(self) -> bool:
        """Whether the host slept since the deadline was said."""
        return _slept_at_least() - self.slept > SLEEP_LIMIT

    def wait_time(self) -> float | None:
        """Seconds until the next look; None: until something is said."""
        if self.deadline == inf:
            return None
        left = self.deadline - time.monotonic()
        return min(left, TICK) if left > 0 else TICK

    def end(self, why: str) -> bool:
        """End the server; False when none was found. A deadline that has passed holds for any server after it."""
        servers = {server for server in (self.server, recorded_server(self.directory)) if server}
        ended = False
        for server in servers:
            if server.alive():
                began = time.monotonic()
                how = end_server(server, self.directory)
                _tell(f"ended {why} {how} {server.pid} {time.monotonic() - began:.3f}")
                ended = True
        self.server, self.condemned = None, False
        return ended


def _slept_at_most() -> float:
    """Seconds for which the host has slept since its start; on a full host time passes between two looks at clocks."""
    before = time.monotonic()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - before


def _slept_at_least() -> float:
    """The same from below, so that nobody is ended for a guard that was kept waiting."""
    booted = time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted - time.monotonic()


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, line.encode() + b"\n")


def _drained(watch: Watch) -> bool:
    """Read all that was said; False when the daemon is gone."""
    while True:
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        watch.take(data)


def main() -> int:
    """Watch until the daemon releases or is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    watch = Watch()
    _tell("ready")
    while True:
        select.select([0], [], [], watch.wait_time())
        # What was said in time counts even when it is read late: the pipe first, then the clock.
        present = _drained(watch)
        if watch.released:
            return 0
        if not present:
            break
        if watch.overdue():
            watch.end("deadline")
    if watch.untied:
        return 0
    until = time.monotonic() + STARTING_LIMIT
    while watch.directory and not watch.end("orphan") and time.monotonic() < until:
        time.sleep(TICK / 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
