"""Every truncation of some bytes, and every single flipped bit. Must not know what the bytes mean."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator


def truncations(whole: bytes) -> Iterator[bytes]:
    """Every beginning but the whole."""
    for length in range(len(whole)):
        yield whole[:length]


def flips(whole: bytes) -> Iterator[bytes]:
    """Every single flipped bit."""
    for place in range(len(whole)):
        for bit in range(8):
            wrong = bytearray(whole)
            wrong[place] ^= 1 << bit
            yield bytes(wrong)


def harmed(whole: bytes) -> Iterator[bytes]:
    """Every truncation and every flipped bit."""
    yield from truncations(whole)
    yield from flips(whole)
