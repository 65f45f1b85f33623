"""Decides what the end of a run is called, and says it in words that a person understands.

Must not know how the end was seen.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.tasks.bodies import Verdict
from qluster.tasks.runner import StartRun, StopRun

TAIL = 500
"""Characters of what a program said at its end."""

SIGKILL = 9
UNASKED = ", and not by the cluster: where the host ran out of memory, its kernel log says so (journalctl -k)"

REPLACED = "\N{REPLACEMENT CHARACTER}"

SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
"""On every machine that Linux has a Python for, but for MIPS and SPARC."""


def judge(
    order: StartRun, code: int | None, signal: int, cause: str, stop: StopRun | None, *, short: bool = False,
    crowded: bool = False,
) -> tuple[Verdict, str]:
    """How a run ended that was begun.

    ``cause``: why it was killed, of ``edge/runner/plan.py``; ``stop``: what was ordered before its end; ``short``:
    the kernel killed in its control group because memory was used up; ``crowded``: it let it begin no more processes.
    """
    if cause == "lease":
        return Verdict.CUT_OFF, "this node did not hear from the cluster, and the task must not run twice"
    if cause == "runner":
        return Verdict.VANISHED, "the task runner of this node was gone, and it was killed"
    if stop is not None:
        return stop.verdict, stop.reason
    if cause == "time":
        return Verdict.TIMED_OUT, f"time limit of {order.time_limit:g} s passed"
    if cause == "processes":
        return Verdict.FAILED, f"more than {order.limits.processes} processes (limits.processes): all were killed"
    limit = f" (limits.memory is {_mib(order.limits.memory)})" if order.limits.memory else ""
    if cause == "memory":
        return Verdict.FAILED, f"out of memory{limit}: it was killed"
    if code == 0:
        return Verdict.DONE, ""
    why = f": out of memory{limit}" if short else ""
    if crowded and not why:
        why = f": it may have {order.limits.processes} processes and wanted more (limits.processes)"
    if signal:
        name = f" ({SIGNALS[signal]})" if signal in SIGNALS else ""
        return Verdict.FAILED, f"killed by signal {signal}{name}{why or (UNASKED if signal == SIGKILL else '')}"
    return Verdict.FAILED, f"exit code {code}{why}" if code is not None else "nobody saw its end"


def tail(errors: bytes, output: bytes) -> str:
    """The end of what it said: its complaints, or else what it said otherwise."""
    text = (errors if errors.strip() else output).decode("utf-8", "replace").strip()
    return "\n".join(map(one_line, text.split("\n")))[-TAIL:]


def one_line(text: str) -> str:
    """As one line that moves no cursor and forges no log: a path in a reason may have anything in it."""
    return text if text.isprintable() else "".join(one if one.isprintable() else REPLACED for one in text)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):g} MiB" if size >= 1 << 20 else f"{size} bytes"
