"""What running tasks write of themselves, and whether one of them ran twice at once.

Must not know how tasks are scheduled. A line is written by the program itself: what, number, fencing number,
node, time. A program goes on until the gate is opened: it reads of a pipe that this process holds open.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """say() {{ echo "$1 $QLUSTER_TASK_ID $QLUSTER_TASK_FENCE $QLUSTER_NODE $(date +%s.%N)" >> {lines}; }}
exec 9>> {locks}/$QLUSTER_TASK_ID
flock -n 9 || say t
say b
read word < {gate}
say e
"""
"""Who finds its task's lock held runs beside another one; a lock goes with the last process that has it."""


@dataclass(frozen=True)
class Account:
    """What came of it."""

    tasks: int
    """Tasks that ran to their end."""
    runs: int
    twice: int
    """Tasks of which two runs went on at the same time."""
    again: int
    """Tasks that were begun more than once."""


class Ledger:
    """The lines, the gate, and the program, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._lines, self._gate, self.script = folder / "lines", folder / "gate", folder / "script"
        self._lines.touch()
        (locks := folder / "locks").mkdir()
        os.mkfifo(self._gate)
        self._held = os.open(self._gate, os.O_RDWR)
        self.script.write_text(SCRIPT.format(lines=self._lines, locks=locks, gate=self._gate))

    @property
    def lines(self) -> list[str]:
        """What was said so far."""
        return self._lines.read_text().splitlines()

    def begun(self) -> dict[int, dict[int, tuple[int, float]]]:
        """Task → fencing number of a run → its node, and when it began."""
        return begun(self.lines)

    def open(self) -> None:
        """All end, and whoever comes later at once."""
        if self._held < 0:
            return
        later = self._gate.with_name("later")
        later.symlink_to("/dev/null")
        later.replace(self._gate)
        os.close(self._held)
        self._held = -1


def begun(lines: Iterable[str]) -> dict[int, dict[int, tuple[int, float]]]:
    """Of these lines; see :meth:`Ledger.begun`."""
    found: dict[int, dict[int, tuple[int, float]]] = {}
    for line in lines:
        kind, task, fence, node, at = line.split()
        if kind == "b":
            found.setdefault(int(task), {})[int(fence)] = int(node), float(at)
    return found


def account(lines: Iterable[str]) -> Account:
    """What the lines of all runs say in the end."""
    lines = list(lines)
    said = {kind: {int(line.split()[1]) for line in lines if line.startswith(kind)} for kind in "te"}
    every = begun(lines)
    again = sum(len(runs) > 1 for runs in every.values())
    return Account(len(said["e"]), sum(map(len, every.values())), len(said["t"]), again)
