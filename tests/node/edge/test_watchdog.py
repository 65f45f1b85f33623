"""What the service manager hears, on a real socket."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
from qluster.edge.watchdog import STATUS_SIZE_MAX, Watchdog


class Manager:
    """The service manager's end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@qluster-test-{os.getpid()}"
    with_socket = Manager(path)
    yield with_socket
    with_socket.socket.close()


def watchdog(manager: Manager, **variables: str) -> Watchdog:
    return Watchdog({"NOTIFY_SOCKET": manager.path, **variables})


def test_start_and_end_are_told(manager: Manager) -> None:
    dog = watchdog(manager)
    dog.ready("joining")
    dog.stopping()
    dog.close()
    assert manager.heard() == ["READY=1\nSTATUS=joining", "STOPPING=1"]


def test_life_is_told_at_its_interval_and_only_when_the_loop_says_so(manager: Manager) -> None:
    dog = watchdog(manager, WATCHDOG_USEC="200000", WATCHDOG_PID=str(os.getpid()))
    assert dog.interval == 0.2
    dog.ready()
    for _ in range(100):
        dog.alive()
    told = manager.heard()
    assert told[0] == "READY=1" and len(told) <= 3
    time.sleep(0.06)
    assert manager.heard() == []
    dog.alive()
    assert manager.heard() == ["WATCHDOG=1"]


def test_status_is_told_when_it_changes(manager: Manager) -> None:
    dog = watchdog(manager)
    for status in ("follower of node 1", "follower of node 1", "leads\nthe cluster", "x" * 2000):
        dog.alive(status)
    assert manager.heard() == [
        "STATUS=follower of node 1",
        "STATUS=leads the cluster",
        f"STATUS={'x' * STATUS_SIZE_MAX}",
    ]


def test_more_time_can_be_asked_for(manager: Manager) -> None:
    watchdog(manager).extend(12.5)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=12500000"]


@pytest.mark.parametrize("variables", [
    pytest.param({}, id="not asked"),
    pytest.param({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, id="meant for another process"),
    pytest.param({"WATCHDOG_USEC": "soon"}, id="no number"),
    pytest.param({"WATCHDOG_USEC": "0"}, id="zero"),
])
def test_without_an_interval_nothing_is_told(manager: Manager, variables: dict[str, str]) -> None:
    dog = watchdog(manager, **variables)
    assert dog.interval == inf
    dog.alive()
    assert manager.heard() == []


@pytest.mark.parametrize("name", ["", "relative", "@"])
def test_without_a_service_manager_nothing_happens(name: str) -> None:
    dog = Watchdog({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"})
    assert not dog.supervised
    dog.ready("x")
    dog.alive()
    dog.stopping()
    dog.close()


def test_a_service_manager_that_is_gone_does_not_end_the_daemon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dog = Watchdog({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"})
    for _ in range(3):
        dog.alive()
    assert [record.message.split()[0] for record in caplog.records] == ["watchdog-unheard"]


def test_a_manager_that_reads_nothing_does_not_hold_up_the_loop(manager: Manager) -> None:
    dog = watchdog(manager)
    began = time.monotonic()
    for number in range(2000):
        dog.alive(f"status {number}")
    assert time.monotonic() - began < 5
