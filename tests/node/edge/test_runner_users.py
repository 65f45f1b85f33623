"""Programs as users of their own, by a runner that is no root and has the rights that its unit lends."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import NODE, wait_for
from edge.runner_world import LIMIT, Host, host, order, shell, sleepers
from edge.users_world import FURTHER, OURS, THEIRS, lacking, passable, words
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import ForgetRun, StopRun
from qluster.tasks.spec import Command, Limits

SEES = """id -un; id -gn; grep -h Cap /proc/self/status; grep NoNewPrivs /proc/self/status
pwd; echo $HOME; grep processes /proc/self/limits"""


pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())

NAP = f"9999.{os.getpid()}"
"""Seconds, by which they are told from those of another run of these tests on this host."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can pass."""
    with passable() as root:
        yield root


def _started(place: Path, begin: list[str], users: str, **tasks: object) -> Iterator[Host]:
    packages = sysconfig.get_path("purelib")
    with host(place / "ours", place / "ours" / "tasks", words=begin, users=users, path=f"{NODE}:{packages}",
              work_dir=str(place / "works"), **tasks) as one:  # fmt: skip
        yield one


@pytest.fixture
def one(place: Path) -> Iterator[Host]:
    """A runner whose tasks are another user's."""
    yield from _started(place, words(place / "python"), f"{THEIRS},{FURTHER}", user=THEIRS, processes=77)


def _uid(path: Path) -> int:
    return path.stat().st_uid


