"""What came out of fuzzing a whole node, one sentence each: peers of another version, or out of their minds."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from fuzz import examples
from fuzz.lone import FOUNDING, MEMBERS, STANDBY, UID, Lone, follower, leader
from qluster.clients import Busy, Done, SettingsChangeRequested
from qluster.cluster import commands
from qluster.cluster import messages as telling
from qluster.cluster.state import encode as encode_state
from qluster.consensus import messages as agreeing
from qluster.consensus.members import Members
from qluster.events import FetchSnapshot, Snapshot, StopRequested, TimePassed

CROWD = 3000
"""Numbers that no member has."""


def led(lone: Lone, *payloads: bytes) -> None:
    """Node 2, which leads, has these commands committed."""
    qraft = lone.node.qraft
    assert qraft is not None and qraft.leader == 2
    records = tuple(agreeing.Record(2, 2, payload) for payload in payloads)
    index = qraft.last_index
    lone.agree(UID + 2, agreeing.Append(FOUNDING, 2, 2, 2, 2.0, index, 2, index + len(records), records))


def confirmed(lone: Lone) -> None:
    """Node 2 has all of the leader's log."""
    qraft = lone.node.qraft
    assert qraft is not None and qraft.role == "leader"
    lone.agree(UID + 2, agreeing.AppendReply(FOUNDING, 2, qraft.term, 0, qraft.last_index))


def test_two_changes_of_settings_at_once_cannot_contradict_each_other() -> None:
    """Each was good beside the values in force; together they ended every daemon, and each one's next start."""
    lone = leader()
    lone.ask(SettingsChangeRequested(1, "", {"cluster.heartbeat-interval": "600ms"}))
    lone.ask(SettingsChangeRequested(2, "", {"cluster.node-timeout": "1s"}))
    assert isinstance(lone.answers[2], Busy)
    confirmed(lone)
    assert isinstance(lone.answers[1], Done)
    assert lone.left is None
    lone.ask(SettingsChangeRequested(3, "", {"cluster.node-timeout": "8s"}))
    confirmed(lone)
    assert isinstance(lone.answers[3], Done), "the first is committed: the next may come"


def test_committed_setting_that_this_version_cannot_take_is_passed_over_and_reported() -> None:
    lone = follower()
    led(lone, commands.encode(commands.SettingsChanged({"cluster.node-timeout": "never"})))
    assert lone.left is None
    assert lone.node.config.cluster.node_timeout == 2.0
    assert "cluster.node-timeout" in lone.node.status(lone.now).own.message
    led(lone, commands.encode(commands.SettingsChanged({"cluster.node-timeout": "4s"})))
    assert lone.node.config.cluster.node_timeout == 4.0
    assert "cluster.node-timeout" not in lone.node.status(lone.now).own.message


def test_node_starts_although_its_log_has_a_setting_that_it_cannot_take() -> None:
    lone = follower()
    led(lone, commands.encode(commands.SettingsChanged({"cluster.node-timeout": "never"})))
    again = Lone(lone.disk, lone.config)
    again.tell(TimePassed())
    assert again.left is None


@pytest.mark.parametrize("payload", [b"", b"\x92\xa0\x92\xa5later\x07", b"\xc1"], ids=["empty", "unknown", "no text"])
def test_node_that_does_not_understand_a_committed_command_leaves_and_says_so(payload: bytes) -> None:
    """It must not go on as if nothing had been decided; and it takes nothing that comes after it."""
    lone = follower()
    applied = lone.node.state.applied
    led(lone, payload, commands.encode(commands.NodeMarked(3, True)))
    assert lone.left is not None and "newer version" in lone.left.message
    assert lone.node.state.applied == applied
    assert lone.node.state.down == []


def test_node_that_does_not_understand_a_command_applies_nothing_more_while_its_disk_hangs() -> None:
    lone = follower()
    lone.saves_end = False
    applied = lone.node.state.applied
    led(lone, b"nonsense")
    led(lone, commands.encode(commands.NodeMarked(3, True)))
    lone.wait(0.1)
    assert lone.node.state.applied == applied
    lone.save_ended()
    assert lone.left is not None and "newer version" in lone.left.message


SNAPSHOT = examples.snapshot()
BEYOND = 400


def state_at(index: int) -> bytes:
    """A state as it could be after that entry."""
    state = examples.state()
    state.applied = index
    return encode_state(state)


def behind() -> tuple[Lone, int]:
    """A follower that fetches a snapshot, and the number of that job."""
    lone = follower()
    lone.agree(UID + 2, agreeing.SnapshotOffer(FOUNDING, 2, 2, BEYOND))
    [number] = [number for number, job in lone.jobs.items() if isinstance(job.order, FetchSnapshot)]
    return lone, number


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot(BEYOND, 2, SNAPSHOT.members, b"nonsense"),
        Snapshot(BEYOND, 2, SNAPSHOT.members, SNAPSHOT.state),
        Snapshot(BEYOND, 2, b"nonsense", SNAPSHOT.state),
        Snapshot(2**63 - 1, 2, SNAPSHOT.members, SNAPSHOT.state),
        Snapshot(BEYOND, -1, SNAPSHOT.members, state_at(BEYOND)),
        Snapshot(BEYOND, 1, SNAPSHOT.members, state_at(BEYOND)),
        Snapshot(BEYOND, 2**64, SNAPSHOT.members, state_at(BEYOND)),
        Snapshot(BEYOND, 2, b"\x94\x90\xc3\x00\x00", state_at(BEYOND)),
    ],
    ids=[
        "no state", "state of another index", "no members", "index beyond all", "term below all", "term gone by",
        "term beyond all", "nobody is a member",
    ],
)
def test_snapshot_that_makes_no_sense_is_refused_and_asked_for_again(snapshot: Snapshot) -> None:
    lone, number = behind()
    applied = lone.node.state.applied
    lone.end_job(number, snapshot, None)
    assert lone.left is None
    assert lone.node.state.applied == applied
    assert lone.node.snapshot is None
    lone.agree(UID + 2, agreeing.SnapshotOffer(FOUNDING, 2, 2, BEYOND))
    assert lone.jobs, "the next offer counts again"


def test_numbers_that_nobody_has_take_no_memory() -> None:
    lone = follower()
    report = examples.TELLING[4]
    assert isinstance(report, telling.Report)
    for number in range(100, 100 + CROWD):
        lone.report(UID + 9, msgspec.structs.replace(report, cluster=FOUNDING, node=number))
        lone.agree(UID + 9, agreeing.LeaderQuery(FOUNDING, number, 2))
    node = lone.node
    assert len(node.reports.heard) <= 256
    assert len(node.hearing._sources) <= 256
    assert node.alive(2, lone.now), "those who matter are not forgotten for them"


def test_position_of_a_node_that_is_no_member_is_not_waited_for_nor_chosen() -> None:
    lone = leader()
    assert lone.node.qraft is not None
    term = lone.node.qraft.term
    for number in (9, 4):
        reply = telling.PositionReply(FOUNDING, number, term, examples.SYSTEM_ID, 9, 2**60, True, "")
        lone.report(UID + number, reply)
    lone.wait(3.0)
    assert lone.node.qraft.transferring is None
    offered = lone.node.governing._leading
    assert offered is None or not set(offered._succession.offered) & {4, 9}


def test_disk_that_hangs_lets_only_so_many_answers_wait() -> None:
    lone = follower()
    lone.saves_end = False
    lone.agree(UID + 3, agreeing.Vote(FOUNDING, 3, 9, 2**40, 9, True))
    for round_number in range(6_000):
        lone.agree(UID + 3, agreeing.PreVote(FOUNDING, 3, 10, round_number, 2))
    assert lone.node._holding.waiting <= 4096
    lone.saves_end = True
    lone.save_ended()
    assert lone.node._holding.waiting == 0


@pytest.mark.parametrize("host", ["follower", "leader"])
def test_node_that_stops_bears_everything_once_more(host: str) -> None:
    lone = {"follower": follower, "leader": leader}[host]()
    lone.look(replace(STANDBY, server="running"))
    lone.tell(StopRequested())
    assert lone.node.qraft is not None
    for message in examples.AGREEING:
        lone.agree(UID + message.node, msgspec.structs.replace(message, cluster=FOUNDING))
    for answer in examples.TELLING:
        lone.report(UID + answer.node, msgspec.structs.replace(answer, cluster=FOUNDING))
    assert lone.left is None, "its database has not stopped"


def test_members_of_the_harness_are_sound() -> None:
    assert Members.decode(MEMBERS.encode()) == MEMBERS
