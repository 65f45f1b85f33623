"""Remembers what a running lab is made of, in one file, so that any later command finds it again.

Must not know how any of it is made. The file lies in /run, so it ends with the machine's own uptime.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hostlab.errors import LabError
from hostlab.fault import Fault

LOCK_TIMEOUT = 900.0  # seconds; another command may be building the base tree
LOCK_INTERVAL = 0.2


@dataclass
class Record:
    """A lab that is up, or on its way up or down."""

    keeper_pid: int
    keeper_started: int  # ticks since boot: with the id it names one process for ever
    inventory: str
    base: str
    faults: list[Fault] = field(default_factory=list)

    def keeper_lives(self) -> bool:
        return process_started(self.keeper_pid) == self.keeper_started


def process_started(pid: int) -> int | None:
    """The start time of a process in the kernel's ticks; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def read_record(file: Path) -> Record | None:
    try:
        text = file.read_text()
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        fields["faults"] = [Fault(**fault) for fault in fields["faults"]]
        return Record(**fields)
    except (ValueError, TypeError, KeyError) as error:
        raise LabError(f"{file} is damaged ({error}); `lab/lab.py down` clears it away") from error


def write_record(file: Path, record: Record) -> None:
    """Replace the file at one stroke: a crash leaves the old or the new one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record), indent=2) + "\n")
    os.replace(fresh, file)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One command at a time changes a lab; the lock file goes away with the last holder."""
    end = time.monotonic() + LOCK_TIMEOUT
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() > end:
                raise LabError(f"another command has held {file} for {LOCK_TIMEOUT:.0f} s") from None
            time.sleep(LOCK_INTERVAL)
            continue
        if _still_named(file, descriptor):
            break
        os.close(descriptor)  # its former holder removed it while we waited: begin anew
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _still_named(file: Path, descriptor: int) -> bool:
    try:
        return os.stat(file).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
