"""Holds the database's server: its parent, which the kernel ends with the daemon, and the server with it.

It must not import anything of the daemon: the daemon starts it for every start of the server, with
``python -I -S holder.py DAEMON DESCRIPTOR PROGRAM ARGUMENTS``, and reads the server's number from the descriptor.
The guard ends the database when the daemon is gone, but both can be killed by one stroke, and a primary that
nobody watches takes writes while another is elected.

Why a process between the two: only a process itself can change what the kernel does at its parent's end, and the
server cannot be asked to. In a pause the daemon says SIGUSR1, and the holder lets go of it: the server then outlives
the daemon, and the next one finds it. SIGUSR2 takes that back, as long as the daemon is the one that started it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
KILLED = 128
"""Added to the number of the signal that ended the server, for the exit code: as a shell does."""


class Tie:
    """What the kernel sends this process when its parent dies."""

    def __init__(self) -> None:
        self.fault = ""
        """Why it cannot be asked."""
        try:
            import ctypes  # not at the top: where memory for code is forbidden the import itself can fail

            self._prctl = ctypes.CDLL(None).prctl
        except (ImportError, OSError, MemoryError, AttributeError) as error:
            self.fault = str(error)

    def to(self, parent: int, number: int) -> bool:
        """Ask for this signal (0: none); False when the parent is gone already, and would never be missed."""
        if not self.fault and self._prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            self.fault = "prctl refused"
        return os.getppid() == parent


def main(arguments: list[str]) -> int:
    """Start the server, say its number, wait for its end; its exit code."""
    daemon, descriptor, words = int(arguments[0]), int(arguments[1]), arguments[2:]
    tie, holder = Tie(), os.getpid()
    if not tie.to(daemon, signal.SIGKILL):
        return 1

    def let_go(number: int, frame: FrameType | None) -> None:
        tie.to(daemon, 0)

    def hold(number: int, frame: FrameType | None) -> None:
        if os.getppid() == daemon:
            tie.to(daemon, signal.SIGKILL)

    signal.signal(signal.SIGUSR1, let_go)
    signal.signal(signal.SIGUSR2, hold)
    os.set_inheritable(descriptor, False)
    server = os.fork()
    if server == 0:
        _become_server(tie, holder, words)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    if tie.fault:
        print(f"qluster: the server is not tied to the daemon ({tie.fault}); the guard watches alone", file=sys.stderr)
    os.write(descriptor, b"%d\n" % server)
    os.close(descriptor)
    _, status = os.waitpid(server, 0)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a handler of ours would be gone before this process is
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else KILLED - code


def _become_server(tie: Tie, holder: int, words: list[str]) -> None:
    """Does not come back: a stop without checkpoint is what the kernel sends it at the holder's end."""
    try:
        if tie.to(holder, signal.SIGQUIT):
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # who started the daemon may have had it ignored
            os.execv(words[0], words)
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
