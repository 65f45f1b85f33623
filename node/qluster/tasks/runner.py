"""Says what a node and the task runner of its host tell each other.

Must not know how it travels, nor what a run is made of. A run is one attempt at a task on this host, named by the
task and its fencing number. Times ``at`` and dates are seconds since 1970; ``until`` is a time of the monotonic clock
that all processes of a host share.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec import Struct

from qluster.tasks.bodies import Result, Verdict
from qluster.tasks.spec import Limits, Work

FRAME_MAX = 1 << 20
"""Bytes of one message: a run's words and their packing."""


class StartRun(Struct, frozen=True, tag="start", array_like=True):
    """Begin this run, unless it is known already, and record it before. Refused where the runner's own rules do not
    have it; not begun (UNBEGUN), tied or not, once :class:`Lease` has passed, however long the order was on its way."""

    task: int
    fence: int
    attempt: int
    work: Work
    template: str
    limits: Limits
    time_limit: float
    """Seconds; 0: none."""
    tied: bool
    """It is stopped when :class:`Lease` has passed."""
    name: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    """What the cluster tells the program, beside what the task says."""


class StopRun(Struct, frozen=True, tag="stop", array_like=True):
    """End this run: it is asked to, and killed after ``grace`` seconds. It ends with this verdict."""

    task: int
    fence: int
    verdict: Verdict
    reason: str
    grace: float = 5.0


class ForgetRun(Struct, frozen=True, tag="forget", array_like=True):
    """The cluster knows how this run ended; its output is kept for as long as there is room."""

    task: int
    fence: int


class Lease(Struct, frozen=True, tag="lease", array_like=True):
    """Runs that are tied may go on until then; a later one replaces it."""

    until: float


class Own(Struct, frozen=True, tag="own", array_like=True):
    """All runs are of this node of this founding: any that are of another are killed at once, tied or not, and are
    forgotten with their output, but for what ``heritage`` says; when that is done :class:`RunnerFound` is said anew.
    Durable before that is said."""

    owner: tuple[int, int]
    void: int = 0
    """The largest fencing number that a claim of this node can have now: it may have been begun, and be forgotten."""
    heritage: tuple[tuple[int, int], ...] = ()
    """Foundings from whose logs this one goes on, each with the largest fencing number that both know: the output of
    runs that the same node had there, up to that number, is the output of tasks that are known here, and is kept."""

    def inherits(self, former: tuple[int, int]) -> int:
        """The largest fencing number of another owner's that names the same claim for this one; 0: none does."""
        return min(dict(self.heritage).get(former[0], 0), self.void) if former[1] == self.owner[1] else 0


class Met(Struct, frozen=True, tag="met", array_like=True):
    """The node has heard which runs there are at the end of this line: what it orders from here on it orders knowing
    that. It is not sent, and what was decided before it is not sent over that line either."""

    line: int


Order = StartRun | StopRun | ForgetRun | Lease | Own | Met


class Run(Struct, frozen=True, array_like=True):
    """A run that the runner knows. ``ended`` is None while it goes on."""

    task: int
    fence: int
    began_at: float = 0.0
    """0.0: it was never begun."""
    ended: RunEnded | None = None


class RunnerFound(Struct, frozen=True, tag="found", array_like=True):
    """The runner is there, and these are all its runs that it was not told to forget."""

    runs: tuple[Run, ...]
    pid: int = 0
    fault: str = ""
    """Why it begins nothing; "" when it does."""
    owner: tuple[int, int] = (0, 0)
    """Founding and node whose runs these are; of nobody, where :class:`Own` was never said. In another founding, or for
    a host that lost its state, tasks and claims begin with the same numbers again."""
    line: int = 0
    """Number of the line over which it came, by who has the daemon's end; the runner does not say it."""
    void: int = 0
    """As the last :class:`Own` said."""


class RunBegan(Struct, frozen=True, tag="began", array_like=True):
    """A run began."""

    task: int
    fence: int
    at: float


class RunEnded(Struct, frozen=True, tag="ended", array_like=True):
    """A run ended, or was never begun."""

    task: int
    fence: int
    verdict: Verdict
    at: float
    reason: str = ""
    result: Result = Result()
    began_at: float = 0.0


class RunnerFault(Struct, frozen=True, tag="fault", array_like=True):
    """Why the runner begins nothing more, "" when it does again: a full disk."""

    fault: str


class RunnerLost(Struct, frozen=True, tag="lost", array_like=True):
    """There is no runner, and why; its runs go on for as long as their lease."""

    reason: str


Happening = RunnerFound | RunBegan | RunEnded | RunnerFault | RunnerLost

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_happenings: msgspec.msgpack.Decoder[Happening] = msgspec.msgpack.Decoder(Happening)


def encode(message: Order | Happening) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode_order(text: bytes) -> Order:
    """An order; raises :class:`msgspec.MsgspecError`."""
    return _orders.decode(text)


def decode_happening(text: bytes) -> Happening:
    """A happening; raises :class:`msgspec.MsgspecError`."""
    return _happenings.decode(text)
