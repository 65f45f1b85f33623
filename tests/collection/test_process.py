"""A program under a supervisor of one's own: a real supervisord, and a program that sleeps."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_process import Refusal, perform
from collection.module_double import Asked

SUPERVISORD = Path(sys.executable).parent / "supervisord"
SLEEP = [sys.executable, "-c", "import time; print('100% awake', flush=True); time.sleep(600)"]


class Machine:
    """A supervisor's folders, and the module on them."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "supervisor"
        self.socket = folder / "run/s.sock"

    def run(
        self, state: str = "started", name: str = "sleeper", check_mode: bool = False, **more: Any
    ) -> dict[str, Any]:
        options = {"directory": str(self.directory), "socket": str(self.socket), "supervisord": str(SUPERVISORD),
                   "name": name, "state": state, "command": SLEEP, "stop_timeout": 10, "strays": ""}
        result: dict[str, Any] = perform(Asked(check_mode=check_mode, **{**options, **more}))
        return result


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="qp") as folder:
        one = Machine(Path(folder))
        yield one
        one.run("down")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until(holds: Any, limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_program_runs_and_a_second_run_changes_nothing(machine: Machine) -> None:
    first = machine.run()
    assert first["changed"] and first["state"] == "RUNNING" and lives(first["pid"])
    wait_until(lambda: Path(first["log"]).read_text() == "100% awake\n")
    second = machine.run()
    assert not second["changed"] and second["pid"] == first["pid"]
    assert not machine.run(command=[])["changed"]


def test_program_that_was_killed_comes_back(machine: Machine) -> None:
    pid = machine.run()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.run("started", check_mode=True)["pid"] not in (0, pid))


def test_stop_and_start_again(machine: Machine) -> None:
    pid = machine.run()["pid"]
    assert machine.run("stopped")["changed"] and not lives(pid)
    assert not machine.run("stopped")["changed"]
    assert machine.run(command=[])["changed"]


def test_restart_gives_a_new_process_and_reload_the_same(machine: Machine) -> None:
    code = ("from signal import *; import time; signal(SIGHUP, lambda *_: print('hup', flush=True)); "
            "print('catches', flush=True); time.sleep(600)")  # fmt: skip
    catches = [sys.executable, "-c", code]
    first = machine.run(command=catches)
    wait_until(lambda: Path(first["log"]).read_text() == "catches\n")
    again = machine.run("reloaded", command=catches)
    assert again["changed"] and again["pid"] == first["pid"]
    wait_until(lambda: Path(first["log"]).read_text() == "catches\nhup\n")
    assert machine.run("restarted", command=catches)["pid"] != first["pid"]


def test_changed_command_is_taken(machine: Machine) -> None:
    first = machine.run()
    other = machine.run(command=[*SLEEP, "another word"])
    assert other["changed"] and other["pid"] != first["pid"]
    assert "another word" in Path(f"/proc/{other['pid']}/cmdline").read_text()


def test_programs_do_not_disturb_each_other(machine: Machine) -> None:
    one = machine.run(name="one")["pid"]
    two = machine.run(name="two")["pid"]
    machine.run("absent", name="one")
    assert not lives(one) and lives(two)
    assert machine.run(name="two", check_mode=True)["pid"] == two


def test_what_no_supervisor_looks_after_any_more_is_ended_too(machine: Machine) -> None:
    """Only programs of a node's kinds that name a file of the directory: nobody else's."""
    mark = str(machine.directory / "config.yaml")
    stray = subprocess.Popen([*SLEEP, mark], stdout=subprocess.DEVNULL)
    bystander = subprocess.Popen(["tail", "-f", "/dev/null", mark], stderr=subprocess.DEVNULL)
    try:
        machine.run()
        assert machine.run("down", strays=str(machine.directory))["changed"]
        assert not lives(stray.pid) and lives(bystander.pid)
        assert not machine.run("down", strays=str(machine.directory))["changed"]
    finally:
        for process in (stray, bystander):
            process.kill()
            process.wait()


def test_check_mode_starts_nothing(machine: Machine) -> None:
    assert machine.run(check_mode=True)["changed"]
    assert not machine.directory.exists() and not machine.socket.exists()


def test_down_ends_everything(machine: Machine) -> None:
    pid = machine.run()["pid"]
    supervisor = int((machine.directory / "supervisord.pid").read_text())
    assert machine.run("down")["changed"]
    assert not lives(pid) and not lives(supervisor)
    assert not machine.run("down")["changed"]


def test_program_that_cannot_start_is_told_with_the_place_to_look(machine: Machine) -> None:
    with pytest.raises(Refusal, match=r"startProcess sleeper|does not stay up"):
        machine.run(command=["/nowhere/at/all"])


def test_hosts_of_one_machine_end_its_supervisor_together(machine: Machine) -> None:
    """As the playbook does it: whoever comes late finds it going, or gone."""
    for _ in range(3):
        machine.run()
        with ThreadPoolExecutor(8) as hosts:
            ended = list(hosts.map(lambda _: machine.run("down"), range(8)))
        assert any(one["changed"] for one in ended)
        assert not machine.run("down")["changed"], "nobody has left before it was gone"


def test_program_that_goes_down_at_once_is_told_with_its_last_words(machine: Machine) -> None:
    with pytest.raises(Refusal, match=r"sleeper does not stay up (.|\n)*port 8080 is in use"):
        machine.run(command=["/bin/sh", "-c", "echo port 8080 is in use; exit 1"])


@pytest.mark.parametrize(
    ("options", "said"),
    [({"socket": "/tmp/" + "long/" * 30}, "at most 107"), ({"name": "a b"}, "use letters"),
     ({"supervisord": "/nowhere/supervisord"}, "pip install"), ({"name": "never", "command": []}, "never defined")],
    ids=["socket too long", "odd name", "no supervisor", "no definition"])
def test_what_cannot_work_is_refused(machine: Machine, options: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        machine.run(**options)
