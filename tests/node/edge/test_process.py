"""Commands within limits, with real processes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edge.runner_world import sleepers
from qluster.edge.process import CommandFailed, run, start_ticks, watch

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


async def python(code: str, time_limit: float = 20.0, **more: object) -> object:
    return await run(
        [sys.executable, "-I", "-S", "-c", code], environment=ENVIRONMENT, time_limit=time_limit, **more
    )


async def test_output_errors_and_code_come_back() -> None:
    end = await python("import sys; print('out'); print('bad', file=sys.stderr); sys.exit(3)")
    assert (end.code, end.output, end.errors, end.complaint) == (3, "out\n", "bad\n", "bad")


async def test_input_is_given_and_environment_is_only_what_is_said() -> None:
    end = await python("import os; print(input(), sorted(os.environ))", given=b"word\n")
    assert end.output.startswith("word ['") and "HOME" not in end.output


async def test_only_the_end_of_a_long_output_is_kept() -> None:
    end = await python("print('a' * 3_000_000); print('last')", output_limit=1000)
    assert end.truncated and len(end.output) == 1000 and end.output.endswith("a\nlast\n")


async def test_a_command_that_takes_too_long_is_killed_with_its_children() -> None:
    nap = f"60.{os.getpid()}"
    code = f"import subprocess, time; subprocess.Popen(['sleep', '{nap}']); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="did not end within 1 seconds"):
        await python(code, time_limit=1.0)
    assert time.monotonic() - began < 10
    for _ in range(100):
        if not sleepers(nap):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the grandchild lives on")


async def test_cancelling_kills_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    task = asyncio.create_task(
        python(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    )
    while not (mark.exists() and mark.read_text()):
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert start_ticks(int(mark.read_text())) is None


async def test_a_child_left_behind_does_not_hold_up_the_end() -> None:
    began = time.monotonic()
    end = await python("import subprocess; subprocess.Popen(['sleep', '60']); print('done')")
    assert end.output == "done\n" and time.monotonic() - began < 10


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandFailed, match="/no/such/program cannot be started: No such file"):
        await run(["/no/such/program"], environment={}, time_limit=1)


async def test_the_end_of_a_process_is_heard_at_once() -> None:
    child = subprocess.Popen(["sleep", "60"])
    heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    watch(child.pid, lambda: heard.set_result(time.monotonic()))
    await asyncio.sleep(0)
    killed = time.monotonic()
    child.kill()
    delay = await asyncio.wait_for(heard, 5) - killed
    child.wait()
    assert delay < 1.0


async def test_watching_can_be_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    heard: list[int] = []
    stop = watch(child.pid, lambda: heard.append(1))
    stop()
    stop()
    child.kill()
    child.wait()
    await asyncio.sleep(0.05)
    assert heard == []


def test_start_ticks_tell_processes_apart() -> None:
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())
    assert start_ticks(2**22 + 5) is None
