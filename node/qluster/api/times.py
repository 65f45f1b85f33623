"""Decides how a moment is written: RFC 3339, in seconds since 1970 inside.

It must not know what time it is.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from datetime import UTC, datetime

from qluster.config.kinds import duration_milliseconds

TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
"""With a zone: a time without one means another moment on another host."""

SPAN_TEXT = "([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?([0-9]{1,9}ms)?"
"""A span of time with units, of less than 366 days whatever it says."""
SPAN_PATTERN = rf"^([0-9]{{1,7}}|{SPAN_TEXT})$"
"""The same, or seconds."""

FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2, 9999))
"""What is before or after cannot be written in every zone."""

_TIME = re.compile(TIME_PATTERN[1:-1])
_SPAN = re.compile(SPAN_PATTERN[1:-1])


def seconds_of(text: str) -> float | None:
    """Seconds since 1970; None for what is no such time.

    In a query ``+`` stands for a blank, and who forgets that means a ``+`` all the same.
    """
    given = text.replace(" ", "+")
    if not _TIME.fullmatch(given):
        return None
    try:
        found = datetime.fromisoformat(given).timestamp()
    except (ValueError, OverflowError):
        return None
    return found if FIRST <= found <= LAST else None


def text_of(seconds: float) -> str:
    """The moment, in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(seconds: float) -> str:
    """The moment, in UTC, to the millisecond."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span_of(text: str) -> float | None:
    """Seconds of a span such as ``90`` or ``1h30m``; None for what is none."""
    if not text or not _SPAN.fullmatch(text):
        return None
    return float(text) if text.isdigit() else duration_milliseconds(text) / 1000
