"""The clients: a process of their own that writes to every host and notes what it was told in the ledger.

Each thread stays with its host whoever is the primary. It keeps its connection to a standby and asks it again and
again whether it may write now; a former primary is asked to write as long as it answers. A row is sent once.
Usage: python -m ledger.writers BOOK RATE HOST=NAMESPACE=ADDRESS:PORT...
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from faults.cables import enter
from ledger.book import WRITER_BITS, Book, Noted
from ledger.wire import TIMELINE, Refused, Wire

USER, PASSWORD, DATABASE = "app", "application-of-the-test", "app"
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 4.0
"""Without a word the connection is given up, and the outcome of what is under way is unknown."""
ASK_PAUSE = 0.03
"""Between two questions to a server that is no primary."""
BATCH = 32
ERRORS = (OSError, Refused)


@dataclass(frozen=True)
class Kind:
    """How a thread writes: how many rows may be under way, and how many it sends in a second at most."""

    depth: int
    rate: float


@dataclass
class Writer:
    """One thread."""

    book: Book
    host: int
    namespace: str
    address: tuple[str, int]
    kind: Kind
    connections: itertools.count[int]

    def run(self) -> None:
        """Write for ever."""
        enter(os.open(f"/run/netns/{self.namespace}", os.O_RDONLY | os.O_CLOEXEC))
        while True:
            wire = None
            try:
                wire = self._connect()
                self._use(wire)
            except ERRORS as error:
                print(f"{time.monotonic():.3f} host {self.host}: {error}", flush=True)
                time.sleep(ASK_PAUSE)
            finally:
                if wire is not None:
                    wire.close()

    def _connect(self) -> Wire:
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            raw.settimeout(CONNECT_SECONDS)
            raw.connect(self.address)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(raw, USER, PASSWORD, DATABASE)
            wire.prepare()
            return wire
        except BaseException:
            raw.close()
            raise

    def _use(self, wire: Wire) -> None:
        while not (timeline := wire.ask(TIMELINE)[0][0]):
            time.sleep(ASK_PAUSE)
        wire.limit(ANSWER_SECONDS)
        self._write(wire, int(timeline, 16))

    def _write(self, wire: Wire, timeline: int) -> None:
        following = next(self.connections) << WRITER_BITS
        batch = min(BATCH, self.kind.depth)
        due = time.monotonic()
        waiting: list[tuple[int, int, float]] = []
        under_way = 0
        while True:
            while under_way + batch <= self.kind.depth:
                now = time.monotonic()
                if due > now and not under_way:
                    time.sleep(due - now)
                    now = due
                elif due > now:
                    break
                due = max(due, now - 1.0) + batch / self.kind.rate
                waiting.append((following, batch, time.monotonic()))
                wire.send_rows(following, batch)
                following, under_way = following + batch, under_way + batch
            count = wire.committed()
            at = time.monotonic()
            under_way -= count
            while count:
                first, size, sent = waiting[0]
                told = min(size, count)
                self.book.note(Noted(first, told, timeline, self.host, sent, at))
                count -= told
                if told == size:
                    waiting.pop(0)
                else:
                    waiting[0] = (first + told, size - told, sent)


def main(arguments: list[str]) -> int:
    """Start the threads; whoever started this process ends it."""
    book, rate = Book(Path(arguments[0])), float(arguments[1])
    connections = itertools.count(1)
    # One that tells exactly when something was acknowledged, and some that make many commits.
    kinds = [Kind(1, min(200.0, rate)), Kind(256, rate / 2), Kind(256, rate / 2)]
    for word in arguments[2:]:
        host, namespace, place = word.split("=")
        ip, _, port = place.rpartition(":")
        for kind in kinds:
            writer = Writer(book, int(host), namespace, (ip, int(port)), kind, connections)
            threading.Thread(target=writer.run, daemon=True).start()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
