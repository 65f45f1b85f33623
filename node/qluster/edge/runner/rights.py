"""The right to become the users of tasks: who has it, how it is given up, how one is become.

It must not know why. A service manager lends it to the runner as capabilities; a root has it anyway. The runner itself
gives it up before it hears anybody (``main.py``): from then on only the forker, its attendants and its helpers have
it, and they become nobody but the users that the service manager named.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ctypes
import errno
import os
import pwd
from collections.abc import Collection
from pathlib import Path

from qluster.edge.runner import libc

CHOWN, KILL, SETGID, SETUID = 0, 5, 6, 7
"""Numbers of capabilities: to give a working directory away, to end another user's program, to become that user."""


def mask(*numbers: int) -> int:
    """Capabilities as the kernel writes them."""
    return sum(1 << number for number in numbers)


NEEDED = mask(CHOWN, KILL, SETGID, SETUID)
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
VERSION_3 = 0x20080522
"""Of the kernel's structures: sets of 64 bits, in two halves."""

Users = Collection[str] | None
"""Whom the runner's programs may become; None: everybody, where the runner is root."""


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def held() -> int:
    """The capabilities of this process that are lent to become another user, and end and own what is that user's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & NEEDED
    return 0


def of(named: Collection[str], needed: int = NEEDED) -> Users:
    """Whom programs may become here, of those that the service manager named: nobody where the right is lacking."""
    if os.geteuid() != 0 and held() & needed != needed:
        return ()
    return None if os.geteuid() == 0 and not named else tuple(named)


def drop() -> None:
    """Give it up, also for all that is begun from here on; raises OSError. A root stays one."""
    if os.geteuid() == 0 or not held():
        return
    lend()
    libc.call("capset", ctypes.byref(_Header(VERSION_3, 0)), ctypes.byref((_Sets * 2)()))
    if held():
        raise PermissionError(errno.EPERM, "the right to become other users cannot be given up")


def lend() -> None:
    """Have it stay with this process and those forked from it, and go with each program that they become."""
    libc.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def check(user: str, users: Users) -> None:
    """Raise OSError where it is nobody whom programs may become."""
    if users is not None and user not in users:
        raise PermissionError(errno.EPERM, "the service of the task runner does not name it")


def become(user: str, users: Users) -> None:
    """Be that user, with nothing of our own left; raises OSError, or KeyError where there is none."""
    check(user, users)
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    drop()


def name_of(uid: int) -> str:
    """The user of that number; "" where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
