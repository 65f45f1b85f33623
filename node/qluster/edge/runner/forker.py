"""A small process without threads that forks an attendant for each run.

It must not know of runs. It is forked off before the runner has a loop, a thread or a socket: what is forked from it
is small, quickly there, and has no lock that another thread holds. Each order is one byte with three descriptors: of
the runner's line, and of the two outputs.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket

from qluster.edge.runner import libc, program
from qluster.edge.runner.attendant import Attendant

log = logging.getLogger("qluster.runner")

PRIORITY = 1
"""Of the real-time class: who is to kill a busy program must not wait until it lets him."""


class Forker:
    """The runner's end."""

    def __init__(self, lease: float) -> None:
        """Fork it off; the caller has no threads yet. ``lease``: seconds from asking for a lease to its end."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            _serve(theirs, lease)
        theirs.close()

    def attendant(self, output: int, errors: int) -> socket.socket:
        """The line to a new attendant, which waits for its plan; raises OSError when there is no forker any more.

        The two descriptors are the caller's to close.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._line, [b"a"], [theirs.fileno(), output, errors])
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """It ends; attendants go on."""
        self._line.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _serve(line: socket.socket, lease: float) -> None:
    try:
        _settle()
        while True:
            data, descriptors, _, _ = socket.recv_fds(line, 16, 3)
            if not data:
                break
            for descriptor in descriptors:  # the flag for it is ignored by some versions of Python
                os.set_inheritable(descriptor, False)
            try:
                if os.fork() == 0:
                    line.close()
                    _attend(descriptors, lease)
            except OSError as error:  # this one run is not begun: its line is closed
                log.error("fork-failed error=%s hint=more processes than this user or unit may have", error.strerror)
            for descriptor in descriptors:
                os.close(descriptor)
    except BaseException:
        log.exception("forker-broke")
        os._exit(1)
    os._exit(0)


def _settle() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the directory itself was open
            if int(name) > 2:  # who started the runner may have left it something
                os.set_inheritable(int(name), False)
    if fault := libc.prepare():
        log.warning("runner-without-prctl error=%s hint=orphans of a program are found by a mark alone", fault)
    program.prctl(program.PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    gc.collect()
    gc.freeze()


def _attend(descriptors: list[int], lease: float) -> None:
    try:
        program.prctl(program.PR_SET_PDEATHSIG, 0)
        program.prctl(program.PR_SET_CHILD_SUBREAPER, 1)
        control, output, errors = descriptors
        Attendant(socket.socket(fileno=control), output, errors, lease).attend()
    except BaseException:
        log.exception("attendant-broke")
        os._exit(1)
    os._exit(0)
