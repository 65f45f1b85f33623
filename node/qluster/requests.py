"""Decides when a client's request is answered: what was proposed, what became of it.

Must not know HTTP, nor what the request asked for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from qluster.events import Answer, Busy, Done, Entry, Outcome, Superseded, Unconfirmed

REQUESTS_MAX = 256
"""Requests under way at once: each holds a connection, and a leader commits hundreds a second."""

CONFIRM_TIMEOUT = 10.0
"""Seconds until an unconfirmed write is answered with 420: below the usual 30 s of HTTP clients."""


@dataclass(frozen=True, slots=True)
class _Pending:
    ticket: int
    index: int
    term: int
    deadline: float
    detail: dict[str, object]


@dataclass(frozen=True, slots=True)
class _Watched:
    ticket: int
    deadline: float
    outcome: Callable[[], Outcome | None]


@dataclass(slots=True)
class Requests:
    """Requests that wait for the log, for a reading round, or for something to come true."""

    _pending: list[_Pending] = field(default_factory=list)
    _reads: dict[int, float] = field(default_factory=dict)
    _watched: list[_Watched] = field(default_factory=list)
    _answers: list[Answer] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """True when no further request can wait."""
        return len(self._pending) + len(self._reads) + len(self._watched) >= REQUESTS_MAX

    def answer(self, ticket: int, outcome: Outcome) -> None:
        """Answer at once."""
        self._answers.append(Answer(ticket, outcome))

    def proposed(self, ticket: int, at: tuple[int, int], now: float, detail: dict[str, object]) -> None:
        """Answer when the entry ``at`` (index, term) is committed, or another one in its place."""
        self._pending.append(_Pending(ticket, *at, now + CONFIRM_TIMEOUT, detail))

    def reading(self, ticket: int, now: float) -> None:
        """Answer when the consensus says that this node may read."""
        self._reads[ticket] = now + CONFIRM_TIMEOUT

    def watch(self, ticket: int, deadline: float, outcome: Callable[[], Outcome | None]) -> None:
        """Answer as soon as ``outcome`` says one."""
        self._watched.append(_Watched(ticket, deadline, outcome))

    def committed(self, entry: Entry) -> None:
        """An entry was committed and applied."""
        for request in [request for request in self._pending if request.index == entry.index]:
            self._pending.remove(request)
            same = request.term == entry.term
            self.answer(request.ticket, Done(entry.index, request.detail) if same else Superseded())

    def read(self, ticket: int, outcome: Outcome) -> None:
        """A reading round ended."""
        if self._reads.pop(ticket, None) is not None:
            self.answer(ticket, outcome)

    def replaced(self, index: int) -> None:
        """The applied state was replaced up to ``index``: what became of entries before it is unknown."""
        for request in [request for request in self._pending if request.index <= index]:
            self._pending.remove(request)
            self.answer(request.ticket, Unconfirmed())

    def stop(self, reason: str) -> None:
        """The daemon stops: whatever still waits is answered."""
        tickets = [request.ticket for request in self._pending] + [watched.ticket for watched in self._watched]
        for ticket in tickets:
            self.answer(ticket, Unconfirmed())
        for ticket in self._reads:
            self.answer(ticket, Busy(reason))
        self._pending, self._reads, self._watched = [], {}, []

    def take(self, now: float) -> list[Answer]:
        """The answers that are ready."""
        for watched in list(self._watched):
            outcome = watched.outcome() or (Unconfirmed() if now >= watched.deadline else None)
            if outcome is not None:
                self._watched.remove(watched)
                self.answer(watched.ticket, outcome)
        for request in [request for request in self._pending if now >= request.deadline]:
            self._pending.remove(request)
            self.answer(request.ticket, Unconfirmed())
        for ticket in [ticket for ticket, deadline in self._reads.items() if now >= deadline]:
            del self._reads[ticket]
            self.answer(ticket, Busy("no quorum answered in time"))
        answers, self._answers = self._answers, []
        return answers

    @property
    def wake_at(self) -> float:
        """When the first deadline passes."""
        deadlines = [*(item.deadline for item in self._pending), *self._reads.values()]
        return min([*deadlines, *(item.deadline for item in self._watched)], default=inf)
