"""What stands against forcing a quorum, and with what log a node then goes on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from qluster import force
from qluster.cluster import commands
from qluster.cluster.commands import Forced, Paused, Reign, SettingsChanged
from qluster.cluster.state import Setting, State
from qluster.cluster.state import decode as decode_state
from qluster.consensus.members import MEMBERS_MAX, Member, Members
from qluster.events import Entry


def member(node: int, *, voter: bool = True, role: str = "node", votes: int = 1) -> Member:
    return Member(node, 100 + node, f"10.0.0.{node}", 8080, 7400, 5432 if role == "node" else None, voter, role,
                  votes=votes)  # fmt: skip


VIEW = force.View(
    me=1, name="main", asked="main", others=(member(2), member(3), member(9, voter=False, role="listener")),
    alive=frozenset({9}), named=None, confirmed=("10.0.0.2", "10.0.0.3"), agents=frozenset(), leader=None, votes=True,
    enough=False, entries=40,
)  # fmt: skip


def test_nothing_stands_against_it_when_all_who_are_given_up_are_off() -> None:
    assert force.against(VIEW) == []
    planned = force.plan(VIEW)
    assert [one.node for one in planned.left_out] == [2, 3] and [one.node for one in planned.listeners] == [9]
    assert planned.named == () and planned.to_fence(VIEW.confirmed) == ()
    fenced = replace(VIEW, confirmed=("10.0.0.2",), agents=frozenset({"10.0.0.3"}))
    assert force.against(fenced) == [] and [one.node for one in force.plan(fenced).to_fence(("10.0.0.2",))] == [3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"asked": "mian"}, "this cluster is called main, not mian"),
        ({"leader": 3}, "node 3 leads"),
        ({"leader": 1}, "this node leads"),
        ({"enough": True}, "enough to elect"),
        ({"votes": False}, "does not vote"),
        ({"entries": 0}, "no log yet"),
        ({"fault": "no space left"}, "no space left"),
        ({"alive": frozenset({2})}, "10.0.0.2 is the address of no node that would be given up"),
        ({"alive": frozenset({2}), "named": ()}, "node 2 (10.0.0.2) is heard: count on it with --nodes"),
        ({"named": (2,)}, "node 2 (10.0.0.2) is not heard: do not name it"),
        ({"named": (8,)}, "node 8 is no member that could vote"),
        ({"named": (9,)}, "node 9 is no member that could vote"),
        ({"confirmed": ("10.0.0.2",)}, "say so with --confirm-off 10.0.0.3"),
        ({"confirmed": ("10.0.0.2", "10.0.0.3", "10.0.0.7")}, "10.0.0.7 is the address of no node"),
        ({"alive": frozenset({2}), "confirmed": ("10.0.0.3",), "loose": 2}, "force the quorum there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_contradicts_it_is_said_with_what_to_do(changes: dict[str, object], said: str) -> None:
    found = force.against(replace(VIEW, **changes))  # type: ignore[arg-type]
    assert any(said in fault for fault in found), found


def test_voter_that_rests_is_given_up_like_one_that_votes() -> None:
    resting = replace(VIEW, others=(member(2), member(3, voter=False)), confirmed=("10.0.0.2",))
    assert any("--confirm-off 10.0.0.3" in fault for fault in force.against(resting)), "it may vote by a newer list"


def test_this_node_alone_votes_and_counts_for_something() -> None:
    before = Members((member(1, votes=0), member(2), member(3), member(9, voter=False, role="listener")), True, 2,
                     configured=3, tie=2)  # fmt: skip
    own = before.get(1)
    assert own is not None
    after = force.members_after(force.plan(replace(VIEW, alive=frozenset({2, 9}))), own, before)
    assert after.voters == {1} and {one.node for one in after} == {1, 2, 9}
    assert after.get(1).votes == 1 and after.replication_factor == 2 and after.tie == 0  # type: ignore[union-attr]
    assert not after.fault()


def command(index: int, body: commands.Body, key: str = "") -> Entry:
    return Entry(index, 4, "command", commands.encode(body, key))


def test_whole_log_is_carried_over_also_what_is_not_known_to_be_committed() -> None:
    state = State(name="main", settings={"quorum.expected_votes": Setting("5", "3")})
    state.apply(command(1, Reign(1, 2, 3, 1, 0, 77)))
    state.apply(command(2, Paused("works")))
    tail = [command(3, SettingsChanged({"cluster.node-timeout": "9s"}), "key-1"),
            Entry(4, 4, "members", Members((member(1), member(12))).encode()), Entry(5, 4, "noop", b"")]  # fmt: skip
    after = force.carried(state, tail)
    assert after.values()["cluster.node-timeout"] == "9s" and after.keys == {"key-1": 3}
    assert (after.applied, after.highest_node, state.applied) == (5, 12, 2), "a copy"
    body = Forced(2000, 1000, 1, 5, 4, 1, ((2, "10.0.0.2"),), (), (), 1.8e9)
    begun = force.refound(after, Members((member(1),)), 6, (5, 4), body, 101)
    assert begun.snapshot is not None and (begun.snapshot.index, begun.snapshot.term, begun.term) == (5, 4, 6)
    kept = decode_state(begun.snapshot.state)
    assert kept.values() == {"quorum.expected_votes": "0", "cluster.node-timeout": "9s"} and kept.reign is not None
    assert kept.settings["quorum.expected_votes"].founded == "3", "what the files say is still taken"
    assert not kept.pause.active and not kept.pause.loose, "whom a pause let run is given up, or was stopped here"
    assert kept.lineage == (1000,), "whoever asks before it leads is told so"
    assert kept.highest_node == 12, "numbers are never given twice"
    assert begun.entries == (Entry(6, 6, "command", commands.encode(body)),)


def test_two_who_are_forced_in_one_second_found_under_different_numbers() -> None:
    numbers = {force.founding_number(1000, 2000.5, node) for node in range(1, MEMBERS_MAX + 1)}
    assert len(numbers) == MEMBERS_MAX and min(numbers) >= 2000
    assert all(force.founding_number(5000, 2000.0, node) > 5000 for node in range(1, 70)), "a clock that stands wrong"


def test_later_founding_voids_what_it_comes_from_and_its_siblings_and_nobody_else() -> None:
    assert force.succeeds(1000, (), 2000, (1000,))
    assert force.succeeds(1000, (), 3000, (1000, 2000)), "two steps"
    assert force.succeeds(2000, (1000,), 2001, (1000,)), "both were forced from one: the later goes on"
    assert not force.succeeds(2001, (1000,), 2000, (1000,))
    assert not force.succeeds(1000, (), 2000, ()), "founded anew: another cluster"
    assert not force.succeeds(1000, (), 2000, (900,))
    assert not force.succeeds(2000, (1000,), 1000, ())
