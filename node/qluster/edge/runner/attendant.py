"""Attends one run: begins its program, ends it when it is to end, says how it ended.

It must not know of tasks, and touches no disk: a full or a slow one must not keep a program alive whose lease has
passed. It is the parent to which all orphans of the program come, so that it knows when nothing of it is left.
It is alone with its program: when the runner is gone, it kills and goes too.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
from math import inf

from qluster.edge import clock
from qluster.edge.runner import kin, program, rights
from qluster.edge.runner.alarm import Alarm
from qluster.edge.runner.plan import Born, Over, Plan, Stop, Tie, Unborn, Word, decode_bid, encode
from qluster.tasks.frames import Frames, framed
from qluster.tasks.tether import Tether

TICK = 0.05
"""Seconds between two looks at the lease where the kernel has no alarm: a host that slept is seen by then."""
WATCH = 0.25
"""Seconds between two looks at memory and number of processes, where no control group does it: a look takes some
milliseconds."""
AGAIN = 0.005
"""Seconds after which a killed family is looked for again."""
AGAIN_MAX = 0.2
"""The same, when it was looked for several times."""
GRACE = 5.0
"""Seconds between the request to end and the end, for who has used up its time."""
HANGS = 5.0
"""Seconds after which what was killed and does not go is said to hang in the kernel: it runs no further."""
FLOOR_MARGIN = 1024
"""KiB by which the copy may have grown before it became the program; less than both is not known."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Attendant:
    """One run."""

    def __init__(
        self, runner: socket.socket, output: int, errors: int, lease: float, users: rights.Users = ()
    ) -> None:
        self._runner = runner
        self._outputs = output, errors
        self._users = users
        self._frames = Frames()
        self._tether = Tether(lease, clock.slept())
        self._alarm = Alarm()
        self._plan: Plan | None = None
        self._copy: program.Copy | None = None
        self._fault = ""
        self._pid = 0
        self._status: int | None = None
        self._cause = ""
        self._killed_at = inf
        self._again = AGAIN
        self._looked_at = -inf
        self._began_at = 0.0
        self._ends_at = inf
        self._kill_at = inf
        self._cpu, self._memory = 0.0, 0
        self._floor = 0
        """KiB that this process has: the kernel counts them as the program's, which began as a copy of it."""

    def attend(self) -> None:
        """From the plan to the last word."""
        woken = _wake_on_children()
        self._floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + FLOOR_MARGIN
        try:
            self._copy = program.Copy(*self._outputs, self._users)
        except OSError as error:
            self._fault = f"no process could be made for it on this host: {error.strerror}"
        poll = select.poll()
        for descriptor in (self._runner.fileno(), woken, self._alarm.descriptor):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        while True:
            came = {descriptor for descriptor, _ in poll.poll(self._wait())}
            if woken in came:
                os.read(woken, 4096)
            if self._alarm.descriptor in came:
                self._alarm.clear()
            if self._runner.fileno() in came and not self._hear():
                poll.unregister(self._runner.fileno())
                self._kill("runner")
                if self._plan is None:
                    return
            if self._plan is not None and self._turn():
                return

    # --- what comes in -------------------------------------------------------------------

    def _hear(self) -> bool:
        """False when the runner is gone."""
        try:
            data = self._runner.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        # A busy host reads all at once, the plan and how often its lease was renewed since: that is to be known first.
        for bid in sorted(map(decode_bid, self._frames.take(data)), key=lambda bid: not isinstance(bid, Tie)):
            match bid:
                case Plan() as plan:
                    self._begin(plan)
                case Tie(until):
                    self._tie(until)
                case Stop(grace):
                    self._stop(grace)
        return bool(data)

    def _tie(self, until: float) -> None:
        now = clock.awake()
        self._tether.take(until, now, clock.slept())
        self._alarm.set(self._tether.until - now if self._tether.until > now else 0.0)

    def _say(self, word: Word) -> None:
        with contextlib.suppress(OSError):
            self._runner.sendall(framed(encode(word)))

    # --- begin and end -------------------------------------------------------------------

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        now = clock.awake()
        self._tie(plan.until)
        if plan.tied and self._tether.passed(now, clock.slept()):
            self._say(Unborn("the lease of this node had passed", late=True))
            os._exit(0)
        if self._copy is None:
            self._say(Unborn(self._fault, late=True))
            os._exit(0)
        self._began_at = clock.awake()
        try:
            self._copy.begin(plan)
        except program.Unstartable as fault:
            self._say(Unborn(str(fault)))
            os._exit(0)
        self._pid = self._copy.pid
        for descriptor in self._outputs:
            os.close(descriptor)
        if plan.time_limit:
            self._ends_at = clock.awake() + plan.time_limit
        itself = kin.relative(self._pid)
        self._say(Born(self._pid, itself.ticks if itself is not None else 0))

    def _stop(self, grace: float) -> None:
        """It is asked to go, all of it, once."""
        if self._kill_at < inf or self._plan is None:
            return
        self._kill_at = clock.awake() + grace
        if self._status is not None:  # its number may be another's by now
            return
        if self._plan.stop_signal == signal.SIGINT:
            kin.send(self._pid, signal.SIGINT)
            return
        kin.send_group(self._pid, signal.SIGTERM)
        for one in kin.family(os.getpid()):
            if _group(one.pid) != self._pid:
                kin.send(one.pid, signal.SIGTERM)

    def _kill(self, cause: str) -> None:
        self._cause = self._cause or (cause if self._status is None else "")
        if self._plan is None or not self._pid:
            return
        self._killed_at = min(self._killed_at, clock.awake())
        if self._plan.group:
            with contextlib.suppress(OSError), open(f"{self._plan.group}/cgroup.kill", "wb", buffering=0) as kill:
                kill.write(b"1")
        if self._status is None:
            kin.send_group(self._pid, signal.SIGKILL)
        kin.kill_family(os.getpid())

    # --- turns -----------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Look at what has ended and what is to; True when it is over."""
        assert self._plan is not None
        left = self._reap()
        now = clock.awake()
        if not left:
            self._say_over(0)
            return True
        if self._status is not None and self._killed_at == inf:
            self._kill("")  # what the program left behind
        elif self._killed_at < inf:
            self._kill(self._cause)
            if now >= self._killed_at + HANGS:
                self._say_over(len(kin.family(os.getpid())))
                return True
        elif self._plan.tied and self._tether.passed(now, clock.slept()):
            self._cut_off()
        elif now >= self._ends_at and self._kill_at == inf:
            self._cause = "time"
            self._stop(GRACE)
        elif now >= self._kill_at:
            self._kill("")
        elif (self._plan.memory or self._plan.processes) and now >= self._looked_at + WATCH:
            self._looked_at = now
            self._weigh(self._plan)
        return False

    def _cut_off(self) -> None:
        """The lease has passed, unless it was renewed while nothing was heard here: beginning a program takes long
        where many are begun."""
        self._hear()
        if self._tether.passed(clock.awake(), clock.slept()):
            self._kill("lease")

    def _weigh(self, plan: Plan) -> None:
        """Limits that no control group holds to."""
        members = kin.family(os.getpid())
        memory = sum(one.pages for one in members) * PAGE
        self._memory = max(self._memory, memory)
        if plan.memory and memory > plan.memory:
            self._kill("memory")
        elif plan.processes and len(members) > plan.processes:
            self._kill("processes")

    def _reap(self) -> bool:
        """Whether there are children left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._cpu += used.ru_utime + used.ru_stime
            if used.ru_maxrss > self._floor:
                self._memory = max(self._memory, used.ru_maxrss * 1024)
            if pid == self._pid:
                self._status = status

    def _say_over(self, left: int) -> None:
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else None
        ended = code is not None and code >= 0
        self._say(Over(code if ended else None, 0 if ended or code is None else -code, self._cpu, self._memory,
                       clock.awake() - self._began_at, self._cause, left))  # fmt: skip

    def _wait(self) -> float | None:
        """Milliseconds until there is something to look at."""
        plan = self._plan
        if plan is None:
            return None
        if self._killed_at < inf:
            self._again = min(self._again * 1.5, AGAIN_MAX)
            return self._again * 1000
        due = self._kill_at if self._kill_at < inf else self._ends_at
        if plan.tied:
            due = min(due, self._tether.until, inf if self._alarm.descriptor >= 0 else clock.awake() + TICK)
        if plan.memory or plan.processes:
            due = min(due, self._looked_at + WATCH)
        return None if due == inf else max(0.0, due - clock.awake()) * 1000 + 1


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _wake_on_children() -> int:
    """A descriptor that can be read when a child has ended."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading
