"""A task runner as a process, and a daemon's end of its line."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.daemon_world import NODE, wait_for
from qluster.config import Config, parse
from qluster.edge.runner.place import socket_path
from qluster.tasks.frames import Frames, framed
from qluster.tasks.runner import (
    Happening,
    Lease,
    Order,
    RunBegan,
    RunEnded,
    RunnerFound,
    StartRun,
    decode_happening,
    encode,
)
from qluster.tasks.spec import Command, Limits, Work

NO_LIMITS = Limits()
LIMIT = 20.0
"""Seconds for anything to happen: a tenth of one on a quiet machine."""


@dataclass
class Line:
    """The daemon's end."""

    socket: socket.socket
    heard: list[Happening] = field(default_factory=list)
    frames: Frames = field(default_factory=Frames)

    def say(self, *orders: Order) -> None:
        """Order."""
        self.socket.sendall(b"".join(framed(encode(order)) for order in orders))

    def hear(self, limit: float = LIMIT) -> None:
        """Take what comes next; fails when nothing does."""
        self.socket.settimeout(limit)
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the runner closed the line")
        self.heard += [decode_happening(text) for text in self.frames.take(data)]

    def until(self, holds: Callable[[Happening], bool]) -> Happening:
        """The first happening like that."""
        seen = 0
        while True:
            for one in self.heard[seen:]:
                if holds(one):
                    return one
            seen = len(self.heard)
            self.hear()

    def found(self) -> RunnerFound:
        """What it says first."""
        found = self.until(lambda one: isinstance(one, RunnerFound))
        assert isinstance(found, RunnerFound)
        return found

    def began(self, task: int) -> RunBegan:
        """That a run began."""
        began = self.until(lambda one: isinstance(one, RunBegan) and one.task == task)
        assert isinstance(began, RunBegan)
        return began

    def ended(self, task: int) -> RunEnded:
        """How a run ended."""
        ended = self.until(lambda one: isinstance(one, RunEnded) and one.task == task)
        assert isinstance(ended, RunEnded)
        return ended

    def lease(self, seconds: float) -> float:
        """Tied runs may go on for so long; until when."""
        until = time.monotonic() + seconds
        self.say(Lease(until))
        return until

    def lease_while(self, seconds: float, what: str, holds: Callable[[], object]) -> float:
        """Renew it, as a daemon does, until something holds; until when the last one is."""
        until = [self.lease(seconds)]

        def held() -> object:
            done = holds()
            if not done:
                until.append(self.lease(seconds))
            return done

        wait_for(what, held)
        return until[-1]


@dataclass
class Host:
    """One runner with its directory."""

    root: Path
    config: Path
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    log: Path = Path()
    enter: Path | None = None
    """Control group in which it begins."""
    words: list[str] = field(default_factory=lambda: [sys.executable])
    """What begins a Python."""
    users: str = ""
    """Whom its programs may become."""
    path: str = str(NODE)

    def start(self) -> None:
        """Start it, and wait until it takes orders."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.words, "-m", "qluster", "runner", "--config", str(self.config), "--users", self.users],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": self.path, "PGPASSWORD": "secret-of-the-runner"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self._enter if self.enter else None,
            )  # fmt: skip
        wait_for("the runner takes orders", self._answers)

    def _enter(self) -> None:
        assert self.enter is not None
        # A group that is divided takes no process: who starts a runner again makes it whole first, as systemd does.
        divided = (self.enter / "cgroup.subtree_control").read_text().split()
        (self.enter / "cgroup.subtree_control").write_text(" ".join(f"-{name}" for name in divided))
        (self.enter / "cgroup.procs").write_text("0")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.line().socket.close()
        except OSError:
            return False
        return True

    def parsed(self) -> Config:
        """Its configuration."""
        return parse(self.config.read_text(), str(self.config))

    def line(self) -> Line:
        """Connect."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(socket_path(str(self.directory)))
        except OSError:
            line.close()
            raise
        return Line(line)

    def ready(self, lease: float = 60.0) -> Line:
        """Connect, with a lease."""
        line = self.line()
        line.found()
        line.lease(lease)
        return line

    def kill(self) -> None:
        """As power does, but for what it had begun."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As the service manager does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)

    def said(self, task: int, fence: int = 1, stream: str = "stdout") -> str:
        """What is kept of what it said."""
        return (self.directory / "runs" / f"{task}-{fence}" / stream).read_text()

    def work(self, task: int) -> Path:
        """Where a program works."""
        return self.directory / "runs" / f"{task}-1" / "work"

    def wrote(self, task: int, *names: str) -> bool:
        """Whether a program wrote its numbers."""
        files = [self.work(task) / name for name in names or ("pid",)]
        return all(file.exists() and file.read_text().endswith("\n") for file in files)

    def pid(self, task: int, name: str = "pid") -> int:
        """What a program wrote as its number."""
        wait_for(f"{name} of {task} is written", lambda: self.wrote(task, name))
        return int((self.work(task) / name).read_text())


def alive(pid: int) -> bool:
    """Whether a process lives, and is no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between opening and reading
        return False


def sleepers(word: str) -> list[int]:
    """Who runs ``sleep word``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_text() == f"sleep\0{word}\0" and alive(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def host(
    root: Path, directory: Path | None = None, enter: Path | None = None, database: object = None,
    words: list[str] | None = None, users: str = "", path: str = str(NODE), **tasks: object,
) -> Iterator[Host]:  # fmt: skip
    """A runner that may run everything unless ``tasks`` says otherwise."""
    directory = directory or root / "tasks"
    tree = {
        "ip": "127.0.0.1", "api-port": 8080, "state-dir": str(root / "state"),
        "udp": {"socket": {"group": "239.1.2.3:5500", "interface": "lo"}},
        "cluster": {"name": "trial", "founder": "127.0.0.1", "key-file": str(root / "cluster.key")},
        "api": {
            "certificate-file": str(root / "api.crt"), "key-file": str(root / "api.key"),
            "ca-file": str(root / "ca.crt"), "read-token-file": str(root / "read.token"),
            "operate-token-file": str(root / "operate.token"),
        },
        "tasks": {"dir": str(directory), "commands": ["/"], "shell": True,
                  **{name.replace("_", "-"): value for name, value in tasks.items()}},
        **({"database": database} if database else {}),
    }  # fmt: skip
    config = root / "config.yaml"
    config.write_text(json.dumps(tree))
    one = Host(root, config, directory, log=root / "log", enter=enter, words=words or [sys.executable], users=users,
               path=path)  # fmt: skip
    one.start()
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.stop()


def order(
    task: int, work: Work, *, fence: int = 1, tied: bool = True, time_limit: float = 0.0, limits: Limits = NO_LIMITS,
    template: str = "",
) -> StartRun:  # fmt: skip
    """An order to begin."""
    told = (("QLUSTER_TASK_ID", str(task)), ("QLUSTER_TASK_FENCE", str(fence)))
    return StartRun(task, fence, 1, work, template, limits, time_limit, tied, "", told)


def shell(text: str, **more: object) -> Command:
    """Text for a shell."""
    return Command((text,), shell=True, **more)  # type: ignore[arg-type]
