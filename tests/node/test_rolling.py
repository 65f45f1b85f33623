"""Which server restarts next, and which value is taken back: tables."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace
from qluster.cluster.database_settings import (
    Body,
    DatabaseConfigured,
    DatabaseSettings,
    RestartEnded,
    RestartPlan,
    RestartTurn,
    RestartWanted,
    after,
)
from qluster.rolling import TURNS_MAX, HandOver, Server, View, Wait, next_step, withdrawal
from qluster.status import DatabaseStatus

VERSION = 5
BEGUN = 6
PENDING = {"max_connections": "100"}


def settings(*more: Body, plan: RestartPlan | None = None) -> DatabaseSettings:
    """Version 5 raises max_connections, entry 6 begins a restart, further commands follow."""
    found = DatabaseSettings()
    bodies: list[Body | None] = [None, None, None, None, DatabaseConfigured({"max_connections": "200"})]
    for index, body in enumerate([*bodies, RestartWanted(plan or RestartPlan()), *more], start=1):
        changed = after(found, body, index) if body is not None else found
        assert isinstance(changed, DatabaseSettings), changed
        found = changed
    return found


def server(*, well: bool = True, covered: bool = True, **status: Any) -> Server:
    return Server(well, DatabaseStatus(**{"settings_version": VERSION, **status}), covered)


WAITING = server(pending=PENDING)
DONE = server(started=BEGUN + 9)


def view(servers: dict[int, Server], *more: Body, waited: float = 0.0, settled: bool = True, **plan: Any) -> View:
    return View(1, settings(*more, plan=RestartPlan(**plan)), servers, settled, waited)


def turn(node: int, hand_over: bool = False) -> RestartTurn:
    return RestartTurn(BEGUN, node, hand_over)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(view({1: WAITING, 2: WAITING, 3: WAITING}), turn(2), id="a replica first"),
        pytest.param(view({1: WAITING, 2: DONE, 3: WAITING}, turn(2)), turn(3), id="then the next"),
        pytest.param(view({1: WAITING, 2: DONE, 3: DONE}, turn(3)), turn(1, True), id="the primary last, handed over"),
        pytest.param(view({1: WAITING, 2: DONE}, primary="in-place"), turn(1), id="or where it is"),
        pytest.param(view({1: WAITING}), turn(1), id="a lone one where it is"),
        pytest.param(view({1: DONE, 2: DONE}), RestartEnded(BEGUN), id="all done"),
        pytest.param(view({1: server(), 2: server()}), RestartEnded(BEGUN), id="nothing waits for a restart"),
        pytest.param(view({1: server(), 2: server()}, only="all"), turn(2), id="unless all were asked for"),
        pytest.param(view({1: server(), 2: DONE}, only="all"), turn(1, True), id="the primary too"),
        pytest.param(view({1: WAITING, 2: DONE}, turn(1, True)), HandOver(), id="its turn is a hand-over"),
        pytest.param(
            view({1: WAITING, 2: server(held=("max_connections",), pending=PENDING, started=9)}), turn(1),
            id="what a replica keeps as large as its primary is lowered on the primary, where it is",
        ),
        pytest.param(
            view({1: DONE, 2: server(held=("max_connections",), pending=PENDING, started=9)}, turn(2), turn(1)),
            turn(2), id="and then on the replica",
        ),
    ],
)  # fmt: skip
def test_next_step(seen: View, expected: object) -> None:
    assert next_step(seen) == expected


@pytest.mark.parametrize(
    ("servers", "more", "word"),
    [
        ({1: WAITING, 2: server(well=False, pending=PENDING)}, (), "node 2 does not stream"),
        ({1: server(well=False, pending=PENDING), 2: DONE}, (), "node 1 does not serve as primary"),
        ({1: WAITING, 2: server(settings_version=4)}, (), "has not read the parameters"),
        ({1: WAITING, 2: server(covered=False)}, (), "do not wait for node 2"),
        ({1: WAITING, 2: server(error="disk full", pending=PENDING)}, (turn(2),), "has not restarted: disk full"),
    ],
)
def test_nobody_restarts_while_somebody_is_unwell_and_it_ends_when_that_lasts(
    servers: dict[int, Server], more: tuple[Body, ...], word: str
) -> None:
    step = next_step(view(servers, *more))
    assert isinstance(step, Wait) and word in step.reason
    end = next_step(view(servers, *more, waited=120.0))
    assert isinstance(end, RestartEnded) and word in end.reason and "120 seconds" in end.reason


def test_leader_of_a_standby_cluster_restarts_where_it_is() -> None:
    seen = dataclasses.replace(view({1: WAITING, 2: DONE}), standby=True)
    assert next_step(seen) == turn(1)


def test_guarantee_that_is_being_changed_is_waited_for() -> None:
    assert isinstance(next_step(view({1: WAITING, 2: WAITING}, settled=False)), Wait)


def test_member_that_left_in_its_turn_is_not_waited_for() -> None:
    assert next_step(view({1: WAITING}, turn(2))) == turn(1)


def test_server_that_still_waits_after_its_turns_ends_it() -> None:
    step = next_step(view({1: DONE, 2: server(pending=PENDING, started=99)}, *[turn(2)] * TURNS_MAX))
    assert isinstance(step, RestartEnded) and "max_connections" in step.reason


def test_restart_that_has_ended_has_no_next_step() -> None:
    assert next_step(view({1: WAITING, 2: WAITING}, RestartEnded(BEGUN, "cancelled"))) is None


def test_refused_value_goes_back_to_what_it_was_and_others_stay() -> None:
    changed = settings()
    for index, changes in ((7, {"max_connections": "900", "work_mem": "9MB"}), (8, {"max_connections": "901"})):
        changed = after(changed, DatabaseConfigured(changes), index)  # type: ignore[assignment, arg-type]
    refused = server(pending={"max_connections": "200"}, refused="no memory", refused_version=8, proven=5)
    back = withdrawal(View(1, changed, {1: DONE, 2: refused}, True, 0.0), 77)
    assert isinstance(back, DatabaseConfigured) and back.changes == {"max_connections": "200"}
    assert (back.cas, back.at) == (8, 77) and "node 2" in back.reason and "no memory" in back.reason
    withdrawn = after(changed, back, 9)
    assert isinstance(withdrawn, DatabaseSettings) and withdrawn.values == {"max_connections": "200", "work_mem": "9MB"}
    assert withdrawn.restart is not None and not withdrawn.restart.running and "no memory" in withdrawn.restart.reason
    old = replace(refused.status, refused_version=8)
    assert withdrawal(View(1, withdrawn, {2: Server(True, old)}, True, 0.0), 0) is None, "of a version that is over"


@pytest.mark.parametrize(("alive", "role", "back"), [(True, "stopped", True), (False, "stopped", False),
                                                      (True, "replica", False)])  # fmt: skip
def test_value_with_which_a_server_hangs_is_taken_back_at_the_end_of_its_time(
    alive: bool, role: str, back: bool
) -> None:
    hangs = Server(False, DatabaseStatus(settings_version=VERSION, role=role), alive=alive)
    step = next_step(view({1: WAITING, 2: hangs}, turn(2), waited=120.0), 77)
    expected = DatabaseConfigured if back else RestartEnded
    assert isinstance(step, expected) and "120 seconds" in step.reason
    if isinstance(step, DatabaseConfigured):
        assert step.changes == {"max_connections": None} and step.cas == VERSION


def test_refusal_that_no_change_in_the_log_explains_ends_the_restart() -> None:
    refused = server(refused="no library", refused_version=VERSION, proven=VERSION)
    assert isinstance(withdrawal(view({1: refused}), 0), RestartEnded)


def test_change_of_another_version_and_second_restart_are_refused() -> None:
    found = settings()
    for body in (DatabaseConfigured({"work_mem": "1MB"}, 4), RestartWanted(RestartPlan()), RestartEnded(3)):
        assert not isinstance(after(found, body, 9), DatabaseSettings)
    too_many = DatabaseConfigured({f"a.b{number}": "1" for number in range(300)})
    assert not isinstance(after(found, too_many, 9), DatabaseSettings)


def test_history_is_bounded_and_former_values_are_those_before_the_first_change_since() -> None:
    found = DatabaseSettings()
    for index in range(1, 60):
        found = after(found, DatabaseConfigured({"work_mem": f"{index}MB"}), index)  # type: ignore[assignment]
    assert len(found.history) == 32 and found.former(57, frozenset({"work_mem"})) == {"work_mem": "57MB"}
    assert found.former(57, frozenset({"other"})) == {} and found.former(59, frozenset({"work_mem"})) == {}
