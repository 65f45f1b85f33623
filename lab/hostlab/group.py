"""Keeps every process of a lab in control groups, so that each can be found, frozen and ended by id.

A lab has one group, named as the lab, with one group below it for each host (and for the keeper and for
programs run by `exec`). Must not know what the processes do.

The unified hierarchy (cgroup v2) does the work; it is there beside the old ones on a machine with both.
The old hierarchies that systemd looks at get groups of the same name only so that the systemd of one host
does not share its tree with the systemd of another.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from hostlab.errors import LabError
from hostlab.shell import wait_until

MOUNTS = Path("/proc/self/mountinfo")
END_TIMEOUT = 20.0  # seconds for the kernel to bury killed processes; it takes milliseconds
FREEZE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Hierarchies:
    """Where control groups can be made on this machine."""

    unified: Path
    old: tuple[Path, ...]
    memory: Path | None


def find_hierarchies() -> Hierarchies | None:
    """None when the machine has no unified hierarchy."""
    unified, old, memory = None, [], None
    for line in MOUNTS.read_text().splitlines():
        front, _, back = line.partition(" - ")
        kind, _, options = back.split(" ", 2)
        point = Path(front.split(" ")[4])
        names = options.split(",")
        if kind == "cgroup2":
            unified = point
        elif kind == "cgroup" and ("name=systemd" in names or "memory" in names):
            old.append(point)
            if "memory" in names:
                memory = point
    return Hierarchies(unified, tuple(old), memory or unified) if unified else None


class Group:
    """One control group, in all hierarchies under the same path."""

    def __init__(self, path: str) -> None:
        found = find_hierarchies()
        if found is None:
            raise LabError("no cgroup2 file system is mounted; see `lab/lab.py check`")
        self._path = path
        self._places = found
        self._main = found.unified / path

    def below(self, name: str) -> Group:
        return Group(f"{self._path}/{name}")

    def make(self) -> None:
        for root in (self._places.unified, *self._places.old):
            (root / self._path).mkdir(parents=True, exist_ok=True)

    def join(self) -> None:
        """Move the calling process into the group (called in a child before it becomes another program)."""
        for root in (self._places.unified, *self._places.old):
            (root / self._path / "cgroup.procs").write_text("0")

    def populated(self) -> bool:
        events = self._main / "cgroup.events"
        return events.exists() and "populated 1" in events.read_text()

    def frozen(self) -> bool:
        events = self._main / "cgroup.events"
        return events.exists() and "frozen 1" in events.read_text()

    def processes(self) -> list[int]:
        """All processes in the group and below."""
        found: list[int] = []
        for folder, _, _ in os.walk(self._main):
            try:
                text = (Path(folder) / "cgroup.procs").read_text()
            except OSError:
                continue  # the group went away while we looked
            found += [int(word) for word in text.split()]
        return found

    def freeze(self, yes: bool) -> None:
        """Stop (or go on with) every process at once, without any of them noticing a signal."""
        (self._main / "cgroup.freeze").write_text("1" if yes else "0")
        wait_until(
            lambda: self.frozen() == yes,
            timeout=FREEZE_TIMEOUT,
            otherwise=lambda: f"the control group {self._main} did not become {'frozen' if yes else 'awake'}",
        )

    def kill(self) -> None:
        """End every process in the group at one stroke, as a power cut does."""
        if not self.populated():
            return
        switch = self._main / "cgroup.kill"
        if switch.exists():
            switch.write_text("1")
        else:  # kernels before 5.14: nobody can fork while frozen, so one pass finds all
            self.freeze(True)
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            (self._main / "cgroup.freeze").write_text("0")
        wait_until(
            lambda: not self.populated(),
            timeout=END_TIMEOUT,
            otherwise=lambda: f"processes {self.processes()} of {self._main} outlive SIGKILL; see dmesg",
        )

    def remove(self) -> None:
        """Remove the empty group with all groups that a host's systemd made below it."""
        for root in (self._places.unified, *self._places.old):
            top = root / self._path
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError as error:
                    raise LabError(f"cannot remove the control group {folder}: {error.strerror}") from error

    def memory_bytes(self) -> int | None:
        """What the kernel charges to the group (page cache included), where it counts at all."""
        if self._places.memory is None:
            return None
        for name in ("memory.usage_in_bytes", "memory.current"):
            file = self._places.memory / self._path / name
            if file.exists():
                return int(file.read_text())
        return None
