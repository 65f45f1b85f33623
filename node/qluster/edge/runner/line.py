"""The runner's end of the line to an attendant.

It must not know what is said. Whoever writes to somebody who is gone has not heard his last words by that: asyncio's
own streams drop what was said before when a write fails, and a run that had ended well was taken for one that was
never begun.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import socket

from qluster.edge.runner.plan import Bid, Word, decode_word, encode
from qluster.tasks.frames import Frames, framed

READ_SIZE = 1 << 16
"""Bytes read at a time: all words of a run have less."""


class Line:
    """One attendant."""

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._words: asyncio.Queue[Word | None] = asyncio.Queue()
        self._unsent = bytearray()
        self._writes = False
        self.gone = False
        """It has ended."""
        self._loop.add_reader(ours, self._come)

    async def word(self) -> Word | None:
        """What it says next; None when it is gone and has said all."""
        return await self._words.get()

    def say(self, bid: Bid) -> None:
        """Tell it; who is gone hears nothing."""
        if self._socket.fileno() >= 0:
            self._unsent += framed(encode(bid))
            self._push()

    def close(self) -> None:
        """It is let go."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def _come(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:  # it is gone, and has not read all; what it said has come before that
            data = b""
        for text in self._frames.take(data):
            self._words.put_nowait(decode_word(text))
        if not data:
            self.gone = True
            self._loop.remove_reader(self._socket)
            self._words.put_nowait(None)

    def _push(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        if bool(self._unsent) != self._writes:
            self._writes = bool(self._unsent)
            if self._writes:
                self._loop.add_writer(self._socket, self._push)
            else:
                self._loop.remove_writer(self._socket)
