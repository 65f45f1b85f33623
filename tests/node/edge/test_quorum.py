"""Votes of real daemons on loopback: switched on while they run, shown by the command, kept over restarts."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from edge.daemon_world import NODE, Site
from edge.daemon_world import wait_for as patiently

THREE = (1, 2, 3)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, "239.19.76.19:7519", "127.86.19", hosts=3)
    yield made
    made.end()


def wait_for(what: str, holds: Callable[[], object]) -> None:
    """With time for a machine that has much else to do: nothing here measures any."""
    patiently(what, holds, 90.0)


def votes(site: Site, number: int) -> dict[str, Any]:
    try:
        answer = site.get(number, "/quorum")
    except requests.RequestException:
        return {}  # it is starting
    return dict(answer.json()["votequorum"]) if answer.status_code == 200 else {}


def one_ring(site: Site, numbers: tuple[int, ...]) -> bool:
    seen = [votes(site, number) for number in numbers]
    return (
        all(each.get("counted") and each["settled"] and each["quorate"] for each in seen)
        and len({each["ring"]["text"] for each in seen}) == 1
        and len([node for node in seen[0]["nodes"] if node["member"]]) == len(numbers)
    )


def shown(site: Site, number: int, *options: str) -> subprocess.CompletedProcess[str]:
    """What the command line says on a host."""
    return subprocess.run(
        [sys.executable, "-m", "qluster", "--config", str(site.place(number) / "config.yaml"), "quorum", *options],
        env={**os.environ, "PYTHONPATH": str(NODE)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_votes_are_counted_once_they_are_switched_on_and_rings_grow_over_restarts(site: Site) -> None:
    children = {}
    for number in THREE:
        site.configure(number)
        children[number] = site.start(number)
    wait_for("three voters", lambda: all(len(_voters(site.map(number))) == 3 for number in THREE))

    told = shown(site, 1)
    assert told.returncode == 0 and "Quorum provider:  qluster_members\n" in told.stdout
    assert "Votequorum counts none here: quorum.provider is none" in told.stdout

    def switched_on() -> bool:
        changes = {"quorum.provider": "votequorum", "quorum.wait_for_all": "true"}
        return any(site.post(number, "/config", changes).status_code == 200 for number in THREE)

    wait_for("the change is taken", switched_on)
    wait_for("one ring of three", lambda: one_ring(site, THREE))
    first = votes(site, 1)["ring"]["seq"]
    told = shown(site, 2)
    assert told.returncode == 0, told.stderr
    assert "Quorum provider:  qluster_votequorum\n" in told.stdout
    assert "Flags:            Quorate WaitForAll \n" in told.stdout
    assert told.stdout.rstrip().splitlines()[-4:][0].split() == ["Nodeid", "Votes", "Name"]
    assert json.loads(shown(site, 2, "--json").stdout)["binds"] == "list"

    for number in THREE:  # who starts without a leader goes by its file
        site.configure(number, quorum={"provider": "votequorum", "wait_for_all": "true"})
    children[3].kill()
    wait_for("one ring of two", lambda: one_ring(site, (1, 2)))
    second = votes(site, 1)["ring"]["seq"]
    for number in (1, 2):
        children[number].kill()
        children[number].wait()
    children[1] = site.start(1)
    wait_for("a ring of its own", lambda: bool(votes(site, 1).get("counted")))
    alone = votes(site, 1)
    assert alone["ring"]["seq"] > second > first and not alone["quorate"]
    assert alone["why"] == "waiting-for-all" and "all are waited for" in alone["veto"]
    told = shown(site, 1)
    assert told.returncode == 2 and "Activity blocked" in told.stdout
    assert f"This node does not stand in an election: {alone['veto']}" in told.stdout
    for number in (2, 3):
        children[number] = site.start(number)
    wait_for("one ring of three again", lambda: one_ring(site, THREE))
    assert votes(site, 3)["ring"]["seq"] > alone["ring"]["seq"]


def test_nobody_answers(site: Site) -> None:
    site.configure(1)
    told = shown(site, 1)
    assert told.returncode == 1 and site.ip(1) in told.stderr and not told.stdout


def _voters(seen: dict[str, Any]) -> list[object]:
    return [node for node in seen.get("nodes", []) if node["role"] == "node"]
