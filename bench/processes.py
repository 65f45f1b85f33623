"""Server processes: started with their output in a file, measured by /proc, ended without fail.

Must not know which system a process belongs to.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
END_SECONDS = 10.0
"""For a server to end after SIGTERM; then it is killed."""
START_SECONDS = 60.0
"""For a cluster to be complete on a machine that is busy with other things as well."""
TAIL_SIZE = 2000
"""Characters of a server's output that an error shows."""


class NotStarted(Exception):
    """A cluster did not become what it should: the message has the end of its output."""


class Server:
    """One process of a system."""

    def __init__(self, words: Sequence[str], log: Path, environment: dict[str, str] | None = None,
                 stdin: int = subprocess.DEVNULL, stdout: int | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                list(words), env=environment, stdin=stdin, stdout=output if stdout is None else stdout, stderr=output
            )
        self.pid = self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """For whoever speaks with the process by its standard input and output."""
        return self._child

    def kill(self) -> None:
        """As a host that loses its power, but for the page cache."""
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def end(self) -> None:
        """Ask it to stop, then make it."""
        if self.alive:
            self._child.terminate()
            try:
                self._child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def resident_bytes(self) -> int:
        """Memory that it holds."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_SIZE

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-TAIL_SIZE:]


def wait_for(what: str, holds: Callable[[], object], servers: Sequence[Server], limit: float = START_SECONDS) -> None:
    """Wait until something holds; raises :class:`NotStarted` with what the servers said."""
    end = time.monotonic() + limit
    while not holds():
        dead = [server for server in servers if not server.alive]
        if dead or time.monotonic() > end:
            server = (dead or list(servers))[0]
            reason = "a server ended" if dead else f"not within {limit:g} s"
            raise NotStarted(f"{what}: {reason}; {server.log}:\n{server.tail()}")
        time.sleep(0.05)
