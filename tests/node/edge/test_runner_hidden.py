"""Programs of another user on a host whose /proc hides other users' processes, and which has no control groups."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import grp
import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from edge.daemon_world import NODE, wait_for
from edge.runner_world import Host, host, order, shell
from edge.users_world import OURS, THEIRS, lacking, passable, words
from qluster.edge.runner import kin
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import StopRun
from qluster.tasks.spec import Limits


def _lacking() -> str:
    mounted = ["unshare", "-m", "mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"]
    return lacking() or subprocess.run(mounted, capture_output=True, text=True, check=False).stderr


pytestmark = pytest.mark.skipif(bool(_lacking()), reason=_lacking())
HIDES = ("setsid -f env -i /bin/sh -c 'trap \"\" TERM; setsid -f sleep 9966; exec sleep 9966'; "
         "trap '' TERM; echo ready; exec sleep 9966")  # fmt: skip
"""In three sessions, two of them orphans without our mark."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can pass."""
    with passable() as root:
        yield root


@pytest.fixture(params=["hidepid=2", "hidepid=1", "hidepid=4"])
def one(place: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A runner that sees nothing of its programs there."""
    path = f"{NODE}:{sysconfig.get_path('purelib')}"
    with host(place / "ours", place / "ours" / "tasks", words=words(place / "python", hidden=request.param), path=path,
              users=THEIRS, work_dir=str(place / "works"), user=THEIRS) as found:  # fmt: skip
        yield found


def _running(word: str = "9966") -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_text() == f"sleep\0{word}\0" and kin.relative(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What a test that fails leaves behind."""
    yield
    for pid in _running():
        os.kill(pid, signal.SIGKILL)


def test_what_is_cancelled_is_killed_whole(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell(HIDES)))
    line.began(1)
    wait_for("all of it runs", lambda: len(_running()) == 3)
    line.say(StopRun(1, 1, Verdict.CANCELLED, "enough", 0.2))
    ended = line.ended(1)
    assert (ended.verdict, ended.reason, _running()) == (Verdict.CANCELLED, "enough", [])


def test_what_a_lease_leaves_behind_and_a_program_itself(one: Host) -> None:
    line = one.ready(lease=2.0)
    line.say(order(1, shell(HIDES)), order(2, shell("setsid -f sleep 9966; setsid -f sleep 9966; sleep 0.3; exit 3")))
    for task in (1, 2):
        line.began(task)
    assert (line.ended(2).reason, len(_running())) == ("exit code 3", 3)
    assert line.ended(1).verdict is Verdict.CUT_OFF
    assert not _running()


def test_a_run_whose_attendant_was_killed_is_killed_too(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("setsid -f sleep 9966; exec sleep 9966")))
    line.began(1)
    wait_for("both run", lambda: len(_running()) == 2)
    (attendant,) = {one.parent for one in map(kin.relative, _running()) if one is not None}
    os.kill(attendant, signal.SIGKILL)
    assert line.ended(1).verdict is Verdict.VANISHED
    assert not _running()


def test_who_forks_without_end_is_caught_up_with(one: Host, place: Path) -> None:
    """Each of them begins the next in a session of its own, and ends."""
    line = one.ready()
    runs = "echo $(($(cat count) + 1)) > count; sleep 0.02; setsid -f sh -c \"$RUNS\""
    line.say(order(1, shell("echo 0 > count; eval \"$RUNS\"; sleep 9966", environment=(("RUNS", runs),))))
    line.began(1)
    count = place / "works/1-1/count"
    wait_for("it goes on", lambda: count.exists() and int(count.read_text().strip() or 0) > 5)
    line.say(StopRun(1, 1, Verdict.CANCELLED, "enough", 0.1))
    ended = line.ended(1)
    assert (ended.reason, _running()) == ("enough", [])
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    assert not [pid for pid in pids if runs.encode() in _environment(pid)]


def _environment(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes() if kin.relative(pid) else b""
    return b""


def test_limits_that_cannot_be_held_to_are_refused(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("true"), limits=Limits(memory=1 << 30)),
             order(2, shell("true"), limits=Limits(processes=9)),
             order(3, shell("true", user=OURS), limits=Limits(memory=1 << 30), template="any"))  # fmt: skip
    for task, said in ((1, "its limits of memory cannot be held here"), (2, "its limits of processes")):
        ended = line.ended(task)
        assert ended.verdict is Verdict.UNSTARTABLE and said in ended.reason and "hidepid" in ended.reason
    assert line.ended(3).verdict is Verdict.DONE, "its own user's processes it sees"
    assert "runner-sees-nothing reason=/proc is mounted with hidepid" in one.log.read_text()


def test_who_is_in_the_group_of_that_proc_sees_all(place: Path) -> None:
    path, group = f"{NODE}:{sysconfig.get_path('purelib')}", grp.getgrnam("nogroup").gr_gid
    begin = words(place / "python", hidden=f"hidepid=2,gid={group}")
    with host(place / "ours", place / "ours" / "tasks", words=begin, path=path, users=THEIRS, user=THEIRS,
              work_dir=str(place / "works")) as sees:  # fmt: skip
        line = sees.ready()
        line.say(order(1, shell("for i in 1 2 3 4 5 6; do setsid sleep 9966 & done; wait"), limits=Limits(processes=4)))
        ended = line.ended(1)
        assert ended.verdict is Verdict.FAILED and "more than 4 processes" in ended.reason
        assert "runner-sees-nothing" not in sees.log.read_text()
