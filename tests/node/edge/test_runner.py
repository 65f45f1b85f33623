"""The task runner with real processes: what it runs, how it says that it ended."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from edge.daemon_world import NODE, wait_for
from edge.runner_world import LIMIT, Host, alive, host, order, shell
from qluster.edge.runner import kin, output
from qluster.edge.runner.prepare import MARK
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import ForgetRun, RunBegan, RunEnded, StopRun
from qluster.tasks.spec import Command, Limits, Script, Sql


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One runner for all tests that do not stop it; each has tasks with numbers of its own."""
    with host(tmp_path_factory.mktemp("runner")) as found:
        yield found


def test_a_program_runs_and_its_output_is_kept(one: Host) -> None:
    line = one.ready()
    line.say(order(1, Command(("/bin/echo", "two words", "three"))))
    began, ended = line.began(1), line.ended(1)
    assert (ended.verdict, ended.reason, ended.result.code) == (Verdict.DONE, "", 0)
    assert began.at == ended.began_at <= ended.at
    assert one.said(1) == "two words three\n"
    assert ended.result.output == (16, 0)
    assert ended.result.tail == "two words three"
    piece = output.read(str(one.directory), 1, None, "stdout", 4, 5)
    assert piece == output.Piece(b"words", 16, True, 1)


ENDS = [
    pytest.param("exit 3", Verdict.FAILED, "exit code 3", id="exit-code"),
    pytest.param("kill -SEGV $$", Verdict.FAILED, "killed by signal 11 (SIGSEGV)", id="signal"),
    pytest.param("echo gone wrong >&2; exit 1", Verdict.FAILED, "exit code 1", id="complaint"),
]


@pytest.mark.parametrize(("text", "verdict", "reason"), ENDS)
def test_an_end_is_said_in_words(
    one: Host, text: str, verdict: Verdict, reason: str, request: pytest.FixtureRequest
) -> None:
    task = 10 + [each.id for each in ENDS].index(request.node.callspec.id)
    line = one.ready()
    line.say(order(task, shell(text)))
    ended = line.ended(task)
    assert (ended.verdict, ended.reason) == (verdict, reason)
    assert ended.result.tail == ("gone wrong" if "gone wrong" in text else "")


def test_what_cannot_be_begun_says_why(one: Host, tmp_path: Path) -> None:
    mute, script = tmp_path / "mute", tmp_path / "script"
    mute.write_text("x")
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    line = one.ready()
    works = {
        20: (Command(("/no/such/program",)), "/no/such/program: no such file or directory"),
        21: (Command((str(mute),)), "Make it executable"),
        22: (Command((str(script),)), "interpreter that its first line names"),
        23: (Command(("/bin/true",), directory="/no/such/place"), "its directory /no/such/place"),
        24: (Command(("/bin/true",), user="nobody-knows-him"), "its user nobody-knows-him is not known"),
        25: (Command(("/bin",)), "Name a program in it"),
        26: (Sql("select 1"), "this host has no database"),
        27: (Script("pass"), "no Dask cluster here"),
    }
    line.say(*(order(task, work, template="any") for task, (work, _) in works.items()))
    for task, (_, words) in works.items():
        ended = line.ended(task)
        assert ended.verdict is Verdict.UNSTARTABLE, ended
        assert words in ended.reason
        assert ended.began_at == 0.0


def test_a_program_gets_nothing_but_what_it_is_given(one: Host) -> None:
    line = one.ready()
    text = "env; ls -l /proc/self/fd; umask; pwd; cat; ps -o sid= -p $$; grep -E 'Sig(Ign|Blk)' /proc/self/status"
    line.say(order(30, shell(text, environment=(("OWN", "yes"),))))
    assert line.ended(30).verdict is Verdict.DONE
    said = one.said(30)
    assert {"OWN=yes", "QLUSTER_TASK_ID=30", "QLUSTER_TASK_FENCE=1"} <= set(said.splitlines())
    assert "secret-of-the-runner" not in said and "PYTHONPATH" not in said
    assert sum(" -> " in row for row in said.splitlines()) == 4, said  # 0 to 2, and the directory that is listed
    assert "0 -> /dev/null" in said
    assert "\n0077\n" in said
    assert f"\n{one.directory}/runs/30-1/work\n" in said
    masks = {name: int(value, 16) for name, value in re.findall(r"Sig(Blk|Ign):\s+([0-9a-f]+)", said)}
    # Of those that have names: 32 and 33 are the C library's own, which lets nobody set them back.
    assert {name: mask & 0x7FFF_FFFF for name, mask in masks.items()} == {"Blk": 0, "Ign": 0}, masks


