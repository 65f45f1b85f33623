"""Turns in a real loop: what is told when, in which order things are performed, and when the node is woken."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from pathlib import Path

import pytest
from qluster import turns
from qluster.clients import Done
from qluster.edge.clock import awake_at, monotonic
from qluster.edge.disk import Disk, DiskFailed
from qluster.edge.saving import Saver
from qluster.events import (
    Answer,
    DatagramReceived,
    Effects,
    Entry,
    Event,
    Job,
    Leave,
    Repoint,
    Save,
    SaveEnded,
    SaveEntries,
    Send,
    SpaceChanged,
    StopRequested,
    TimePassed,
)
from qluster.turns import EVENTS_MAX, IDLE_MAX, TURN_EVENTS_MAX, Hands, Turns

PATIENCE = 10.0
GROUP = ("239.1.2.3", 7400)
DATAGRAM = DatagramReceived(b"datagram", GROUP)
ENTRY: list[Save] = [SaveEntries((Entry(1, 1, "command", b"value"),))]


class Scripted:
    """A node that keeps what it was told, and answers with what the test has prepared."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self.turns: list[int] = []
        """How many events each settling followed."""
        self.prepared: list[Effects] = []
        self.restless = False
        self.wake_at = inf
        self.fault: Exception | None = None

    def take(self, event: Event, now: float) -> None:
        self.taken.append(event)
        if self.fault is not None:
            raise self.fault

    def settle(self, now: float) -> Effects:
        self.turns.append(len(self.taken))
        effects = self.prepared.pop(0) if self.prepared else Effects()
        effects.wake_at = min(effects.wake_at, self.wake_at)
        self.restless = bool(self.prepared)
        return effects


class Stage:
    """Turns with hands that write down what they are given."""

    def __init__(self, root: Path) -> None:
        self.node = Scripted()
        self.done: list[object] = []
        self.saved_at_once = False
        self.turned = 0
        self.disk = Disk(str(root))
        self.disk.load()
        self.saver = Saver(self.disk.save, lambda number: self.turns.put(SaveEnded(number)), self.failed)
        self.turns = Turns(
            Hands(self.deadline, self.done.extend, self.done.append, self.done.append, self.save, self.count)
        )
        self.living: asyncio.Task[Leave] | None = None

    def deadline(self, until: float, untied: bool) -> None:
        if until != inf:
            self.done.append(until)

    def failed(self, fault: BaseException) -> None:
        self.turns.fail(fault)

    def save(self, saves: Sequence[Save], number: int) -> bool:
        self.done.append(f"save {number}")
        if self.saved_at_once:
            self.disk.save(saves)
            return True
        return self.saver.save(saves, number)

    def count(self, node: object, now: float) -> None:
        self.turned += 1

    async def live(self) -> None:
        """Begin, and see the first turn over."""
        self.living = asyncio.create_task(self.turns.live(self.node))  # type: ignore[arg-type]
        await until(lambda: self.turned)
        self.node.taken.clear()
        self.node.turns.clear()

    async def close(self) -> None:
        if self.living is not None:
            self.living.cancel()
            await asyncio.gather(self.living, return_exceptions=True)
        await self.saver.close()
        self.disk.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path / "state")
    yield made
    await made.close()


# --- order ---------------------------------------------------------------------------


async def test_deadline_comes_before_everything_and_the_save_after_what_does_not_wait_for_it(stage: Stage) -> None:
    await stage.live()
    send, job, answer = Send(b"x", None), Job(1, Repoint(None, 1, 1)), Answer(1, Done(1))
    stage.node.prepared = [Effects(alive_until=5.0, send=[send], start=[job], answer=[answer], save=ENTRY, number=1)]
    stage.turns.put(SpaceChanged(""))
    await until(lambda: SaveEnded(1) in stage.node.taken)
    assert stage.done == [5.0, send, job, answer, "save 1"]
    assert stage.node.taken == [SpaceChanged(""), SaveEnded(1)]


async def test_end_of_a_save_that_was_durable_at_once_is_told_and_settled_in_the_same_turn(stage: Stage) -> None:
    await stage.live()
    stage.saved_at_once = True
    send = Send(b"held", None)
    stage.node.prepared = [Effects(save=ENTRY, number=1), Effects(send=[send])]
    turned = stage.turned
    stage.turns.put(SpaceChanged(""))
    await until(lambda: stage.turned > turned)
    assert stage.turned == turned + 1
    assert stage.node.taken == [SpaceChanged(""), SaveEnded(1)] and stage.done == ["save 1", send]


async def test_nothing_is_saved_or_told_after_the_node_left(stage: Stage) -> None:
    await stage.live()
    send = Send(b"goodbye", None)
    stage.node.prepared = [Effects(send=[send], save=ENTRY, number=1, leave=Leave("stopped", clean=True))]
    stage.turns.put(StopRequested())
    stage.turns.put(SpaceChanged(""))
    assert stage.living is not None
    assert await stage.living == Leave("stopped", clean=True)
    taken = len(stage.node.taken)
    stage.turns.put(SpaceChanged("full"))
    stage.turns.put_datagram(DATAGRAM)
    stage.turns.drained()
    for _ in range(5):
        await asyncio.sleep(0)
    assert stage.done == [send] and len(stage.node.taken) == taken


# --- events --------------------------------------------------------------------------


async def test_all_that_waits_is_one_turn_and_a_flood_is_several(stage: Stage) -> None:
    await stage.live()
    for _ in range(TURN_EVENTS_MAX + 10):
        stage.turns.put(SpaceChanged(""))
    await until(lambda: len(stage.node.taken) == TURN_EVENTS_MAX + 10)
    assert stage.node.turns[:2] == [TURN_EVENTS_MAX, TURN_EVENTS_MAX + 10]


