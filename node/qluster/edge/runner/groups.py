"""Control groups of runs, where the runner has one of its own to divide (systemd: ``Delegate=yes``).

It must not know what runs in them. A group holds a program by the kernel's hand: nothing leaves it, all of it is
killed at one stroke, and its limits hold at once.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from qluster.tasks.spec import Limits

log = logging.getLogger("qluster.runner")

LEAF = "runner"
"""Where the runner itself goes: a group that is divided has no processes of its own."""
PERIOD = 100_000
"""Microseconds over which a share of processors is counted; the kernel's own."""
WANTED = ("memory", "cpu", "pids")


@dataclass(frozen=True, slots=True)
class Used:
    """What all processes of a group used."""

    cpu: float
    memory: int
    short: bool
    """The kernel killed for lack of memory."""
    crowded: bool
    """The kernel refused it further processes."""


class Groups:
    """The groups of this runner."""

    def __init__(self, root: Path | None, controllers: frozenset[str]) -> None:
        self._root = root
        self.controllers = controllers

    @property
    def usable(self) -> bool:
        """There are groups, and all of one can be killed."""
        return self._root is not None

    def path(self, name: str) -> Path | None:
        """Where the group of a run is, whether it is there or not."""
        return self._root / f"run-{name}" if self._root is not None else None

    def open(self, name: str, limits: Limits) -> str:
        """The directory of a new group with these limits; "" where there are none, or it cannot be made."""
        path = self.path(name)
        if path is None:
            return ""
        try:
            path.mkdir(exist_ok=True)
            for file, value in self._values(limits):
                with contextlib.suppress(FileNotFoundError):
                    _write(path / file, value)
        except OSError as error:
            log.warning("run-without-group run=%s group=%s error=%s", name, path, error)
            return ""
        return str(path)

    def _values(self, limits: Limits) -> list[tuple[str, str]]:
        values = []
        if "memory" in self.controllers:
            values += [("memory.max", str(limits.memory or "max")), ("memory.oom.group", "1")]
            values += [("memory.swap.max", "0")] if limits.memory else []
        if "cpu" in self.controllers and limits.cpu:
            values.append(("cpu.max", f"{max(1000, int(limits.cpu * PERIOD))} {PERIOD}"))
        if "pids" in self.controllers and limits.processes:
            values.append(("pids.max", str(limits.processes)))
        return values

    def used(self, name: str) -> Used | None:
        """What the group used; None where there is none."""
        path = self.path(name)
        if path is None or not path.exists():
            return None
        stat, events = _pairs(path / "cpu.stat"), _pairs(path / "memory.events")
        peak = 0
        with contextlib.suppress(OSError, ValueError):
            peak = int((path / "memory.peak").read_text(encoding="ascii"))
        crowded = _pairs(path / "pids.events").get("max", 0) > 0
        return Used(stat.get("usage_usec", 0) / 1e6, peak, events.get("oom_kill", 0) > 0, crowded)

    def kill(self, name: str) -> None:
        """Kill all that is in it, if there is such a group."""
        path = self.path(name)
        if path is not None:
            with contextlib.suppress(OSError):
                _write(path / "cgroup.kill", "1")

    def remove(self, name: str) -> None:
        """It is empty, and goes."""
        path = self.path(name)
        if path is not None:
            with contextlib.suppress(OSError):
                path.rmdir()

    def left(self) -> list[str]:
        """Names of runs whose groups are there."""
        if self._root is None:
            return []
        return [path.name.removeprefix("run-") for path in self._root.glob("run-*")]


def settle() -> Groups:
    """Take what was given to us; call it before anything is forked."""
    own = _own()
    if own is None or not _lent(own):
        return Groups(None, frozenset())
    try:
        root = own.parent if own.name == LEAF else own
        (root / LEAF).mkdir(exist_ok=True)
        _write(root / LEAF / "cgroup.procs", str(os.getpid()))
        offered = set((root / "cgroup.controllers").read_text(encoding="ascii").split())
        got = []
        for name in WANTED:
            if name in offered:
                with contextlib.suppress(OSError):
                    _write(root / "cgroup.subtree_control", f"+{name}")
                    got.append(name)
        if not (root / LEAF / "cgroup.kill").exists():
            log.warning("runner-without-groups reason=the kernel is older than 5.14")
            return Groups(None, frozenset())
    except OSError as error:
        log.warning("runner-without-groups group=%s error=%s hint=set Delegate=yes in its unit", own, error)
        return Groups(None, frozenset())
    log.info("runner-groups root=%s controllers=%s", root, ",".join(got) or "none")
    return Groups(root, frozenset(got))


def _own() -> Path | None:
    """Our group of the second version, as a directory."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        inner = next(line[3:] for line in lines if line.startswith("0::"))
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            fields, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                words = fields.split()
                at = os.path.relpath(inner, words[3]) if words[3] != "/" else inner.lstrip("/")
                return Path(words[4], at)
    return None


def _lent(own: Path) -> bool:
    """Nobody else is in it: it is the group of our unit, not that of a terminal or of the whole host."""
    with contextlib.suppress(OSError, ValueError):
        if not (own / "cgroup.events").exists():
            return False  # the whole host's
        members = {int(line) for line in (own / "cgroup.procs").read_text(encoding="ascii").split()}
        return members == {os.getpid()} and os.access(own / "cgroup.procs", os.W_OK) and os.access(own, os.W_OK)
    return False


def _pairs(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines) if value.isdecimal()}


def _write(path: Path, value: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(value.encode("ascii"))
