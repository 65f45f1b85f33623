"""What a leader does while it leads: lease and reads."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from consensus.stage import (
    FIVE,
    SETTINGS,
    STARTED,
    THREE,
    Middle,
    beat,
    confirm,
    leader_of,
    log,
    newest_round,
    saved,
    sent,
    voters,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import READS_MAX

# --- lease and office -----------------------------------------------------------------


def test_lease_counts_from_the_sending_and_needs_a_quorum() -> None:
    qraft = leader_of(FIVE, ready=False)
    assert qraft.lease_until == -inf
    confirm(qraft, 2, 1, 1, STARTED + 3)
    assert qraft.lease_until == -inf
    confirm(qraft, 3, 1, 1, STARTED + 5)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_late_answer_to_an_old_round_does_not_lengthen_the_lease() -> None:
    qraft = leader_of(THREE)
    qraft.tick(STARTED + 10)
    qraft.take()
    confirm(qraft, 2, 2, 1, STARTED + 15)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_answer_to_a_round_that_never_was_counts_nothing() -> None:
    qraft = leader_of(THREE, ready=False)
    confirm(qraft, 2, 1, 99, STARTED)
    assert qraft.lease_until == -inf


def test_refusal_is_a_sign_of_life_too() -> None:
    qraft = leader_of(THREE, ready=False)
    qraft.receive(say.AppendRefusal(CLUSTER, 2, 2, 1, 1, 1, 0), STARTED)
    assert qraft.lease_until == pytest.approx(STARTED + 20)


def test_listeners_answers_hold_no_lease() -> None:
    qraft = leader_of(voters(1, 2, 3, listeners=[4, 5]), ready=False)
    for node in (4, 5):
        confirm(qraft, node, 1, 1, STARTED)
    assert qraft.lease_until == -inf


def test_leader_without_a_quorum_steps_down_long_after_its_lease() -> None:
    """S18."""
    qraft = leader_of(THREE)
    beat(qraft, STARTED + 60)
    assert qraft.role == "follower"
    assert qraft.lease_until == -inf


def stepping_down(qraft: QRaft, until: float) -> tuple[float, list[say.Goodbye]]:
    """When a leader that nobody answers steps down, and what it says then."""
    while qraft.role == "leader":
        now = qraft.wake_at
        assert now <= until
        qraft.take()
        qraft.tick(now)
    return now, [message for _, message in qraft.take().send if isinstance(message, say.Goodbye)]


def test_leader_that_hears_nobody_releases_those_who_may_hear_it() -> None:
    """It is cut in one direction: its heartbeats arrived until now, and would be waited for once more."""
    qraft = leader_of(THREE)
    at, goodbyes = stepping_down(qraft, STARTED + 60)
    assert at == pytest.approx(STARTED + 30)
    assert goodbyes == [say.Goodbye(CLUSTER, 1, 2, 0)]


def test_leader_releases_nobody_while_a_longer_promise_from_before_holds() -> None:
    qraft = leader_of(THREE)
    qraft.settings = replace(SETTINGS, node_timeout=12.0, heartbeat_interval=3.0)
    at, goodbyes = stepping_down(qraft, STARTED + 60)
    assert at < STARTED + 30 and goodbyes == []


def test_leader_with_a_quorum_leads_on() -> None:
    qraft = leader_of(THREE)
    beat(qraft, STARTED + 300, 3)
    assert qraft.role == "leader"
    assert qraft.lease_until > STARTED + 300
    assert qraft.quorate(STARTED + 300) and qraft.can_commit(STARTED + 300)


def test_leader_that_waits_for_a_further_copy_leads_on() -> None:
    settings = replace(SETTINGS, replication_factor=3)
    qraft = leader_of(voters(1, 2, 3, replication_factor=3), settings=settings)
    index = qraft.propose("command", b"x", STARTED)[0]
    beat(qraft, STARTED + 100, 2)
    assert (qraft.role, qraft.commit_index) == ("leader", index - 1)
    assert qraft.quorate(STARTED + 100) and not qraft.can_commit(STARTED + 100)
    confirm(qraft, 3, index, 0, STARTED + 100)
    assert qraft.commit_index == index


def test_one_copy_can_be_enough_where_every_node_must_vote() -> None:
    """D4: the smaller commit quorum is paid for by the election."""
    rule = {"quorum_replication": False, "replication_factor": 1}
    qraft = leader_of(voters(1, 2, 3, **rule), settings=replace(SETTINGS, **rule))  # type: ignore[arg-type]
    index = qraft.propose("command", b"x", STARTED)[0]
    qraft.take()
    assert qraft.commit_index == index
    beat(qraft, STARTED + 100)
    assert qraft.role == "leader" and qraft.lease_until > STARTED + 100
    other = QRaft(2, SETTINGS, saved(2, log(voters(1, 2, 3, **rule))), Middle(0), STARTED)
    other.tick(STARTED + 60)
    other.receive(say.PreVoteReply(CLUSTER, 3, 1, 2, True), STARTED + 60)
    assert other.role == "pre-candidate", "two of three are not enough here"


# --- reads --------------------------------------------------------------------------


def test_read_waits_for_a_round_that_began_after_it() -> None:
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    output = qraft.take()
    assert output.reads == []
    confirm(qraft, 2, 2, newest_round(output) - 1, STARTED)
    assert qraft.take().reads == []
    confirm(qraft, 2, 2, newest_round(output), STARTED)
    assert qraft.take().reads == [(7, True)]


def test_reads_that_come_together_share_a_round() -> None:
    qraft = leader_of(THREE)
    for ticket in range(5):
        qraft.request_read(ticket, STARTED)
    output = qraft.take()
    assert len(sent(output, say.Append)) == 1
    confirm(qraft, 3, 2, newest_round(output), STARTED)
    assert qraft.take().reads == [(ticket, True) for ticket in range(5)]


def test_read_before_the_first_commit_of_the_term_waits_for_it() -> None:
    """B37, S13."""
    qraft = leader_of(THREE, 1, 1, ready=False)
    qraft.request_read(7, STARTED)
    number = newest_round(qraft.take())
    confirm(qraft, 2, 1, number, STARTED)
    assert qraft.take().reads == []
    confirm(qraft, 2, qraft.last_index, number, STARTED)
    assert qraft.take().reads == [(7, True)]


def test_reads_of_a_leader_that_steps_down_are_refused() -> None:
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    qraft.receive(say.Append(CLUSTER, 2, 9, 1, 30.0, 2, 2, 0), STARTED)
    assert (7, False) in qraft.take().reads
    qraft.request_read(8, STARTED)
    assert (8, False) in qraft.take().reads


def test_rounds_of_an_earlier_office_confirm_nothing() -> None:
    """B38: numbers are compared within a term only."""
    qraft = leader_of(THREE)
    qraft.request_read(7, STARTED)
    number = newest_round(qraft.take())
    qraft.receive(say.AppendReply(CLUSTER, 2, qraft.term - 1, number, 2), STARTED)
    assert qraft.take().reads == []


def test_too_many_reads_are_refused() -> None:
    qraft = leader_of(THREE)
    for ticket in range(READS_MAX + 1):
        qraft.request_read(ticket, STARTED)
    assert qraft.take().reads == [(READS_MAX, False)]


def test_only_voter_reads_at_once() -> None:
    qraft = leader_of(voters(1))
    qraft.request_read(7, STARTED)
    assert qraft.take().reads == [(7, True)]