def test_nobody_asks_for_a_real_time_class(one: Host) -> None:
    """The unit forbids it (RestrictRealtime=): what works here must work there."""
    line = one.ready()
    line.say(order(29, shell("echo $$ > pid; exec sleep 1000")))
    program = one.pid(29)
    assert one.process is not None
    family = {each.pid for each in kin.family(one.process.pid)}
    assert len(family) >= 3 and program in family
    assert {os.sched_getscheduler(pid) for pid in (one.process.pid, *family)} == {os.SCHED_OTHER}
    line.say(StopRun(29, 1, Verdict.CANCELLED, "enough", 0.0))
    line.ended(29)


HELD = """
import os, time
from qluster.edge.runner import flushing
sync = flushing.sync
def held(path):
    while os.path.exists({hold!r}):
        time.sleep(0.01)
    sync(path)
flushing.sync = held
"""


def test_the_process_of_a_program_is_made_while_the_disk_takes_its_order(tmp_path: Path) -> None:
    """Neither waits for the other, and no program begins that the disk does not know of."""
    hold, patches = tmp_path / "hold", tmp_path / "patches"
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(HELD.format(hold=str(hold)))
    with host(tmp_path, path=f"{patches}:{NODE}") as slow:
        assert slow.process is not None
        runner = slow.process.pid
        hold.touch()
        line = slow.ready()
        line.say(*(order(task, shell("echo $$")) for task in (1, 2)))
        # The forker, and for each run its attendant and the copy of it that becomes the program.
        wait_for("a process waits for each plan", lambda: len(kin.family(runner)) == 5)
        parents = {one.pid: one.parent for one in kin.family(runner)}
        waiting = parents.keys() - set(parents.values())
        assert len(waiting) == 2
        assert {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in waiting} == {
            Path(f"/proc/{runner}/cmdline").read_bytes()
        }, "it has become no program yet"
        assert not any(isinstance(each, RunBegan | RunEnded) for each in line.heard)
        hold.unlink()
        for task in (1, 2):
            line.ended(task)
        assert {int(slow.said(task)) for task in (1, 2)} == waiting


def test_runs_may_be_more_than_files_are_let_to_who_asks_for_none(tmp_path: Path) -> None:
    """A runner that is started by hand has 1024, and five for each run."""
    words = ["/bin/sh", "-c", 'ulimit -Sn 64; exec "$0" "$@"', sys.executable]
    with host(tmp_path, words=words) as few:
        line = few.ready()
        line.say(*(order(task, shell("ulimit -Sn; exec sleep 300")) for task in range(1, 31)))
        for task in range(1, 31):
            line.began(task)
        wait_for("the last one says it", lambda: few.said(30) == "64\n")


def test_a_run_that_ends_while_its_lease_grows_has_ended_well(one: Host) -> None:
    """Who is told of the lease may be gone: what it said before is heard all the same."""
    line = one.ready()
    for task in range(200, 240):
        line.say(order(task, Command(("/bin/true",))))
        while not any(isinstance(each, RunEnded) and each.task == task for each in line.heard):
            line.lease(60.0)
            with suppress(TimeoutError):
                line.hear(0.0002)
        assert line.ended(task).verdict is Verdict.DONE


def test_a_second_order_for_the_same_run_begins_nothing(one: Host) -> None:
    line = one.ready()
    same = order(31, shell("echo once"))
    line.say(same, same)
    line.ended(31)
    line.heard.clear()
    line.say(same)
    assert line.ended(31).verdict is Verdict.DONE
    assert one.said(31) == "once\n"


def test_stopping_asks_first_and_kills_then(one: Host) -> None:
    line = one.ready()
    line.say(order(32, shell("trap 'echo asked; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done")))
    line.say(order(33, shell("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done")))
    pids = [one.pid(task) for task in (32, 33)]
    for task, grace in ((32, LIMIT), (33, 0.3)):
        line.say(StopRun(task, 1, Verdict.CANCELLED, "somebody cancelled it", grace))
    for task in (32, 33):
        ended = line.ended(task)
        assert (ended.verdict, ended.reason) == (Verdict.CANCELLED, "somebody cancelled it")
    assert one.said(32) == "asked\n"
    assert line.ended(33).result.signal == 9
    assert not any(alive(pid) for pid in pids)


