"""How an end is called, and in which words."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.tasks.bodies import Verdict
from qluster.tasks.reasons import TAIL, judge, one_line, tail
from qluster.tasks.runner import StartRun, StopRun
from qluster.tasks.spec import Command, Limits

ORDER = StartRun(1, 2, 1, Command(("/bin/true",)), "", Limits(memory=64 << 20, processes=9), 60, True)
STOP = StopRun(1, 2, Verdict.CANCELLED, "anna cancelled it")
ROWS = [
    (0, 0, "", None, False, Verdict.DONE, ""),
    (3, 0, "", None, False, Verdict.FAILED, "exit code 3"),
    (None, 11, "", None, False, Verdict.FAILED, "killed by signal 11 (SIGSEGV)"),
    (None, 9, "", None, False, Verdict.FAILED, "killed by signal 9 (SIGKILL), and not by the cluster: where the host "
     "ran out of memory, its kernel log says so (journalctl -k)"),
    (None, 40, "", None, False, Verdict.FAILED, "killed by signal 40"),
    (None, 9, "", None, True, Verdict.FAILED, "killed by signal 9 (SIGKILL): out of memory (limits.memory is 64 MiB)"),
    (None, 9, "memory", None, False, Verdict.FAILED, "out of memory (limits.memory is 64 MiB): it was killed"),
    (None, 9, "processes", None, False, Verdict.FAILED, "more than 9 processes (limits.processes): all were killed"),
    (None, 15, "time", None, False, Verdict.TIMED_OUT, "time limit of 60 s passed"),
    (0, 0, "time", None, False, Verdict.TIMED_OUT, "time limit of 60 s passed"),
    (None, 15, "", STOP, False, Verdict.CANCELLED, "anna cancelled it"),
    (None, 9, "lease", STOP, False, Verdict.CUT_OFF,
     "this node did not hear from the cluster, and the task must not run twice"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "signal", "cause", "stop", "short", "verdict", "reason"), ROWS)
def test_an_end_has_one_name(
    code: int | None, signal: int, cause: str, stop: StopRun | None, short: bool, verdict: Verdict, reason: str
) -> None:
    assert judge(ORDER, code, signal, cause, stop, short=short) == (verdict, reason)


def test_the_end_of_what_was_said_can_be_shown_to_people() -> None:
    assert tail(b"\x1b[31mred\x07\n", b"out") == "�[31mred�"
    assert tail(b" \n", b"out\n") == "out"
    assert tail(b"x" * 2000 + "\N{SNOWMAN}".encode(), b"") == "x" * (TAIL - 1) + "\N{SNOWMAN}"
    assert tail(b"\xff\xfeno text", b"").endswith("no text")
    assert tail(b"two\r\nlines", b"") == "two\ufffd\nlines"
    assert one_line("/no/such\n2030-01-01 forged\x9b31m") == "/no/such\ufffd2030-01-01 forged\ufffd31m"
