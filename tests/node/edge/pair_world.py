"""Two hosts with databases that ask an arbiter: when they are well, and what clients may never have seen."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from edge.fault_world import Hosts, Ledger, obstacle, run, wait_for
from edge.released_arbiter import PROGRAM
from edge.test_device_released import Program

LONG = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="ten seconds or more: QLUSTER_FULL_TESTS=1")
needs_released = pytest.mark.skipif(PROGRAM is None, reason="corosync-qnetd is not here (package corosync-qnetd)")
PORT = 5403


class Pair(Hosts):
    """Whoever acknowledges has asked the other one, as long as that one is there."""

    def __init__(self) -> None:
        super().__init__(2)
        (self.root / "arbiter").mkdir()

    def join(self, **device: object) -> None:
        """Start both nodes with these keys of the section ``device``, and wait until either may be lost."""
        keys = {f"device__{key}": value for key, value in {"port": PORT, "tls": "off", **device}.items()}
        for number in self.numbers:
            self.prepare(number, cluster__synchronous="quorum", **keys)
            self.start(number)
        self.wait_until_well()

    def shown(self, number: int) -> dict[str, Any]:
        """The arbiter as a node sees it."""
        return self.own(number).get("device") or {}  # type: ignore[return-value]

    def listed(self, number: int = 1) -> dict[str, Any]:
        """The device of the list of members."""
        return (self.map(number).get("cluster") or {}).get("device") or {}  # type: ignore[attr-defined, no-any-return]

    def well(self) -> bool:
        """Both stream, transactions wait for the replica, and both may count on the arbiter."""
        counts = [self.shown(number).get("counts") for number in self.numbers]
        return self.whole() and self.covered(1) and counts == [True, True]

    def alone(self, number: int) -> bool:
        """A node's transactions wait for nobody any more."""
        found = self.guarantee(number)
        return found is not None and not found["standbys"] and bool(found["settled"])

    def wait_until_well(self) -> int:
        """The primary."""
        wait_for("a whole cluster", self.well, 60)
        [primary] = self.writable()
        return primary


def in_order(pair: Pair, ledger: Ledger, changes: int) -> None:
    """Never two that acknowledge, and nothing of what was acknowledged is missing."""
    assert len(ledger.changes()) == changes, ledger.changes()
    [primary] = pair.writable()
    assert not ledger.missing(primary)


class Released:
    """Debian's arbiter, at an address of its own beside the clients: whoever is cut off from it still meets these."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.host = f"{pair.net}.253"
        self.program: Program | None = None
        run("ip", "-n", pair.outside, "addr", "add", f"{self.host}/24", "dev", "br0")

    def start(self) -> None:
        folder = self.pair.root / "arbiter"
        for left in folder.iterdir():
            left.unlink()
        self.program = Program(folder, PORT, host=self.host)

    def kill(self) -> None:
        assert self.program is not None
        self.program.kill()

    def cut_off(self, number: int) -> None:
        """A node, from everybody but clients."""
        both = f"{{ {self.pair.ip(number)}, {self.pair.net}.254 }}"
        self.pair.cut(number, but=f"ip saddr {both} ip daddr {both}")

    def close(self) -> None:
        if self.program is not None:
            self.kill()


Asking = tuple[Pair, Released]


@contextmanager
def asking(algorithm: str) -> Iterator[Asking]:
    """Both nodes ask Debian's arbiter by an algorithm."""
    if reason := obstacle():
        pytest.skip(reason)
    pair = Pair()
    arbiter = Released(pair)
    try:
        arbiter.start()
        pair.join(host=arbiter.host, timeout="1250ms", sync_timeout="3s", algorithm=algorithm)
        yield pair, arbiter
    finally:
        arbiter.close()
        pair.end()


def silent(ledger: Ledger, seconds: float) -> None:
    """Nobody acknowledges anything."""
    began, seen = time.monotonic(), len(ledger.acknowledged)
    while time.monotonic() < began + seconds:
        assert len(ledger.acknowledged) == seen, ledger.acknowledged[seen:][:3]
        time.sleep(0.05)
