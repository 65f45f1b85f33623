"""Starts the runner: what must come before the first thread comes first.

It must not know the command line.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import logging
import os
import resource
import time
from collections.abc import Callable, Sequence

from qluster.config import Config
from qluster.edge import clock
from qluster.edge.runner import groups, libc, place, rights
from qluster.edge.runner.forker import Forker
from qluster.edge.runner.program import FILES
from qluster.edge.runner.server import Runner, RunnerFailed
from qluster.working import CLAIM_LEASE

log = logging.getLogger("qluster.runner")

LOCK_LIMIT, LOCK_INTERVAL = 10.0, 0.01
"""Seconds to wait for the directory, and between two tries."""
EXIT_CLEAN, EXIT_REFUSED = 0, 1


def run(config: Config, reread: Callable[[], Config | None], users: Sequence[str] = ()) -> int:
    """Run the task runner until it is stopped; the exit code. There must be no thread yet.

    ``users``: whom programs may become, in the words of who started it, which the runner's user cannot change.
    """
    assert config.tasks is not None
    directory = place.tasks_dir(config.tasks.dir, config.state_dir)
    try:
        lock = _own(directory)
        _have_works(config.tasks.work_dir)
    except RunnerFailed as failure:
        log.error("%s", failure)
        return EXIT_REFUSED
    os.umask(0o077)
    # Each run has five files open here; by hand, and in many containers, 1024 are let to a process that asks for none.
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES[1], FILES[1]))
    lent = groups.settle()
    gc.collect()
    gc.freeze()
    if fault := libc.prepare():
        log.warning("runner-without-prctl error=%s hint=orphans of a program are found by a mark alone", fault)
    rights.lend()
    forker = Forker(CLAIM_LEASE, rights.of(users))
    try:
        rights.drop()
        asyncio.run(Runner(config, forker, lent, CLAIM_LEASE, reread).run())
    except (RunnerFailed, PermissionError) as failure:
        log.error("%s", failure)
        return EXIT_REFUSED
    finally:
        os.close(lock)
    return EXIT_CLEAN


def _have_works(directory: str | None) -> None:
    """The directory in which those of the runs are made: users of tasks pass through it and do not read it."""
    if directory is None:
        return
    try:
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chmod(directory, 0o711)
        if os.stat(directory).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to another user")
    except OSError as error:
        raise RunnerFailed(
            f"tasks.work-dir {directory}: {error.strerror or error}. Give it to the user of the task runner."
        ) from None


def _own(directory: str) -> int:
    """Make the directory, and be the only runner of it."""
    try:
        os.makedirs(os.path.join(directory, "runs"), mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(directory, "runner.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunnerFailed(
            f"tasks.dir {directory}: {error.strerror or error}. Give it to the user of the task runner."
        ) from None
    # Attendants of a runner that was killed hold it too, until nothing of what they attend is left.
    until = clock.awake() + LOCK_LIMIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if clock.awake() < until:
                time.sleep(LOCK_INTERVAL)
                continue
            os.close(lock)
            raise RunnerFailed(
                f"tasks.dir {directory}: another task runner uses it. Stop that one first; each node needs its own."
            ) from None
        return lock