async def test_datagrams_are_turned_when_the_socket_is_drained_without_a_round_of_the_loop(stage: Stage) -> None:
    await stage.live()
    for _ in range(3):
        stage.turns.put_datagram(DATAGRAM)
    assert stage.node.taken == []
    stage.turns.drained()
    assert stage.node.taken == [DATAGRAM] * 3
    stage.turns.drained()
    assert stage.node.turns == [3], "nothing came in since"


async def test_datagrams_beyond_the_bound_are_dropped_and_counted_and_other_events_never(stage: Stage) -> None:
    await stage.live()
    for _ in range(EVENTS_MAX + 7):
        stage.turns.put_datagram(DATAGRAM)
    stage.turns.put(StopRequested())
    assert stage.turns.dropped == 7
    await until(lambda: StopRequested() in stage.node.taken)
    assert len(stage.node.taken) == EVENTS_MAX + 1


async def test_events_from_within_a_turn_are_taken_in_the_next(stage: Stage) -> None:
    await stage.live()

    def more(job: object) -> None:
        stage.turns.put(SpaceChanged("from within"))
        stage.turns.drained()

    stage.turns._hands = Hands(stage.deadline, stage.done.extend, more, more, stage.save, stage.count)
    stage.node.prepared = [Effects(start=[Job(1, Repoint(None, 1, 1))])]
    stage.turns.put(SpaceChanged(""))
    await until(lambda: len(stage.node.taken) == 2)
    assert stage.node.turns == [1, 2]


# --- time ----------------------------------------------------------------------------


async def test_node_is_woken_when_it_asked_for_it_and_not_before(stage: Stage) -> None:
    await stage.live()
    begun = monotonic()
    stage.node.prepared = [Effects(wake_at=begun + 0.1)]
    stage.turns.put(SpaceChanged(""))
    await until(lambda: TimePassed() in stage.node.taken)
    assert 0.09 < monotonic() - begun < IDLE_MAX


async def test_later_event_that_needs_an_earlier_wake_gets_it(stage: Stage) -> None:
    await stage.live()
    begun = monotonic()
    stage.node.prepared = [Effects(wake_at=begun + 0.9), Effects(wake_at=begun + 0.05)]
    stage.turns.put(SpaceChanged(""))
    await until(lambda: len(stage.node.turns) == 1)
    stage.turns.put(SpaceChanged(""))
    await until(lambda: TimePassed() in stage.node.taken)
    assert monotonic() - begun < 0.8


async def test_timer_that_was_due_while_the_host_slept_is_set_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's clock stood still meanwhile: the timer would be due as late as if the host had not slept."""
    slept = [0.0]
    monkeypatch.setattr(turns, "monotonic", lambda: monotonic() + slept[0])
    monkeypatch.setattr(turns, "awake_at", lambda at: awake_at(at) - slept[0])
    await stage.live()
    begun = monotonic()
    stage.node.prepared = [Effects(wake_at=begun + 0.9), Effects(wake_at=begun + 60.1)]
    stage.turns.put(SpaceChanged(""))
    await until(lambda: len(stage.node.turns) == 1)
    slept[0] = 60.0
    stage.turns.put(SpaceChanged(""))
    await until(lambda: TimePassed() in stage.node.taken)
    assert 0.05 < monotonic() - begun < 0.8


async def test_node_that_asks_for_nothing_is_asked_once_a_second_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "IDLE_MAX", 0.05)
    await stage.live()
    stage.turns.put(SpaceChanged(""))
    await until(lambda: stage.node.taken.count(TimePassed()) >= 3)
    assert len(stage.node.taken) <= 10


# --- ends ----------------------------------------------------------------------------


async def test_fault_in_a_turn_is_raised_where_the_turns_are_lived_and_ends_them(stage: Stage) -> None:
    await stage.live()
    stage.node.fault = RuntimeError("a rule was broken")
    stage.turns.put(SpaceChanged(""))
    stage.turns.put(SpaceChanged(""))
    assert stage.living is not None
    with pytest.raises(RuntimeError, match="a rule was broken"):
        await stage.living
    assert len(stage.node.taken) == 1


async def test_save_that_failed_ends_the_turns_with_its_reason(stage: Stage) -> None:
    await stage.live()
    stage.disk._failure = DiskFailed("/state", "flushing failed")
    stage.node.prepared = [Effects(save=ENTRY, number=1)]
    stage.turns.put(SpaceChanged(""))
    assert stage.living is not None
    with pytest.raises(DiskFailed):
        await stage.living
    assert SaveEnded(1) not in stage.node.taken


async def test_next_node_gets_nothing_that_was_meant_for_the_former_but_the_wish_to_stop(stage: Stage) -> None:
    """Who was asked to stop while it begins again must not go on for ever."""
    await stage.live()
    stage.node.prepared = [Effects(leave=Leave("joins anew", rejoin=True))]
    stage.turns.put(SpaceChanged(""))
    assert stage.living is not None
    await stage.living
    for event in (SaveEnded(3), DATAGRAM, StopRequested(), SpaceChanged("full")):
        stage.turns.put(event)
    stage.turns.forget()
    stage.node, stage.turned = Scripted(), 0
    stage.living = asyncio.create_task(stage.turns.live(stage.node))  # type: ignore[arg-type]
    await until(lambda: stage.turned)
    assert stage.node.taken == [StopRequested()]
