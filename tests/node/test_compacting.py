"""A large snapshot is made while the log goes on, and entries of tasks concern nobody else."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from fuzz import lone
from qluster import applying, compacting
from qluster.cluster import commands, freezing
from qluster.cluster.state import State, decode, encode
from qluster.consensus.messages import Append, SnapshotOffer, records_of
from qluster.events import Entry, FetchSnapshot, Snapshot
from qluster.tasks.bodies import Submission, TasksSubmitted
from qluster.tasks.spec import Command, Spec

LEADER = lone.UID + 2
TASK = TasksSubmitted(2e9, "me", (Submission(Spec(Command(("/bin/true",)), "x" * 60)),))


class Follower:
    """Node 1 follows node 2, which tells it what is committed."""

    def __init__(self) -> None:
        self.host = lone.follower()
        self.node = self.host.node
        self.last, self.round = 4, 1

    def commit(self, body: commands.Body) -> None:
        """One entry with it, committed."""
        entry = Entry(self.last + 1, 2, "command", commands.encode(body))
        self.round += 1
        told = records_of([entry])
        self.host.agree(
            LEADER, Append(lone.FOUNDING, 2, 2, self.round, float(self.round), self.last, 2, entry.index, told)
        )
        self.last = entry.index
        assert self.node.state.applied == self.last


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> Follower:
    monkeypatch.setattr(compacting, "COMPACT_ENTRIES", 30)
    monkeypatch.setattr(freezing, "PIECE_SIZE", 1)
    monkeypatch.setattr(freezing, "ITEMS", 1)
    return Follower()


def test_a_large_snapshot_is_made_while_the_log_goes_on(follower: Follower) -> None:
    node, states = follower.node, {}
    while node.snapshot is None:
        follower.commit(TASK)
        states[follower.last] = encode(node.state)
        assert follower.last < 100
    assert node.snapshot.index < follower.last - 5, "it took some turns, in which entries were applied"
    assert node.snapshot.state == states[node.snapshot.index]
    follower.host.start()
    assert encode(follower.host.node.state) == states[node.snapshot.index], "and it is on the disk"


def test_a_node_that_makes_one_wants_to_be_woken_at_once(follower: Follower) -> None:
    while not follower.node.compacting.busy:
        follower.commit(TASK)
    begun = follower.node.state.applied
    follower.host.wait(0.001, wakes_max=1000)
    assert follower.node.snapshot is not None and follower.node.snapshot.index == begun


def fetched(follower: Follower, state: State) -> None:
    """A snapshot that the leader offers comes."""
    host = follower.host
    host.agree(LEADER, SnapshotOffer(lone.FOUNDING, 2, 2, state.applied))
    (number,) = [job.number for job in host.jobs.values() if isinstance(job.order, FetchSnapshot)]
    host.end_job(number, Snapshot(state.applied, 2, lone.MEMBERS.encode(), encode(state)), None)


def test_one_that_was_fetched_is_read_once(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a full board of tasks that takes a tenth of a second, in which nothing else is heard."""
    read: list[State] = []

    def decoded(text: bytes, index: int | None = None) -> State:
        read.append(decode(text, index))
        return read[-1]

    monkeypatch.setattr(applying, "decode_state", decoded)
    state = decode(encode(follower.node.state))
    state.applied += 1000
    fetched(follower, state)
    follower.host.wait(0.1, wakes_max=1000)
    assert follower.node.state is read[0] and len(read) == 1
    assert follower.node.state.applied == state.applied


def test_what_it_says_of_a_node_that_has_left_stays(follower: Follower) -> None:
    """The last claim of such a node may end after it: who reads the log has that, and so must who had the snapshot."""
    state = decode(encode(follower.node.state))
    state.applied += 1000
    state.tasks.barred[77] = state.applied
    fetched(follower, state)
    follower.host.wait(0.1, wakes_max=1000)
    assert encode(follower.node.state) == encode(state)
    follower.host.start()
    assert encode(follower.host.node.state) == encode(state), "also when it is read from the disk"


def test_one_that_comes_too_late_is_not_kept(follower: Follower) -> None:
    node, host = follower.node, follower.host
    before = decode(encode(node.state))
    host.agree(LEADER, SnapshotOffer(lone.FOUNDING, 2, 2, before.applied + 5))
    (number,) = [job.number for job in host.jobs.values() if isinstance(job.order, FetchSnapshot)]
    for _ in range(6):
        follower.commit(TASK)
    before.applied += 5
    host.end_job(number, Snapshot(before.applied, 2, lone.MEMBERS.encode(), encode(before)), None)
    assert node.state.applied > before.applied and node.applying._legible is None


def test_one_that_was_fetched_takes_the_place_of_one_in_the_making(follower: Follower) -> None:
    node, host = follower.node, follower.host
    while not node.compacting.busy:
        follower.commit(TASK)
    state: State = decode(encode(node.state))
    state.applied += 1000
    fetched(follower, state)
    host.wait(0.1, wakes_max=1000)
    assert not node.compacting.busy and node.snapshot is not None
    assert node.snapshot.index == node.state.applied == state.applied


def test_entries_of_tasks_ask_no_other_part(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    node, whole = follower.node, []
    settle_wholly = node._settle_wholly
    monkeypatch.setattr(node, "_settle_wholly", lambda now: (whole.append(now), settle_wholly(now)))
    follower.host.wait(0.001)
    whole.clear()
    for _ in range(5):
        follower.commit(TASK)
    assert not whole and len(node.state.tasks.live) == 5
    assert node.tasking.packed().keys() == node.state.tasks.live.keys()
    follower.commit(commands.NodeMarked(3, True))
    assert whole
