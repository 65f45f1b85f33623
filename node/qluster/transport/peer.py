"""Decides what is kept of one sender: what was seen of it, what of its messages is missing, what it hears of us.

It must not know keys: everything told here has been authenticated.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.events import Address
from qluster.transport.envelope import ANNOUNCE, DIRECT, UNICAST, Drop, Header
from qluster.transport.fragments import Assembly
from qluster.transport.window import Window

REQUEST_INTERVAL = 0.005
"""Between two requests to one sender; what comes up in between goes together."""


class Peer:
    """One start of one sender."""

    __slots__ = (
        "_delivered", "_group_highest", "_windows", "asked_at", "assembly", "boot", "copied", "echoed",
        "group_at", "heard", "heard_at", "source", "told", "unechoed_from", "unechoed_since", "unicast_at",
    )  # fmt: skip

    def __init__(self, boot: int, source: Address, assembly: Assembly) -> None:
        self.boot = boot
        self.source = source
        self.assembly = assembly
        self.asked_at = -inf
        self.heard = 0
        """The newest of its messages of which anything came through the group."""
        self.heard_at = self.group_at = self.unicast_at = -inf
        """When it was last heard at all, through the group, and by unicast."""
        self.echoed = 0
        """The newest of our messages that it says it heard through the group."""
        self.told = 0
        """The newest of our messages when it last asked for what it missed."""
        self.unechoed_from = 0
        self.unechoed_since = inf
        """Since when, and from which of our messages on, it has echoed nothing new."""
        self.copied = False
        """Whether it gets a copy by unicast of what goes to the group."""
        self._windows = (Window(), Window())
        self._delivered = (Window(), Window())
        self._group_highest = 0

    def window(self, header: Header) -> Window:
        """The replay window of datagrams that are addressed as this one is."""
        return self._windows[header.flags & UNICAST]

    def note(self, header: Header, now: float) -> None:
        """An authentic datagram of it, for the first time."""
        self._windows[header.flags & UNICAST].mark(header.sequence)
        self.heard_at = now
        if header.flags & UNICAST:
            self.unicast_at = now
        else:
            self.group_at = now
            if header.message > self.heard and not header.flags & ~ANNOUNCE:
                self.heard = header.message

    def put(self, header: Header, payload: bytes, now: float) -> bytes | Drop | None:
        """Take a chunk: the message when it is whole and was not handed over before."""
        number = header.message
        direct = header.flags & DIRECT
        delivered = self._delivered[direct >> 1]
        if not delivered.fresh(number):
            return Drop.REPEATED
        if not direct:
            self._note_gap(number, now)
        if header.chunks == 1:
            self.assembly.forget((bool(direct), number))
            delivered.mark(number)
            return payload
        message = self.assembly.put((bool(direct), number), header.chunk, header.chunks, payload, now)
        if isinstance(message, bytes):
            delivered.mark(number)
        return message

    def announced(self, newest: int, now: float) -> None:
        """It says which message to the group was its newest: what was missed up to it is asked for."""
        highest = self._group_highest
        if newest <= highest or not self._delivered[0].fresh(newest):
            return
        # Before anything was heard, only what this node is told of by name may concern it.
        self.assembly.expect(highest + 1 if highest else newest, newest + 1, now)
        self._group_highest = newest

    def request_at(self) -> float:
        """When the next request to it may be due."""
        return max(self.assembly.ask_at, self.asked_at + REQUEST_INTERVAL)

    def _note_gap(self, number: int, now: float) -> None:
        """The first message heard is where this node came in: what was before is none of its business."""
        highest = self._group_highest
        if number <= highest:
            return
        if highest and number > highest + 1:
            self.assembly.expect(highest + 1, number, now)
        self._group_highest = number
