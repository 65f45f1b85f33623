"""A node of PySyncObj with a journal file, which loads its own cluster when it is told to.

`python -m bench.systems.pysync_node JOURNAL OWN-ADDRESS OTHER-ADDRESS...`; orders by standard input.
Nothing flushes the journal of PySyncObj: what it says is committed is in the page cache of a majority.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated  # type: ignore[import-untyped]

from bench import inside, wire
from bench.figures import from_latencies
from bench.load import Outcome


class Store(SyncObj):  # type: ignore[misc]
    """A dictionary, replicated."""

    def __init__(self, own: str, others: list[str], journal: str) -> None:
        super().__init__(own, others, SyncObjConf(journalFile=journal))
        self.values: dict[str, bytes] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: bytes) -> None:
        """Write a value."""
        self.values[key] = value


class Loop:
    """So many writes under way; each that ends begins the next."""

    def __init__(self, store: Store, task: inside.Task) -> None:
        self._store, self._task = store, task
        self._value = wire.value(task.size)
        self._began = time.monotonic()
        self._counts_from = self._began + task.warm
        self._ends = self._counts_from + task.seconds
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._done = self._refused = 0
        self._open = task.clients
        self._over = threading.Event()

    def run(self) -> Outcome:
        """Until the time is over and every write is answered."""
        for _ in range(self._task.clients):
            self._next()
        self._over.wait(self._task.warm + self._task.seconds + inside.ANSWER_SECONDS)
        with self._lock:
            return Outcome(from_latencies(self._latencies, self._task.seconds, self._refused), self._done)

    def _next(self) -> None:
        asked = time.monotonic()

        def ended(_: object, error: int) -> None:
            self._ended(asked, error)

        self._store.put("bench", self._value, callback=ended)

    def _ended(self, asked: float, error: int) -> None:
        now = time.monotonic()
        with self._lock:
            if error == FAIL_REASON.SUCCESS:
                self._done += 1
                if self._counts_from <= now <= self._ends:
                    self._latencies.append(now - asked)
            else:
                self._refused += 1
            if now >= self._ends:
                self._open -= 1
                if not self._open:
                    self._over.set()
                return
        self._next()


def answer(store: Store, question: dict[str, Any]) -> bytes:
    """One order."""
    if "task" in question:
        return inside.outcome_line(Loop(store, inside.Task(**question["task"])).run())
    leader = store._getLeader()
    return inside.line({"leads": store._isLeader(), "ready": store.isReady() and leader is not None,
                        "applied": store.raftLastApplied})


def main(journal: str, own: str, others: list[str]) -> None:
    """Serve until standard input ends."""
    store = Store(own, others, journal)
    for said in sys.stdin:
        sys.stdout.buffer.write(answer(store, json.loads(said)))
        sys.stdout.buffer.flush()
    store.destroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
