"""Asks the kernel for what Python has no word for, through the C library.

It must not know what for. It is loaded once, before anything is forked: what is forked has no time for it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ctypes

_library: ctypes.CDLL | None = None


def prepare() -> str:
    """Load it; "" or why this process and those forked from it do without."""
    global _library  # one for the process, before it forks
    try:
        _library = ctypes.CDLL(None)
    except OSError as error:
        return str(error)
    return ""


def call(function: str, *arguments: object) -> int:
    """What the function answers; -1 also where there is no library."""
    return int(getattr(_library, function)(*arguments)) if _library is not None else -1
