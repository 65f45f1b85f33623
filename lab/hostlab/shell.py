"""Runs other programs: always with a time limit, always with an error that shows what they said.

Must not know what a lab is.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from hostlab.errors import LabError

SHORT = 15.0  # seconds; for programs that only ask the kernel for something
POLL_INTERVAL = 0.1  # seconds between two looks at a condition
QUOTED_LINES = 15  # of a failed program's output: enough for a cause, not a page


def run(
    command: Sequence[str],
    *,
    timeout: float = SHORT,
    stdin: str = "",
    check: bool = True,
    env: Mapping[str, str] | None = None,
    output: IO[str] | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; LabError when it fails (unless check is false) or takes too long.

    With `output` the program's own words go there. `before` is called in the child, to join a group."""
    try:
        done = subprocess.run(
            command,
            # Never the caller's own standard input: a program could wait for it.
            **({"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}),
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
            text=True,
            timeout=timeout,
            env=env,
            preexec_fn=before,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"the program {command[0]} is not installed; run `lab/lab.py setup`") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"gave up after {timeout:.0f} s: {shlex.join(command)}") from None
    if check and done.returncode != 0:
        raise LabError(f"exit code {done.returncode} from: {shlex.join(command)}{_quoted(done)}")
    return done


def _quoted(done: subprocess.CompletedProcess[str]) -> str:
    text = (done.stderr or "") + (done.stdout or "")
    lines = text.strip().splitlines()[-QUOTED_LINES:]
    return "".join(f"\n    {line}" for line in lines)


def wait_until(holds: Callable[[], bool], *, timeout: float, otherwise: Callable[[], str]) -> None:
    """Wait for a condition; LabError with the text of `otherwise` when the time is over."""
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"{otherwise()} (waited {timeout:.0f} s)")
        time.sleep(POLL_INTERVAL)
