"""Tasks in a cluster of three daemons with their runners: they outlive daemons, runners and hosts, one at a time."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.task_world import TaskHosts

NODES = (1, 2, 3)


class Cluster(TaskHosts):
    """Three hosts whose tasks keep a ledger."""

    def __init__(self, root: Path, group: str, net: str) -> None:
        super().__init__(root, group, net, NODES, shell=True)
        self.ledger = root / "ledger"
        self.go = root / "go"

    def submit(self, through: int, **task: object) -> int:
        """A task that notes in the ledger that it began, waits for a sign, and notes that it ended."""
        text = (f"echo began $QLUSTER_NODE $QLUSTER_TASK_FENCE $$ >> {self.ledger}; "
                f"until [ -e {self.go} ]; do sleep 0.02; done; echo ended $QLUSTER_NODE >> {self.ledger}; "
                f"echo done")  # fmt: skip
        answer = self.site.post(through, "/tasks", {"shell": text, **task})
        assert answer.status_code in (200, 201, 202), answer.text
        return int(answer.json()["tasks"][0])

    def host_of(self, task: int, *, but: int = 0) -> int:
        """The host on which it was begun: its number is not that of the node, which joining gives."""
        (number,) = [each for each in NODES if each != but and list(self._runs(each).glob(f"{task}-*"))]
        return number

    def node_of(self, number: int) -> int:
        """Number of the node on a host."""
        return int(self.site.map(number)["own"]["node"])

    def _runs(self, number: int) -> Path:
        return self.site.place(number) / "state/tasks/runs"

    def rows(self) -> list[list[str]]:
        """The ledger."""
        return [line.split() for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three of them."""
    one = Cluster(tmp_path, "239.77.41.9:5477", "127.41.9")
    try:
        wait_for("there is a leader", lambda: one.leader(), 60)
        yield one
    finally:
        one.end()


def test_a_task_outlives_its_daemon_and_is_run_again_where_its_host_dies(cluster: Cluster) -> None:
    leader = cluster.leader()
    task = cluster.submit(leader, target={"nodes": [n for n in NODES if n != leader]})
    wait_for("it began", lambda: cluster.task(task, leader).get("state") == "running", 60)
    wait_for("its program wrote so", lambda: len(cluster.rows()) == 1, 10)
    (began,) = cluster.rows()
    first = cluster.host_of(task)
    pid = int(began[3])

    # A daemon that is started anew finds its run again: nothing ends, nothing begins.
    cluster.daemons[first].send_signal(signal.SIGKILL)
    cluster.daemons[first].wait()
    cluster.start_daemon(first)
    wait_for("the daemon is back", lambda: cluster.site.leader(first) == leader, 60)
    time.sleep(1)
    found = cluster.task(task, leader)
    assert found.get("state") == "running", found
    assert cluster.rows() == [began] and Path(f"/proc/{pid}").exists()

    # A host that dies takes it along, and another one begins it, with a larger fencing number.
    killed_at = time.monotonic()
    cluster.kill(first)
    wait_for("its program is dead", lambda: not Path(f"/proc/{pid}").exists(), 5)
    wait_for("it began elsewhere", lambda: len(cluster.rows()) == 2, 60)
    print(f"begun elsewhere {time.monotonic() - killed_at:.1f} s after its host died")
    again = cluster.rows()[1]
    assert again[1] not in (began[1], str(leader)) and int(again[2]) > int(began[2])
    assert cluster.host_of(task, but=first)

    # It ends while its former host comes back, which begins nothing.
    cluster.start(first)
    wait_for("the host is back", lambda: cluster.site.leader(first) == leader, 60)
    cluster.go.touch()
    wait_for("it succeeded", lambda: cluster.task(task, leader).get("state") == "succeeded", 60)
    assert [row[0] for row in cluster.rows()] == ["began", "began", "ended"]


def test_without_its_runner_a_host_begins_nothing_and_says_so(cluster: Cluster) -> None:
    leader = cluster.leader()
    other = next(number for number in NODES if number != leader)
    cluster.runners[other].send_signal(signal.SIGTERM)
    cluster.runners[other].wait()
    task = cluster.submit(leader, target={"nodes": [cluster.node_of(other)]})
    # What the leader sees now: the reason in the log is told anew every half minute at most.
    wait_for("it waits", lambda: "the task runner" in str(cluster.task(task, leader).get("why")), 30)
    assert cluster.task(task, leader)["state"] == "waiting"
    cluster.start_runner(other)
    cluster.go.touch()
    wait_for("it succeeded", lambda: cluster.task(task, leader).get("state") == "succeeded", 60)
    assert [row[0] for row in cluster.rows()] == ["began", "ended"]


def test_what_a_task_has_said_outlives_a_forced_quorum(cluster: Cluster) -> None:
    leader = cluster.leader()
    left = next(number for number in NODES if number != leader)
    cluster.go.touch()
    over = cluster.submit(leader, target={"nodes": [cluster.node_of(left)]})
    wait_for("it succeeded", lambda: cluster.task(over, leader).get("state") == "succeeded", 60)
    cluster.go.unlink()
    goes = cluster.submit(leader, target={"nodes": [cluster.node_of(left)]}, once=True)
    wait_for("the other one runs", lambda: cluster.task(goes, left).get("state") == "running", 60)
    pid = int(cluster.rows()[-1][3])
    gone = [number for number in NODES if number != left]
    for number in gone:
        cluster.kill(number)
    off = ",".join(cluster.site.ip(number) for number in gone)
    force = f"/force-quorum?name=trial&confirm-off={off}"
    wait_for("it is begun", lambda: cluster.site.post(left, force).status_code == 200, 60)
    wait_for("it leads alone", lambda: cluster.site.leader(left) == cluster.node_of(left), 60)
    wait_for("what ran is dead", lambda: not Path(f"/proc/{pid}").exists(), 60)
    wait_for("that is known", lambda: cluster.task(goes, left).get("state") == "lost", 60)
    assert cluster.site.get(left, f"/tasks/{over}/output").text == "done\n"
    cluster.go.touch()
    again = cluster.submit(left)
    wait_for("it goes on", lambda: cluster.task(again, left).get("state") == "succeeded", 60)
    assert again > goes and cluster.site.get(left, f"/tasks/{over}/output").text == "done\n"
