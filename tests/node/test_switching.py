"""A switchover step by step: what each step orders, and what becomes of it where one fails."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from qluster.clients import Done, Refused
from qluster.cluster.commands import Reign, SwitchoverBegun, SwitchoverEnded, Yielded
from qluster.cluster.messages import Report
from qluster.cluster.switchover import Switching
from qluster.database.orders import Checkpoint
from qluster.leading import Propose, Transfer
from qluster.status import DatabaseStatus, PoolStatus
from qluster.switching import (
    CHECKPOINT_PATIENCE,
    COMMIT_PATIENCE,
    POOLS_PATIENCE,
    PROOF_PATIENCE,
    STOP_PATIENCE,
    TAKE_PATIENCE,
    Phase,
    Sight,
    Switchover,
    Wish,
)

REIGN = Reign(3, 1, 7, 2, 0, 99)
END = (3, 5000)
ADDRESS = "10.0.0.2:5432"


def report(replayed: int | None = None, *, timeline: int = 3, writable: bool = False, reign: int = 3) -> Report:
    database = DatabaseStatus(role="replica", timeline=timeline, replayed=replayed, position=replayed, streaming=True)
    return Report(1, 2, "", "", "", reign, writable, database, None)


@dataclass
class World:
    """A switchover and what it sees."""

    one: Switchover
    sight: Sight

    def see(self, **changes: Any) -> list[object]:
        self.sight = replace(self.sight, **changes)
        return list(self.one.step(self.sight))

    def log(self, body: Any) -> None:
        """An entry is applied."""
        switching, index = self.sight.switching, int(self.sight.now * 100) + 1
        match body:
            case SwitchoverBegun():
                changed = switching.begin(body, index, 3)
            case Yielded():
                changed = switching.yields(body, 3)
            case SwitchoverEnded():
                changed = switching.end(body)
            case Reign():
                changed, self.sight = switching.reigned(body), replace(self.sight, reign=body)
        assert isinstance(changed, Switching)
        self.sight = replace(self.sight, switching=changed)

    @property
    def failure(self) -> str:
        outcome = self.one.outcome()
        assert isinstance(outcome, Refused), outcome
        return outcome.reason


def begun(wish: Wish | None = None, pools: Mapping[int, PoolStatus | None] | None = None, **changes: Any) -> World:
    sight = Sight(
        now=0.0, wall=1000.0, leads=True, term=7, leader=1, reign=REIGN, switching=Switching(), checkpointed=None,
        quiet=False, end=None, successor=report(4000), address=ADDRESS, pools=pools or {}, transferring=False,
        node_timeout=3.0, retry=1.0,
    )  # fmt: skip
    reign = 3 if sight.reign is not None else 0
    return World(Switchover(wish or Wish(2), 0.0, 7, reign), replace(sight, **changes))


def paused(wish: Wish | None = None, pools: Mapping[int, PoolStatus | None] | None = None) -> World:
    """The checkpoint is over and the begin is in the log."""
    world = begun(wish, pools)
    assert world.see() == [Checkpoint()]
    [duty] = world.see(now=0.1, checkpointed="")
    assert isinstance(duty, Propose) and isinstance(duty.body, SwitchoverBegun)
    world.log(duty.body)
    return world


def stopped(wish: Wish | None = None) -> World:
    """The primary has stopped in order, and the successor has its last record."""
    world = paused(wish)
    assert world.see(now=0.2) == [] and world.one.stops_primary
    return world


def yielded() -> World:
    """The end of the reign is in the log."""
    world = stopped()
    [duty] = world.see(now=0.3, quiet=True, end=END, successor=report(5001))
    assert duty == Propose(Yielded(3, 2, 3, 5000)) and world.one.gave_up
    world.log(duty.body)  # type: ignore[attr-defined]
    return world


def test_whole_way_with_a_pool() -> None:
    world = paused(pools={4: PoolStatus(target="10.0.0.1:5432", reign=3)})
    assert world.see(now=0.2) == [] and not world.one.stops_primary, "something is open at the pool"
    assert world.see(now=0.3, pools={4: PoolStatus(reign=3, held=11)}) == []
    assert world.one.stops_primary
    [duty] = world.see(now=0.4, quiet=True, end=END, successor=report(5001))
    world.log(duty.body)  # type: ignore[attr-defined]
    assert world.see(now=0.5) == [Transfer(2)]
    assert world.see(now=0.6, leads=False, leader=2, term=8) == []
    world.log(Reign(4, 2, 8, 3, 5001, 99))
    assert world.see(now=0.7) == [] and world.one.outcome() is None
    assert world.see(now=0.8, successor=report(6000, writable=True, reign=4)) == []
    world.see(now=0.9, pools={4: PoolStatus(target=ADDRESS, reign=4)})
    outcome = world.one.outcome()
    assert isinstance(outcome, Done)
    assert outcome.detail["write_gap_ms"] == 700 and outcome.detail["reign"] == 4
    phases = outcome.detail["phases_ms"]
    assert isinstance(phases, dict)
    assert list(phases) == ["checkpoint", "pause", "stop", "proof", "commit", "transfer", "promote", "resume"]


def test_cluster_without_databases_hands_over_at_once() -> None:
    world = begun(reign=None)
    world.one = Switchover(Wish(2), 0.0, 7, 0)
    assert world.see(quiet=True) == [Transfer(2)]
    world.see(now=0.1, leads=False, leader=None, term=8)
    assert world.one.outcome() is None
    world.see(now=0.2, leader=2)
    outcome = world.one.outcome()
    assert outcome == Done(0, {"leader": 2, "changed": True})


def test_primary_that_is_given_up_neither_waits_nor_asks_for_proof() -> None:
    world = begun(Wish(2, at_once=True))
    assert world.see() == [] and world.one.stops_primary
    assert world.see(now=0.1, quiet=True) == [Transfer(2)], "it did not stop in order: the successor will ask"
    world = begun(Wish(2, at_once=True))
    assert world.see(quiet=True, end=END) == []
    assert world.see(now=PROOF_PATIENCE + 0.1) == [Transfer(2)]


# --- what fails --------------------------------------------------------------------


def test_slow_checkpoint_is_given_up_unless_forced() -> None:
    world = begun()
    world.see()
    world.see(now=CHECKPOINT_PATIENCE)
    assert "did not end within 30 s" in world.failure
    world = begun(Wish(2, force=True))
    world.see()
    assert [type(duty) for duty in world.see(now=CHECKPOINT_PATIENCE)] == [Propose]


def test_checkpoint_that_fails_is_named() -> None:
    world = begun()
    world.see()
    world.see(now=0.1, checkpointed="the disk is full")
    assert world.failure == "the checkpoint before it failed: the disk is full"


def test_open_transaction_is_waited_for_and_then_named() -> None:
    open_pool = {4: PoolStatus(target="10.0.0.1:5432", reign=3, error="a transaction is open")}
    world = paused(Wish(2, patience=2.0), open_pool)
    world.see(now=0.2)
    assert world.see(now=2.1) == [] and world.one.phase == Phase.PAUSE
    duties = world.see(now=2.2)
    assert isinstance(duties[0], Propose) and isinstance(duties[0].body, SwitchoverEnded)
    world.log(duties[0].body)
    world.see()
    assert "pool of node 4 did not come to rest within 2 s (node 4: a transaction is open)" in world.failure
    assert world.sight.switching.last is not None and world.sight.switching.last.reason == world.failure


def test_open_transaction_is_broken_off_when_forced() -> None:
    world = paused(Wish(2, force=True, patience=2.0), {4: PoolStatus(reign=3), 5: None})
    world.see(now=0.2)
    assert not world.one.stops_primary
    assert world.see(now=2.2) == [] and world.one.stops_primary


@pytest.mark.parametrize(
    ("changes", "after", "reason"),
    [
        pytest.param({}, STOP_PATIENCE, "did not stop within 40 s", id="hangs"),
        pytest.param({"quiet": True}, 0.1, "did not stop in order", id="stopped otherwise"),
        pytest.param({"quiet": True, "end": END}, PROOF_PATIENCE, "did not show within 2 s", id="no word"),
        pytest.param(
            {"quiet": True, "end": END, "successor": report(5000)}, PROOF_PATIENCE, "did not show", id="lacks it"
        ),
        pytest.param(
            {"quiet": True, "end": END, "successor": report(9000, timeline=2)}, PROOF_PATIENCE, "did not show",
            id="another timeline",
        ),
        pytest.param({"quiet": True, "end": END, "successor": None}, PROOF_PATIENCE, "did not show", id="never heard"),
    ],
)  # fmt: skip
def test_without_proof_the_primary_goes_back(changes: dict[str, Any], after: float, reason: str) -> None:
    world = stopped()
    [duty] = world.see(now=0.3, **changes) or world.see(now=0.3 + after)
    assert isinstance(duty, Propose) and isinstance(duty.body, SwitchoverEnded) and not world.one.gave_up
    world.log(duty.body)
    world.see()
    assert reason in world.failure


def test_reign_whose_end_was_proposed_is_given_up_also_when_that_was_not_committed() -> None:
    world = stopped()
    [duty] = world.see(now=0.3, quiet=True, end=END, successor=report(5001))
    assert isinstance(duty, Propose) and world.one.gave_up
    world.see(now=0.3 + COMMIT_PATIENCE)
    assert world.one.phase == Phase.FAILING and world.one.gave_up


def test_successor_that_does_not_take_over_is_named() -> None:
    world = yielded()
    assert world.see(now=0.4) == [Transfer(2)]
    assert world.see(now=0.5, transferring=True) == []
    assert world.see(now=1.5, transferring=False) == [Transfer(2)], "again after a while"
    world.see(now=0.4 + TAKE_PATIENCE)
    assert world.one.phase == Phase.FAILING and "did not take over" in world.one.reason


def test_somebody_else_takes_over() -> None:
    world = yielded()
    world.see(now=0.5, leads=False, leader=None, term=8)
    world.log(Reign(4, 3, 8, 3, 5001, 99))
    world.see(now=1.0)
    assert world.failure == "node 3 took over instead of node 2"


def test_nobody_takes_over() -> None:
    world = yielded()
    world.see(now=0.5, leads=False, leader=None, term=8)
    world.see(now=0.5 + TAKE_PATIENCE)
    assert "nobody took over" in world.failure


def test_pool_that_does_not_follow_is_a_remark() -> None:
    world = yielded()
    world.see(now=0.5, leads=False, leader=2, term=8, pools={4: PoolStatus(reign=3)})
    world.log(Reign(4, 2, 8, 3, 5001, 99))
    world.see(now=0.6, successor=report(6000, writable=True, reign=4))
    assert world.one.outcome() is None
    world.see(now=0.6 + POOLS_PATIENCE)
    outcome = world.one.outcome()
    assert isinstance(outcome, Done) and "pools of nodes 4" in str(outcome.detail["remark"])


def test_leadership_lost_half_way_leaves_the_rest_to_who_comes() -> None:
    world = paused()
    world.see(now=0.2, leads=False, leader=None, term=8)
    assert world.one.phase == Phase.PROMOTE and not world.one.stops_primary


def test_what_is_more_urgent_takes_its_place() -> None:
    world = paused()
    world.one.give_way("the primary had to be given up for node 3 at once")
    assert world.one.over and world.failure == "the primary had to be given up for node 3 at once"
    assert world.see(now=1.0) == []


def test_every_wait_has_an_end() -> None:
    """Whatever is seen, and however long nothing changes: it ends, and does not spin."""
    for build in (begun, paused, stopped, yielded):
        world: World = build()  # type: ignore[operator]
        steps = 0
        while not world.one.over and steps < 300:
            world.see()
            if world.one.phase == Phase.FAILING:
                world.sight = replace(world.sight, switching=Switching())
            assert world.one.over or world.one.wake_at > world.sight.now, world.one.phase
            if not world.one.over:
                world.sight = replace(world.sight, now=world.one.wake_at)
            steps += 1
        assert world.one.over and steps < 300, (build.__name__, world.one.phase)
