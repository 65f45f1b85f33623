"""Clients on every host that read, write and compare-and-set, and write down what they were told and when.

Each client stays with the node of its host, whoever leads: so a node that leads no longer, or not yet, is asked
as often as the leader is. What is not known to have happened stays unknown; a write of unknown outcome is sent
again with its idempotency key, sometimes, and then counts as one operation from its first sending to its answer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from faults.cluster import UNREACHED, Cluster, Connection
from histories import operations
from histories.operations import Operation

ANSWER_SECONDS = 4.0
"""Longer than an election takes, shorter than a daemon's own 420."""
ELSEWHERE_PAUSE = 0.03
"""Seconds until a node that said that it does not lead is asked again."""
KEYS = 4
"""Few, so that clients meet."""
KEY_SECONDS = 8.0
"""After it other keys are used: a history of one key stays short."""
LOOKING, LOOK_SECONDS = 3, 0.6
"""Clients of a host that only look, and how long they wait between two looks."""
AGAIN_MAX = 3
"""Times that a write of unknown outcome is sent again."""
LAST_SECONDS = 60.0
"""For all last reads: a machine that is busy with other things may lose its leader meanwhile."""
NOT_TAKEN = {412, 417, 530, 531}
"""Status codes that say that a request was not taken at all."""


@dataclass
class Ledger:
    """What all clients were told."""

    operations: list[Operation] = field(default_factory=list)
    indexes: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """(key, value) → the indexes that answers gave for it: there must be one."""
    answers: Counter[str] = field(default_factory=Counter)

    def note(self, key: str, value: str, index: int) -> None:
        """An answer said at which index a value was written."""
        self.indexes.setdefault((key, value), set()).add(index)

    def contradictions(self) -> list[str]:
        """Values that are said to have been written at two places of the log."""
        return [f"{key} = {value} at {sorted(found)}" for (key, value), found in self.indexes.items() if len(found) > 1]


class Client:
    """One client of one host."""

    def __init__(
        self, cluster: Cluster, host: int, name: str, seed: int, ledger: Ledger, pause: float, *, looks: bool = False
    ) -> None:
        self.name = name
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._cluster, self._host, self._ledger, self._pause = cluster, host, ledger, pause
        self._looks = looks
        self._random = Random(seed)
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._known: dict[str, tuple[str | None, int]] = {}
        self._stop = threading.Event()
        self._began = time.monotonic()
        self.fault: BaseException | None = None

    def end(self) -> None:
        """Stop after the operation under way."""
        self._stop.set()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._stop.wait(self._step())
        except BaseException as fault:
            self.fault = fault
            raise
        finally:
            for connection in self._connections.values():
                connection.close()

    def _step(self) -> float:
        """One operation; how long to wait before the next one."""
        era = int((time.monotonic() - self._began) / KEY_SECONDS)
        key = f"e{era}.{self._random.randrange(KEYS)}"
        chance = 0.0 if self._looks else self._random.random()
        if chance < 0.45:
            taken = self._read(key, self._random.choice(("leader", "lease")))
        elif chance < 0.70:
            taken = self._write(key)
        elif chance < 0.95:
            taken = self._compare(key)
        else:
            taken = self._delete(key)
        pause = self._pause if taken or self._looks else ELSEWHERE_PAUSE
        return self._random.uniform(0, 2 * pause)

    # --- operations --------------------------------------------------------------

    def _read(self, key: str, consistency: str) -> bool:
        began = time.monotonic()
        status, index, body = self._ask(self._host, "GET", f"/kv/{key}?consistency={consistency}")
        ended = time.monotonic()
        if status not in (200, 404):
            return status != 0 and status not in NOT_TAKEN
        value = body.decode() if status == 200 else None
        self._ledger.operations.append(operations.read(self.name, key, began, ended, value))
        if value is not None:
            self._ledger.note(key, value, index)
        self._known[key] = (value, index)
        return True

    def _write(self, key: str) -> bool:
        value = self._new_value()
        began = time.monotonic()
        status, index, sure = self._send("PUT", f"/kv/{key}", value)
        ended = time.monotonic()
        if status == 200:
            self._ledger.operations.append(operations.write(self.name, key, began, ended, value))
            self._ledger.note(key, value, index)
            self._known[key] = (value, index)
        elif not sure:
            self._ledger.operations.append(operations.write(self.name, key, began, operations.inf, value))
        return status == 200

    def _compare(self, key: str) -> bool:
        expected, known = self._known.get(key, (None, 0))
        value = self._new_value()
        began = time.monotonic()
        status, index, sure = self._send("PUT", f"/kv/{key}?cas={known}", value)
        ended = time.monotonic()
        if status in (200, 409):
            held = status == 200
            self._ledger.operations.append(operations.cas(self.name, key, began, ended, expected, value, held))
            if held:
                self._ledger.note(key, value, index)
                self._known[key] = (value, index)
            else:
                self._known.pop(key, None)
        elif not sure:
            self._ledger.operations.append(operations.cas(self.name, key, began, operations.inf, expected, value))
        return status in (200, 409)

    def _delete(self, key: str) -> bool:
        began = time.monotonic()
        status, _, sure = self._send("DELETE", f"/kv/{key}", None)
        ended = time.monotonic()
        if status in (200, 404):
            self._ledger.operations.append(operations.delete(self.name, key, began, ended, status == 200))
            self._known.pop(key, None)
        elif not sure:
            self._ledger.operations.append(operations.delete(self.name, key, began, operations.inf))
        return status in (200, 404)

    def _new_value(self) -> str:
        self._count += 1
        return f"{self.name}-{self._count}"

    # --- requests ------------------------------------------------------------------

    def _send(self, method: str, path: str, value: str | None) -> tuple[int, int, bool]:
        """A write: status, index, and whether it is sure that nothing came or will come of it.

        After a sending of unknown outcome only an acknowledgement ends the doubt.
        """
        name = f"{self.name}-{self._count}-{self._random.randrange(1 << 30)}"
        body = b"" if value is None else value.encode()
        host, doubt = self._host, False
        for again in range(AGAIN_MAX + 1):
            status, _index, answer = self._ask(host, method, path, body, name)
            if status == 200:
                return status, json.loads(answer)["index"], True
            unknown = status in (0, 420, 500)
            if not doubt and not unknown:
                return status, 0, True
            doubt = True
            if again == AGAIN_MAX or self._random.random() < 0.3 or self._stop.wait(self._random.uniform(0, 0.4)):
                break
            host = self._random.choice(self._cluster.numbers)
        return 0, 0, False

    def _ask(self, host: int, method: str, path: str, body: bytes = b"", name: str = "") -> tuple[int, int, bytes]:
        """Status (0: nobody knows), the index that the answer names, and its body; -1: not even connected."""
        connection = self._connections.get(host)
        if connection is None:
            connection = self._connections[host] = self._cluster.connect(host, ANSWER_SECONDS)
        if connection.sock is None:
            try:
                connection.connect()
            except UNREACHED:
                self._ledger.answers["unreached"] += 1
                return 531, 0, b""
        headers = {"Idempotency_Key": name, "Content_Type": "application/octet-stream"} if name else {}
        token = "operate" if name else "read"
        try:
            status, found, answer = connection.ask(method, path, body, token=token, **headers)
        except (*UNREACHED, http.client.HTTPException):
            self._ledger.answers["lost"] += 1
            return 0, 0, b""
        self._ledger.answers[str(status)] += 1
        return status, int(found.get("X-Qluster-Index") or 0), answer


