"""The cluster's status as tables for people.

It must not decide anything: it prints what the node answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.config import Config


def show_status(config: Config, as_json: bool) -> int:
    """Ask the node on this host and print its answer; the exit code."""
    raise NotImplementedError
