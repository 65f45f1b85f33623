"""The wall clock may jump as it likes: it gives a founding its number, and what an operator dated its time (S19)."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import qluster
from msgspec.structs import replace
from qluster.events import Effects, Entry, Identity, Saved, TimePassed
from qluster.hosting import Hosting
from qluster.joining import Found, Joining
from qluster.node import Node
from qluster.transport.link import Link, LinkSettings
from sim.host import KEY
from sim.world import World

SOURCE = Path(qluster.__file__).parent
WALL_CLOCKS = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime",
               "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "clock.wall"}  # fmt: skip
WALLS = [0.0, 1.0, 1_800_000_000.0, 4e9]


def readings(tree: ast.AST) -> Iterator[str]:
    """Every use of a wall clock in a file."""
    for found in ast.walk(tree):
        if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name):
            if f"{found.value.id}.{found.attr}" in WALL_CLOCKS:
                yield f"{found.value.id}.{found.attr}"
        elif isinstance(found, ast.ImportFrom) and found.module == "time":
            yield from (f"time.{name.name}" for name in found.names if f"time.{name.name}" in WALL_CLOCKS)


BACKUPS = ("cli/backups.py", "edge/postgres/backrest_repository.py", "edge/postgres/duty.py",
           "edge/postgres/plain_repository.py", "edge/postgres/surveying.py")  # fmt: skip
"""Backups have dates that people and retention go by; nothing that keeps the cluster safe depends on them."""

RUNS = ("edge/runner/run.py", "edge/runner/server.py")
"""When a run began and ended, for people; its limits and its lease are by the monotonic clock."""


def test_wall_clock_is_read_for_foundings_and_for_what_people_have_dated() -> None:
    found = {
        str(path.relative_to(SOURCE)): sorted(readings(ast.parse(path.read_text(encoding="utf-8"))))
        for path in SOURCE.rglob("*.py")
    }
    assert {name: uses for name, uses in found.items() if uses and name not in (*BACKUPS, *RUNS)} == {
        "edge/clock.py": ["time.time"],
        "daemon.py": ["clock.wall", "clock.wall"],
        "edge/hostcheck/certificates.py": ["clock.wall"],
        "qnetd/hostcheck.py": ["clock.wall"],
        "cli/quorum.py": ["time.ctime"],  # the line Date, for people
    }
    assert {use for name in BACKUPS for use in found[name]} == {"clock.wall"}


def lived(wall: float, saved: Saved) -> list[Effects]:
    """What a node does in ten minutes without hearing anybody."""
    config = next(iter(World(3).hosts.values())).proper
    link = Link(config.cluster.name, saved.uid, saved.boot, [KEY], LinkSettings(), Random(1), 50.0)
    node = Node(config, saved, link, random=Random(2), wall=wall, now=50.0)
    effects, now = [], 50.0
    while now < 650:
        effects.append(node.handle(TimePassed(), now))
        now = max(now + 0.01, min(effects[-1].wake_at, now + 60))
    return effects


@pytest.mark.parametrize("wall", WALLS[1:])
def test_member_does_the_same_whatever_the_wall_clock_says(wall: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the date in its reports, by which leaders know that their own clock is wrong (``dispatching.py``)."""
    sound = Hosting.report
    monkeypatch.setattr(Hosting, "report", lambda self, now: replace(sound(self, now), wall=0.0))
    saved = Saved(77, 3, True, Identity(77, 1_700_000_000, 2), 4, 2, None, [Entry(1, 4, "noop", bytes(8))])
    assert lived(wall, saved) == lived(WALLS[0], saved)


@pytest.mark.parametrize("wall", WALLS)
def test_founding_anew_has_a_larger_number_although_the_clock_was_put_back(wall: float) -> None:
    before = 1_800_000_000
    joining = Joining(Saved(7, 1), founder=True, anew=before, wall=wall, retry=1.0, now=0.0)
    steps = [joining.step(float(second), "empty") for second in range(10)]
    numbers = {step.number for step in steps if isinstance(step, Found)}
    assert numbers == {max(int(wall), before + 1)}
