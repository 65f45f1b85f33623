"""What a candidate and a leader say to their device, and what its answers are worth to them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from consensus.stage import (
    NOW,
    SETTINGS,
    STARTED,
    append,
    confirm,
    follower,
    log,
    newest_round,
    participant,
    saved,
    voters,
)
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.members import LEVEL_MAX, Members
from qluster.consensus.membership import with_device
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.refusals import ChangeRefused
from qluster.events import (
    AskDevice,
    Asked,
    DeviceAnswered,
    DeviceClosed,
    DeviceOpened,
    DeviceShown,
    ShowDevice,
)

UID = 2**64 - 1
TWO = with_device(voters(1, 2), UID, None)
FOUR = with_device(voters(1, 2, 3, 4), UID, None)


def granted(stage: Asked, asked: int, uid: int = UID, term: int | None = None, yes: bool = True) -> DeviceAnswered:
    return DeviceAnswered(uid, stage, asked if term is None else term, asked, yes)


def open_link(qraft: QRaft, uid: int = UID, now: float = NOW) -> QRaft:
    qraft.hear_device(DeviceOpened(uid), now)
    return qraft


def standing(members: Members, uid: int = UID) -> tuple[QRaft, list[object]]:
    """A node that asks whether it could win, and what it asked its device."""
    qraft = open_link(participant(1, log(members, 1, 2)), uid)
    qraft.tick(STARTED)
    assert qraft.role == "pre-candidate"
    return qraft, list(qraft.take().device)


def leading(members: Members = TWO, at: float = STARTED, **settings: object) -> tuple[QRaft, Output]:
    """Elected by its device alone: nobody else answers."""
    qraft = open_link(participant(1, log(members, 1, 2), settings=replace(SETTINGS, **settings)))  # type: ignore[arg-type]
    qraft.tick(at)
    others = sorted(members.voters - {1})[: len(members.voters) // 2 - 1]
    for node in others:
        qraft.receive(say.PreVoteReply(CLUSTER, node, 2, 3, True), at)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), at)
    for node in others:
        qraft.receive(say.VoteReply(CLUSTER, node, 3, True, 1), at)
    qraft.hear_device(granted(Asked.VOTE, 3), at)
    assert qraft.role == "leader"
    return qraft, qraft.take()


def shown(qraft: QRaft, show: ShowDevice, now: float = STARTED, **other: object) -> None:
    """The device answers well."""
    values = {"uid": UID, "term": show.term, "index": show.index, "round": show.round, "kept": True} | other
    qraft.hear_device(DeviceShown(**values), now)  # type: ignore[arg-type]


def shows(output: Output) -> list[ShowDevice]:
    return [one for one in output.device if isinstance(one, ShowDevice)]


# --- a candidate ---------------------------------------------------------------------------------


def test_candidate_asks_its_device_as_it_asks_the_others_and_as_often() -> None:
    qraft, asked = standing(TWO)
    assert asked == [AskDevice(Asked.PRE_VOTE, 3, 1, 2, 3)]
    qraft.tick(STARTED + SETTINGS.replication_retry_interval)
    assert qraft.take().device == asked
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), STARTED + 2)
    assert qraft.role == "candidate"
    assert qraft.take().device == [AskDevice(Asked.VOTE, 3, 1, 2, 3)]
    qraft.hear_device(granted(Asked.VOTE, 3), STARTED + 2)
    assert qraft.role == "leader"


@pytest.mark.parametrize(
    "word",
    [
        granted(Asked.PRE_VOTE, 3, uid=7, term=2),
        granted(Asked.PRE_VOTE, 2, term=2),
        granted(Asked.VOTE, 3, term=2),
        granted(Asked.PRE_VOTE, 3, term=2, yes=False),
    ],
    ids=["of another memory", "of another term", "of another stage", "a no"],
)
def test_answer_that_is_for_something_else_counts_nothing(word: DeviceAnswered) -> None:
    qraft, _ = standing(TWO)
    qraft.hear_device(word, STARTED)
    assert qraft.role == "pre-candidate"


def test_word_that_it_would_vote_is_no_vote() -> None:
    qraft, _ = standing(TWO)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), STARTED)
    assert qraft.role == "candidate"
    qraft.hear_device(granted(Asked.PRE_VOTE, 3), STARTED)
    assert qraft.role == "candidate"


def test_memory_that_the_list_does_not_name_is_not_asked() -> None:
    qraft, asked = standing(TWO, uid=7)
    assert asked == [] and "the memory 0000000000000007" in qraft.device_fault(STARTED)
    qraft, asked = standing(voters(1, 2))
    assert asked == [] and qraft.device_fault(STARTED) == ""
    three = with_device(voters(1, 2, 3), UID, None)
    assert standing(three)[1] == [], "without votes it is not asked either"


def test_nothing_counts_after_the_link_is_closed() -> None:
    qraft, _ = standing(TWO)
    qraft.hear_device(DeviceClosed(), STARTED)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), STARTED)
    assert qraft.role == "pre-candidate" and "no connection" in qraft.device_fault(STARTED)
    qraft.tick(STARTED + 1)
    assert qraft.take().device == []


def test_candidate_gives_up_only_when_the_device_refuses_as_well() -> None:
    qraft, _ = standing(TWO)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), STARTED)
    qraft.receive(say.VoteReply(CLUSTER, 2, 3, False, 1), STARTED)
    assert qraft.role == "candidate"
    qraft.hear_device(granted(Asked.VOTE, 3, yes=False), STARTED)
    assert qraft.role == "follower"


def test_term_is_learned_from_a_refusal() -> None:
    """The other node voted there and is dead: who did not learn it would ask for an old term for ever."""
    qraft, _ = standing(TWO)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=9, yes=False), STARTED)
    assert (qraft.term, qraft.role) == (9, "follower")


def test_leader_s_own_wish_overrides_the_promise_of_the_device() -> None:
    qraft = open_link(follower(1, log(TWO, 1, 2)))
    qraft.receive(say.TimeoutNow(CLUSTER, 2, 2), NOW)
    assert AskDevice(Asked.VOTE_BY_TRANSFER, 3, 1, 2, 3) in qraft.take().device


# --- a leader ------------------------------------------------------------------------------------


def test_leader_that_the_device_elected_commits_with_it_at_once_and_has_a_lease() -> None:
    qraft, output = leading()
    show = shows(output)[-1]
    assert (show.term, show.leader, show.promise) == (3, 1, 30_000)
    shown(qraft, show)
    output = qraft.take()
    show = (shows(output) or [show])[-1]
    assert show.index == qraft.last_index == 4 and not qraft.ready
    shown(qraft, show)
    assert qraft.ready and qraft.commit_index == 4
    assert qraft.lease_until == STARTED + 20


@pytest.mark.parametrize(
    "other", [{"uid": 7}, {"kept": False}, {"term": 2}, {"index": 9}], ids=["uid", "refused", "term", "beyond the log"]
)
def test_nothing_else_commits(other: dict[str, object]) -> None:
    qraft, output = leading()
    shown(qraft, replace(shows(output)[-1], index=4), **other)
    assert not qraft.ready


def test_what_is_not_durable_is_not_shown() -> None:
    qraft = open_link(QRaft(1, SETTINGS, saved(1, log(TWO, 1, 2)), Random(1), NOW))
    qraft.tick(STARTED)
    for stage in (Asked.PRE_VOTE, Asked.VOTE):
        qraft.take()
        qraft.saved(qraft.saving(), STARTED)
        qraft.hear_device(granted(stage, 3, term=2 if stage is Asked.PRE_VOTE else 3), STARTED)
    show = shows(qraft.take())[-1]
    assert show.index == 0, "its first entry is on no disk yet, and the one before it is of another term"
    shown(qraft, show)
    number = qraft.saving()
    assert shows(qraft.take()) == []
    qraft.saved(number, STARTED)
    assert [one.index for one in shows(qraft.take())] == [4]


def test_one_is_shown_at_a_time_and_again_when_it_has_not_answered_for_long() -> None:
    """Who is heard and hears nothing must not have promises renewed until it leaves its office."""
    qraft, output = leading(FOUR)
    [first] = shows(output)
    now, again = STARTED, []
    while not again:
        for node in (2, 3, 4):
            confirm(qraft, node, qraft.last_index, newest_round(output), now)
        now += SETTINGS.heartbeat_interval / 2
        qraft.propose("command", b"x", now)
        qraft.tick(now)
        output = qraft.take()
        again = shows(output)
    assert STARTED + SETTINGS.node_timeout <= now < STARTED + SETTINGS.node_timeout + SETTINGS.heartbeat_interval
    assert len(again) == 1 and again[0].round > first.round


def test_what_was_shown_over_a_lost_connection_is_shown_again_over_the_next() -> None:
    qraft, output = leading()
    assert len(shows(output)) == 1
    qraft.hear_device(DeviceClosed(), STARTED)
    open_link(qraft, now=STARTED)
    [again] = shows(qraft.take())
    assert again.index == qraft.last_index


def test_entry_is_not_shown_while_the_voters_commit_without_it() -> None:
    """It would refuse every candidate that lacks the entry, though nobody needed its word for it."""
    qraft, output = leading(FOUR)
    for node in (2, 3, 4):
        confirm(qraft, node, qraft.last_index, newest_round(output), STARTED)
    shown(qraft, replace(shows(output)[-1], index=0))
    now = STARTED
    for step in range(20):
        now += SETTINGS.heartbeat_interval / 2
        if step % 3 == 0:
            qraft.propose("command", b"x", now)
        qraft.tick(now)
        output = qraft.take()
        for show in shows(output):
            assert show.index == 0
            shown(qraft, show, now)
        for node in (2, 3, 4):
            if newest_round(output):
                confirm(qraft, node, qraft.last_index, newest_round(output), now)
    assert qraft.role == "leader" and qraft.commit_index == qraft.last_index


def test_voter_that_answers_and_does_not_save_is_waited_for_once() -> None:
    """Its disk is full, or hangs."""
    qraft, output = leading()
    now, waits = STARTED, []
    held = qraft.last_index
    confirm(qraft, 2, held, newest_round(output), now)
    shown(qraft, shows(output)[-1])
    for saves in (False, False, True, False):
        qraft.propose("command", b"x", now)
        proposed, begun = qraft.last_index, now
        held = proposed if saves else held
        while qraft.commit_index < proposed and now < begun + 60:
            qraft.tick(now)
            output = qraft.take()
            for show in shows(output):
                shown(qraft, show, now)
            if newest_round(output):
                confirm(qraft, 2, held, newest_round(output), now)
            now += 0.25
        waits.append(now - begun)
    once = SETTINGS.node_timeout / 2
    assert once <= waits[0] <= once + 2 and waits[1] <= 2, waits
    assert waits[2] <= 2 and once <= waits[3] <= once + 2, waits


def test_device_alone_keeps_a_leader_in_office_and_without_it_it_goes() -> None:
    qraft, output = leading()
    now = STARTED
    for answers in (True, False):
        for _ in range(300):
            for show in shows(output):
                if answers:
                    shown(qraft, show, now)
            now = max(min(now + 0.5, qraft.wake_at), now + 0.01)
            qraft.tick(now)
            output = qraft.take()
        assert (qraft.role == "leader") == answers, now - STARTED
    assert "it has not answered for" in qraft.device_fault(now)


def test_later_term_at_the_device_ends_the_office() -> None:
    qraft, output = leading()
    shown(qraft, shows(output)[-1], term=8, kept=False)
    assert (qraft.role, qraft.term) == ("follower", 8)


def test_promise_that_the_device_cuts_short_carries_no_lease() -> None:
    at = NOW + 1000
    qraft, output = leading(at=at, node_timeout=700.0)
    shown(qraft, shows(output)[-1], at)
    assert qraft.lease_until <= at


def test_device_is_counted_only_when_it_is_there() -> None:
    qraft, output = leading(FOUR)
    for node in (2, 3, 4):
        confirm(qraft, node, qraft.last_index, newest_round(output), STARTED)
    for node in (2, 3, 4):
        qraft.counts(node, LEVEL_MAX)
    assert qraft.ready
    qraft.device(0, None, STARTED)
    output = qraft.take()
    assert qraft.members == voters(1, 2, 3, 4)
    for node in (2, 3, 4):
        confirm(qraft, node, qraft.last_index, newest_round(output), STARTED)
    qraft.take()
    late = STARTED + SETTINGS.node_timeout + 1
    open_link(qraft, now=late)
    with pytest.raises(ChangeRefused, match="would be alive"):
        qraft.device(UID, None, late)


def test_lone_node_is_not_quorate_with_a_device_that_has_seen_more() -> None:
    """Else an operator who forces the quorum would be told to wait for an election that nobody can win."""
    qraft, [asked] = standing(TWO)
    assert isinstance(asked, AskDevice) and qraft.quorate(STARTED)
    refused = granted(Asked.PRE_VOTE, asked.term, term=1, yes=False)
    qraft.hear_device(refused, STARTED)
    assert qraft.quorate(STARTED), "it may have promised somebody, and vote later"
    qraft.hear_device(replace(refused, behind=True), STARTED)
    assert not qraft.quorate(STARTED) and "forces the quorum" in qraft.device_fault(STARTED)
    qraft.hear(2, STARTED)
    assert qraft.quorate(STARTED), "the other one may have what lacks here"
    later = STARTED + SETTINGS.node_timeout + 1
    open_link(qraft, now=later)
    assert qraft.quorate(later) and not qraft.device_fault(later)


def test_what_an_append_says_of_a_device_is_in_force_at_once() -> None:
    """S14: with the list before, until it is committed."""
    qraft = open_link(follower(1, log(voters(1, 2), 1, 2)))
    entry = replace(log(TWO)[0], index=4, term=2)
    qraft.receive(append(2, 2, 3, 2, [entry]), NOW)
    qraft.take()
    qraft.tick(STARTED)
    qraft.hear_device(granted(Asked.PRE_VOTE, 3, term=2), STARTED)
    assert qraft.role == "pre-candidate", "the list before does not know the device"
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 2, 3, True), STARTED)
    assert qraft.role == "candidate"
