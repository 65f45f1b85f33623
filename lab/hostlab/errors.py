"""Names the two ways in which the lab fails: it went wrong, or this machine cannot do it.

Knows nothing of what was tried.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

EXIT_FAILED = 1
EXIT_UNABLE = 3


class LabError(Exception):
    """Something went wrong; the text says what, where, and what to do."""


class LabUnable(Exception):
    """This machine cannot hold a lab; `reasons` says why, one sentence each."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
