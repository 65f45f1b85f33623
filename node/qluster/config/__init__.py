"""Text of config.yaml → Config: every key, default, check and refusal; nothing else reads a setting.

This package must not open files or look at the host: ``edge/hostcheck.py`` does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .document import ConfigErrors, Fault
from .keys import PROGRAMS
from .kinds import duration_text
from .parse import parse
from .shared import changeable, differences, digest, needs_restart, shared, shared_digest, silent_default, with_changes
from .structure import (
    Address,
    Api,
    Backup,
    Cluster,
    Config,
    Database,
    Device,
    FenceDevice,
    FencedHost,
    Fencing,
    Heuristics,
    Pool,
    Quorum,
    Synchronous,
    Tasks,
    Udp,
    UdpSocket,
)

__all__ = [
    "PROGRAMS",
    "Address",
    "Api",
    "Backup",
    "Cluster",
    "Config",
    "ConfigErrors",
    "Database",
    "Device",
    "Fault",
    "Heuristics",
    "FenceDevice",
    "FencedHost",
    "Fencing",
    "Pool",
    "Quorum",
    "Synchronous",
    "Tasks",
    "Udp",
    "UdpSocket",
    "changeable",
    "differences",
    "digest",
    "duration_text",
    "needs_restart",
    "parse",
    "shared",
    "shared_digest",
    "silent_default",
    "with_changes",
]
