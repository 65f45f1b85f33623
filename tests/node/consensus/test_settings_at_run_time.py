"""Every setting of consensus takes effect while the node runs: no restart is needed for any of them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import fields, replace

import pytest
from consensus.stage import (
    NOW,
    SETTINGS,
    STARTED,
    append,
    confirm,
    follower,
    leader_of,
    log,
    newest_round,
    sent,
    voters,
)
from consensus.world import CLUSTER
from qluster.config import needs_restart
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft, TooLarge
from qluster.consensus.settings import Settings

THREE = voters(1, 2, 3)
FIVE = voters(1, 2, 3, 4, 5)


def changed(qraft: QRaft, **values: object) -> QRaft:
    qraft.settings = replace(qraft.settings, **values)  # type: ignore[arg-type]
    return qraft


def beat(qraft: QRaft, until: float, *nodes: int, silent: tuple[int, ...] = ()) -> None:
    """Time passes, and these answer every heartbeat."""
    now = qraft._me.now
    while now < until:
        now = min(until, max(now + 0.5, qraft.wake_at))
        qraft.tick(now)
        number = newest_round(qraft.take())
        for node in nodes:
            qraft.receive(say.AppendReply(CLUSTER, node, qraft.term, number, qraft.last_index, silent), now)
        qraft.take()


def test_no_key_of_the_cluster_section_needs_a_restart() -> None:
    words = [field.name.replace("_", "-") for field in fields(Settings)]
    paths = [f"udp.{word}" if word == "max-log-size" else f"cluster.{word}" for word in words]
    assert needs_restart([path for path in paths if path.startswith("cluster.")]) == []


def test_node_timeout_of_a_follower() -> None:
    """From the next heartbeat on; a longer promise to the leader still holds."""
    qraft = changed(follower(1, log(THREE, 1)), node_timeout=12.0)
    qraft.receive(append(2, 1, 2, 1, promise=12.0, number=2), NOW + 1)
    assert NOW + 13 <= qraft._election.at <= NOW + 13 + SETTINGS.pre_voting_timeout / 2
    raised = changed(follower(1, log(THREE, 1)), node_timeout=60.0)
    raised.receive(append(2, 1, 2, 1, promise=60.0, number=2), NOW + 1)
    assert raised._election.at >= NOW + 61


def test_node_timeout_of_a_leader_is_the_promise_it_asks_for_and_its_lease() -> None:
    qraft = changed(leader_of(THREE), node_timeout=60.0)
    qraft.tick(STARTED + 10)
    beats = sent(qraft.take(), say.Append)
    assert {message.promise for message in beats} == {60.0}
    confirm(qraft, 2, qraft.last_index, beats[-1].round, STARTED + 10)
    assert qraft.lease_until == pytest.approx(STARTED + 10 + 40)


def test_lowered_node_timeout_shortens_no_lease_that_was_promised() -> None:
    qraft = leader_of(THREE)
    before = qraft.lease_until
    assert changed(qraft, node_timeout=12.0, heartbeat_interval=3.0).lease_until == before


def test_leader_steps_down_after_the_new_node_timeout() -> None:
    qraft = changed(leader_of(THREE), node_timeout=12.0, heartbeat_interval=3.0)
    qraft.tick(STARTED + 12)
    assert qraft.role == "follower"


def test_heartbeat_interval() -> None:
    qraft = changed(leader_of(THREE), heartbeat_interval=2.0)
    qraft.tick(STARTED + 2)
    assert sent(qraft.take(), say.Append, to=None)


def test_heartbeat_interval_of_a_follower_says_when_it_asks_for_the_leader() -> None:
    qraft = changed(follower(1, log(THREE, 1)), heartbeat_interval=2.0)
    qraft.receive(append(2, 1, 2, 1, number=2), NOW + 1)
    assert qraft.wake_at == pytest.approx(NOW + 1 + 2.5)


def test_pre_voting_timeout() -> None:
    qraft = changed(follower(1, log(THREE, 1)), pre_voting_timeout=4.0)
    qraft.tick(NOW + 200)
    assert (qraft.role, qraft._election.at) == ("pre-candidate", NOW + 204)


def test_leader_voting_timeout() -> None:
    qraft = changed(follower(1, log(THREE, 1)), leader_voting_timeout=3.0)
    qraft.tick(NOW + 200)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True), NOW + 200)
    assert (qraft.role, qraft._election.at) == ("candidate", NOW + 203)


def test_leader_voting_timeout_limits_a_hand_over() -> None:
    qraft = changed(leader_of(THREE), leader_voting_timeout=3.0)
    qraft.propose("command", b"x", STARTED)
    qraft.transfer(2, STARTED)
    qraft.tick(STARTED + 3)
    assert qraft.transferring is None and qraft.role == "leader"


def test_replication_retry_interval() -> None:
    qraft = changed(leader_of(THREE), replication_retry_interval=0.2)
    qraft.propose("command", b"x", STARTED)
    qraft.take()
    qraft.tick(STARTED + 0.2)
    assert sent(qraft.take(), say.Append, to=2) and STARTED + 0.2 < qraft.wake_at <= STARTED + 0.4


@pytest.mark.parametrize(("size", "fits"), [(100, False), (200, True)])
def test_max_log_size(size: int, fits: bool) -> None:
    qraft = changed(leader_of(THREE), max_log_size=size)
    if fits:
        qraft.propose("command", bytes(150), STARTED)
    else:
        with pytest.raises(TooLarge, match="max-log-size is 100"):
            qraft.propose("command", bytes(150), STARTED)


@pytest.mark.parametrize("rule", [{"replication_factor": 3}, {"quorum_replication": False, "replication_factor": 2}])
def test_commit_rule_goes_into_the_list_of_members(rule: dict[str, object]) -> None:
    qraft = changed(leader_of(THREE), **rule)
    beat(qraft, STARTED + 30, 2, 3)
    members = qraft.members
    assert {name: getattr(members, name) for name in rule} == rule
    assert qraft.members_index <= qraft.commit_index


def test_autoremove_enabled() -> None:
    qraft = leader_of(FIVE)
    beat(qraft, STARTED + 120, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == FIVE.voters
    changed(qraft, autoremove_enabled=True)
    beat(qraft, STARTED + 140, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}


def test_autoremove_minimum() -> None:
    qraft = changed(leader_of(FIVE), autoremove_enabled=True, autoremove_minimum=5)
    beat(qraft, STARTED + 120, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == FIVE.voters
    changed(qraft, autoremove_minimum=3)
    beat(qraft, STARTED + 140, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}


def test_remove_interval() -> None:
    qraft = changed(leader_of(FIVE), autoremove_enabled=True, remove_interval=300.0)
    beat(qraft, STARTED + 120, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == FIVE.voters
    changed(qraft, remove_interval=60.0)
    beat(qraft, STARTED + 140, 2, 3, 4, silent=(5,))
    assert qraft.members.voters == {1, 2, 3, 4}
