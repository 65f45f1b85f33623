"""A lab that comes, crashes, goes: nothing of it stays, whatever happened."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab_world import LabAtWork

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


PROGRAM = Path(__file__).resolve().parents[2] / "lab" / "lab.py"


def keeper_of(lab: LabAtWork) -> int:
    return int(json.loads(lab.state_file.read_text())["keeper_pid"])


def test_down_of_nothing_is_done(absent_lab: LabAtWork) -> None:
    assert "is down" in absent_lab.say("status")
    absent_lab.say("down")
    absent_lab.say("down")


def test_orders_to_an_absent_lab_say_what_brings_it_up(absent_lab: LabAtWork) -> None:
    for words in (["exec", "--", "true"], ["ssh", "db1"], ["kill", "db1"], ["heal"], ["cut", "db1"]):
        done = absent_lab.order(*words)
        assert done.returncode == 1
        assert "`lab/lab.py up` brings it up" in done.stderr


def test_killed_up_is_cleared_away_by_down(absent_lab: LabAtWork) -> None:
    half = absent_lab.spawn("up")
    absent_lab.wait_until(absent_lab.state_file.exists, "the lab has begun")
    half.send_signal(signal.SIGKILL)
    half.communicate()
    # absent_lab's own end looks for traces.


def test_killed_up_is_finished_by_the_next(absent_lab: LabAtWork) -> None:
    half = absent_lab.spawn("up")
    absent_lab.wait_until(absent_lab.state_file.exists, "the lab has begun")
    half.send_signal(signal.SIGKILL)
    half.communicate()
    absent_lab.say("up")
    assert set(absent_lab.status().values()) == {"on"}


def test_lab_whose_keeper_died_is_begun_anew(absent_lab: LabAtWork) -> None:
    absent_lab.say("up")
    absent_lab.on("db1", "touch /root/old")
    os.kill(keeper_of(absent_lab), signal.SIGKILL)
    absent_lab.wait_until(lambda: absent_lab.order("status").returncode == 1, "the crash is seen")
    assert "crashed" in absent_lab.order("ssh", "db1").stderr
    absent_lab.say("up")
    assert absent_lab.on("db1", "ls /root") == ""


def test_damaged_state_is_cleared_away(absent_lab: LabAtWork) -> None:
    absent_lab.say("up")
    absent_lab.state_file.write_text("{")
    assert "is damaged" in absent_lab.order("status").stderr
    absent_lab.say("down")


def test_down_ends_what_exec_left_running(absent_lab: LabAtWork) -> None:
    absent_lab.say("up")
    absent_lab.say("exec", "--", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    absent_lab.say("down")


def test_inventory_that_somebody_else_wrote_is_left_alone(absent_lab: LabAtWork, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("mine")
    absent_lab.environment["QLUSTER_LAB_INVENTORY"] = str(tmp_path)
    done = absent_lab.order("up")
    assert done.returncode == 1
    assert "was not made by the lab" in done.stderr
    absent_lab.say("down")
    assert (tmp_path / "hosts.yml").read_text() == "mine"


def test_machine_without_the_means_says_why(absent_lab: LabAtWork) -> None:
    absent_lab.environment["QLUSTER_LAB_DISKS"] = "/proc/nowhere"
    done = absent_lab.order("check")
    assert done.returncode == 3, done.stderr
    assert "/proc" in done.stderr
    del absent_lab.environment["QLUSTER_LAB_DISKS"]


@pytest.mark.parametrize(
    ("with_apt", "code", "word"),
    [(True, 0, "able, after setup has installed mmdebstrap"), (False, 3, "mmdebstrap not installed")],
    ids=["apt", "no apt"],
)
def test_missing_program_is_named(absent_lab: LabAtWork, tmp_path: Path, with_apt: bool, code: int, word: str) -> None:
    for program in ("unshare", "nsenter", "setsid", "mount", "ip", "nft", "systemd-nspawn", "ssh", "ssh-keygen"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    if with_apt:
        (tmp_path / "apt-get").symlink_to("/usr/bin/apt-get")
    whole, absent_lab.environment["PATH"] = absent_lab.environment["PATH"], str(tmp_path)
    done = absent_lab.order("check")
    absent_lab.environment["PATH"] = whole
    assert done.returncode == code
    assert word in done.stdout + done.stderr


@pytest.mark.parametrize("order", ["check", "up", "down", "status"])
def test_ordinary_user_is_told_that_root_is_needed(absent_lab: LabAtWork, order: str) -> None:
    command = ["unshare", "--user", sys.executable, str(PROGRAM), order]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "needs root" in done.stderr
