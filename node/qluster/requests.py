"""Decides when a client's request is answered: what was proposed, what became of it.

Must not know HTTP, nor what the request asked for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from qluster.clients import Busy, Done, Outcome, Refused, Superseded, Unconfirmed
from qluster.events import Answer, Entry

REQUESTS_MAX = 512
"""Requests under way at once: each holds a connection, and a leader commits thousands a second."""

CONFIRM_TIMEOUT = 10.0
"""Seconds until an unconfirmed write is answered with 420: below the usual 30 s of HTTP clients."""


@dataclass(frozen=True, slots=True)
class _Pending:
    ticket: int
    term: int
    detail: dict[str, object]


@dataclass(frozen=True, slots=True)
class _Watched:
    ticket: int
    deadline: float
    outcome: Callable[[], Outcome | None]


@dataclass(slots=True)
class Requests:
    """Requests that wait for the log, for a reading round, or for something to come true."""

    _pending: dict[int, list[_Pending]] = field(default_factory=dict)
    """By the index of the entry."""
    _reads: dict[int, Callable[[], Outcome]] = field(default_factory=dict)
    """Ticket → what to answer once this node may read."""
    _watched: list[_Watched] = field(default_factory=list)
    _deadlines: deque[tuple[float, int]] = field(default_factory=deque)
    """Of writes and reads, in the order of asking, which is that of their ends; answered ones stay until then."""
    _waiting: set[int] = field(default_factory=set)
    """Tickets of writes and reads that are not answered."""
    _answers: list[Answer] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """True when no further request can wait."""
        return len(self._waiting) + len(self._watched) >= REQUESTS_MAX

    @property
    def restless(self) -> bool:
        """Whether an answer is ready, or might be."""
        return bool(self._answers or self._watched)

    def answer(self, ticket: int, outcome: Outcome) -> None:
        """Answer at once."""
        self._answers.append(Answer(ticket, outcome))

    def proposed(self, ticket: int, at: tuple[int, int], now: float, detail: dict[str, object]) -> None:
        """Answer when the entry ``at`` (index, term) is committed, or another one in its place."""
        index, term = at
        self._pending.setdefault(index, []).append(_Pending(ticket, term, detail))
        self._wait(ticket, now)

    def reading(self, ticket: int, now: float, outcome: Callable[[], Outcome]) -> None:
        """Answer with this outcome when the consensus says that this node may read."""
        self._reads[ticket] = outcome
        self._wait(ticket, now)

    def watch(self, ticket: int, deadline: float, outcome: Callable[[], Outcome | None]) -> None:
        """Answer as soon as ``outcome`` says one."""
        self._watched.append(_Watched(ticket, deadline, outcome))

    def committed(self, entry: Entry, other: Refused | Done | None = None) -> None:
        """An entry was committed and applied; ``other`` says what stood against it, or where it happened before."""
        for request in self._pending.pop(entry.index, ()):
            same = request.term == entry.term
            self._end(request.ticket, other or Done(entry.index, request.detail) if same else Superseded())

    def read(self, ticket: int, refusal: Outcome | None) -> None:
        """A reading round ended: this node may read, or why it may not."""
        outcome = self._reads.pop(ticket, None)
        if outcome is not None:
            self._end(ticket, refusal or outcome())

    def replaced(self, index: int) -> None:
        """The applied state was replaced up to ``index``: what became of entries before it is unknown."""
        for place in [place for place in self._pending if place <= index]:
            for request in self._pending.pop(place):
                self._end(request.ticket, Unconfirmed())

    def stop(self, reason: str) -> None:
        """The daemon stops: whatever still waits is answered."""
        tickets = [request.ticket for requests in self._pending.values() for request in requests]
        for ticket in [*tickets, *(watched.ticket for watched in self._watched)]:
            self._end(ticket, Unconfirmed())
        for ticket in self._reads:
            self._end(ticket, Busy(reason))
        self._pending, self._reads, self._watched = {}, {}, []

    def take(self, now: float) -> list[Answer]:
        """The answers that are ready."""
        if self._watched:
            self._look_at_watched(now)
        while self._deadlines and (now >= self._deadlines[0][0] or self._deadlines[0][1] not in self._waiting):
            _, ticket = self._deadlines.popleft()
            if ticket in self._waiting:
                self._expire(ticket)
        answers = self._answers
        if answers:
            self._answers = []
        return answers

    @property
    def wake_at(self) -> float:
        """When the first deadline passes."""
        first = self._deadlines[0][0] if self._deadlines else inf
        return min([first, *(item.deadline for item in self._watched)]) if self._watched else first

    def _wait(self, ticket: int, now: float) -> None:
        self._waiting.add(ticket)
        self._deadlines.append((now + CONFIRM_TIMEOUT, ticket))

    def _end(self, ticket: int, outcome: Outcome) -> None:
        self._waiting.discard(ticket)
        self._answers.append(Answer(ticket, outcome))

    def _expire(self, ticket: int) -> None:
        if self._reads.pop(ticket, None) is not None:
            self._end(ticket, Busy("no quorum answered in time"))
            return
        for index, requests in list(self._pending.items()):
            kept = [request for request in requests if request.ticket != ticket]
            if len(kept) < len(requests):
                self._end(ticket, Unconfirmed())
                self._pending[index] = kept
                if not kept:
                    del self._pending[index]

    def _look_at_watched(self, now: float) -> None:
        for watched in list(self._watched):
            outcome = watched.outcome() or (Unconfirmed() if now >= watched.deadline else None)
            if outcome is not None:
                self._watched.remove(watched)
                self.answer(watched.ticket, outcome)
