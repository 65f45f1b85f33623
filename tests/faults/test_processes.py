"""Real daemons that are frozen and killed while clients write and read."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time

from edge.daemon_world import wait_for
from faults.clients import stored
from faults.cluster import NODE_TIMEOUT, UNREACHED, Cluster, Connection, eventually_writes

ATTEMPTS = 3


def others(cluster: Cluster, number: int) -> list[int]:
    return [other for other in cluster.numbers if other != number]


class Question:
    """One request that is sent now and answered when its host goes on."""

    def __init__(self, connection: Connection, path: str) -> None:
        self.status, self.body = 0, b""
        self._connection, self._path = connection, path
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.status, _, self.body = self._connection.ask("GET", self._path)
        except UNREACHED:
            self.status = 0
        finally:
            self._connection.close()

    def wait(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), self._path


def test_leader_that_stood_still_answers_no_read_from_before(trio: Cluster) -> None:
    """Questions wait in its sockets while it stands; when it goes on, others have written since."""
    for turn in range(3):
        old = trio.leader_host()
        assert trio.write(old, "pause", f"before {turn}") == 200
        connections = [trio.connect(old, 20.0) for _ in range(8)]
        for connection in connections:
            connection.ask("GET", "/map")
        trio.freeze(old)
        questions = [
            Question(connection, f"/kv/pause?consistency={('lease', 'leader')[place % 2]}")
            for place, connection in enumerate(connections)
        ]
        eventually_writes(trio, others(trio, old), "pause", f"after {turn}")
        trio.thaw(old)
        for question in questions:
            question.wait()
        stale = [one.body for one in questions if one.status == 200 and one.body != f"after {turn}".encode()]
        assert not stale
        trio.wait_whole()


def test_follower_that_stood_still_long_is_back_without_an_election(trio: Cluster) -> None:
    """Tried again where an election came of a machine that stood still itself."""
    terms: list[tuple[int, int]] = []
    for attempt in range(ATTEMPTS):
        trio.recover()
        leader = trio.leader_host()
        term = trio.map(leader)["cluster"]["term"]
        follower = others(trio, leader)[0]
        trio.freeze(follower)
        end, written = time.monotonic() + 3 * NODE_TIMEOUT, 0
        while time.monotonic() < end:
            written += trio.write(leader, f"frozen{attempt}", str(written)) == 200
        trio.thaw(follower)
        trio.wait_whole()
        terms.append((term, trio.map(leader)["cluster"]["term"]))
        if term == terms[-1][1]:
            assert written > 10
            assert trio.read(follower, f"frozen{attempt}") == str(written - 1)
            return
    raise AssertionError(f"each time an election: {terms}")


def test_killed_leader_is_replaced_and_takes_its_place_again(trio: Cluster) -> None:
    for turn in range(2):
        leader = trio.leader_host()
        assert trio.write(leader, "last", str(turn)) == 200
        trio.kill(leader)
        took = eventually_writes(trio, others(trio, leader), f"turn{turn}", "done")
        assert took < 10 * NODE_TIMEOUT
        assert trio.read(trio.leader_host(others(trio, leader)), "last", "leader") == str(turn)
        trio.start(leader)
        trio.wait_whole()


class Writer:
    """Writes one key after the other until, once all are struck, something is not acknowledged."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.acknowledged: list[str] = []
        self.struck = threading.Event()
        self._cluster, self._leader, self._name = cluster, cluster.leader_host(), name
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while True:
            key = f"{self._name}.{len(self.acknowledged)}"
            if self._cluster.write(self._leader, key, key, 2.0) == 200:
                self.acknowledged.append(key)
            elif self.struck.is_set():
                return
            else:
                self._leader = self._cluster.leader_host()

    def wait(self) -> list[str]:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.acknowledged


def test_all_killed_at_once_in_the_middle_of_writes_keep_what_they_acknowledged(trio: Cluster) -> None:
    for turn in range(2):
        writer = Writer(trio, f"all{turn}")
        enough = 10 + 7 * turn
        wait_for("some writes", lambda: len(writer.acknowledged) > enough)  # noqa: B023
        writer.struck.set()
        for number in trio.numbers:
            trio.daemons[number].kill()
        acknowledged = writer.wait()
        for number in trio.numbers:
            trio.kill(number)
            trio.start(number)
        trio.wait_whole()
        assert all(stored(trio, number, acknowledged)[key] == key for number in trio.numbers for key in acknowledged)


def test_daemon_that_is_told_to_stop_hands_over_before_it_goes(trio: Cluster) -> None:
    leader = trio.leader_host()
    assert trio.terminate(leader) == 0
    took = eventually_writes(trio, others(trio, leader), "stopped", "yes")
    assert took < 3 * NODE_TIMEOUT
    trio.start(leader)
    trio.wait_whole()
