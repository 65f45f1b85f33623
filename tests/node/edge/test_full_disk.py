"""Daemons whose state directory lies on a small file system that fills up: nothing is lost, and all go on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import requests
from edge.daemon_world import Site, small_disk, wait_for

SITES = count(1)
SIZE = "14m"
"""Too small for a whole segment ahead: the log grows as it is written."""
SPARE = 600 * 1024
"""Bytes left free beside the reserve: a dozen large entries."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    number = next(SITES)
    made = Site(tmp_path, f"239.19.78.{number}:{7700 + number}", f"127.0.{40 + number}")
    yield made
    made.end()


def fill(path: Path) -> Path:
    filler = path / "filler"
    with filler.open("wb") as file:
        room = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - SPARE)
    return filler


def write(site: Site, session: requests.Session, number: int, key: str) -> bool:
    answer = session.put(f"{site.url(number)}/kv/{key}", data=os.urandom(50_000), timeout=15,
                         headers={"Content-Type": "application/octet-stream"})
    return answer.status_code == 200


def message(site: Site, number: int) -> str:
    return str((site.map(number).get("own") or {}).get("message"))  # type: ignore[attr-defined]


def host_of_leader(site: Site, asked: int) -> int | None:
    leader = site.leader(asked)
    own = {number: (site.map(number).get("own") or {}).get("node") for number in (1, 2, 3)}  # type: ignore[attr-defined]
    return next((number for number, node in own.items() if node == leader and node is not None), None)


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_full_disk_is_said_nothing_is_lost_and_the_node_goes_on_when_there_is_space(site: Site, leads: bool) -> None:
    struck = 1 if leads else 2
    state = site.place(struck) / "state"
    with small_disk(state, SIZE, outlived=True), site.session() as session:
        for number in (1, 2, 3):
            site.configure(number)
            site.start(number)
        wait_for("three voters", lambda: (site.map(3).get("cluster") or {}).get("voters") == 3)  # type: ignore[attr-defined]
        leader = host_of_leader(site, 3)
        assert leader == 1, "the founder leads"
        filler = fill(state)
        written = [f"key{number}" for number in range(40) if write(site, session, leader, f"key{number}")]
        assert written
        wait_for("the word for a full disk", lambda: "no space left" in message(site, struck))
        if leads:
            wait_for("another leader", lambda: host_of_leader(site, 3) not in (None, 1))
        other = host_of_leader(site, 3)
        assert other is not None
        wait_for("writes go on", lambda: write(site, session, other, "after"))
        filler.unlink()
        wait_for("space again", lambda: message(site, struck) == "")
        wait_for("everything everywhere", lambda: len({
            site.map(number)["cluster"]["applied_index"] for number in (1, 2, 3)}) == 1)  # type: ignore[index]
        for key in [*written, "after"]:
            values = {session.get(f"{site.url(number)}/kv/{key}", timeout=10).content for number in (1, 2, 3)}
            assert len(values) == 1 and len(values.pop()) == 50_000
        assert all(child.poll() is None for child in site.children), "nobody ended"
