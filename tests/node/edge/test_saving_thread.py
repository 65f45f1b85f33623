"""A saver with a real loop, its thread and real files: what it says is durable can be read back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from qluster.edge import saving
from qluster.edge.disk import Disk, DiskFailed, DiskFull
from qluster.edge.saving import Saver
from qluster.events import Entry, Save, Saved, SaveEntries, SaveVote

PATIENCE = 10.0


def entries(first: int, count: int = 1) -> SaveEntries:
    return SaveEntries(tuple(Entry(index, 1, "command", b"value") for index in range(first, first + count)))


class Site:
    """A disk with its saver, and a gate through which each save goes, so that a test decides when it ends."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = Disk(str(root))
        self.disk.load()
        self.gate = threading.Event()
        self.gate.set()
        self.at_the_gate = threading.Event()
        self.faults: list[Exception] = []
        self.groups: list[int] = []
        self.threads: set[str] = set()
        self.ended: list[int] = []
        self.failed: list[BaseException] = []
        self.saver = Saver(self.save, self.ended.append, self.failed.append)

    def save(self, saves: Sequence[Save]) -> None:
        self.threads.add(threading.current_thread().name)
        self.at_the_gate.set()
        assert self.gate.wait(PATIENCE)
        if self.faults:
            raise self.faults.pop(0)
        self.disk.save(saves)
        self.groups.append(len(saves))

    def read_back(self) -> Saved:
        """What a start finds."""
        self.disk.close()
        self.disk = Disk(str(self.root))
        return self.disk.load()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(saving, "FULL_RETRY", 0.02)
    made = Site(tmp_path / "state")
    yield made
    made.gate.set()
    await made.saver.close()
    made.disk.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this disk takes counts as quick."""
    monkeypatch.setattr(saving, "QUICK_SECONDS", PATIENCE)
    monkeypatch.setattr(saving, "STALL_SECONDS", PATIENCE)


async def test_everything_that_ended_is_on_the_disk_in_its_order(site: Site) -> None:
    for number in range(1, 40):
        site.saver.save([SaveVote(number, number), entries(number)], number)
        if number % 3 == 0:
            await asyncio.sleep(0)
    await until(lambda: site.ended and site.ended[-1] == 39)
    assert site.ended == sorted(set(site.ended))
    saved = site.read_back()
    assert (saved.term, saved.vote) == (39, 39) and [one.index for one in saved.entries] == list(range(1, 40))


async def test_loop_goes_on_while_a_save_hangs_and_what_gathers_is_one_group(site: Site) -> None:
    site.gate.clear()
    for number in range(1, 6):
        assert not site.saver.save([entries(number)], number)
        await asyncio.sleep(0)
    await until(site.at_the_gate.is_set)
    assert site.ended == []
    site.gate.set()
    await until(lambda: site.ended == [1, 5])
    assert site.groups == [1, 4]


@pytest.mark.usefixtures("quick")
async def test_quick_saves_are_done_by_the_loop_but_never_before_what_waits(site: Site) -> None:
    assert not site.saver.save([entries(1)], 1)
    await until(lambda: site.ended == [1])
    assert site.saver.save([entries(2)], 2), "nothing waits and the disk is quick"
    assert site.threads == {"disk_0", threading.main_thread().name}
    site.gate.clear()
    assert not site.saver.save([SaveVote(2, 1)], 3), "a vote is rare and goes to the thread"
    assert not site.saver.save([entries(3)], 4), "behind the vote, whatever the disk"
    site.gate.set()
    await until(lambda: site.ended == [1, 3, 4])
    saved = site.read_back()
    assert saved.term == 2 and [one.index for one in saved.entries] == [1, 2, 3]


@pytest.mark.usefixtures("quick")
async def test_full_disk_met_by_the_loop_is_tried_again_by_the_thread_first(site: Site) -> None:
    site.saver.save([entries(1)], 1)
    await until(lambda: site.ended == [1])
    site.faults = [DiskFull("/state", 10), DiskFull("/state", 10)]
    assert not site.saver.save([entries(2)], 2)
    assert site.saver.trouble
    assert not site.saver.save([entries(3)], 3), "it must not overtake what waits for space"
    assert not site.saver.between(lambda: None)
    await until(lambda: site.ended == [1, 3])
    assert not site.saver.trouble and [one.index for one in site.read_back().entries] == [1, 2, 3]


async def test_save_that_failed_ends_nothing_and_nothing_behind_it_begins(site: Site) -> None:
    site.faults = [DiskFailed("/state", "flushing failed")]
    site.gate.clear()
    site.saver.save([entries(1)], 1)
    site.saver.save([entries(2)], 2)
    site.gate.set()
    await until(lambda: site.failed)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert site.ended == [] and site.groups == [] and isinstance(site.failed[0], DiskFailed)


# --- another state takes the place of this one -----------------------------------------


async def test_nothing_of_the_former_state_is_saved_after_a_drain(site: Site) -> None:
    site.gate.clear()
    site.saver.save([entries(1, 3)], 7)
    site.saver.save([entries(4)], 8)
    draining = asyncio.create_task(site.saver.drain())
    await until(site.at_the_gate.is_set)
    site.gate.set()
    await draining
    assert [one.index for one in site.read_back().entries] == [1, 2, 3]


async def test_disk_that_fills_up_while_it_drains_brings_nothing_into_the_next_state(site: Site) -> None:
    """What was under way would be tried again a second later, and then in a state that knows nothing of it."""
    site.faults = [DiskFull("/state", 10)]
    site.gate.clear()
    site.saver.save([SaveVote(9, 3), entries(1, 5)], 70)
    await until(site.at_the_gate.is_set)
    draining = asyncio.create_task(site.saver.drain())
    await asyncio.sleep(0)
    site.gate.set()
    await draining
    site.disk.set_aside("joins anew")
    site.disk.load()
    site.saver.save([SaveVote(1, None)], 1)
    await until(lambda: 1 in site.ended)
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert site.ended == [1] and site.groups == [1] and not site.saver.trouble
    saved = site.read_back()
    assert saved.term == 1 and saved.entries == []


@pytest.mark.usefixtures("quick")
async def test_numbers_begin_anew_after_a_drain(site: Site) -> None:
    site.saver.save([entries(1)], 70)
    await until(lambda: site.ended == [70])
    await site.saver.drain()
    site.faults = [DiskFull("/state", 10)]
    assert not site.saver.save([entries(2)], 1)
    await until(lambda: len(site.ended) > 1)
    assert site.ended == [70, 1]


async def test_close_waits_for_what_is_under_way_and_drops_what_waits(site: Site) -> None:
    site.gate.clear()
    site.saver.save([entries(1)], 1)
    site.saver.save([entries(2)], 2)
    closing = asyncio.create_task(site.saver.close())
    await until(site.at_the_gate.is_set)
    assert not closing.done()
    site.gate.set()
    await closing
    await site.saver.close()
    assert site.ended == [], "nobody is there any more to be told"
    assert [one.index for one in site.read_back().entries] == [1]


async def test_drain_waits_for_other_work_of_the_disk(site: Site) -> None:
    done = threading.Event()
    site.gate.clear()

    def work() -> None:
        assert site.gate.wait(PATIENCE)
        done.set()

    assert site.saver.between(work)
    draining = asyncio.create_task(site.saver.drain())
    await asyncio.sleep(0)
    site.gate.set()
    await draining
    assert done.is_set() and site.saver.between(lambda: None)
