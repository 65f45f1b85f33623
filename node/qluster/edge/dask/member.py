"""Keeps this host's part of the Dask cluster running: a scheduler while the node leads, and workers for the leader's.

It must not ask who leads; whoever calls it does. There is nothing to hand over when the leader changes: a scheduler
keeps nothing on disk, its scripts fail with it, and are run again where their tasks say so.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import os
import pwd
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from qluster.config import Config, Tasks
from qluster.edge import clock
from qluster.edge.dask import words
from qluster.edge.dask.asker import Asker
from qluster.edge.runner import libc, rights
from qluster.edge.runner.program import PR_SET_PDEATHSIG, prctl

log = logging.getLogger("qluster.dask")

LOOK = 0.5
"""Seconds between two looks who leads, and whether what should run does."""
PAUSE = 2.0
"""Seconds at least between two starts of the same program: one that cannot run must not take a processor."""
STOP_LIMIT = 5.0
"""Seconds that a program may take to end by itself."""
NEEDED = rights.mask(rights.KILL, rights.SETGID, rights.SETUID)
"""Capabilities that it takes to have programs of another user."""
SHARE = 0.8
"""Of the service's memory is the workers'; the rest is for the scheduler and for what minds the workers."""


class Unfit(Exception):
    """This host cannot have a part in the Dask cluster; the message says why and what to do."""


@dataclass
class Part:
    """One program of this host."""

    name: str
    user: str = ""
    """Who it becomes; "": it stays who we are."""
    users: rights.Users = ()
    """Whom it may become."""
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default=-PAUSE)

    def keep(self, arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> None:
        """Start it where it does not run; ``directory``: where it works, which may be its user's alone."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            log.warning("dask-ended program=%s code=%d hint=it is started again", self.name, code)
            self._kill_group()
        now = clock.monotonic()
        if now < self.started + PAUSE:
            return
        self.started = now
        try:
            self.process = subprocess.Popen(
                arguments, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=lambda: self._become(directory),
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            log.error("dask-unstartable program=%s python=%s error=%s hint=install it there (role dask), or change "
                      "tasks.dask-python", self.name, arguments[0], error)  # fmt: skip
            return
        log.info("dask-started program=%s pid=%d", self.name, self.process.pid)

    async def stop(self) -> None:
        """End it, with all that it began."""
        if self.process is None:
            return
        self.process.terminate()
        end = clock.monotonic() + STOP_LIMIT
        while self.process.poll() is None and clock.monotonic() < end:
            await asyncio.sleep(0.02)
        self._kill_group()
        self.started = -PAUSE

    def _become(self, directory: str) -> None:
        """In the child: nothing that it computes has a right of ours. It must not outlive the keeper, whose successor
        would find its port taken."""
        if self.user:
            rights.become(self.user, self.users)
        else:
            rights.drop()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change, which would undo it
        os.chdir(directory)

    def _kill_group(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Member:
    """This host's part."""

    def __init__(self, config: Config, tasks: Tasks, directory: str, users: rights.Users = ()) -> None:
        """``users``: whom its programs may become."""
        self._config, self._tasks, self._directory = config, tasks, directory
        user = _other(tasks.dask_user)
        self._scheduler, self._worker = Part("scheduler", user, users), Part("worker", user, users)
        self._home = home = words.home_of(directory)
        self._environment = {
            "PATH": words.SEARCH, "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home,
            "DASK_TEMPORARY_DIRECTORY": home, **words.environment(config),
        }  # fmt: skip
        self._leader = ""

    async def follow(self, leader: str) -> None:
        """Be what a host is where ``leader`` leads; where nobody can say who does, what it was."""
        if leader and leader != self._leader:
            log.info("dask-follows leader=%s before=%s", leader, self._leader or "nobody")
            # The worker first: it would look for another scheduler while the old one ends.
            await self._worker.stop()
            if leader != self._config.ip:
                await self._scheduler.stop()
            self._tell(leader)
            self._leader = leader
        if not self._leader:
            return
        if self._leader == self._config.ip:
            self._scheduler.keep(words.scheduler(self._config, self._tasks), self._environment, self._home)
        self._worker.keep(words.worker(self._config, self._tasks, self._leader), self._environment, self._home)

    async def end(self) -> None:
        """Stop all of it."""
        await self._worker.stop()
        await self._scheduler.stop()

    def _tell(self, leader: str) -> None:
        """Scripts read it; they come and go without asking anybody."""
        path = os.path.join(self._directory, words.ADDRESS_FILE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(words.address(leader, self._tasks.dask_port) + "\n")
        os.chmod(path + ".new", 0o644)
        os.replace(path + ".new", path)


def tell_memory() -> None:
    """Have Dask know what memory this service may use: it divides that among its workers.

    It reads the limit of the whole host's control group alone, and this limit, which the kernel does not heed.
    """
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").partition("0::")[2].strip()
        size = int(SHARE * int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text(encoding="ascii")))
        resource.setrlimit(resource.RLIMIT_RSS, (size, size))
    except (OSError, ValueError):  # no control group, or no limit ("max")
        return
    log.info("dask-memory bytes=%d", size)


def _other(user: str | None) -> str:
    """A user that must be become; "" where that is who we are."""
    return user if user and user != rights.name_of(os.geteuid()) else ""


def prepare(tasks: Tasks, directory: str, named: Sequence[str]) -> rights.Users:
    """Whom programs may become of those that the service manager ``named``; what is needed is there. Raises
    :class:`Unfit`, or :class:`OSError` where the directory cannot be used."""
    if fault := libc.prepare():
        log.warning("dask-without-prctl error=%s hint=a program may outlive this service", fault)
    users, user, home = rights.of(named, NEEDED), _other(tasks.dask_user), words.home_of(directory)
    os.makedirs(directory, mode=0o711 if user else 0o700, exist_ok=True)
    if not user:
        os.makedirs(home, mode=0o700, exist_ok=True)
        return users
    try:
        uid = pwd.getpwnam(user).pw_uid
        rights.check(user, users)
    except KeyError:
        raise Unfit(f"tasks.dask-user is {user}, whom this host does not know: create that user") from None
    except PermissionError:
        raise Unfit(f"tasks.dask-user is {user}, and this service may not become {user}: let its unit name that user "
                    f"(--users) and give it CAP_KILL, CAP_SETGID and CAP_SETUID, as the role dask does") from None
    if not os.path.isdir(home) or os.stat(home).st_uid != uid:
        raise Unfit(f"{home} is no directory of {user} (tasks.dask-user): make it, and give it to that user")
    return users


async def run(config: Config, tasks: Tasks, directory: str, asker: Asker, users: rights.Users) -> None:
    """Be a member until a signal says otherwise. Raises :class:`AskerGone`."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tell_memory()
    member = Member(config, tasks, directory, users)
    try:
        while not stopped.is_set():
            await member.follow(asker.heard())
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), LOOK)
    finally:
        await member.end()
