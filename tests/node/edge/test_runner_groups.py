"""Runs in control groups, where the runner has one of its own, as systemd gives it one with Delegate=yes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.runner_world import Host, alive, host, order, shell
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import StopRun
from qluster.tasks.spec import Limits

NAME = f"qluster-runner-test-{os.getpid()}"


def _hierarchy() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


@pytest.fixture
def lent() -> Iterator[Path]:
    """A group of our own."""
    root = _hierarchy()
    if root is None or os.geteuid() != 0:
        pytest.skip("no control groups of version 2 that this user may divide")
    group = root / NAME
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        for inner in sorted(group.glob("*/"), reverse=True):
            wait_for("the group is empty", lambda inner=inner: "populated 0" in (inner / "cgroup.events").read_text())
            inner.rmdir()
        group.rmdir()


@pytest.fixture
def one(lent: Path, tmp_path: Path) -> Iterator[Host]:
    """A runner in it, alone."""
    with host(tmp_path, enter=lent) as found:
        yield found


def test_a_run_has_a_group_which_goes_with_it(one: Host, lent: Path) -> None:
    line = one.ready()
    line.say(order(1, shell("echo $$ > pid; cat /proc/self/cgroup; until [ -e ../go ]; do sleep 0.01; done")))
    pid = one.pid(1)
    assert str(pid) in (lent / "run-1-1/cgroup.procs").read_text().split()
    assert one.process is not None
    assert str(one.process.pid) in (lent / "runner/cgroup.procs").read_text().split()
    (one.directory / "runs/1-1/go").touch()
    ended = line.ended(1)
    assert ended.verdict is Verdict.DONE
    assert ended.result.cpu > 0
    assert f"{NAME}/run-1-1\n" in one.said(1)
    assert not (lent / "run-1-1").exists()


def test_all_of_a_group_is_killed_at_one_stroke(one: Host, lent: Path) -> None:
    line = one.ready()
    text = ("for i in $(seq 50); do setsid -f env -i sleep 999; done; "
            "trap '' TERM; echo $$ > pid; while :; do sleep 1; done")  # fmt: skip
    line.say(order(2, shell(text)))
    one.pid(2)
    members = [int(pid) for pid in (lent / "run-2-1/cgroup.procs").read_text().split()]
    assert len(members) > 50
    line.say(StopRun(2, 1, Verdict.CANCELLED, "enough", 0.1))
    assert line.ended(2).verdict is Verdict.CANCELLED
    assert not any(alive(pid) for pid in members)


def test_what_a_killed_runner_left_is_killed_by_its_group(one: Host, lent: Path) -> None:
    line = one.ready()
    line.say(order(3, shell("echo $$ > pid; exec sleep 1000")))
    one.pid(3)
    one.kill()
    stray = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        (lent / "run-3-1").mkdir(exist_ok=True)
        (lent / "run-3-1/cgroup.procs").write_text(str(stray.pid))
        one.start()
        assert stray.wait(10) == -9
        (run,) = one.line().found().runs
        assert run.ended is not None and run.ended.verdict is Verdict.VANISHED
    finally:
        stray.kill()
        stray.wait()


def test_the_kernel_holds_to_the_limits(one: Host, lent: Path) -> None:
    if not {"memory", "pids"} <= set((lent / "cgroup.controllers").read_text().split()):
        pytest.skip("memory and processes are not counted in version 2 here")
    line = one.ready()
    # What tail is to print last it keeps until it knows that.
    eats = "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"
    line.say(order(4, shell(eats), limits=Limits(memory=50 << 20)))
    ended = line.ended(4)
    assert ended.verdict is Verdict.FAILED and "out of memory (limits.memory is 50 MiB)" in ended.reason
    assert 40 << 20 < ended.result.memory <= 50 << 20
    line.say(order(5, shell("for i in $(seq 60); do sleep 1000 & done; wait"), limits=Limits(processes=20)))
    ended = line.ended(5)
    assert ended.verdict is Verdict.FAILED and "fork" in ended.result.tail.lower()
    assert ended.reason == "exit code 2: it may have 20 processes and wanted more (limits.processes)"


def test_the_kernel_holds_to_a_share_of_processors(one: Host, lent: Path) -> None:
    if "cpu" not in (lent / "cgroup.controllers").read_text().split():
        pytest.skip("processors are not divided in version 2 here")
    line = one.ready()
    line.say(order(6, shell("while :; do :; done"), limits=Limits(cpu=0.2), time_limit=3.0))
    ended = line.ended(6)
    assert ended.verdict is Verdict.TIMED_OUT
    assert 0.3 < ended.result.cpu < 1.2, "a fifth of three seconds is 0.6"
