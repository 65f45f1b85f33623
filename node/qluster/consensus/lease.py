"""Decides how long a leader may act on its own, and which reads are confirmed.

Must not know messages; it is told which round was opened and who answered which.

A round is one moment of sending. Whoever answers round r heard the leader after r was opened and
votes for nobody else until ``promise`` seconds after that; so nobody else can be elected before
(opening of the newest round that a contact quorum answered) + promise. The lease is a fraction of it,
counted from the opening, never from the arrival of an answer. A read is confirmed when a contact quorum
answered a round that was opened after the read was asked for (ReadIndex): then no other node had been
elected by that time. Rounds are numbered within one office and never used again (B38).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from qluster.consensus.electorate import by_episode
from qluster.consensus.membership import Configuration
from qluster.consensus.settings import LEASE_FRACTION, READS_MAX

ROUNDS_MAX = 4_096
"""Rounds remembered: an answer to an older one counts nothing, the next one will."""


@dataclass(frozen=True, slots=True)
class Round:
    """When it was opened, and until when its receivers promised not to vote for others."""

    number: int
    opened_at: float
    promise: float


NEVER = Round(0, -inf, 0.0)


class Rounds:
    """The rounds of one office."""

    def __init__(self, node: int, now: float) -> None:
        self._node = node
        self._began_at = now
        self._sent: deque[Round] = deque(maxlen=ROUNDS_MAX)
        self._answered: dict[int, Round] = {}
        self._reads: deque[tuple[int, int]] = deque()
        self._given_up = False
        self._reached: dict[str, float] = {}
        """What a contact quorum has reached, until the next round, answer or change of members."""
        self._reached_by: Configuration | None = None
        self.device: Callable[[int], Sequence[Round]] = lambda key: (NEVER,)
        """What those have answered who stand for a device that counts by episode: it promises nothing itself."""

    @property
    def newest(self) -> Round:
        """The round opened last."""
        return self._sent[-1] if self._sent else NEVER

    @property
    def reads_waiting(self) -> int:
        """Reads that are not confirmed yet."""
        return len(self._reads)

    @property
    def read_needs_round(self) -> bool:
        """Whether a read waits for a round that is not opened yet."""
        return bool(self._reads) and self._reads[-1][1] > self.newest.number

    def open(self, now: float, promise: float) -> int:
        """The number of the round for what is sent now."""
        if self.newest.opened_at != now or self.newest.promise != promise or self.read_needs_round:
            self._sent.append(Round(self.newest.number + 1, now, promise))
            self._answered[self._node] = self.newest
            self._reached.clear()
        return self.newest.number

    def answer(self, node: int, number: int, *, lasting: bool = True) -> None:
        """A node answered a round. Older answers, and numbers never given out, change nothing.

        Not ``lasting``: it was reached, but after a restart it would keep its promise for a shorter time than it said.
        """
        if not self._sent or number <= self.answered(node).number:
            return
        place = number - self._sent[0].number
        if 0 <= place < len(self._sent):
            one = self._sent[place]
            self._answered[node] = one if lasting else Round(one.number, one.opened_at, 0.0)
            self._reached.clear()

    def answered(self, node: int) -> Round:
        """The newest round that this node answered."""
        return self._answered.get(node, NEVER)

    def contact_at(self, configuration: Configuration) -> float:
        """Opening of the newest round that a contact quorum answered, or the beginning of the office."""
        return max(self._began_at, self._contacted("opened", configuration, lambda one: one.opened_at))

    def lease_until(self, configuration: Configuration) -> float:
        """Until when this leader may act on its own."""
        if self._given_up:
            return -inf
        return self._contacted("lease", configuration, lambda one: one.opened_at + one.promise * LEASE_FRACTION)

    def promised_until(self, configuration: Configuration) -> float:
        """When the time is over for which a contact quorum promised to vote for nobody else, by this clock."""
        return self._contacted("promise", configuration, lambda one: one.opened_at + one.promise)

    def _contacted(self, what: str, configuration: Configuration, value: Callable[[Round], float]) -> float:
        if configuration is not self._reached_by:
            self._reached.clear()
            self._reached_by = configuration
        if what not in self._reached:
            self._reached[what] = configuration.contacted(
                lambda node: min(map(value, self.device(node))) if by_episode(node) else value(self.answered(node))
            )
        return self._reached[what]

    def forget(self) -> None:
        """What counts has changed."""
        self._reached.clear()

    def give_up(self) -> None:
        """No lease in this office any more: a successor was told to take over."""
        self._given_up = True

    @property
    def given_up(self) -> bool:
        """Whether a successor was told to take over."""
        return self._given_up

    def ask(self, ticket: int) -> bool:
        """Take on a read; False when too many wait."""
        if len(self._reads) >= READS_MAX:
            return False
        self._reads.append((ticket, self.newest.number + 1))
        return True

    def confirmed(self, configuration: Configuration) -> list[int]:
        """Tickets of the reads that may be served now; they are forgotten here."""
        if not self._reads:
            return []
        number = self._contacted("number", configuration, lambda one: one.number)
        tickets = []
        while self._reads and self._reads[0][1] <= number:
            tickets.append(self._reads.popleft()[0])
        return tickets

    def abandon(self) -> list[int]:
        """Tickets of all reads that wait: this office ends."""
        tickets = [ticket for ticket, _ in self._reads]
        self._reads.clear()
        return tickets
