"""Says what is known of one task: what was asked for, where it is in its life, and how it came there.

Must not know what moves it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
from msgspec import Struct, field

from qluster.tasks.bodies import Result
from qluster.tasks.life import CLAIMED, FINAL, PENDING, State, may
from qluster.tasks.said import said
from qluster.tasks.spec import Spec

TRAIL_MAX = 32
"""Changes that are remembered of one task: those of its first and of its last attempts."""

TRAIL_FIRST = 4
"""Of these, the first ones."""

REASON_MAX = 400
"""Characters of a reason: a sentence or two."""


class Change(Struct, frozen=True, array_like=True, gc=False):
    """It came into this state, so many milliseconds after it was submitted."""

    state: State
    after_ms: int
    node: int = 0
    reason: str = ""


class Task(Struct, array_like=True, gc=False):
    """One task. Changed only by :class:`~qluster.tasks.board.Board`."""

    id: int
    spec: Spec
    at: float
    """When it was submitted."""
    by: str
    key: str = ""
    state: State = State.SUBMITTED
    reason: str = ""
    """Why it is in this state, as a sentence."""
    changed_at: float = 0.0
    node: int = 0
    """Who has the claim, or had the last one; 0: nobody yet."""
    fence: int = 0
    """Number of that claim: no other claim of any task that a node could confuse it with has the same."""
    claims: int = 0
    failures: int = 0
    """Attempts that count against the retries."""
    not_before: float = 0.0
    """Nobody gets a claim before this date."""
    waits: list[int] = field(default_factory=list)
    """Tasks that must be over first."""
    parts: list[int] = field(default_factory=list)
    """Its runs on the nodes, where it is to run on each."""
    whole: int = 0
    """The task of which this is the run on one node; 0: of none."""
    schedule: str = ""
    cancelled: str = ""
    """Why it is not wanted any more, while a node still has it; "": it is wanted."""
    held: bool = False
    """It waits because no node can run it just now."""
    result: Result | None = None
    began_at: float = 0.0
    trail: list[Change] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """It is over."""
        return self.state in FINAL

    @property
    def pending(self) -> bool:
        """Nobody has a claim."""
        return self.state in PENDING and not self.parts

    @property
    def claimed(self) -> bool:
        """One node has the claim."""
        return self.state in CLAIMED and not self.parts

    def move(self, state: State, at: float, reason: str = "") -> None:
        """Into another state. Raises AssertionError where the table does not have it."""
        assert may(self.state, state), (self.id, self.state.name, state.name)
        self.note(state, at, reason)

    def note(self, state: State, at: float, reason: str = "") -> None:
        """The state that it is in now, and since when."""
        self.state, self.reason, self.changed_at = state, reason[:REASON_MAX], at
        after = max(0, round((at - self.at) * 1000))
        self.trail.append(Change(state, after, self.node if state not in PENDING else 0, self.reason))
        if len(self.trail) > TRAIL_MAX:
            del self.trail[TRAIL_FIRST]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Task)


def pack(task: Task) -> bytes:
    """A task that is over, in few bytes."""
    buffer = bytearray()
    _encoder.encode_into(said(task), buffer)
    return bytes(buffer)


def unpack(text: bytes) -> Task:
    """It again."""
    return _decoder.decode(text)
