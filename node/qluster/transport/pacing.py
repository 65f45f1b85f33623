"""Decides when the next datagram may go, so that no receiver's buffer overflows.

It must not know what is sent or to whom: it only counts bytes and time.

A token bucket. Timers of the loop are no finer than a millisecond, so the bucket must hold what the
rate allows in two of them, or the rate is never reached; and it must fit the receivers' buffer, or a
burst is lost there.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Final

BURST_TIME: Final = 0.002
"""Seconds of the rate that may go at once: two ticks of the loop's timer."""
FRAME_SIZE: Final = 66
"""Bytes on the wire beside the datagram: IP 20, UDP 8, Ethernet 18, preamble and gap 20."""
CHARGE_MIN: Final = 256
"""A small datagram fills a receiver's buffer far beyond its size (830 bytes of accounting were measured
for 16 bytes of payload); counted as less, a burst of small ones would overflow it."""
GRACE: Final = 1e-6
"""A wait shorter than these seconds is none, or the rounding of a wait computed in floats would make the
daemon spin until it is over. What is taken too early is paid for by the next."""


def charge(size: int) -> int:
    """What a datagram of this size takes out of the bucket."""
    return max(size + FRAME_SIZE, CHARGE_MIN)


def burst_size(rate: float, datagram_size: int, recv_buffer_size: int) -> int:
    """Bytes that may go at once: two milliseconds of the rate, at most half of a receiver's buffer, and
    in any case one datagram."""
    wanted = min(int(rate * BURST_TIME), recv_buffer_size // 2)
    return max(wanted, charge(datagram_size))


class Bucket:
    """Tokens are bytes; they come back with time."""

    __slots__ = ("_at", "_grace", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        assert rate > 0, "a rate of nothing would never send"
        assert burst > 0, "an empty bucket would never send"
        self.rate = rate
        self.burst = burst
        self._grace = rate * GRACE
        self._tokens = float(burst)
        self._at = now

    def take(self, size: int, now: float) -> bool:
        """Take so many bytes out if they are there."""
        assert size <= self.burst, f"{size} bytes never fit a bucket of {self.burst}"
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if self._tokens < size - self._grace:
            return False
        self._tokens -= size
        return True

    def ready_at(self, size: int) -> float:
        """When so many bytes are there; not after now when they are there now."""
        return self._at + max(0.0, size - self._tokens) / self.rate

    def spend(self, size: int, now: float) -> None:
        """Take out what is sent without waiting; what follows waits longer for it."""
        self.take(0, now)
        self._tokens -= size
