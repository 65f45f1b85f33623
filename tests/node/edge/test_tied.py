"""A server that is tied to its daemon ends with it, whoever watches."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from edge.daemon_world import wait_for
from qluster.edge.postgres import tied
from qluster.edge.process import start_ticks

# Stands for a daemon that a shell started in the background: starts what it is given, says its number, and works on.
DAEMON = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGQUIT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], sys.argv[2] or str(os.getpid()), *sys.argv[3:]])
print(child.pid, flush=True)
time.sleep(60)
"""


def begun(daemon: str, *server: str) -> tuple[subprocess.Popen[str], int]:
    """A daemon and the number of the server it started."""
    words = [sys.executable, "-c", DAEMON, str(tied.__file__), daemon, *server]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_server_ends_with_the_daemon_that_is_killed() -> None:
    daemon, server = begun("", "/bin/sleep", "60")
    try:
        wait_for("the server", lambda: Path(f"/proc/{server}/cmdline").read_bytes().startswith(b"/bin/sleep"))
        daemon.kill()
        daemon.wait()
        wait_for("its end", lambda: start_ticks(server) is None, 5.0)
    finally:
        daemon.kill()
        daemon.wait()
        if start_ticks(server) is not None:
            os.kill(server, signal.SIGKILL)


def test_server_of_a_daemon_that_is_gone_already_is_not_started(tmp_path: Path) -> None:
    # The daemon died between the start of the process and the word to the kernel.
    daemon, server = begun("1", "/usr/bin/touch", str(tmp_path / "started"))
    try:
        wait_for("its end", lambda: start_ticks(server) is None)
        assert not (tmp_path / "started").exists()
    finally:
        daemon.kill()
        daemon.wait()
