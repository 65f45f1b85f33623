"""Decides when the next datagram may go, so that no receiver's buffer overflows.

It must not know what is sent or to whom: it only counts bytes and time.

The rate of the configuration is the most that may go. While a receiver asks for much of it again, it
cannot keep up, and sending faster would only fill its buffer again: the rate goes down by steps, and up
again when the losses end. A network that merely loses a few datagrams is no reason to slow down.

A token bucket. Timers of the loop are no finer than a millisecond, so the bucket must hold what the
rate allows in two of them, or the rate is never reached; and it must fit the receivers' buffer, or a
burst is lost there. A busy host comes to its turn later still: a slow rate is caught up with, since a burst of it
is small; a fast one is not, since the receivers may be as busy.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import Final

from qluster.events import Address

BURST_TIME: Final = 0.002
"""Seconds of the rate that may go at once: two ticks of the loop's timer."""
BURST_TIME_MAX: Final = 0.010
BURST_SMALL: Final = 65536
"""So many bytes may go at once when they are no more than these seconds of the rate: any buffer has room for them.
Measured with four times as many busy processes as cores: 5 MB/s reached 4.4 without that; and bursts of
10 ms at 50 MB/s lost a quarter."""
FRAME_SIZE: Final = 66
"""Bytes on the wire beside the datagram: IP 20, UDP 8, Ethernet 18, preamble and gap 20."""
CHARGE_MIN: Final = 256
"""A small datagram fills a receiver's buffer far beyond its size (830 bytes of accounting were measured
for 16 bytes of payload); counted as less, a burst of small ones would overflow it."""
GRACE: Final = 1e-6
"""A wait shorter than these seconds is none, or the rounding of a wait computed in floats would make the
daemon spin until it is over. What is taken too early is paid for by the next."""

THROTTLE_INTERVAL: Final = 0.020
"""The time that a loss takes to be reported: the longest random delay of a request, and as much for the
way."""
THROTTLE_SAMPLE_MIN: Final = 100
"""Fewer datagrams than these say nothing about a rate of loss, and cannot fill a buffer."""
LOSS_TOLERATED: Final = 0.05
"""More lost at one receiver than networks lose that are in order."""
SLOWING_PAUSE: Final = 0.120
"""After slowing down, losses of so many seconds are still those of the faster rate: a buffer of 1 MiB takes half of
that to be read, and what was asked for in vain is asked for again. With 60 ms a receiver of 30 MB/s got 15, with
120 ms it gets 26."""
RECOVERY_DELAY: Final = 0.100
SLOWER: Final = 0.5
FASTER: Final = 1.05
"""Per interval: twice as fast within 0.3 s."""
CAREFUL: Final = 1.005
CAREFUL_FROM: Final = 0.75
CAREFUL_TO: Final = 1.25
"""Around the rate at which much was lost last: a quarter faster within a second. Without that the sender would
run into the same loss three times a second."""
FASTER_STEPS_MAX: Final = 100
"""After so many intervals in silence what was learnt is too old, and the rate is back at its most."""
RATE_FLOOR: Final = 4 * 1024 * 1024
"""Bytes per second that any receiver takes; losses that go on at this rate have another cause."""


def charge(size: int) -> int:
    """What a datagram of this size takes out of the bucket."""
    return max(size + FRAME_SIZE, CHARGE_MIN)


def burst_size(rate: float, datagram_size: int, recv_buffer_size: int) -> int:
    """Bytes that may go at once: some milliseconds of the rate, at most half of a receiver's buffer, and
    in any case one datagram."""
    wanted = max(rate * BURST_TIME, min(rate * BURST_TIME_MAX, BURST_SMALL))
    return max(min(int(wanted), recv_buffer_size // 2), charge(datagram_size))


class Bucket:
    """Tokens are bytes; they come back with time."""

    __slots__ = ("_at", "_grace", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._tokens = float(burst)
        self._at = now
        self.change(rate, burst, now)

    def change(self, rate: float, burst: int, now: float) -> None:
        """Go on with another rate from now on."""
        assert rate > 0, "a rate of nothing would never send"
        assert burst > 0, "an empty bucket would never send"
        if now > self._at:
            self._refill(now)
        self.rate = rate
        self.burst = burst
        self._grace = rate * GRACE

    def take(self, size: int, now: float) -> bool:
        """Take so many bytes out if they are there."""
        assert size <= self.burst, f"{size} bytes never fit a bucket of {self.burst}"
        if now > self._at:
            self._refill(now)
        if self._tokens < size - self._grace:
            return False
        self._tokens -= size
        return True

    def spend(self, size: int, now: float) -> None:
        """Take out what is sent without waiting; what follows waits longer for it."""
        self.take(0, now)
        self._tokens -= size

    def ready_at(self, size: int) -> float:
        """When so many bytes are there; not after now when they are there now."""
        return self._at + max(0.0, size - self._tokens) / self.rate

    def _refill(self, now: float) -> None:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now


class Throttle:
    """How fast the slowest receiver lets this node send."""

    __slots__ = ("_lossy", "_lost", "_most", "_sent", "_sent_before", "_since", "_slowed_at", "rate")

    def __init__(self, most: float, now: float) -> None:
        self.rate = most
        self._most = most
        self._since = now
        self._slowed_at = -inf
        self._lossy = inf
        """The rate at which much was lost last."""
        self._sent = 0
        self._sent_before = 0
        self._lost: dict[Address, int] = {}

    def limit(self, most: float) -> None:
        """The most that may go is another from now on."""
        self.rate = most if self.rate == self._most else min(self.rate, most)
        self._most = most

    def sent(self, datagrams: int) -> None:
        self._sent += datagrams

    def lost(self, receiver: Address, datagrams: int) -> None:
        """A receiver asks for so many datagrams again."""
        self._lost[receiver] = self._lost.get(receiver, 0) + datagrams

    def step(self, now: float) -> bool:
        """Slower at once when much was lost, faster after a while without; True when the rate is
        another now."""
        if not self._lost and now < self._since + THROTTLE_INTERVAL:
            return False
        before = self.rate
        intervals = int((now - self._since) / THROTTLE_INTERVAL)
        if now < self._slowed_at + SLOWING_PAUSE:
            if not intervals:
                return False
        elif self._too_much_lost():
            self._lossy = self.rate
            self.rate = max(self.rate * SLOWER, min(RATE_FLOOR, self._most))
            self._slowed_at = now
        elif not intervals:
            return False
        elif now >= self._slowed_at + RECOVERY_DELAY:
            self.rate = min(self._faster(intervals), self._most)
        self._since = now
        self._sent_before = self._sent if intervals <= 1 else 0
        self._sent = 0
        self._lost = {}
        return self.rate != before

    def _faster(self, intervals: int) -> float:
        """The rate after so many intervals without much loss."""
        if intervals >= FASTER_STEPS_MAX:
            self._lossy = inf
            return inf
        rate = self.rate
        for _ in range(intervals):
            careful = self._lossy * CAREFUL_FROM <= rate <= self._lossy * CAREFUL_TO
            rate *= CAREFUL if careful else FASTER
        if rate > self._lossy * CAREFUL_TO:
            self._lossy = inf
        return rate

    def _too_much_lost(self) -> bool:
        # What is asked for again now was mostly sent in the interval before.
        sent = max(self._sent + self._sent_before, THROTTLE_SAMPLE_MIN)
        return max(self._lost.values(), default=0) > sent * LOSS_TOLERATED
