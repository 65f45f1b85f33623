"""Who may take over by plan, and who would do it best."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from qluster.leading import Scene
from qluster.successor import LAG_MAX, best_fit, unfit
from sim.world import World
from test_hand_over import follower, leader, running


@pytest.fixture(scope="module")
def world() -> World:
    return running(databases=True)


def scene(world: World, node: int, **database: Any) -> Scene:
    """What the leader sees, with another word of one node's database."""
    first = leader(world)
    assert first.node is not None
    seen = first.node.governing.scene(first.clock())
    found = seen.report(node)
    assert found is not None and found.database is not None
    told = replace(found, database=replace(found.database, **database))
    return changed(seen, report=lambda number: told if number == node else seen.report(number))


def position(world: World) -> int:
    first = leader(world)
    assert first.node is not None
    return first.node.keeper.status().position or 0


@pytest.mark.parametrize(
    ("database", "reason"),
    [
        ({}, ""),
        ({"streaming": False}, "its database is replica and does not stream from the primary"),
        ({"role": "detached", "streaming": False}, "its database is detached and does not stream"),
        ({"error": "no space is left"}, "no space is left"),
        ({"timeline": 9}, "its database is on timeline 9, the primary on 1"),
        ({"replayed": -LAG_MAX - 10}, "bytes behind the primary, more than 16777216"),
    ],
)
def test_node_that_is_not_fit_is_named_with_the_reason(
    world: World, database: dict[str, Any], reason: str
) -> None:
    target = follower(world)
    found = unfit(scene(world, target, **database), target)
    assert reason in found and bool(reason) == bool(found)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda seen, node: {"alive": seen.alive - {node}}, "it is not heard"),
        (lambda seen, node: {"settled": seen.settled.without(node)}, "it is a listener"),
    ],
    ids=["not heard", "no member"],
)
def test_node_that_is_away_is_not_fit(
    world: World, spoil: Callable[[Scene, int], dict[str, Any]], reason: str
) -> None:
    target = follower(world)
    seen = scene(world, target)
    assert unfit(changed(seen, **spoil(seen, target)), target) == reason


def test_who_has_replayed_most_is_chosen(world: World) -> None:
    first = leader(world)
    assert first.node is not None
    others = sorted(first.node.settled.voters - {first.node.me})
    for ahead in others:
        assert best_fit(scene(world, ahead, replayed=position(world) + 100)) == ahead
