"""Says what the runner and the attendant of one run tell each other.

It must not know what a task is: a plan has only what a kernel knows.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec import Struct


class Plan(Struct, frozen=True, tag="plan", array_like=True):
    """What to begin."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str
    stdin: str = "/dev/null"
    time_limit: float = 0.0
    """Seconds; 0: none."""
    tied: bool = False
    until: float = 0.0
    """End of the lease, where it is tied."""
    group: str = ""
    """Directory of its control group; "": none."""
    memory: int = 0
    """Bytes at most of all its processes, where no control group sees to it; 0: no limit."""
    processes: int = 0
    """As many at most, in the same way."""
    user: str = ""
    """Whose processes they are to be; "": the runner's."""
    work: str = ""
    """Directory that is made that user's own before."""
    crowd: int = 0
    """Processes and threads that this user may have on the host in all; 0: as many as there is room for."""
    stop_signal: int = 15
    mark: str = ""
    """What is in the environment of all its processes, by which they are found."""


class Tie(Struct, frozen=True, tag="tie", array_like=True):
    """The lease reaches to there."""

    until: float


class Stop(Struct, frozen=True, tag="stop", array_like=True):
    """Ask it to end, and kill it after ``grace`` seconds."""

    grace: float


Bid = Plan | Tie | Stop


class Born(Struct, frozen=True, tag="born", array_like=True):
    """The program was begun."""

    pid: int
    ticks: int
    """When it began, in the kernel's ticks."""


class Unborn(Struct, frozen=True, tag="unborn", array_like=True):
    """It was not, and will not be."""

    reason: str
    late: bool = False
    """It is not its own fault: the lease had passed, or the host had no room for it."""


class Over(Struct, frozen=True, tag="over", array_like=True):
    """It is over, and nothing of it runs."""

    code: int | None
    signal: int
    cpu: float
    """Seconds."""
    memory: int
    """Bytes."""
    seconds: float
    """From before it was begun to its end, as who stood beside it saw it: the runner hears of both late."""
    cause: str = ""
    """Why it was killed here: one of ``CAUSES``; "" when it was not."""
    left: int = 0
    """Processes that were killed and hang in the kernel."""


CAUSES = ("time", "lease", "memory", "processes", "runner")

Word = Born | Unborn | Over

_encoder = msgspec.msgpack.Encoder()
_bids: msgspec.msgpack.Decoder[Bid] = msgspec.msgpack.Decoder(Bid)
_words: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


def encode(message: Bid | Word) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode_bid(text: bytes) -> Bid:
    """What the runner says."""
    return _bids.decode(text)


def decode_word(text: bytes) -> Word:
    """What the attendant says."""
    return _words.decode(text)
