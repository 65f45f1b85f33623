"""Whoever descends from a process is found, by the kernel's lists of children and without them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from qluster.edge.runner import kin

BEGUN = """
import subprocess, sys, threading
for _ in range(3):  # each of a thread of its own, whose children the kernel lists apart
    threading.Thread(target=lambda: subprocess.run(["/bin/sh", "-c", "setsid sleep 300 & sleep 300"])).start()
"""


@pytest.fixture
def ancestor() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", BEGUN])
    try:
        end = time.monotonic() + 20
        while len(kin._by_parents(process.pid)) < 9 and time.monotonic() < end:
            time.sleep(0.02)
        yield process.pid
    finally:
        kin.kill_family(process.pid)
        process.kill()
        process.wait()


def test_both_ways_find_the_same(ancestor: int) -> None:
    found = {one.pid for one in kin._by_parents(ancestor)}
    assert len(found) == 9 and all(one.parent != 0 for one in kin._by_parents(ancestor))
    if kin.LISTED:
        assert {one.pid for one in kin._by_lists(ancestor)} == found


@pytest.mark.parametrize("listed", [pytest.param(True, marks=pytest.mark.skipif(
    not kin.LISTED, reason="this kernel has no lists of children")), False], ids=["lists", "parents"])  # fmt: skip
def test_a_family_is_killed_whole(ancestor: int, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kin, "LISTED", listed)
    family = kin.family(ancestor)
    assert kin.kill_family(ancestor) == len(family) == 9
    end = time.monotonic() + 10
    while any(kin.relative(one.pid) for one in family) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(kin.relative(one.pid) for one in family)


def test_who_is_gone_has_no_family() -> None:
    assert kin.family(os.getpid()) is not None
    assert kin.family(1 << 30) == []
