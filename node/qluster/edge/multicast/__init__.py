"""Decides nothing: opens the sockets of the cluster's traffic, reads them, writes them.

It must not know what a datagram says. ``Multicast`` is one daemon's sockets; ``NetworkUnusable`` says what keeps
it from working on this host.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .offload import SEGMENTS_MAX, SEGMENTS_SIZE_MAX, runs
from .opening import NetworkUnusable
from .traffic import Multicast, Receiver

__all__ = ["SEGMENTS_MAX", "SEGMENTS_SIZE_MAX", "Multicast", "NetworkUnusable", "Receiver", "runs"]
