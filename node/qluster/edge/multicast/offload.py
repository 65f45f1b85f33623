"""Decides which datagrams the kernel can take in one call, and how one buffer that it gave is cut apart.

It must not know sockets beyond one call. The kernel cuts a large buffer into datagrams of one size
when it sends (segmentation), and hands over a row of them as one buffer when it receives (coalescing):
each call then carries some forty datagrams instead of one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from qluster.events import Address, Send

SEGMENTS_MAX: Final = 44
"""Datagrams handed to the kernel in one call to be cut there: as many of 1472 bytes as it takes at once."""
SEGMENTS_SIZE_MAX: Final = 65000
"""Bytes in one such call; slightly below the largest datagram, at which receivers lose the benefit."""
COALESCED_MAX: Final = 65536
"""Bytes that one call may bring: no more fit an IP packet, and the kernel coalesces up to that."""

# Linux constants that the socket module does not name.
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_RXQ_OVFL: Final = 40
_SEGMENT_SIZE = struct.Struct("@H")
_COALESCED_SIZE = struct.Struct("@i")
_DROPS = struct.Struct("@I")
NO_SEGMENTS: Final = (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT)
"""What kernels and drivers say that cannot cut."""

ANCILLARY_SIZE: Final = socket.CMSG_SPACE(_DROPS.size) + socket.CMSG_SPACE(_COALESCED_SIZE.size)

Ancillary = list[tuple[int, int, bytes]]


def coalesce(one: socket.socket) -> bool:
    """Let the kernel hand over several datagrams at once; False where it cannot."""
    try:
        one.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


def count_drops(one: socket.socket) -> None:
    """Let the kernel say, with what is received, how many datagrams found the buffer full."""
    one.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)


def send_cut(one: socket.socket, datagrams: list[bytes], target: tuple[object, ...]) -> None:
    """Send a run as one buffer that the kernel cuts. Raises what the socket raises; then nothing was sent."""
    size = [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(len(datagrams[0])))]
    one.sendmsg(datagrams, size, 0, target)


def told(ancillary: Ancillary) -> tuple[int, int | None]:
    """What the kernel said of a buffer: the size of the datagrams in it (0: it is one), and the drops so far."""
    size, drops = 0, None
    for level, kind, content in ancillary:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO and len(content) >= _COALESCED_SIZE.size:
            (size,) = _COALESCED_SIZE.unpack_from(content)
        elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(content) >= _DROPS.size:
            (drops,) = _DROPS.unpack_from(content)
    return size, drops


def cut(buffer: memoryview, size: int) -> list[bytes]:
    """The datagrams of one buffer: each of this size but for a shorter last."""
    if not 0 < size < len(buffer):
        return [bytes(buffer)]
    return [bytes(buffer[at : at + size]) for at in range(0, len(buffer), size)]


def runs(sends: Iterable[Send]) -> Iterator[tuple[Address | None, list[bytes]]]:
    """Datagrams that one call can send: in a row, to the same target, of one size but for a shorter last."""
    to: Address | None = None
    run: list[bytes] = []
    size = 0
    for one in sends:
        length = len(one.datagram)
        if run and (
            one.to != to
            or len(run[-1]) != size
            or length > size
            or len(run) == SEGMENTS_MAX
            or size * len(run) + length > SEGMENTS_SIZE_MAX
        ):
            yield to, run
            run = []
        if not run:
            to, size = one.to, length
        run.append(one.datagram)
    if run:
        yield to, run
