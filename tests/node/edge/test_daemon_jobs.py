"""Jobs and requests of a daemon: each that was begun ends, whatever becomes of the node."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from edge.daemon_world import Site
from qluster.config import parse
from qluster.daemon import Daemon
from qluster.events import CancelJob, FetchSnapshot, Job, JobEnded, Leave, StopRequested

NOBODY = ("127.0.29.9", 1)


class Ends:
    """What the turns were told."""

    def __init__(self, daemon: Daemon, patch: pytest.MonkeyPatch) -> None:
        self.of: list[JobEnded] = []
        patch.setattr(daemon._turns, "put", self.of.append)

    async def until(self, count: int) -> None:
        for _ in range(1000):
            if len(self.of) >= count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{len(self.of)} of {count} jobs have ended")


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    site = Site(tmp_path, "239.19.78.9:7690", "127.0.29")
    return Daemon(parse(site.configure(1).read_text(), "config.yaml"))


async def test_job_that_is_cancelled_before_it_began_ends_all_the_same(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both waited for one save: the order of a leader, and its end because it leads no longer."""
    ends = Ends(daemon, monkeypatch)
    daemon._jobs.start(Job(1, FetchSnapshot(NOBODY, 5)))
    daemon._jobs.start(Job(2, CancelJob(1)))
    await ends.until(1)
    assert [(end.number, end.error, end.result) for end in ends.of] == [(1, "it was cancelled", True)]
    daemon._jobs.start(Job(3, FetchSnapshot(NOBODY, 5)))
    await ends.until(2)
    assert ends.of[1].number == 3 and ends.of[1].error


async def test_job_that_is_cancelled_while_it_runs_ends_once(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    ends, hanging = Ends(daemon, monkeypatch), asyncio.Event()

    async def hang(_: object) -> object:
        hanging.set()
        await asyncio.sleep(60)
        return None

    monkeypatch.setattr(daemon._jobs, "_do", hang)
    daemon._jobs.start(Job(1, FetchSnapshot(NOBODY, 5)))
    await hanging.wait()
    daemon._jobs.start(Job(2, CancelJob(1)))
    await ends.until(1)
    daemon._jobs.start(Job(3, CancelJob(1)))
    await asyncio.sleep(0)
    assert [(end.number, end.error, end.result) for end in ends.of] == [(1, "it was cancelled", True)]


async def test_all_jobs_have_ended_when_a_daemon_begins_again(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(daemon, monkeypatch)
    for number in (1, 2):
        daemon._jobs.start(Job(number, FetchSnapshot(NOBODY, 5)))
    await daemon._jobs.end()
    assert sorted(end.number for end in ends.of) == [1, 2] and not daemon._jobs


async def test_who_asked_a_node_that_begins_again_is_answered_and_a_wish_to_stop_is_kept(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new node knows nothing of either; the client would wait for ever, and the operator too."""
    made = []
    monkeypatch.setattr(daemon, "_make_node", lambda saved, founding: made.append(saved.uid))
    first = daemon._disk.load()
    daemon._node = SimpleNamespace(stopping=True)  # type: ignore[assignment]
    waiting = daemon._tickets[1] = asyncio.get_running_loop().create_future()
    daemon._turns.put(JobEnded(1))
    assert await daemon._leave(Leave("joins anew", rejoin=True)) is None
    assert waiting.done() and waiting.result() is None
    assert list(daemon._turns._events) == [StopRequested()] and made and made[0] != first.uid
    await daemon._saver.close()
    daemon._disk.close()
