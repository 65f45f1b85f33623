"""The last step of the daemon's unit: what it ends, and what it spares in a pause. With real processes in a group."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "packaging/end-database"
HIERARCHIES = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup")
LIMIT = 20.0

# A holder, a server that works in the directory with a process of its own, and a copy that was left behind.
DAEMON = """
cd data
sh -c 'sh -c "echo \\$\\$ > postmaster.pid; sleep 60 & wait" & wait' &
cd /
sleep 61 &
wait
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group named like a unit's."""
    tops = [Path(top) for top in HIERARCHIES if os.access(f"{top}/cgroup.procs", os.W_OK)]
    made = tops[0] / f"qluster-test-{os.getpid()}.service" if tops else None
    try:
        if made is not None:
            made.mkdir()
    except OSError:
        made = None
    if made is None or os.geteuid() != 0:
        pytest.skip("control groups cannot be made here")
    yield made
    for pid in members(made):
        os.kill(pid, 9)
    wait_until(lambda: not members(made))
    made.rmdir()


def members(group: Path) -> list[int]:
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]


def wait_until(condition: object) -> None:
    end = time.monotonic() + LIMIT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def left_by_a_daemon(group: Path, place: Path) -> None:
    """The daemon of the unit has ended; what it had begun still runs."""
    (place / "data").mkdir()
    join = f"echo $$ > {group}/cgroup.procs\n"
    daemon = subprocess.Popen(["sh", "-c", join + DAEMON], cwd=place, stdin=subprocess.DEVNULL)
    wait_until(lambda: (place / "data/postmaster.pid").exists() and len(members(group)) == 5)
    daemon.kill()
    daemon.wait()


def last_step(group: Path, place: Path) -> str:
    words = f'echo $$ > {group}/cgroup.procs; exec sh {PROGRAM} {place}/data {place}/paused'
    done = subprocess.run(
        ["sh", "-c", words], env={**os.environ, "SERVICE_RESULT": "success"}, capture_output=True, text=True,
        timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_everything_that_is_left_is_ended(group: Path, tmp_path: Path) -> None:
    left_by_a_daemon(group, tmp_path)
    assert "left the database" in last_step(group, tmp_path)
    wait_until(lambda: not members(group))


def test_in_a_pause_the_database_is_spared_with_its_holder_and_nothing_else(group: Path, tmp_path: Path) -> None:
    left_by_a_daemon(group, tmp_path)
    (tmp_path / "paused").touch()
    assert "the cluster is paused" in last_step(group, tmp_path)
    places = [os.readlink(f"/proc/{pid}/cwd") for pid in members(group)]
    assert len(places) == 3 and set(places) == {str(tmp_path / "data")}


def test_outside_of_a_unit_nothing_but_the_database_is_ended(group: Path, tmp_path: Path) -> None:
    left_by_a_daemon(group, tmp_path)
    words = f"echo $$ > {group}/cgroup.procs; exec sh {PROGRAM} {tmp_path}/data"
    environment = {name: value for name, value in os.environ.items() if name != "SERVICE_RESULT"}
    subprocess.run(["sh", "-c", words], env=environment, check=True, timeout=LIMIT)
    assert any("sleep" in Path(f"/proc/{pid}/cmdline").read_text() for pid in members(group))
