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
WORD = str(9_000_000 + os.getpid())
"""Seconds of a sleep that is ours: nobody else's test on this machine has it."""
HIDES = (f"setsid -f env -i /bin/sh -c 'trap \"\" TERM; setsid -f sleep {WORD}; exec sleep {WORD}'; "
         f"trap '' TERM; echo ready; exec sleep {WORD}")  # fmt: skip
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


def _running() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_text() == f"sleep\0{WORD}\0" and kin.relative(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


def _parents() -> set[int]:
    return {one.parent for one in map(kin.relative, _running()) if one is not None}


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


def test_what_a_program_leaves_behind_is_killed(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell(f"setsid -f sleep {WORD}; setsid -f env -i sleep {WORD}; "
                            "until [ -e go ]; do sleep 0.01; done; exit 3")))  # fmt: skip
    wait_for("both run", lambda: len(_running()) == 2)
    (one.root.parent / "works/1-1/go").touch()
    assert (line.ended(1).reason, _running()) == ("exit code 3", [])


@pytest.mark.parametrize("one", ["hidepid=2"], indirect=True)
def test_the_end_of_the_lease_kills_it_whole(one: Host) -> None:
    line = one.ready(lease=5.0)
    line.say(order(1, shell(HIDES)))
    assert line.ended(1).verdict is Verdict.CUT_OFF
    assert (one.said(1), _running()) == ("ready\n", [])


def test_a_run_whose_attendant_was_killed_is_killed_too(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell(f"setsid -f sleep {WORD}; exec sleep {WORD}")))
    line.began(1)
    wait_for("both run, and the orphan is its attendant's", lambda: len(_running()) == 2 and len(_parents()) == 1)
    (attendant,) = _parents()
    os.kill(attendant, signal.SIGKILL)
    assert line.ended(1).verdict is Verdict.VANISHED
    assert not _running()


def test_who_forks_without_end_is_caught_up_with(one: Host, place: Path) -> None:
    """Each of them begins the next in a session of its own, and ends."""
    line = one.ready()
    runs = "echo $(($(cat count) + 1)) > count; sleep 0.02; setsid -f sh -c \"$RUNS\" # of " + WORD
    line.say(order(1, shell(f"echo 0 > count; eval \"$RUNS\"; sleep {WORD}", environment=(("RUNS", runs),))))
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


def test_what_could_not_be_ended_is_not_begun(place: Path) -> None:
    """A kernel that does not list children, either."""
    (place / "patches").mkdir()
    (place / "patches/sitecustomize.py").write_text("from qluster.edge.runner import kin\nkin.LISTED = False\n")
    path = f"{place}/patches:{NODE}:{sysconfig.get_path('purelib')}"
    with host(place / "ours", place / "ours" / "tasks", words=words(place / "python", hidden="hidepid=2"), path=path,
              users=THEIRS, work_dir=str(place / "works"), user=THEIRS) as found:  # fmt: skip
        line = found.ready()
        line.say(order(1, shell("true")), order(2, shell("true", user=OURS), template="any"))
        ended = line.ended(1)
        assert ended.verdict is Verdict.UNSTARTABLE and "all that it begins could not be ended here" in ended.reason
        assert line.ended(2).verdict is Verdict.DONE


def test_who_is_in_the_group_of_that_proc_sees_all(place: Path) -> None:
    path, group = f"{NODE}:{sysconfig.get_path('purelib')}", grp.getgrnam("nogroup").gr_gid
    begin = words(place / "python", hidden=f"hidepid=2,gid={group}")
    with host(place / "ours", place / "ours" / "tasks", words=begin, path=path, users=THEIRS, user=THEIRS,
              work_dir=str(place / "works")) as sees:  # fmt: skip
        line = sees.ready()
        many = f"for i in 1 2 3 4 5 6; do setsid sleep {WORD} & done; wait"
        line.say(order(1, shell(many), limits=Limits(processes=4)))
        ended = line.ended(1)
        assert ended.verdict is Verdict.FAILED and "more than 4 processes" in ended.reason
        assert "runner-sees-nothing" not in sees.log.read_text()
