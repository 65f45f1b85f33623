"""Real daemons and task runners, killed and stopped at random moments, while tasks come and go on full and free disks.

The simulator plays the same a thousand times as often, with its own idea of a runner; here it is the runner itself.
`QLUSTER_FULL_TESTS=1` runs it; `QLUSTER_STRIKES=SEED` plays another order of strikes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import requests
from edge.daemon_world import wait_for
from edge.fault_world import kin
from edge.task_world import OPERATE, TaskHosts

NODES = (1, 2, 3)
SECONDS = 60.0
"""Of strikes; some sixty of them."""
SPACE = "75m"
"""Of the file system for the tasks of a host: 11 MiB more than must be free for something to begin."""
PROGRAM = """
import fcntl, os, sys, time
task, fence = os.environ["QLUSTER_TASK_ID"], os.environ["QLUSTER_TASK_FENCE"]
lock = os.open(f"LEDGER/{task}.lock", os.O_CREAT | os.O_RDWR, 0o600)
ledger = os.open(f"LEDGER/{task}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    os.write(ledger, f"beside {fence}\\n".encode())
os.write(ledger, f"began {fence}\\n".encode())
print("x" * 200_000, flush=True)
time.sleep(float(sys.argv[1]))
os.write(ledger, f"ended {fence}\\n".encode())
"""
"""It holds a lock for as long as it runs, which the kernel takes back however it ends."""

pytestmark = [
    pytest.mark.skipif(os.environ.get("QLUSTER_FULL_TESTS") != "1", reason="two minutes: QLUSTER_FULL_TESTS=1"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a file system that can be filled is mounted by root alone"),
]


class Struck(TaskHosts):
    """Three hosts, each with a small file system for its tasks."""

    def __init__(self, root: Path, random: Random) -> None:
        self.root, self.random, self.tasks = root, random, dict[int, bool]()
        """Task → whether it is run once at most."""
        self.asleep: dict[int, tuple[subprocess.Popen[str], float]] = {}
        (root / "ledger").mkdir()
        self.program = root / "program.py"
        self.program.write_text(PROGRAM.replace("LEDGER", str(root / "ledger")))
        self.mounted = [root / f"tasks{number}" for number in NODES]
        for place in self.mounted:
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPACE},mode=700", "none", place], check=True)
        super().__init__(root, "239.77.41.23:5491", "127.41.23", NODES, commands=["/"], slots=6)

    def start(self, number: int) -> None:
        """With its own directory."""
        text = self.config(number).read_text().replace('"slots"', f'"dir": "{self.mounted[number - 1]}", "slots"')
        self.config(number).write_text(text)
        super().start(number)

    def submit(self) -> None:
        """A task, by whichever host answers."""
        once, length = self.random.random() < 0.4, self.random.choice(["0.1", "1", "3", "8"])
        body = {"command": [sys.executable, str(self.program), length], "once": once, "time_limit": 60}
        for number in self.random.sample([number for number in NODES if number not in self.asleep], 1):
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(
                    f"https://{self.site.ip(number)}:8080/tasks", json=body, timeout=2.5,
                    verify=str(self.site.root / "ca.crt"), headers={"Authorization": f"Bearer {OPERATE}"},
                )  # fmt: skip
                if answer.status_code == 200:
                    self.tasks[answer.json()["tasks"][0]] = once

    def strike(self) -> None:
        """Something happens to a host; of daemons two are always there."""
        number, runners, daemons = self.random.choice(NODES), self.runners, self.daemons
        others_well = all(daemons[one].poll() is None and one not in self.asleep for one in NODES if one != number)
        below = kin(runners[number].pid)
        match self.random.choice(["daemon", "host", "runner", "stop", "below", "below", "sleep", "fill", "free", ""]):
            case "daemon" if others_well:
                daemons[number].send_signal(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
            case "host" if others_well:
                daemons[number].kill()
                runners[number].kill()
            case "runner":
                runners[number].kill()
            case "stop":
                runners[number].terminate()
            case "below" if below:  # the forker, an attendant, a program
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.random.choice(below), signal.SIGKILL)
            case "sleep" if others_well and number not in self.asleep:
                one = self.random.choice([daemons[number], runners[number]])
                one.send_signal(signal.SIGSTOP)
                self.asleep[number] = one, time.monotonic() + self.random.choice([1.0, 5.0, 11.0, 14.0])
            case "fill":
                with contextlib.suppress(OSError), open(self.mounted[number - 1] / "filler", "ab", 0) as filler:
                    while filler.write(bytes(1 << 16)) == 1 << 16:
                        pass
            case "free":
                (self.mounted[number - 1] / "filler").unlink(missing_ok=True)

    def mend(self, *, all_of_it: bool = False) -> None:
        """What sleeps wakes when its time has come, what is gone is started again soon."""
        for number, (one, until) in list(self.asleep.items()):
            if all_of_it or time.monotonic() >= until:
                one.send_signal(signal.SIGCONT)
                del self.asleep[number]
        for number in NODES:
            for processes, begin in ((self.runners, self.start_runner), (self.daemons, self.start_daemon)):
                gone = processes[number].poll() is not None
                if gone and number not in self.asleep and (all_of_it or self.random.random() < 0.5):
                    begin(number)
        if all_of_it:
            for place in self.mounted:
                (place / "filler").unlink(missing_ok=True)

    def over(self) -> bool:
        """The leader knows of no task that is not over."""
        with contextlib.suppress(requests.RequestException):
            leader = self.leader()
            path = "/tasks?state=submitted,waiting,assigned,running&consistency=lease"
            return bool(leader) and self.site.get(leader, path).json().get("tasks") == []
        return False

    def end(self) -> None:
        super().end()
        for place in self.mounted:
            subprocess.run(["umount", "-l", place], check=False)


def test_no_task_is_lost_or_beside_itself_whatever_dies(tmp_path: Path) -> None:
    random = Random(os.environ.get("QLUSTER_STRIKES", "1"))
    hosts = Struck(tmp_path, random)
    try:
        wait_for("there is a leader", hosts.leader, 60)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(random.randint(1, 4)):
                hosts.submit()
            hosts.strike()
            time.sleep(random.choice([0.05, 0.3, 1.0, 3.0]))
            hosts.mend()
        hosts.mend(all_of_it=True)
        wait_for("all tasks are over", hosts.over, 120)
        leader = hosts.leader()
        ends = [judged(hosts, task, once, leader) for task, once in hosts.tasks.items()]
        print({state: ends.count(state) for state in sorted(set(ends))})
        assert ends.count("succeeded") > len(ends) / 2 > 10
        for number in NODES:
            assert "Traceback" not in hosts.logged(number) + hosts.logged(number, "runner.log")
    finally:
        hosts.end()


def judged(hosts: Struck, task: int, once: bool, leader: int) -> str:
    """The state in which a task ended; what its programs noted fits it."""
    shown = hosts.task(task, leader)
    file = hosts.root / "ledger" / str(task)
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    assert all(word != "beside" for word, _ in rows), (rows, shown)
    began = [int(fence) for word, fence in rows if word == "began"]
    assert began == sorted(set(began)) and len(began) <= (1 if once else 20), (rows, shown)
    assert shown["state"] in ("succeeded", "failed", "lost"), shown
    assert once or shown["state"] != "lost", shown
    if shown["state"] == "succeeded":
        assert ["ended", str(shown["fence"])] in rows, (rows, shown)
    return str(shown["state"])
