"""Says where the runner and the daemon of one host meet.

It must not know what they say.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

PATH_MAX = 107
"""Bytes of the path of a Unix socket."""


def tasks_dir(given: str | None, state_dir: str) -> str:
    """Where everything of tasks is (``tasks.dir``)."""
    return given or os.path.join(state_dir, "tasks")


def socket_path(directory: str) -> str:
    """The runner's socket. A path that is too long for the kernel is kept short by way of the directory's descriptor,
    which is open from then on."""
    path = os.path.join(directory, "runner.sock")
    if len(os.fsencode(path)) <= PATH_MAX:
        return path
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}/runner.sock"
