"""Load from within a server process: how the benchmark orders it, and how the process answers.

One line of JSON each way, by standard input and output. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import select
from dataclasses import asdict, dataclass
from typing import Any

from bench.figures import Figures
from bench.load import LoadFailed, Outcome
from bench.processes import Server

ANSWER_SECONDS = 60.0
"""Beyond the load's own time: more means that the process hangs."""


@dataclass(frozen=True)
class Task:
    """So many writes under way at once, to so many keys; ``count`` ends it after so many instead of after the time."""

    clients: int
    size: int
    seconds: float
    warm: float
    count: int = 0
    keys: int = 1


def line(answer: dict[str, Any]) -> bytes:
    """An answer as it goes out."""
    return json.dumps(answer).encode() + b"\n"


def outcome_line(outcome: Outcome) -> bytes:
    """The outcome of a task as it goes out."""
    return line({"figures": asdict(outcome.figures), "done": outcome.done})


def ask(server: Server, question: dict[str, Any], limit: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Ask a process that was started with pipes; raises :class:`LoadFailed` when it does not answer."""
    inlet, outlet = server.child.stdin, server.child.stdout
    assert inlet is not None and outlet is not None, "started with pipes"
    try:
        inlet.write(line(question))
        inlet.flush()
        ready = select.select([outlet], [], [], limit)[0]
        said = outlet.readline() if ready else b""
    except BrokenPipeError:
        said = b""
    if not said:
        raise LoadFailed(f"process {server.pid} did not answer {question}; {server.log}:\n{server.tail()}")
    answer: dict[str, Any] = json.loads(said)
    return answer


def run(server: Server, task: Task) -> Outcome:
    """Let a process load its own cluster."""
    seconds = task.warm + task.seconds if not task.count else 3600.0
    answer = ask(server, {"task": asdict(task)}, seconds + ANSWER_SECONDS)
    if "error" in answer:
        raise LoadFailed(f"process {server.pid}: {answer['error']}")
    return Outcome(Figures(**answer["figures"]), answer["done"])
