"""Run a command within limits, and hear at once when a process ends.

It must not know what the commands are for.

A command is the leader of a process group of its own. The group is killed when the time is over,
when the caller is cancelled, and also when the leader has ended and left something behind.
Between the end of the leader (seen by its pidfd) and its reaping its number cannot be taken by
another process, so the kill never meets a stranger.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TypeVar

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")

OUTPUT_LIMIT = 256 * 1024
"""Bytes kept of each output stream: the last ones, because errors stand at the end."""
DRAIN_LIMIT = 1.0
"""Seconds to read what is left in the pipes after the command and its group have ended."""
KILL_LIMIT = 5.0
"""Seconds a killed process may take to go; longer means that it hangs in the kernel."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. ``code`` is negative for a signal, as in subprocess."""

    code: int
    output: str
    errors: str
    truncated: bool = False

    @property
    def complaint(self) -> str:
        """The last thing it said, in one line."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return "; ".join(lines[-3:]) if lines else f"exit code {self.code} and not a word"


class CommandFailed(Exception):
    """A command could not be started, or did not end in time."""


async def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    time_limit: float,
    output_limit: int = OUTPUT_LIMIT,
    given: bytes = b"",
    directory: str | None = None,
) -> Ended:
    """Run a command to its end; raises :class:`CommandFailed` when that does not come in time."""
    child = _start(arguments, environment, directory)
    try:
        async with asyncio.timeout(time_limit):
            return await _attend(child, given, output_limit)
    except TimeoutError:
        raise CommandFailed(f"{arguments[0]} did not end within {time_limit:g} seconds: killed") from None
    finally:
        kill_group(child.pid, child)
        await _reap(child)


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], directory: str | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{arguments[0]} cannot be started: {error.strerror or error}") from error


async def _attend(child: subprocess.Popen[bytes], given: bytes, output_limit: int) -> Ended:
    assert child.stdin and child.stdout and child.stderr
    output, errors = _Tail(output_limit), _Tail(output_limit)
    pipes = [await _read(child.stdout, output), await _read(child.stderr, errors)]
    try:
        await _feed(child.stdin, given)
        await ended(child.pid)
        kill_group(child.pid, child)
        code = child.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT):
                await output.done
                await errors.done
    finally:
        for pipe in pipes:
            pipe.close()
    return Ended(code, output.text, errors.text, output.truncated or errors.truncated)


class _Tail(asyncio.Protocol):
    """Keeps the last bytes of a pipe, and reads on so that the writer never blocks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.truncated = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > self._limit:
            self.truncated = True
            del self._kept[: len(self._kept) - self._limit]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


async def _read(pipe: IO[bytes], tail: _Tail) -> asyncio.BaseTransport:
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: tail, pipe)
    return transport


async def _feed(pipe: IO[bytes], given: bytes) -> None:
    """Give a small input; it fits the pipe, and who does not read it does not hold us up."""
    assert len(given) <= 4096, "an input that fits into any pipe"
    with contextlib.suppress(BrokenPipeError):
        pipe.write(given)
        pipe.flush()
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


async def _reap(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    if child.poll() is not None:
        return
    try:
        async with asyncio.timeout(KILL_LIMIT):
            await ended(child.pid)
        child.wait()
    except TimeoutError:
        log.error("process-hangs pid=%d limit=%.1f hint=it is killed and does not go", child.pid, KILL_LIMIT)


def kill_group(group: int, leader: subprocess.Popen[bytes]) -> None:
    """Kill all of a group whose leader has not been reaped yet (afterwards the number may be another's)."""
    if leader.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def watch(pid: int, call: Callable[[], None]) -> Callable[[], None]:
    """Call once when the process ends (at once when it has). The answer ends the watching."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        soon = loop.call_soon(call)
        return soon.cancel

    def end() -> None:
        nonlocal descriptor
        if descriptor >= 0:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            descriptor = -1

    def readable() -> None:
        end()
        call()

    loop.add_reader(descriptor, readable)
    return end


async def finished(work: Coroutine[object, object, Outcome]) -> Outcome:
    """Run to the end what must not be left half done, and be cancelled only then."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.exception()
        raise asyncio.CancelledError
    return task.result()


async def ended(pid: int) -> None:
    """Wait for the end of any process; a child is not reaped by this."""
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stop = watch(pid, lambda: None if gone.done() else gone.set_result(None))
    try:
        await gone
    finally:
        stop()


def start_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks: with the pid it names a process for good."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def halted(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a debugger; it has not ended, and does nothing."""
    return _letter(pid) in (b"T", b"t")


def asleep(pid: int) -> bool:
    """Whether a process sleeps in the kernel, where no signal reaches it: for a disk, as a rule."""
    return _letter(pid) == b"D"


def _letter(pid: int) -> bytes:
    """The kernel's letter for what a process does; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return b""
