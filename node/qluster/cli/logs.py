"""How lines of the log look on stderr.

It must not decide what is logged. Under systemd a line begins with its priority and has no time,
because the journal adds it; elsewhere it has both.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""sd-daemon(3)."""


class _JournalFormatter(logging.Formatter):
    """Every line of a record, a traceback's too, begins with the record's priority."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


def formatter(environment: Mapping[str, str]) -> logging.Formatter:
    """The form of lines for whoever reads stderr."""
    if environment.get("JOURNAL_STREAM"):
        return _JournalFormatter("%(name)s %(message)s")
    return logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")


def begin_log() -> None:
    """Send the log to stderr."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(formatter(os.environ))
    root = logging.getLogger()
    root.handlers[:] = [to_stderr]
    root.setLevel(logging.INFO)
