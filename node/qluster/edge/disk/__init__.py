"""Keeps what a node must not forget: identity, vote, log entries and snapshots, durably.

It must not know what the entries mean, nor who asks for a save.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .store import Disk
from .trouble import DiskFailed, DiskFull, DiskTrouble, LogDamaged, StateLocked, StateRefused

__all__ = ["Disk", "DiskFailed", "DiskFull", "DiskTrouble", "LogDamaged", "StateLocked", "StateRefused"]
