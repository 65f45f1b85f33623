"""A lab for tests, driven as a user drives it: by its command line."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = CHECKOUT / "lab" / "lab.py"
ORDER_TIMEOUT = 300  # seconds; an `up` on a busy machine takes ten


class LabAtWork:
    """A lab under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment = {**os.environ, "QLUSTER_LAB_NAME": name}
        self.environment.pop("QLUSTER_LAB_INVENTORY", None)
        self.inventory = Path("/run") / name / "inventory"
        self.state_file = Path("/run") / name / "state.json"

    def order(
        self, *words: str, stdin: str = "", timeout: float = ORDER_TIMEOUT, checkout: Path = CHECKOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run an order to its end, whatever its exit code."""
        command = [sys.executable, str(PROGRAM), *words]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=checkout,
            timeout=timeout,
            check=False,
        )

    def say(self, *words: str, stdin: str = "", timeout: float = ORDER_TIMEOUT) -> str:
        """Run an order that must succeed; what it printed."""
        done = self.order(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stderr}\n{done.stdout}"
        return done.stdout

    def on(self, host: str, command: str, stdin: str = "") -> str:
        """Run a command on a host, which must succeed."""
        return self.say("ssh", host, command, stdin=stdin).strip()

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start an order and go on."""
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=CHECKOUT,
        )

    def wait_until(self, holds: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}"
            time.sleep(0.2)

    def status(self) -> dict[str, str]:
        """What `status` says of each host."""
        lines = [line.split() for line in self.say("status").splitlines()[1:]]
        return {words[0]: words[3].rstrip(",") for words in lines if words[0] != "fault:"}


def traces(name: str) -> list[str]:
    """Everything on this machine that bears the name of a lab, or lives in its control groups."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for top in ("/run", "/run/netns", "/sys/fs/cgroup", "/var/lib/qluster-lab"):
        if Path(top).is_dir():
            found += [str(path) for path in Path(top).iterdir() if name in path.name]
    for mount in Path("/sys/fs/cgroup").iterdir():
        if (mount / name).is_dir():
            found.append(str(mount / name))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text()
            # Without words it is dead already, and waits for the machine's first process to bury it.
            if words and f"/{name}/" in (process / "cgroup").read_text():
                found.append(f"process {process.name}: {words}")
        except OSError:
            continue  # it ended while we looked
    return found
