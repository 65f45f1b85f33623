"""Begins a program as a plan has it: in a session of its own, with nothing of ours but what it is given.

It must not know why, nor wait for its end. The process is there before its plan is: to make a copy of this one takes
longer than to become a program, and the disk is waited for meanwhile.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import signal
from typing import NoReturn

from qluster.edge.runner import libc, rights
from qluster.edge.runner.plan import Plan, decode_bid, encode

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
OOM_SCORE = 500
"""When memory is short on the host, a task goes before the database does."""
SHOWN = 160
"""Characters of a path that are shown: a longer one is cut in the middle."""
CORE_SIZE = 0
"""Bytes of a core file: it may hold secrets, and fills the disk."""
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""Files that a program may have open, as the service manager has it: the runner takes as many as it may."""


class Unstartable(Exception):
    """It was not begun; the message says why and what to do."""


def prctl(option: int, value: int) -> None:
    """Ask the kernel; where it does not know the option there is another net below."""
    libc.call("prctl", option, value, 0, 0, 0)


class Copy:
    """A copy of this process that waits to become a program. It goes with this one."""

    def __init__(self, output: int, errors: int, users: rights.Users = ()) -> None:
        """The descriptors are what it writes to; they are the caller's to close. It may become ``users``. Raises
        OSError."""
        (orders, self._orders), (self._faults, faults) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        attendant = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            _become(orders, output, errors, faults, attendant, users)
        os.close(orders)
        os.close(faults)

    def begin(self, plan: Plan) -> None:
        """Become that one; raises :class:`Unstartable`."""
        with contextlib.suppress(BrokenPipeError), open(self._orders, "wb") as pipe:
            pipe.write(encode(plan))
        with open(self._faults, "rb") as pipe:
            fault = pipe.read()
        if not fault:
            return
        os.waitpid(self.pid, 0)
        step, _, reason = fault.decode("utf-8", "replace").partition(":")
        raise Unstartable(_sentence(plan, step, reason))


def _become(
    orders: int, output: int, errors: int, fault: int, attendant: int, users: rights.Users
) -> NoReturn:
    step = "begin"
    try:
        _follow(attendant)
        os.setsid()
        step = "limits"
        _limit()
        for number, descriptor in ((1, output), (2, errors)):
            os.dup2(descriptor, number)
        _signals()
        os.umask(0o077)
        with open(orders, "rb") as pipe:
            text = pipe.read()
        if not text:
            os._exit(0)
        plan = decode_bid(text)
        assert isinstance(plan, Plan)
        step = "group"
        if plan.group:
            with open(f"{plan.group}/cgroup.procs", "wb", buffering=0) as members:
                members.write(b"0")
        step = "limits"
        _bound(plan.crowd)
        step = "stdin"
        os.dup2(os.open(plan.stdin, os.O_RDONLY), 0)
        step = "user"
        if plan.user:
            rights.check(plan.user, users)
            _hand_over(plan.work, plan.user)
            rights.become(plan.user, users)
            _follow(attendant)  # who becomes another is not killed with its parent any more
        rights.drop()
        step = "directory"
        os.chdir(plan.directory)
        step = "program"
        os.execve(plan.argv[0], plan.argv, dict(plan.environment))
    except OSError as error:
        os.write(fault, f"{step}:{error.strerror or error}".encode())
    except BaseException as error:  # noqa: BLE001 - a copy of the attendant must not go on as one
        os.write(fault, f"{step}:{error}".encode())
    os._exit(1)


def _follow(attendant: int) -> None:
    """Go with the attendant, whoever kills it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != attendant:
        os._exit(1)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (CORE_SIZE, CORE_SIZE))
    resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+b", buffering=0) as score:
        if int(score.read()) < OOM_SCORE:
            score.write(str(OOM_SCORE).encode())


def _bound(crowd: int) -> None:
    """How many processes and threads the user may have whom it becomes."""
    if crowd:
        _, most = resource.getrlimit(resource.RLIMIT_NPROC)
        crowd = crowd if most == resource.RLIM_INFINITY else min(crowd, most)
        resource.setrlimit(resource.RLIMIT_NPROC, (crowd, crowd))


def _signals() -> None:
    """As a program expects them: what is ignored here would be there."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _hand_over(directory: str, user: str) -> None:
    """What is given away is a directory of our own, whatever lies at the path: we may give away anything."""
    if not directory:
        return
    entry = pwd.getpwnam(user)
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(opened).st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{directory} is not the task runner's to give away")
    os.fchown(opened, entry.pw_uid, entry.pw_gid)
    os.close(opened)


def _sentence(plan: Plan, step: str, reason: str) -> str:
    match step:
        case "program" if plan.crowd and reason == os.strerror(errno.EAGAIN):
            return (f"user {plan.user} has {plan.crowd} processes on this host, as many as it may (tasks.processes): "
                    f"wait until some end, or allow more")  # fmt: skip
        case "program":
            return f"{_short(plan.argv[0])}: {_first(reason)}. {_remedy(plan.argv[0])}"
        case "directory":
            return f"its directory {_short(plan.directory)}: {_first(reason)}. {_way_in(plan.directory)}"
        case "user":
            return (f"its user {plan.user}: {_first(reason)}. Create the user and let the service of the task "
                    f"runner name it (--users), or name another.")  # fmt: skip
        case "group":
            return f"its control group cannot be entered: {_first(reason)}. See the log of the task runner."
    return f"it cannot be begun ({step}): {_first(reason)}"


def _short(path: str) -> str:
    """A path in a sentence that must not end before the fault is named."""
    return path if len(path) <= SHOWN else f"{path[: SHOWN // 2]} ... {path[-SHOWN // 2 :]}"


def _way_in(path: str) -> str:
    if os.path.isdir(path):
        return "Let the user of the task enter it."
    if os.path.exists(path):
        return "Name a directory."
    return "It must be there on every node that may run it, and the user of the task must get to it."


def _first(reason: str) -> str:
    return reason[:1].lower() + reason[1:]


def _remedy(path: str) -> str:
    if not os.path.exists(path):
        return "It must be there on every node that may run it."
    if os.path.isdir(path):
        return "Name a program in it."
    if not os.access(path, os.X_OK):
        return "Make it executable for the user of the task."
    return f"It, or the interpreter that its first line names, cannot be run on this host ({os.uname().machine})."