def test_the_time_limit_ends_it(one: Host) -> None:
    line = one.ready()
    line.say(order(34, Command(("/bin/sleep", "1000")), time_limit=0.2))
    ended = line.ended(34)
    assert (ended.verdict, ended.reason) == (Verdict.TIMED_OUT, "time limit of 0.2 s passed")
    assert ended.result.seconds >= 0.2


def test_what_a_program_leaves_behind_is_killed(one: Host) -> None:
    """Grandchildren in sessions of their own, orphaned before it ends, with another environment."""
    line = one.ready()
    text = ("setsid -f env -i /bin/sh -c 'echo $$ > child; exec sleep 1000'; "
            "until [ -s child ]; do sleep 0.01; done; echo $$ > pid; exit 4")  # fmt: skip
    line.say(order(35, shell(text)))
    ended = line.ended(35)
    assert ended.reason == "exit code 4"
    assert not alive(one.pid(35, "child"))


def test_a_hundred_megabytes_are_counted_and_capped(one: Host) -> None:
    line = one.ready()
    line.say(order(36, shell("head -c 100000000 /dev/zero; echo the end >&2"), limits=Limits(output=1 << 20)))
    ended = line.ended(36)
    assert ended.verdict is Verdict.DONE
    assert ended.result.output == (100_000_000, 8)
    assert ended.result.tail == "the end"
    kept = len(one.said(36)) + len(one.said(36, stream="stderr"))
    assert (1 << 20) - (1 << 16) <= kept <= 1 << 20
    print(f"100 MB in {ended.result.seconds:.2f} s")


def test_too_many_processes_are_all_killed(one: Host) -> None:
    line = one.ready()
    text = "echo $$ > pid; for i in $(seq 60); do sleep 1000 & done; wait"
    line.say(order(37, shell(text), limits=Limits(processes=20)))
    ended = line.ended(37)
    assert ended.verdict is Verdict.FAILED
    assert "processes" in ended.reason or ended.reason.startswith("exit code")
    assert not _of(one, 37)


def test_a_fork_bomb_dies_with_its_time(one: Host) -> None:
    line = one.ready()
    bomb = "n=0; while [ $n -lt 300 ]; do n=$((n + 1)); setsid -f sleep 1000; done; exec sleep 1000"
    line.say(order(38, shell(bomb), time_limit=0.5))
    assert line.ended(38).verdict is Verdict.TIMED_OUT
    assert not _of(one, 38)


def test_too_much_memory_is_said_so(one: Host) -> None:
    line = one.ready()
    text = "import time; x = b'x' * (200 << 20); time.sleep(1000)"
    line.say(order(39, Command((sys.executable, "-c", text)), limits=Limits(memory=50 << 20)))
    ended = line.ended(39)
    assert ended.verdict is Verdict.FAILED
    assert "out of memory (limits.memory is 50 MiB)" in ended.reason


def test_a_new_daemon_takes_the_place_of_the_old(one: Host) -> None:
    old = one.ready()
    old.say(order(40, Command(("/bin/sleep", "1000"))), order(41, Command(("/bin/true",))))
    old.began(40)
    old.ended(41)
    new = one.line()
    runs = {run.task: run for run in new.found().runs}
    assert runs[40].ended is None and runs[40].began_at
    ended = runs[41].ended
    assert ended is not None and ended.verdict is Verdict.DONE
    with pytest.raises(ConnectionError):
        old.ended(40)
    new.say(StopRun(40, 1, Verdict.CANCELLED, "enough", 0.1), ForgetRun(41, 1))
    assert new.ended(40).verdict is Verdict.CANCELLED
    assert 41 not in {run.task for run in one.line().found().runs}
    assert one.said(41) == ""  # what it said is still there


def test_secrets_stay_out_of_the_log_and_of_the_words_of_programs(one: Host) -> None:
    line = one.ready()
    line.say(order(42, shell("cat /proc/$PPID/cmdline", environment=(("PASSWORD", "hunter2"),))))
    assert line.ended(42).verdict is Verdict.DONE
    assert "hunter2" not in one.said(42)
    assert "hunter2" not in one.log.read_text()


def _of(host: Host, task: int) -> list[int]:
    """Processes that have the mark of a run."""
    return kin.marked(f"{MARK}={host.directory}/runs/{task}-1")