def test_a_program_is_the_user_of_tasks_with_no_right_of_the_runner(one: Host, place: Path) -> None:
    line = one.ready()
    line.say(order(1, shell(f"{SEES}; cat {place}/ours/secret; ls {place}/ours {place}/works")))
    ended = line.ended(1)
    said = one.said(1).splitlines()
    assert said[:2] == [THEIRS, "daemon"]
    rights = dict(text.split(":\t") for text in said[2:8])
    assert {rights[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert rights["NoNewPrivs"] == "1"
    work = str(place / "works" / "1-1")
    assert said[8:10] == [work, work] and said[10].split()[2:4] == ["77", "77"], "the kernel limits its processes"
    assert ended.result.tail.count("Permission denied") == 3, "neither secrets nor others' directories can be read"


def test_the_runner_itself_has_given_up_the_right_and_its_forker_has_not(one: Host) -> None:
    line = one.ready()
    line.say(order(2, Command(("/bin/sleep", "999"), user=OURS), template="any"))
    line.began(2)
    assert one.process is not None
    rights = {}
    for stat in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(row.split(":\t", 1) for row in stat.read_text().splitlines())
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if str(one.config) in command or "sleep\x00999" in command:
            ambient = fields["CapAmb"].strip("0 \t")
            rights[int(fields["Pid"])] = (int(fields["PPid"]), int(fields["CapPrm"], 16), ambient)
    main = one.process.pid
    forker = next(pid for pid, (parent, _, _) in rights.items() if parent == main)
    assert rights[main][1:] == (0, ""), "who hears the daemon can become nobody"
    assert rights[forker][1] == sum(1 << number for number in (0, 5, 6, 7)) and rights[forker][2] == ""
    sleeping = [found for pid, found in rights.items() if pid not in (main, forker) and found[0] not in (main, forker)]
    assert sleeping == [(sleeping[0][0], 0, "")], "nor has a program that is the runner's own user"


def test_a_task_may_be_a_named_user_and_nobody_else(one: Host) -> None:
    line = one.ready()
    for task, user in enumerate((FURTHER, OURS, "root", "bin", "no-such"), 1):
        line.say(order(task, shell("id -un", user=user), template="any"))
    assert line.ended(1).verdict is Verdict.DONE and one.said(1) == f"{FURTHER}\n"
    assert line.ended(2).verdict is Verdict.DONE and one.said(2) == f"{OURS}\n"
    for task in (3, 4, 5):
        ended = line.ended(task)
        assert ended.verdict is Verdict.UNSTARTABLE
        assert f"may become {THEIRS}, {FURTHER}" in ended.reason and "--users" in ended.reason


def test_what_a_program_leaves_in_its_directory_goes_with_the_run(one: Host, place: Path) -> None:
    line = one.ready()
    text = ("mkdir -p deep/er && touch deep/er/file && ln -s /etc etc && touch $TMPDIR/x && chmod 0 deep/er deep && "
            f"ln -s {place}/ours out")  # fmt: skip
    line.say(order(1, shell(text)))
    assert line.ended(1).verdict is Verdict.DONE
    work = place / "works" / "1-1"
    assert _uid(work) == pwd.getpwnam(THEIRS).pw_uid
    line.say(ForgetRun(1, 1))
    wait_for("its directory is gone", lambda: not work.exists())
    assert (place / "ours" / "secret").exists() and Path("/etc/passwd").exists()


def test_a_program_of_another_user_is_asked_to_end_and_all_of_it_is_killed(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done")))
    line.say(order(2, shell(f"trap '' TERM; setsid -f env -i /bin/sleep {NAP}; echo ready; while :; do sleep 1; done")))
    for task in (1, 2):
        line.began(task)
        wait_for("it is ready", lambda task=task: one.said(task) == "ready\n")
    for task, grace in ((1, LIMIT), (2, 0.5)):
        line.say(StopRun(task, 1, Verdict.CANCELLED, "enough", grace))
    assert line.ended(1).result.code == 3 and one.said(1) == "ready\nasked\n"
    assert line.ended(2).result.signal == 9
    assert not sleepers(NAP)


def test_time_and_number_hold_for_another_user(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("sleep 999"), time_limit=0.2))
    line.say(order(2, shell("for i in 1 2 3 4 5 6 7 8; do sleep 999 & done; wait"), limits=Limits(processes=4)))
    assert line.ended(1).verdict is Verdict.TIMED_OUT
    assert line.ended(2).verdict is Verdict.FAILED
    line.say(order(3, shell("i=0; while [ $i -lt 300 ]; do sleep 99 & i=$((i+1)); done; wait")))
    ended = line.ended(3)
    assert ended.verdict is Verdict.FAILED and "fork" in ended.result.tail, "the kernel lets nobody have 300 of 77"


def test_the_end_of_the_lease_kills_another_users_program(one: Host) -> None:
    line = one.ready(lease=1.0)
    line.say(order(1, shell(f"trap '' TERM; setsid -f sleep {NAP}; echo $$; exec sleep {NAP}")))
    line.lease_while(1.0, "the programs run", lambda: len(sleepers(NAP)) == 2)
    assert line.ended(1).verdict is Verdict.CUT_OFF
    assert not sleepers(NAP)


@pytest.mark.parametrize("victim", ["attendant", "all"])
def test_nothing_of_another_user_outlives_whoever_attends_it(one: Host, place: Path, victim: str) -> None:
    line = one.ready()
    line.say(order(1, shell(f"setsid -f sleep {NAP}; echo $$; exec sleep {NAP}")))
    line.began(1)
    wait_for("both run", lambda: len(sleepers(NAP)) == 2)
    pid = int(one.said(1))
    attendant = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert one.process is not None
    if victim == "attendant":
        os.kill(attendant, 9)
        assert line.ended(1).verdict is Verdict.VANISHED
    else:
        os.kill(one.process.pid, 19)
        os.kill(attendant, 9)
        one.kill()
        one.start()
        (run,) = one.line().found().runs
        assert run.ended is not None and run.ended.verdict is Verdict.VANISHED
    wait_for("nothing of it runs", lambda: not sleepers(NAP))
    if victim == "all":
        line = one.ready()
    line.say(ForgetRun(1, 1))
    wait_for("its directory is gone", lambda: not (place / "works/1-1").exists())


def test_a_runner_without_the_right_says_what_it_lacks(place: Path) -> None:
    for one in _started(place, words(place / "python", ()), THEIRS, user=THEIRS):
        line = one.ready()
        line.say(order(1, shell("id")), order(2, Command(("/bin/true",), user=OURS), template="any"))
        ended = line.ended(1)
        assert ended.verdict is Verdict.UNSTARTABLE and "may become none" in ended.reason
        assert line.ended(2).verdict is Verdict.DONE
