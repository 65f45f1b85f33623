"""Asks who leads, in a process of its own: who may become other users hears nobody.

It must not know what is done with the answer. It is forked off before there is a loop or a thread, gives up every
right, and writes a line with an address whenever it was told one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import NoReturn

from qluster.edge.runner import rights
from qluster.edge.runner.program import PR_SET_PDEATHSIG, prctl

log = logging.getLogger("qluster.dask")

LOOK = 1.0
"""Seconds between two questions."""
LINE_MAX = 128
"""Bytes of a line: an address has 45 at most."""

Ask = Callable[[], Awaitable[str]]
"""Address of the leader, "" where nobody can say it."""


class AskerGone(Exception):
    """Nobody asks any more: whoever waits for addresses is to end, and be begun anew."""


class Asker:
    """Its other end."""

    def __init__(self, ask: Ask) -> None:
        """Fork it off; the caller has no threads yet, and keeps the rights that it has."""
        self.descriptor, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.descriptor)
            _go_on(ask, writing, parent)
        os.close(writing)
        self._rest = b""

    def heard(self) -> str:
        """The last address that came since it was looked at last, as an address is written; "" when none did. Raises
        :class:`AskerGone`."""
        found = ""
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except BlockingIOError:
                return found
            if not data:
                raise AskerGone
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[:LINE_MAX]
            for line in lines:
                found = _address(line) or found

    def end(self) -> None:
        """It goes."""
        os.close(self.descriptor)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _address(line: bytes) -> str:
    """What it wrote becomes a word of a command line: nothing but an address."""
    try:
        text = line.decode("ascii")
        if "%" in text:  # what follows it may be anything
            raise ValueError(text)
        return str(ip_address(text))
    except ValueError:
        log.error("dask-address-refused line=%r", line[:LINE_MAX])
        return ""


def _go_on(ask: Ask, writing: int, parent: int) -> NoReturn:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it goes with its other end
        rights.drop()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            asyncio.run(_ask_on(ask, writing))
    except BaseException:
        log.exception("dask-asker-broke")
    os._exit(1)


async def _ask_on(ask: Ask, writing: int) -> NoReturn:
    while True:
        if address := await ask():
            os.write(writing, address.encode() + b"\n")
        await asyncio.sleep(LOOK)
