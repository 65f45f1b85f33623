"""A small process without threads that forks an attendant for each run.

It must not know of runs. It is forked off before the runner has a loop, a thread or a socket: what is forked from it
is small, quickly there, and has no lock that another thread holds. It keeps the right to become the users of tasks,
which the runner gives up. Each order is a word with descriptors, of which the first is the runner's line:

| word | descriptors | what is forked |
|---|---|---|
| ``a`` | the two outputs | an attendant, which waits for its plan |
| ``s`` | a directory | who empties it as its owner, and ends |
| ``e``, user, mark | | who kills as that user what has the mark, and ends |
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket

from qluster.edge.runner import helper, program, rights
from qluster.edge.runner.attendant import Attendant

log = logging.getLogger("qluster.runner")

ORDER_MAX = 8192
"""Bytes of an order: a mark is a path."""
HELP_LIMIT = 60.0
"""Seconds for a helper; what it does not end by then it goes on with."""


class Forker:
    """The runner's end."""

    def __init__(self, lease: float, users: rights.Users = ()) -> None:
        """Fork it off; the caller has no threads yet. ``lease``: seconds from asking for a lease to its end;
        ``users``: whom programs may become."""
        self.users = users
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self._line.close()
            _serve(theirs, lease, users)
        theirs.close()

    def attendant(self, output: int, errors: int) -> socket.socket:
        """The line to a new attendant, which waits for its plan; raises OSError when there is no forker any more.

        The two descriptors are the caller's to close.
        """
        return self._order(b"a", output, errors)

    def sweep(self, directory: int) -> None:
        """Empty a directory of a user of tasks, and wait for that; raises OSError."""
        self._have(b"s", directory)

    def end_marked(self, mark: str) -> None:
        """Kill all that any user of tasks runs with this mark, and wait for that; raises OSError."""
        for user in self.users or ():
            self._have(b"\0".join((b"e", os.fsencode(user), os.fsencode(mark))))

    def _have(self, word: bytes, *descriptors: int) -> None:
        with self._order(word, *descriptors) as line:
            line.settimeout(HELP_LIMIT)
            line.recv(1)  # its end: it says nothing

    def _order(self, word: bytes, *descriptors: int) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._line, [word], [theirs.fileno(), *descriptors])
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """It ends; attendants go on."""
        self._line.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _serve(line: socket.socket, lease: float, users: rights.Users) -> None:
    try:
        _settle()
        while True:
            data, descriptors, _, _ = socket.recv_fds(line, ORDER_MAX, 3)
            if not data:
                break
            for descriptor in descriptors:  # the flag for it is ignored by some versions of Python
                os.set_inheritable(descriptor, False)
            try:
                if os.fork() == 0:
                    line.close()
                    _fulfil(data, descriptors, lease, users)
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
    program.prctl(program.PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.collect()
    gc.freeze()


def _fulfil(data: bytes, descriptors: list[int], lease: float, users: rights.Users) -> None:
    word, *more = data.split(b"\0")
    try:
        match word:
            case b"a":
                _attend(descriptors, lease, users)
            case b"s":
                helper.sweep(descriptors[1], users)
            case b"e":
                helper.end(os.fsdecode(more[0]), os.fsdecode(more[1]), users)
    except BaseException:
        log.exception("attendant-broke" if word == b"a" else "helper-broke")
        os._exit(1)
    os._exit(0)


def _attend(descriptors: list[int], lease: float, users: rights.Users) -> None:
    program.prctl(program.PR_SET_PDEATHSIG, 0)
    program.prctl(program.PR_SET_CHILD_SUBREAPER, 1)
    control, output, errors = descriptors
    Attendant(socket.socket(fileno=control), output, errors, lease, users).attend()
