"""Decides what is kept of one sender: what was seen of it, what of its messages is missing.

It must not know keys: everything told here has been authenticated.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.events import Address
from qluster.transport.envelope import DIRECT, UNICAST, Drop, Header
from qluster.transport.fragments import Assembly
from qluster.transport.window import Window

REQUEST_INTERVAL = 0.005
"""Between two requests to one sender; what comes up in between goes together."""


class Peer:
    """One start of one sender."""

    __slots__ = ("_delivered", "_group_highest", "_windows", "asked_at", "assembly", "boot", "source")

    def __init__(self, boot: int, source: Address, assembly: Assembly) -> None:
        self.boot = boot
        self.source = source
        self.assembly = assembly
        self.asked_at = -inf
        self._windows = (Window(), Window())
        self._delivered = (Window(), Window())
        self._group_highest = 0

    def window(self, header: Header) -> Window:
        """The replay window of datagrams that are addressed as this one is."""
        return self._windows[bool(header.flags & UNICAST)]

    def put(self, header: Header, payload: bytes, now: float) -> bytes | Drop | None:
        """Take a chunk: the message when it is whole and was not handed over before."""
        direct = bool(header.flags & DIRECT)
        delivered = self._delivered[direct]
        if not delivered.fresh(header.message):
            return Drop.REPEATED
        if not direct:
            self._note_gap(header.message, now)
        key = (direct, header.message)
        if header.chunks == 1:
            self.assembly.forget(key)
            message: bytes | Drop | None = payload
        else:
            message = self.assembly.put(key, header.chunk, header.chunks, payload, now)
        if isinstance(message, bytes):
            delivered.mark(header.message)
        return message

    def request_at(self) -> float:
        """When the next request to it may be due."""
        return max(self.assembly.ask_at, self.asked_at + REQUEST_INTERVAL)

    def _note_gap(self, number: int, now: float) -> None:
        """The first message heard is where this node came in: what was before is none of its business."""
        if self._group_highest and number > self._group_highest + 1:
            self.assembly.expect(self._group_highest + 1, number, now)
        self._group_highest = max(self._group_highest, number)
