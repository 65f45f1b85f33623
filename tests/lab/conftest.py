"""Gives the tests a lab of their own, booted once, and skips them where no lab can be.

The lab under test never is the operator's: it has its own name, disks, inventory and network.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The lab's own package, and what the tests here share.
sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "lab"), str(Path(__file__).parent)]

from lab_world import LabAtWork, traces  # noqa: E402 (found by the line above)

EXIT_UNABLE = 3
SETUP_TIMEOUT = 1200  # seconds; once for each machine: base tree and packages


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lab: needs root and namespaces; boots hosts with systemd")


def able() -> None:
    """Skip with the reasons where this machine cannot hold a lab; prepare the cache where it can."""
    probe = LabAtWork(f"qluster-probe-{os.getpid()}")
    done = probe.order("check")
    if done.returncode == EXIT_UNABLE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    probe.say("setup", timeout=SETUP_TIMEOUT)
    assert traces(probe.name) == []


@pytest.fixture(scope="session")
def stocked() -> None:
    """The base tree and the packages are there, or the tests are skipped."""
    able()


@pytest.fixture
def absent_lab(stocked: None) -> Iterator[LabAtWork]:
    """A lab that is not up, for tests of coming and going; nothing of it may be left."""
    lab = LabAtWork(f"qluster-brief-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.say("down")
    assert traces(lab.name) == []


@pytest.fixture(scope="module")
def lab(stocked: None) -> Iterator[LabAtWork]:
    """Five bare hosts, booted for one module of tests; nothing of them may be left."""
    lab = LabAtWork(f"qluster-test-{os.getpid()}")
    try:
        lab.say("up")
        yield lab
    finally:
        lab.say("down")
    assert traces(lab.name) == []


@pytest.fixture
def whole_lab(lab: LabAtWork) -> Iterator[LabAtWork]:
    """The module's lab with all hosts on and all cables whole, before and after."""
    yield lab
    lab.say("heal")
    for host, state in lab.status().items():
        if state == "paused":
            lab.say("resume", host)
        elif state == "off":
            lab.say("start", host)
