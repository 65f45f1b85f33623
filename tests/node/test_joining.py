"""How a node comes to its cluster."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.events import Identity, Saved
from qluster.joining import (
    FOUNDING_HELLOS,
    Found,
    GiveUp,
    Hello,
    Joined,
    Joining,
    Stay,
    begins_anew,
    meets_later_founding,
)


def joining(*, founder: bool = False, invited: bool = False, anew: int | None = None) -> Joining:
    return Joining(Saved(7, 1, invited=invited), founder=founder, anew=anew, wall=1000.0, retry=1.0, now=0.0)


def steps(node: Joining, until: float, directory: str = "empty") -> list[object]:
    return [node.step(float(second), directory) for second in range(int(until))]


def test_founder_says_hello_before_it_founds() -> None:
    assert steps(joining(founder=True), 5) == [Hello()] * FOUNDING_HELLOS + [Found(1000)]


def test_founder_does_not_found_beside_a_living_cluster() -> None:
    node = joining(founder=True)
    for second in range(20):
        node.present(900, float(second))
        assert node.step(float(second), "empty") == Hello()


def test_founder_with_add_node_never_founds() -> None:
    assert steps(joining(founder=True, invited=True), 50) == [Hello()] * 50


def test_node_that_is_no_founder_only_asks() -> None:
    assert steps(joining(), 50) == [Hello()] * 50


def test_node_founds_anew_with_a_later_number() -> None:
    assert steps(joining(anew=5000), 5)[-1] == Found(5001)


def test_founding_anew_needs_an_empty_database() -> None:
    assert isinstance(joining(anew=5).step(0.0, "initialised"), GiveUp)


def test_nothing_is_decided_before_the_directory_was_looked_at() -> None:
    assert isinstance(joining(founder=True).step(0.0, "unknown"), Stay)


def test_welcome_for_this_node_ends_the_search() -> None:
    node = joining()
    node.welcome(900, 8, 3)
    assert node.step(0.0, "empty") == Hello()
    node.welcome(900, 7, 4)
    assert node.step(0.1, "empty") == Joined(900, 4)


def test_refusal_names_the_reason() -> None:
    node = joining()
    node.refusal(7, "cluster.node-timeout is 5s here")
    step = node.step(0.0, "empty")
    assert isinstance(step, GiveUp)
    assert "cluster.node-timeout is 5s here" in step.message


def test_missing_add_node_beside_an_identity_means_anew() -> None:
    identity = Identity(7, 900, 1)
    assert begins_anew(Saved(7, 2, invited=False, identity=identity))
    assert not begins_anew(Saved(7, 2, invited=True, identity=identity))
    assert not begins_anew(Saved(7, 2))


def test_later_founding_is_joined_only_with_an_empty_database() -> None:
    assert meets_later_founding(900, 1000, "empty") is True
    assert meets_later_founding(900, 800, "empty") is False
    assert meets_later_founding(900, 1000, "unknown") is False
    assert isinstance(meets_later_founding(900, 1000, "initialised"), GiveUp)


def test_founder_that_lost_its_state_does_not_found_over_its_database() -> None:
    # Alone behind a cut link it would begin a second cluster, before which the first gives way.
    node = joining(founder=True)
    assert Found(1000) not in steps(node, 20, "initialised")
    last = node.step(20.2, "initialised")
    assert isinstance(last, Stay) or last == Hello()


def test_founder_founds_with_a_database_that_was_recovered_for_it() -> None:
    assert Found(1000) in steps(joining(founder=True), 20, "fresh")
    assert Found(1000) not in steps(joining(founder=False), 20, "fresh")
    # Its cluster is to be founded anew: it looks for others first, and no longer refuses the directory.
    assert joining(founder=True, anew=900).step(0.0, "fresh") == Hello()
    assert isinstance(meets_later_founding(900, 1000, "fresh"), GiveUp)


def test_cluster_that_is_led_does_not_end_because_another_was_founded() -> None:
    assert meets_later_founding(5, 6, "initialised", led=True) is False
    assert meets_later_founding(5, 6, "none", led=True) is False
    assert meets_later_founding(5, 6, "empty", led=True) is True
