"""Links on real sockets, without a node: what the daemon does with the two."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from random import Random

from qluster.config import UdpSocket
from qluster.edge.clock import monotonic
from qluster.edge.multicast import Multicast
from qluster.events import Address
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key

KEYS = [Key(1, bytes(range(32)))]
RATE = 268435456
WAIT_MAX = 10.0


def udp_socket(*group: Address, interface: str = "lo", buffer_size: int = 65536) -> UdpSocket:
    """The settings of a node's sockets."""
    return UdpSocket(
        group=group,
        interface=interface,
        pacing_rate=RATE,
        loopback=False,
        send_buffer_size=buffer_size,
        recv_buffer_size=buffer_size,
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait for it, but not for ever."""
    async with asyncio.timeout(WAIT_MAX):
        while not condition():
            await asyncio.sleep(0.005)


class Peer:
    """A node's link with its sockets; one that ``answers`` does so to every message that is no answer."""

    def __init__(
        self,
        ip: str,
        number: int,
        wanted: UdpSocket,
        *,
        rate: int = RATE,
        answers: bool = False,
        there: AbstractContextManager[None] | None = None,
    ) -> None:
        """``there`` is entered to open the sockets on another host."""
        self.ip = ip
        self.messages: list[bytes] = []
        self.sources: set[Address] = set()
        self.multicast = Multicast(ip, wanted, self._received)
        with there or nullcontext():
            self.multicast.open()
        settings = LinkSettings(
            datagram_size=self.multicast.datagram_size,
            recv_buffer_size=self.multicast.recv_buffer_size,
            group_size=self.multicast.group_size,
            pacing_rate=rate,
        )
        self.link = Link("edge", number, 1, KEYS, settings, Random(number), monotonic())
        self._answers = answers
        self._timer: asyncio.TimerHandle | None = None

    def say(self, message: bytes, to: Address | None = None) -> None:
        """Send it, to all where nobody is named."""
        self.link.send(message, to, monotonic(), answered=self._answers)
        self._step()

    def close(self) -> None:
        """No timer and no socket is left."""
        if self._timer is not None:
            self._timer.cancel()
        self.multicast.close()

    def _received(self, datagram: bytes, source: Address) -> None:
        for one in self.link.receive(datagram, source, monotonic()):
            self.messages.append(one.message)
            self.sources.add(one.source)
            if self._answers and not one.message.startswith(b"heard"):
                self.link.send(b"heard " + one.message[:20], one.source, monotonic())
        self._step()

    def _step(self) -> None:
        now = monotonic()
        self.multicast.send(self.link.due(now))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.link.wake_at < inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self.link.wake_at - now), self._step)
