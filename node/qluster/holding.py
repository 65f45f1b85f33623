"""Decides what has to wait until a save is durable, and what may go before it.

Must not know how anything is saved or sent.

Whatever a node says or begins after it has changed its mind may rest on what it is about to remember: a vote, a
confirmation, an order to the database. So it waits for the saves that were ordered before it. What rests on nothing
that is not durable goes at once: new entries of a leader whose term is durable may travel while its own copy is
being written (it counts that copy only afterwards), and its heartbeats must not depend on its disk.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from qluster.consensus.messages import (
    AnyMessage,
    Append,
    AppendRefusal,
    AppendReply,
    Goodbye,
    LeaderQuery,
    SnapshotOffer,
    SyncQuery,
    SyncReply,
)
from qluster.events import (
    Address,
    AskDevice,
    CancelJob,
    DeviceQuestion,
    Effects,
    Job,
    JobEnded,
    Leave,
    Save,
    SaveEntries,
    SaveRing,
    SaveSnapshot,
    ShowDevice,
)

_UNBOUND = (Append, AppendRefusal, Goodbye, LeaderQuery, SnapshotOffer, SyncQuery, SyncReply)

HELD_MAX = 4096
"""Messages, jobs and leaves that wait at most: seconds of a busy cluster. A disk that hangs for longer makes a node
silent anyway, and whoever waits for an answer asks again."""


@dataclass(frozen=True, slots=True)
class Message:
    """The bytes of a message, and where they go (None: to all)."""

    text: bytes
    to: Address | None


Held = Message | Job | Leave | AskDevice | ShowDevice


def unbound(message: AnyMessage | DeviceQuestion, saved_index: int) -> bool:
    """Whether a message says nothing that is not durable here, once the term is; ``saved_index``: what is durable."""
    if isinstance(message, AppendReply):
        return message.match <= saved_index
    if isinstance(message, ShowDevice):
        return message.index <= saved_index
    return isinstance(message, _UNBOUND)


@dataclass(slots=True)
class Holding:
    """What waits for which save. Saves are numbered in the order in which they become durable."""

    ordered: int = 0
    """Number of the last save that was ordered."""
    durable: int = 0
    """Number of the last save that is durable."""
    dropped: int = 0
    """Messages for which no room was left."""
    _binding: int = 0
    """Number of the last save of something else than entries: a term, an identity, a snapshot of a leader."""
    _held: deque[tuple[int, Held]] = field(default_factory=deque)

    def wait_for(self, saves: Sequence[Save], *, unbound: bool = False) -> int:
        """Number of the save to wait for, given the saves that will be ordered next; 0 when there is none."""
        if unbound and self._binding <= self.durable and not any(map(_binds, saves)):
            return 0
        if saves:
            return self.ordered + 1
        return self.ordered if self.ordered > self.durable else 0

    def hold(self, number: int, held: Held) -> None:
        """Keep something until this save is durable. When too much waits, the message is dropped: it may get lost."""
        if len(self._held) >= HELD_MAX and isinstance(held, Message | AskDevice | ShowDevice):
            self.dropped += 1
            return
        self._held.append((number, held))

    def withdraw(self, job: Job, effects: Effects) -> JobEnded | None:
        """The end of a job that ``job`` cancels while it waits here, or is to begin with ``effects``: it never does.
        None when it is neither, or ``job`` cancels nothing."""
        if not isinstance(job.order, CancelJob):
            return None
        number, before = job.order.number, len(self._held) + len(effects.start)
        self._held = deque(one for one in self._held if not isinstance(one[1], Job) or one[1].number != number)
        effects.start = [one for one in effects.start if one.number != number]
        gone = len(self._held) + len(effects.start) < before
        return JobEnded(number, result=True, error="it was cancelled before it began") if gone else None

    @property
    def waiting(self) -> int:
        """How much waits."""
        return len(self._held)

    def order(self, number: int, saves: Sequence[Save]) -> None:
        """These saves are ordered under the next number."""
        assert number == self.ordered + 1, f"save {number} follows save {self.ordered}"
        self.ordered = number
        if any(map(_binds, saves)):
            self._binding = number

    def ended(self, number: int) -> list[Held]:
        """All saves up to this one are durable: what waited for them, in its order."""
        assert self.durable <= number <= self.ordered, f"save {number} ended, {self.ordered} is the last"
        self.durable = number
        released = []
        while self._held and self._held[0][0] <= number:
            released.append(self._held.popleft()[1])
        return released


def _binds(save: Save) -> bool:
    """Whether something else than a copy of entries is saved. A snapshot of what was applied here only covers some,
    and no word of a leader rests on a ring."""
    return not isinstance(save, SaveEntries | SaveRing) and not (isinstance(save, SaveSnapshot) and not save.reset)
