"""What the client is told, and what it wants done.

Must not know who does it. ``attempt`` numbers connections: what still comes of a former one is void.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec

from qluster.qnet.tlv import RingId

# --- what happens ------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, gc=False):
    """The TCP connection stands."""

    attempt: int


class Secured(msgspec.Struct, frozen=True, gc=False):
    """TLS stands, and the arbiter has shown a good certificate."""

    attempt: int


class Came(msgspec.Struct, frozen=True, gc=False):
    """These bytes came; with TLS, those that it protected."""

    attempt: int
    data: bytes


class Ended(msgspec.Struct, frozen=True, gc=False):
    """The connection could not be made, or is over. Nobody says so of one that was closed from here."""

    attempt: int
    reason: str
    lasting: bool = False
    """It will fail again until somebody changes something: a file that is missing, a certificate that is not good."""


class Checked(msgspec.Struct, frozen=True, gc=False):
    """The commands of a check ended: all well, or why not."""

    number: int
    fault: str = ""


Happening = Opened | Secured | Came | Ended | Checked


# --- what is to be done, in this order ---------------------------------------


class Open(msgspec.Struct, frozen=True, gc=False):
    """Connect to the arbiter. It ends with Opened or Ended; this client itself ends it when it takes too long."""

    attempt: int


class Say(msgspec.Struct, frozen=True, gc=False):
    """Send these bytes."""

    attempt: int
    data: bytes


class Secure(msgspec.Struct, frozen=True, gc=False):
    """After what was said so far TLS begins, as a client. It ends with Secured or Ended."""

    attempt: int


class Close(msgspec.Struct, frozen=True, gc=False):
    """End the connection."""

    attempt: int


class Check(msgspec.Struct, frozen=True, gc=False):
    """Run all commands. It ends with Checked."""

    number: int
    limit: float


class StopCheck(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for this one any more."""

    number: int


class Poll(msgspec.Struct, frozen=True, gc=False):
    """Votequorum is to hear of the device: its vote for this membership is cast, or withheld."""

    ring: RingId
    cast: bool


class Told(msgspec.Struct, frozen=True):
    """A line for the log."""

    word: str
    facts: dict[str, str | int]
    loud: bool = False
    """It wants attention."""


Order = Open | Say | Secure | Close | Check | StopCheck | Poll | Told
