"""The guard ends the database when the daemon is late or gone. With real processes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from math import inf
from pathlib import Path

import pytest
import pytest_asyncio
from qluster.edge import clock, guard_process
from qluster.edge.guard import Guard
from qluster.edge.process import start_ticks

LIMIT = 20.0

# Stands for a postmaster with one child: works in the directory, names itself in postmaster.pid, ends on SIGQUIT.
POSTMASTER = """
import os, signal, sys, time
os.chdir(sys.argv[1])
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
child = os.fork()
if child == 0:
    time.sleep(120)
    os._exit(0)
if sys.argv[2] != "deaf":
    def quit(*_):
        os.kill(child, signal.SIGKILL)
        os._exit(2)
    signal.signal(signal.SIGQUIT, quit)
open("child.pid", "w").write(str(child))
open("part", "w").write(f"{os.getpid()}\\n{sys.argv[1]}\\n")
os.rename("part", "postmaster.pid")
time.sleep(120)
"""

# Stands for the daemon: a guard, and then nothing but work that never ends.
DAEMON = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from qluster.edge.guard import Guard
async def main():
    guard = Guard(sys.argv[2])
    await guard.start()
    print("guarded", guard.pid, flush=True)
    await asyncio.sleep(120)
asyncio.run(main())
"""


class Postmaster:
    """A process that looks like a database server to the guard."""

    def __init__(self, directory: Path, manner: str = "well") -> None:
        self.directory = directory
        self.process = subprocess.Popen([sys.executable, "-I", "-S", "-c", POSTMASTER, str(directory), manner])
        wait_until((directory / "postmaster.pid").exists)
        self.child = int((directory / "child.pid").read_text())

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None and start_ticks(self.child) is None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if start_ticks(self.child) is not None:
            os.kill(self.child, signal.SIGKILL)


def wait_until(condition: Callable[[], object]) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < LIMIT, "it did not come"
        time.sleep(0.002)
    return time.monotonic() - began


async def wait(condition: Callable[[], object]) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < LIMIT, "it did not come"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "data dir").mkdir()
    return tmp_path / "data dir"


@pytest_asyncio.fixture
async def guard(directory: Path) -> AsyncIterator[Guard]:
    made = Guard(str(directory))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def postmaster(directory: Path) -> object:
    made = Postmaster(directory)
    yield made
    made.close()


async def test_a_deadline_that_passes_ends_the_database(guard: Guard, postmaster: Postmaster) -> None:
    guard.server(postmaster.process.pid)
    guard.deadline(clock.monotonic() + 0.3)
    assert await wait(lambda: postmaster.ended) >= 0.28


async def test_a_deadline_that_is_renewed_does_not(guard: Guard, postmaster: Postmaster) -> None:
    for _ in range(8):
        guard.deadline(clock.monotonic() + 1.5)
        await asyncio.sleep(0.3)
    assert not postmaster.ended
    guard.deadline(inf)
    await asyncio.sleep(1.7)
    assert not postmaster.ended


async def test_what_was_done_is_told(directory: Path, postmaster: Postmaster) -> None:
    told: list[str] = []
    guard = Guard(str(directory), ended=told.append)
    await guard.start()
    guard.deadline(clock.monotonic() - 1)
    await wait(lambda: told)
    assert told[0].startswith(f"ended deadline quit {postmaster.process.pid} ")
    await guard.stop()


async def test_a_database_that_does_not_quit_is_killed_with_its_children(guard: Guard, directory: Path) -> None:
    deaf = Postmaster(directory, "deaf")
    try:
        guard.deadline(clock.monotonic())
        took = await wait(lambda: deaf.ended)
        assert took >= guard_process.GRACE * 0.9
    finally:
        deaf.close()


async def test_a_frozen_database_is_killed(guard: Guard, postmaster: Postmaster) -> None:
    os.kill(postmaster.process.pid, signal.SIGSTOP)
    guard.server(postmaster.process.pid)
    guard.deadline(clock.monotonic())
    await wait(lambda: postmaster.ended)


async def test_the_sessions_of_a_frozen_database_end_before_it(guard: Guard, postmaster: Postmaster) -> None:
    os.kill(postmaster.process.pid, signal.SIGSTOP)
    guard.deadline(clock.monotonic())
    took = await wait(lambda: start_ticks(postmaster.child) is None)
    assert took < guard_process.GRACE, "a session needs no postmaster to acknowledge a commit"
    await wait(lambda: postmaster.ended)


def test_the_end_of_the_daemon_ends_the_database_at_once(directory: Path, postmaster: Postmaster) -> None:
    node = str(Path(guard_process.__file__).parents[2])
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, node, str(directory)], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    guard_pid = int(daemon.stdout.readline().split()[1])
    daemon.kill()
    took = wait_until(lambda: postmaster.ended)
    daemon.wait()
    assert took < 2.0, "0.02 s measured on an idle host"
    wait_until(lambda: start_ticks(guard_pid) is None)


async def test_a_released_guard_ends_and_touches_nothing(directory: Path, postmaster: Postmaster) -> None:
    guard = Guard(str(directory))
    await guard.start()
    pid = guard.pid
    assert pid is not None
    await guard.stop()
    await guard.stop()
    assert start_ticks(pid) is None and not postmaster.ended


