"""What this node's quorum device says, and until when it is believed.

Must not know what its vote is used for. A device is registered, then polled: each poll is for one membership, makes it
alive, and casts the vote or withholds it. Without a further poll it is given up.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.votes.information import DEVICE_FLAGS, DEVICE_NAME_MAX, Flag, Ring
from qluster.votes.options import DeviceOptions
from qluster.votes.roll import Entry


class Device:
    """The device of one node. Its state is in the node's flags, which all members are told."""

    def __init__(self, me: Entry, options: DeviceOptions | None) -> None:
        self._me = me
        self.options = options
        self.ends_at = inf
        """When it is given up, unless it is polled."""
        self.awaited = False
        """Whether a change of the membership waits for it."""

    @property
    def registered(self) -> bool:
        """Whether there is one on this node."""
        return bool(self._me.flags & Flag.DEVICE_REGISTERED)

    @property
    def alive(self) -> bool:
        """Whether it was polled in time."""
        return bool(self._me.flags & Flag.DEVICE_ALIVE)

    @property
    def casts(self) -> bool:
        """Whether its vote counts on this node."""
        return bool(self._me.flags & Flag.DEVICE_CASTS)

    def register(self, name: str, known: str) -> str:
        """Take on a device, "" or why not. ``known`` is the name under which other members have one."""
        if self.options is None:
            return "no device is configured: give the section device, or do not register one"
        if not name or len(name.encode()) > DEVICE_NAME_MAX:
            return f"a device's name has 1 to {DEVICE_NAME_MAX} bytes"
        if known and known != name:
            return f"a device {known!r} is registered in this cluster, not {name!r}: there is one device a cluster"
        self._me.mark(Flag.DEVICE_REGISTERED, True)
        self._me.device_name = name
        return ""

    def unregister(self) -> None:
        """Forget it: it neither lives nor votes any more."""
        self._me.mark(DEVICE_FLAGS, False)
        self._me.device_name = ""
        self.ends_at, self.awaited = inf, False

    def polled(self, cast: bool, now: float) -> None:
        """It spoke of the current membership."""
        assert self.options is not None and self.registered, "a device that is not registered was polled"
        self._me.mark(Flag.DEVICE_ALIVE, True)
        self._me.mark(Flag.DEVICE_CASTS, cast)
        self.ends_at, self.awaited = now + self.options.timeout, False

    def lost(self) -> None:
        """It did not speak in time."""
        self._me.mark(Flag.DEVICE_ALIVE | Flag.DEVICE_CASTS, False)
        self.ends_at, self.awaited = inf, False

    def await_poll(self, now: float) -> None:
        """The membership changed: what it said counts for the one before."""
        if self.registered and self.alive:
            assert self.options is not None
            self.ends_at, self.awaited = now + self.options.sync_timeout, True

    def fault_of_poll(self, ring: Ring, current: Ring) -> str:
        """Why a poll does not count, "" when it does."""
        if not self.registered:
            return "no device is registered on this node: register it before it votes"
        if ring != current:
            return f"the vote is for ring {ring}, and the current one is {current}: ask for a vote on that one"
        return ""
