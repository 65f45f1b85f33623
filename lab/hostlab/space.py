"""Makes the namespaces that a lab lives in, and lets other programs act inside them.

Must not know what is put inside. The keeper (keeper.py) holds them; they end when it ends.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from hostlab.errors import LabError
from hostlab.group import Group
from hostlab.record import Record, process_started

KEEPER = Path(__file__).with_name("keeper.py")
KEEPER_TIMEOUT = 20.0  # seconds; it mounts two file systems


def spawn_keeper(group: Group, log: Path) -> tuple[int, int]:
    """Start the keeper in the group; its process id and start time."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--", sys.executable, "-I", str(KEEPER)]
    with open(log, "w", encoding="utf-8") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            cwd="/",
            start_new_session=True,
            preexec_fn=group.join,
        )
    line = _first_line(process)
    started = process_started(int(line)) if line.isdigit() else None
    if started is None:
        group.kill()
        raise LabError(f"the lab's namespaces could not be made: {log.read_text().strip() or 'no answer'}")
    return int(line), started


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector, process.stdout as pipe:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(KEEPER_TIMEOUT):
            return ""
        return pipe.readline().decode().strip()


class Space:
    """The inside of a lab that is up."""

    def __init__(self, record: Record) -> None:
        self._pid = record.keeper_pid

    def inside(self, command: list[str]) -> list[str]:
        """The command line that runs `command` with the lab's mounts, processes and network."""
        return ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--net", "--", *command]

    def on_network(self, command: list[str]) -> list[str]:
        """The command line that runs `command` with this machine's files on the lab's network."""
        return ["nsenter", f"--net=/proc/{self._pid}/ns/net", "--", *command]

    def file(self, path: Path | str) -> Path:
        """Where a file of the lab's mount namespace can be reached from outside."""
        return Path(f"/proc/{self._pid}/root") / str(path).lstrip("/")

    def become(self, command: list[str], group: Group) -> NoReturn:
        """Turn this process into `command` on the lab's network; it ends with the lab at the latest."""
        group.make()
        group.join()
        words = self.on_network(command)
        os.execvp(words[0], words)
