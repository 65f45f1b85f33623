"""Decides whether the value of a parameter is one that its pattern lets through.

Must not know where the two come from. Who operates the cluster may give any value, and it is matched by the node that
leads, between two heartbeats: so by RE2 (google-re2), whose time grows with the length of the value alone
(https://github.com/google/re2/wiki/Syntax); ``re`` tries one way after the other, for ever with some patterns.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

SIZE_MAX = 1 << 20
"""Bytes that a pattern may take when it is read."""


class Unreadable(ValueError):
    """The pattern cannot be read; the message says why."""


def fits(pattern: str, value: str) -> bool:
    """Whether the whole value matches; raises :class:`Unreadable`."""
    return read(pattern).fullmatch(value) is not None


@lru_cache(maxsize=256)
def read(pattern: str) -> Any:
    """The pattern, of which ``fullmatch`` can be asked; raises :class:`Unreadable`."""
    options = re2.Options()
    options.max_mem, options.log_errors = SIZE_MAX, False
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        reason = fault.args[0]
        raise Unreadable(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