async def test_signals_for_the_daemon_do_not_end_the_guard(guard: Guard, postmaster: Postmaster) -> None:
    assert guard.pid is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guard.pid, number)
    guard.deadline(clock.monotonic())
    await wait(lambda: postmaster.ended)


async def test_a_lost_guard_is_replaced_and_knows_the_deadline(guard: Guard, postmaster: Postmaster) -> None:
    guard.server(postmaster.process.pid)
    guard.deadline(clock.monotonic() + 2.0)
    first = guard.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await wait(lambda: guard.pid not in (None, first))
    await wait(lambda: postmaster.ended)


async def test_a_guard_that_cannot_be_kept_is_reported(directory: Path) -> None:
    lost: list[str] = []
    guard = Guard(str(directory), lost=lost.append)
    await guard.start()
    last = None
    while not lost:
        await wait(lambda last=last: lost or guard.pid not in (None, last))
        last = guard.pid
        if last is not None and not lost:
            os.kill(last, signal.SIGKILL)
            await wait(lambda last=last: lost or guard.pid != last)
    assert "the guard ended 6 times" in lost[0]
    await guard.stop()


async def test_a_stranger_with_the_pid_of_the_lock_is_left_alone(guard: Guard, directory: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], cwd="/")
    try:
        (directory / "postmaster.pid").write_text(f"{stranger.pid}\n")
        guard.deadline(clock.monotonic())
        await asyncio.sleep(0.5)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_with_another_start_time_is_left_alone() -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        ticks = guard_process.start_ticks(stranger.pid)
        assert ticks is not None
        guard_process.Process(stranger.pid, ticks - 1).send(signal.SIGKILL)
        assert guard_process.Process(stranger.pid, ticks).alive()
        guard_process.Process(stranger.pid, ticks).send(signal.SIGKILL)
        stranger.wait()
    finally:
        stranger.kill()


def test_words_that_are_none_of_ours_end_nothing() -> None:
    watch = guard_process.Watch()
    watch.take(b"deadline soon\nserver x\nnonsense\n\xff\xfe\ndatabase /a b\ndeadline 5")
    assert (watch.directory, watch.deadline, watch.server, watch.released) == ("/a b", inf, None, False)
    watch.take(b".5\nrelease\n")
    assert (watch.deadline, watch.released) == (5.5, True)


async def test_no_server_is_begun_by_hand_past_the_deadline(
    guard: Guard, postmaster: Postmaster, directory: Path
) -> None:
    guard.deadline(clock.monotonic())
    await wait(lambda: postmaster.ended)
    (directory / "postmaster.pid").unlink()
    by_hand = Postmaster(directory)
    try:
        await wait(lambda: by_hand.ended)
    finally:
        by_hand.close()
    guard.deadline(inf)
    (directory / "postmaster.pid").unlink()
    standby = Postmaster(directory)
    try:
        await asyncio.sleep(3 * guard_process.TICK)
        assert not standby.ended
    finally:
        standby.close()


def test_a_word_to_end_the_server_now_is_not_taken_back_by_a_later_deadline() -> None:
    watch = guard_process.Watch()
    watch.take(b"deadline -inf\ndeadline inf\n")
    assert watch.overdue()
    watch.end("deadline")
    assert not watch.overdue()
    watch.take(b"deadline -inf\nserver 0 0\ndeadline inf\n")
    assert not watch.overdue(), "it was meant for the server before"


async def test_a_server_that_comes_late_is_ended_by_the_word_before_it(guard: Guard, postmaster: Postmaster) -> None:
    lock = postmaster.directory / "postmaster.pid"
    lock.rename(lock.with_name("later"))
    guard.deadline(-inf)
    await asyncio.sleep(0.3)
    assert not postmaster.ended, "nobody has named it yet"
    guard.server(postmaster.process.pid)
    await wait(lambda: postmaster.ended)


def test_a_host_that_slept_is_overdue() -> None:
    watch = guard_process.Watch()
    watch.take(f"deadline {time.monotonic() + 1000}\n".encode())
    assert not watch.overdue()
    watch.slept -= guard_process.SLEEP_LIMIT + 0.1
    assert watch.overdue()
    watch.take(f"deadline {time.monotonic() + 1000}\n".encode())
    assert watch.overdue(), "what it says comes from before the sleep, perhaps"


def test_sleep_of_a_host_without_a_deadline_ends_nothing() -> None:
    for before, after in ((inf, 1000.0), (1000.0, inf)):
        watch = guard_process.Watch()
        watch.take(f"deadline {time.monotonic() + before}\n".encode())
        watch.slept -= guard_process.SLEEP_LIMIT + 0.1
        watch.take(f"deadline {time.monotonic() + after}\n".encode())
        assert not watch.overdue(), (before, after)


def test_guard_that_waits_between_its_clocks_takes_no_sleep_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = guard_process.Watch()
    watch.take(f"deadline {time.monotonic() + 1000}\n".encode())
    real = time.clock_gettime

    def slow(clock: int) -> float:
        seconds = real(clock)
        time.sleep(3 * guard_process.SLEEP_LIMIT)
        return seconds

    monkeypatch.setattr(time, "clock_gettime", slow)
    watch.take(f"deadline {time.monotonic() + 1000}\n".encode())
    assert not watch.overdue()
