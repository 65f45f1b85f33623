"""A server that is tied to its daemon ends with it, whoever watches; in a pause it does not."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from qluster.edge.postgres import holder as holding
from qluster.edge.process import start_ticks

# Stands for a daemon that a shell started in the background: starts what it is given by a holder, says both numbers,
# does what it is told, and works on.
DAEMON = """
import os, signal, subprocess, sys
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
reading, writing = os.pipe()
words = [sys.argv[2] or str(os.getpid()), str(writing), *sys.argv[3:]]
holder = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], *words], pass_fds=(writing,))
os.close(writing)
print(holder.pid, os.read(reading, 64).decode().strip() or "none", flush=True)
for line in sys.stdin:
    holder.send_signal(getattr(signal, line.strip()))
    print("done", flush=True)
print(holder.wait(), flush=True)
"""


@dataclass
class Tied:
    """A daemon, the holder that it started, and the server."""

    daemon: subprocess.Popen[str]
    holder: int
    server: int | None

    def tell(self, number: str) -> None:
        """Have the daemon send the holder a signal, and wait until it is certain to have acted on it."""
        assert self.daemon.stdin is not None and self.daemon.stdout is not None
        self.daemon.stdin.write(f"{number}\n")
        self.daemon.stdin.flush()
        assert self.daemon.stdout.readline() == "done\n"
        wait_for("a holder at rest", lambda: not self._pending())

    def _pending(self) -> bool:
        status = Path(f"/proc/{self.holder}/status").read_text()
        waiting = any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))
        return waiting or "State:\tS" not in status

    def kill_daemon(self) -> None:
        self.daemon.kill()
        self.daemon.wait()


def begun(daemon: str, *server: str) -> Tied:
    words = [sys.executable, "-c", DAEMON, str(holding.__file__), daemon, *server]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    holder, number = process.stdout.readline().split()
    return Tied(process, int(holder), int(number) if number != "none" else None)


@pytest.fixture
def one() -> Iterator[Tied]:
    made = begun("", "/bin/sleep", "60")
    assert made.server is not None
    server = made.server
    wait_for("the server", lambda: Path(f"/proc/{server}/cmdline").read_bytes().startswith(b"/bin/sleep"))
    yield made
    made.kill_daemon()
    for pid in (made.holder, server):
        if start_ticks(pid) is not None:
            os.kill(pid, signal.SIGKILL)


def gone(pid: int | None) -> bool:
    return pid is None or start_ticks(pid) is None


def test_server_ends_with_the_daemon_that_is_killed(one: Tied) -> None:
    one.kill_daemon()
    wait_for("its end", lambda: gone(one.server), 5.0)


def test_server_ends_with_its_holder(one: Tied) -> None:
    os.kill(one.holder, signal.SIGKILL)
    wait_for("its end", lambda: gone(one.server), 5.0)


def test_server_that_is_let_go_outlives_the_daemon(one: Tied) -> None:
    one.tell("SIGUSR1")
    one.kill_daemon()
    assert not gone(one.holder) and not gone(one.server)
    os.kill(one.server or 0, signal.SIGTERM)
    wait_for("the holder's end", lambda: gone(one.holder), 5.0)


def test_server_that_is_held_again_ends_with_the_daemon(one: Tied) -> None:
    one.tell("SIGUSR1")
    one.tell("SIGUSR2")
    one.kill_daemon()
    wait_for("its end", lambda: gone(one.server), 5.0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, 137)])
def test_end_of_the_server_is_the_holder_s(one: Tied, number: int, code: int) -> None:
    os.kill(one.server or 0, number)
    assert one.daemon.stdin is not None and one.daemon.stdout is not None
    one.daemon.stdin.close()
    assert int(one.daemon.stdout.readline()) == code


def test_server_of_a_daemon_that_is_gone_already_is_not_started(tmp_path: Path) -> None:
    # The daemon died between the start of the process and the word to the kernel.
    made = begun("1", "/usr/bin/touch", str(tmp_path / "started"))
    try:
        wait_for("its end", lambda: gone(made.holder))
        assert made.server is None and not (tmp_path / "started").exists()
    finally:
        made.kill_daemon()
