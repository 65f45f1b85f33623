"""Wakes a process at a time that goes on while the host sleeps.

It must not know for what. A wait of poll() stands still with the host: what was to end while it slept would go on
until the wait is over. The kernel's own timer is due at once when the host wakes (timerfd_create(2), CLOCK_BOOTTIME).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import ctypes
import os
import time

from qluster.edge.runner import libc

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_LATE = 0.001
"""Seconds after the time, so that who is woken finds it passed."""


class _Setting(ctypes.Structure):
    """struct itimerspec: interval and value, each in seconds and nanoseconds."""

    _fields_ = (("every", ctypes.c_long * 2), ("value", ctypes.c_long * 2))


class Alarm:
    """One timer; ``descriptor`` can be read when it is due, and is -1 where the kernel has none."""

    def __init__(self) -> None:
        self.descriptor = libc.call("timerfd_create", time.CLOCK_BOOTTIME, _FLAGS)

    def set(self, seconds: float) -> None:
        """Due in so many seconds from now, in place of what was set before."""
        if self.descriptor < 0:
            return
        whole = max(0.0, seconds) + _LATE
        setting = _Setting((ctypes.c_long * 2)(0, 0), (ctypes.c_long * 2)(int(whole), int(whole % 1 * 1e9)))
        libc.call("timerfd_settime", self.descriptor, 0, ctypes.byref(setting), None)

    def clear(self) -> None:
        """It was due, and is to be waited for again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 8)
