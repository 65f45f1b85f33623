"""Decides how large things may be on their way: messages, datagrams, queues.

It must not know what is sent; names are those of config.yaml.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qluster.transport.envelope import SEAL_SIZE
from qluster.transport.fragments import chunk_count

MESSAGE_OVERHEAD: Final = 4096
"""What a message may hold beside one entry of max-log-size: fields of the entry and of the message
around it."""
LOG_SIZE_LIMIT: Final = 1024 * 1024
"""Largest max-log-size: beyond it the bit mask of missing chunks no longer fits the smallest datagram."""
DATAGRAM_SIZE_DEFAULT: Final = 1472
"""An Ethernet frame of 1500 without the headers of IPv4 and UDP."""
DATAGRAM_SIZE_MIN: Final = 548
"""What every IPv4 link carries: 576 without the headers."""
DATAGRAM_SIZE_MAX: Final = 65507
"""The largest UDP datagram over IPv4."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Limits of a link; names as in config.yaml, sizes in bytes, the rate in bytes per second."""

    max_log_size: int = 64000
    send_buffer_capacity: int = 256
    recv_buffer_capacity: int = 256
    pacing_rate: int = 268435456
    recv_buffer_size: int = 1048576
    datagram_size: int = DATAGRAM_SIZE_DEFAULT
    group_size: int = 1
    """Datagrams that one sending to the group takes: 1 for multicast, else the number of unicast peers."""

    def __post_init__(self) -> None:
        assert 1 <= self.max_log_size <= LOG_SIZE_LIMIT, f"max_log_size {self.max_log_size}"
        assert self.send_buffer_capacity >= 1, f"send_buffer_capacity {self.send_buffer_capacity}"
        assert self.recv_buffer_capacity >= 2, f"recv_buffer_capacity {self.recv_buffer_capacity}"
        assert self.pacing_rate >= 1, f"pacing_rate {self.pacing_rate}"
        size = self.datagram_size
        assert DATAGRAM_SIZE_MIN <= size <= DATAGRAM_SIZE_MAX, f"datagram_size {size}"
        assert self.group_size >= 1, f"group_size {self.group_size}"

    @property
    def message_size_max(self) -> int:
        """The largest message that is usual: queues are sized by it."""
        return self.max_log_size + MESSAGE_OVERHEAD

    @property
    def message_limit(self) -> int:
        """The largest message that is sent or taken at all, whatever max-log-size says just now: a log holds
        entries from before it was lowered, and another node may have heard earlier that it was raised."""
        return LOG_SIZE_LIMIT + MESSAGE_OVERHEAD

    @property
    def assembly_bytes_max(self) -> int:
        """Bytes of messages of one sender that are not whole yet."""
        return max(self.recv_buffer_capacity * self.message_size_max, self.message_limit)

    @property
    def chunk_size(self) -> int:
        return self.datagram_size - SEAL_SIZE

    @property
    def chunks_max(self) -> int:
        """Chunks of the largest message when it comes from a sender with the smallest datagrams."""
        return chunk_count(self.message_limit, DATAGRAM_SIZE_MIN - SEAL_SIZE)

    @property
    def chunks_usual(self) -> int:
        """The same of a message that is usual."""
        return chunk_count(self.message_size_max, DATAGRAM_SIZE_MIN - SEAL_SIZE)
