"""Decides when a leader puts an arbiter that remembers into the list of members, or another in its place.

Must not know the arbiter's protocol, nor who connects to it: the link of this node says which memory it has open.
A memory that lost what it knew comes back with another uid. It counts again when a list names that uid, which those
who hold the log must commit without the former one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from qluster.consensus.members import MEMORY
from qluster.consensus.refusals import Refusal

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.witnessing")


class Witnessing:
    """The leader's duty for the device."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._uid = 0
        """Of the memory that is to be put into the list; 0: of none."""
        self._at = inf
        """When that is tried."""
        self._refused = ""

    @property
    def wake_at(self) -> float:
        """When :meth:`step` is needed at the latest."""
        return self._at

    def rest(self) -> None:
        """This node does not lead."""
        self._uid, self._at, self._refused = 0, inf, ""

    def step(self, now: float) -> bool:
        """True when the list was changed. Seam: votes that the configuration gives it are told to QRaft here."""
        node = self._node
        assert node.qraft is not None
        wanted, settings = self._wanted(), node.qraft.settings
        if wanted != self._uid:
            # Somebody who is only passing, or a link that was just lost, is no reason to change the list.
            self._uid, self._at, self._refused = wanted, now + settings.heartbeat_interval if wanted else inf, ""
        if now < self._at:
            return False
        self._at = now + settings.heartbeat_interval
        try:
            node.qraft.device(wanted, None, now)
        except Refusal as refusal:
            if refusal.reason != self._refused:
                log.info("device-not-counted uid=%016x reason=%s", wanted, refusal.reason)
            self._refused = refusal.reason
            return False
        return True

    def _wanted(self) -> int:
        """The memory to be put into the list; 0 when that is right."""
        qraft = self._node.qraft
        assert qraft is not None
        listed = qraft.members.device_uid if qraft.members.way == MEMORY else 0
        return qraft.device_uid if qraft.device_uid != listed else 0