class Clients:
    """Some clients for each host, and some that look there now and then.

    Those who look seldom are those whose question meets a leader that has just begun to stand still.
    """

    def __init__(self, cluster: Cluster, seed: int, each: int = 3, pause: float = 0.01) -> None:
        self.ledger = Ledger()
        self._all = [
            Client(cluster, host, f"c{host}{'abcdefgh'[place]}", seed * 1000 + host * 10 + place, self.ledger, pause)
            for host in cluster.numbers for place in range(each)
        ] + [
            Client(cluster, host, f"l{host}{'abcdefgh'[place]}", -seed * 1000 - host * 10 - place, self.ledger,
                   LOOK_SECONDS, looks=True)
            for host in cluster.numbers for place in range(LOOKING)
        ]  # fmt: skip

    def __enter__(self) -> Clients:
        for client in self._all:
            client.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._all:
            client.end()
        for client in self._all:
            client.thread.join(AGAIN_MAX * (ANSWER_SECONDS + 1) + ANSWER_SECONDS)
        assert not any(client.thread.is_alive() for client in self._all), "a client does not end"
        faults = [client.fault for client in self._all if client.fault is not None]
        if faults:
            raise faults[0]


def last_reads(cluster: Cluster, ledger: Ledger) -> dict[str, str | None]:
    """Read every key through whoever leads, as one more client; what was found."""
    found: dict[str, str | None] = {}
    end = time.monotonic() + LAST_SECONDS
    for key in sorted({one.key for one in ledger.operations}):
        while key not in found:
            leader = cluster.leader_host()
            began = time.monotonic()
            try:
                status, body = cluster.ask(leader, "GET", f"/kv/{key}?consistency=leader", limit=10.0)
            except UNREACHED:
                status, body = 0, b""
            if status in (200, 404):
                found[key] = body.decode() if status == 200 else None
                ledger.operations.append(operations.read("last", key, began, time.monotonic(), found[key]))
            assert time.monotonic() < end, f"no leader answers although all faults are gone: {status} {body!r}"
    return found


def stored(cluster: Cluster, host: int, keys: Iterable[str]) -> dict[str, str | None]:
    """What a node has of these keys, as it knows them itself."""
    connection = cluster.connect(host, 10.0)
    try:
        found: dict[str, str | None] = {}
        for key in keys:
            status, _, body = connection.ask("GET", f"/kv/{key}?consistency=local")
            assert status in (200, 404), (status, body)
            found[key] = body.decode() if status == 200 else None
        return found
    finally:
        connection.close()
