"""Cuts a stream of bytes into messages: each has its length, four bytes of it, before it.

Must not know what a message says, nor where the bytes come from.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.tasks.runner import FRAME_MAX

HEAD = 4
"""Bytes of a length, the most significant first."""


class Overlong(Exception):
    """A message is longer than any is: who sent it is no daemon and no runner of this version."""


def framed(message: bytes) -> bytes:
    """A message with its length before it; raises :class:`Overlong`."""
    if len(message) > FRAME_MAX:
        raise Overlong(f"a message of {len(message)} bytes, at most {FRAME_MAX} are sent")
    return len(message).to_bytes(HEAD, "big") + message


class Frames:
    """What has come of a stream."""

    def __init__(self) -> None:
        self._came = bytearray()

    def take(self, data: bytes) -> list[bytes]:
        """The messages that are whole with these bytes; raises :class:`Overlong`."""
        self._came += data
        whole, at = [], 0
        while len(self._came) - at >= HEAD:
            size = int.from_bytes(self._came[at : at + HEAD], "big")
            if size > FRAME_MAX:
                raise Overlong(f"a message of {size} bytes came, at most {FRAME_MAX} are taken")
            if len(self._came) - at - HEAD < size:
                break
            whole.append(bytes(self._came[at + HEAD : at + HEAD + size]))
            at += HEAD + size
        del self._came[:at]
        return whole
