"""What becomes of runs when the runner, the daemon, the lease or the disk goes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import NODE, small_disk, wait_for
from edge.runner_world import Host, alive, host, order, shell
from qluster.edge.runner import kin
from qluster.edge.runner.record import Record, prune
from qluster.edge.runner.server import ENDS_MAX
from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import ForgetRun, RunnerFault
from qluster.tasks.spec import Command

HIDES = "setsid -f /bin/sh -c 'echo $$ > child; exec sleep 1000'; echo $$ > pid; exec sleep 1000"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Host]:
    """A runner."""
    with host(tmp_path) as found:
        yield found


def test_a_lease_that_passes_kills_what_is_tied_to_it(one: Host) -> None:
    line = one.ready(lease=1.5)
    line.say(order(1, shell(f"trap '' TERM; {HIDES}")), order(2, Command(("/bin/sleep", "1000")), tied=False))
    until = line.lease_while(1.5, "the programs run", lambda: one.wrote(1, "pid", "child"))
    pids = one.pid(1), one.pid(1, "child")
    assert all(alive(pid) for pid in pids)
    wait_for("one program is dead", lambda: not all(alive(pid) for pid in pids))
    assert time.monotonic() > until - 0.1
    wait_for("the programs are dead", lambda: not any(alive(pid) for pid in pids))
    late = time.monotonic() - until
    assert late < 0.5
    print(f"dead {late:.3f} s after the lease")
    assert line.ended(1).verdict is Verdict.CUT_OFF
    line.began(2)
    assert not any(run.task == 2 and run.ended for run in one.line().found().runs)


def test_the_lease_holds_although_the_runner_hangs(one: Host) -> None:
    line = one.ready(lease=1.5)
    line.say(order(1, shell(HIDES)))
    line.lease_while(1.5, "the programs run", lambda: one.wrote(1, "pid", "child"))
    pids = one.pid(1), one.pid(1, "child")
    assert one.process is not None
    one.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        wait_for("the programs are dead", lambda: not any(alive(pid) for pid in pids), 4)
    finally:
        one.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 3
    assert line.ended(1).verdict is Verdict.CUT_OFF


def test_a_longer_lease_keeps_it_alive_and_a_passed_one_begins_nothing(one: Host) -> None:
    line = one.ready(lease=0.0)
    until = line.lease(0.3)
    wait_for("the lease has passed", lambda: time.monotonic() > until)
    line.say(order(2, Command(("/bin/true",))))
    ended = line.ended(2)
    assert (ended.verdict, ended.began_at) == (Verdict.UNBEGUN, 0.0)
    line.lease(1.5)
    line.say(order(1, shell("echo $$ > pid; until [ -e go ]; do sleep 0.01; done")))
    until = line.lease_while(1.5, "the program runs", lambda: one.wrote(1))
    line.lease(60.0)
    wait_for("the shorter lease has passed", lambda: time.monotonic() > until + 0.3)
    (one.work(1) / "go").touch()
    assert line.ended(1).verdict is Verdict.DONE


def test_a_runner_that_is_killed_takes_its_programs_along(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell(HIDES)), order(2, Command(("/bin/true",))))
    line.ended(2)
    pids = one.pid(1), one.pid(1, "child")
    began = time.monotonic()
    one.kill()
    wait_for("the programs are dead", lambda: not any(alive(pid) for pid in pids), 5)
    print(f"dead {time.monotonic() - began:.3f} s after the runner")
    one.start()
    runs = {run.task: run.ended for run in one.line().found().runs}
    assert runs[1] is not None and runs[2] is not None
    assert (runs[1].verdict, runs[2].verdict) == (Verdict.VANISHED, Verdict.DONE)
    assert runs[1].began_at > 0


def test_an_attendant_that_is_killed_with_unread_words_leaves_nothing_behind(one: Host) -> None:
    """The kernel says of its line that it was reset, not that it ended: a run that had begun is none that never did."""
    line = one.ready()
    line.say(order(1, shell(HIDES)))
    pids = one.pid(1), one.pid(1, "child")
    line.began(1)
    found = kin.relative(pids[0])
    assert found is not None
    os.kill(found.parent, signal.SIGSTOP)
    line.lease(70.0)
    line.say(order(2, Command(("/bin/true",))))
    line.ended(2)  # what was said before has come to the attendant's line by then
    os.kill(found.parent, signal.SIGKILL)
    ended = line.ended(1)
    assert ended.verdict is Verdict.VANISHED and ended.began_at
    assert not any(alive(pid) for pid in pids)


def test_a_runner_that_is_stopped_says_that_it_begins_nothing_any_more(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("trap '' TERM; echo $$ > pid; sleep 1000; sleep 1000")))
    one.pid(1)
    assert one.process is not None
    one.process.send_signal(signal.SIGTERM)
    fault = line.until(lambda said: isinstance(said, RunnerFault))
    assert isinstance(fault, RunnerFault) and fault.fault == "its task runner was stopped"
    line.say(order(2, Command(("/bin/true",))))
    assert line.ended(2).verdict is Verdict.UNBEGUN
    assert line.ended(1).verdict is Verdict.DRAINED


def test_an_attendant_that_is_killed_leaves_nothing_behind(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell(HIDES)))
    pid, child = one.pid(1), one.pid(1, "child")
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    assert line.ended(1).verdict is Verdict.VANISHED
    assert not alive(pid) and not alive(child)


def test_without_its_forker_a_runner_ends_to_be_started_again(one: Host) -> None:
    line = one.ready()
    line.say(order(1, Command(("/bin/sleep", "1000"))))
    line.began(1)
    assert one.process is not None
    runner = one.process.pid
    (forker,) = [each.pid for each in kin.look().values() if each.parent == runner]
    os.kill(forker, signal.SIGKILL)
    wait_for("the forker is gone", lambda: not alive(forker))
    line.say(order(2, Command(("/bin/true",))))
    assert line.ended(2).verdict is Verdict.UNBEGUN
    assert line.ended(1).verdict is Verdict.DRAINED
    assert one.process.wait(20) == 0


def test_more_ends_than_one_message_holds_are_all_told(one: Host) -> None:
    line = one.ready()
    last = ENDS_MAX + 50
    line.say(*(order(task, Command(("/not/there",), user="x" * 30)) for task in range(1, last + 1)))
    line.ended(last)
    again = one.line()
    assert len(again.found().runs) == last
    assert again.ended(last).verdict is Verdict.REFUSED


def test_what_is_forgotten_is_not_told_after_a_restart(one: Host) -> None:
    line = one.ready()
    line.say(order(1, Command(("/bin/true",))), order(2, Command(("/bin/true",))))
    line.ended(1)
    line.ended(2)
    line.say(ForgetRun(1, 1))
    wait_for("it is forgotten on disk", (one.directory / "runs/1-1/forgotten").exists)
    one.kill()
    one.start()
    assert [run.task for run in one.line().found().runs] == [2]


def test_a_runner_that_is_stopped_stops_and_says_so(one: Host) -> None:
    line = one.ready()
    line.say(order(1, shell("trap 'echo asked; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done")))
    one.pid(1)
    assert one.stop() == 0
    ended = line.ended(1)
    assert (ended.verdict, ended.reason) == (Verdict.DRAINED, "its task runner was stopped")
    assert one.said(1) == "asked\n"
    one.start()
    (run,) = one.line().found().runs
    assert run.ended == ended


def test_rules_are_read_again_when_asked(one: Host) -> None:
    line = one.ready()
    one.config.write_text(one.config.read_text().replace('"commands": ["/"]', '"commands": ["/bin/true"]'))
    assert one.process is not None
    one.process.send_signal(signal.SIGHUP)
    wait_for("the rules are read", lambda: "reloaded commands=1" in one.log.read_text())
    line.say(order(1, Command(("/bin/echo",))), order(2, Command(("/bin/true",))))
    ended = line.ended(1)
    assert ended.verdict is Verdict.REFUSED
    assert ended.reason.startswith("/bin/echo is not in tasks.commands of this host (/bin/true): add it there")
    assert line.ended(2).verdict in (Verdict.DONE, Verdict.REFUSED)  # where /bin is a link it leads elsewhere


def test_a_second_runner_is_refused(one: Host) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "qluster", "runner", "--config", str(one.config)], capture_output=True, text=True,
        timeout=60, check=False, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(NODE)},
    )  # fmt: skip
    assert second.returncode == 1
    assert "another task runner uses it" in second.stderr


def test_a_full_directory_begins_nothing_and_loses_no_end(tmp_path: Path) -> None:
    place = tmp_path / "small"
    with small_disk(place, "80m"), host(tmp_path, directory=place / "tasks") as one:
        line = one.ready()
        line.say(order(1, shell("until [ -e ../go ]; do sleep 0.01; done; echo kept nowhere; exit 5")))
        line.began(1)
        with open(place / "ballast", "wb") as ballast, pytest.raises(OSError):
            while True:
                ballast.write(bytes(1 << 16))
                ballast.flush()
        fault = line.until(lambda what: isinstance(what, RunnerFault) and bool(what.fault))
        assert "free some on its file system" in fault.fault
        line.say(order(2, Command(("/bin/true",))))
        refused = line.ended(2)
        assert refused.verdict is Verdict.UNBEGUN and "free" in refused.reason
        (place / "tasks/runs/1-1/work").rename(place / "tasks/runs/1-1/go")
        ended = line.ended(1)
        assert ended.reason == "exit code 5"
        assert ended.result.output == (13, 0)
        assert one.said(1) == ""  # no room for it
        one.kill()
        os.truncate(place / "ballast", 0)
        one.start()
        line = one.ready()
        assert [run.ended for run in line.found().runs if run.task == 1] == [ended]
        line.say(order(3, Command(("/bin/true",))))
        assert line.ended(3).verdict is Verdict.DONE


def test_the_oldest_output_makes_room(tmp_path: Path) -> None:
    for task in range(1, 5):
        record = Record(str(tmp_path), task, 10 - task)
        record.create(order(task, Command(("/bin/true",)), fence=10 - task))
        (record.path / "stdout").write_bytes(bytes(1 << 20))
        if task != 4:
            record.forget()
    known: dict[str, int] = {}
    assert prune(str(tmp_path), (5 << 20), known) == 0
    assert set(known) == {"1-9", "2-8", "3-7"}
    assert prune(str(tmp_path), (3 << 20), known) == 2
    assert set(known) == {"1-9"}
    # By their fencing numbers 4 is the oldest, and the cluster does not know its end.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-9", "4-6"]
