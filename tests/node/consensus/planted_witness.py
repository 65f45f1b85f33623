"""Faults planted into an arbiter that remembers and into how its votes are counted: each must be found."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

from consensus.arbiter import Arbiter
from planting import Plants
from qluster import quorum
from qluster.consensus import election, electorate, looks, qraft, witness
from qluster.consensus.electorate import Electorate
from qluster.consensus.members import NODE_MAX
from qluster.consensus.witness import Witness
from qluster.qnet.memory import Kept, Memory
from qluster.qnet.names import Refusal, Stage

PLANTS = Plants()
plant, method = PLANTS.plant, PLANTS.method


method(
    "arbiter-forgets-promise: after its restart it votes at once", Arbiter, "load",
    lambda self: Memory(self._kept, None),
)
method(
    "arbiter-forgets: it lost its disk and says that it is the same", Arbiter, "load",
    lambda self: Memory(Kept(self._kept.uid), None),
)
@plant("its vote is given to who lacks what it was shown")
def _log_ignored() -> Iterator[None]:
    sound = Memory._refusal

    def refusal(self: Memory, stage: Stage, term: int, candidate: int, last: tuple[int, int], now: float) -> Refusal:
        return sound(self, stage, term, candidate, (2**63, 0), now)

    with patch.object(Memory, "_refusal", refusal):
        yield


method(
    "it promises a leader nothing", Memory, "show",
    lambda self, term, leader, index, promise, now, sound=Memory.show: sound(self, term, leader, index, 0, now),
)


@plant("device-of-another-uid: which memory it is is not asked")
def _any_uid() -> Iterator[None]:
    with ExitStack() as stack:
        for module in (election, electorate, looks, qraft, witness):
            stack.enter_context(patch.object(module, "device_key", lambda uid: NODE_MAX + 1 + bool(uid)))
        yield


@plant("device-counts-as-holder: what it has seen is a copy")
def _copy() -> Iterator[None]:
    def committed(self: Electorate, match: Callable[[int], float]) -> float:
        by_weight = self._reached(match, self.needs.commit)
        return min(by_weight, quorum.reached(map(match, self.everybody), max(1, self.needs.copies)))

    with patch.object(Electorate, "committed", committed):
        yield


@plant("it has seen an entry as soon as that was sent to it")
def _unanswered_counts() -> Iterator[None]:
    sound = Witness.match

    def match(self: Witness, key: int) -> int:
        return max(sound(self, key), self._index() if self._owed and key == self._me.device else 0)

    with patch.object(Witness, "match", match):
        yield
