"""The arbiter as this host reaches it: one connection, and the commands of the heuristics.

It must not know what is said, nor decide when: the client (``qdevice/``) does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .hand import DeviceHand

__all__ = ["DeviceHand"]
