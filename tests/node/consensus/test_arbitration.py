"""The vote of an arbiter that remembers nothing, one decision at a time: by episode, by formula."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import combinations

import pytest
from consensus import stage
from consensus.stage import CLUSTER, NOW, participant, sent, voters
from msgspec.structs import replace
from qluster.consensus import messages as say
from qluster.consensus.electorate import FORMULA_KEY, Electorate
from qluster.consensus.members import EPISODE, FORMULA, SLOTS, Members
from qluster.consensus.membership import (
    fault_of_change,
    fault_of_version,
    usual_votes,
    with_device,
    with_usual_votes,
)
from qluster.consensus.qraft import QRaft
from qluster.consensus.remarks import remarks
from qluster.consensus.standing import Standing

BOTH, ALONE, OTHER = (1, 8), (1, 12), (2, 12)


def listed(way: str, *nodes: int, votes: int | None = None) -> Members:
    """A list with a device that counts so."""
    plain = voters(*nodes)
    return with_usual_votes(plain, with_device(plain, 0, votes, way))


def says(
    ring: tuple[int, int], *members: int, way: str = EPISODE, unbroken: bool = True, arbiter: int = 0
) -> Standing:
    """An arbiter that acknowledges this ring."""
    return Standing(ring, frozenset(members), NOW, way, unbroken, "", arbiter)


def node(members: Members, standing: Standing, me: int = 1, *terms: int) -> QRaft:
    """A node that has just started, and is told this."""
    qraft = participant(me, stage.log(members, *terms))
    qraft.stand(standing, NOW)
    return qraft


def late(qraft: QRaft) -> float:
    """When it will stand."""
    at = NOW + 100
    qraft.tick(at)
    return at


# --- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "word"),
    [
        (replace(voters(1, 2), way=FORMULA, device=1, device_uid=5), "any arbiter will do"),
        (replace(voters(1, 2), way=EPISODE, device=1, device_uid=2**64), "not one of 64 bits"),
        (replace(voters(1, 2), way=EPISODE, device=2), "must have fewer"),
        (replace(voters(1, 2), way=FORMULA, device=1), "terms of its own"),
        (replace(voters(1, 2), way="wishful", device=1), "not known to this version"),
        (replace(voters(1, 2), way=EPISODE, device=1, tie=1), "one of them breaks ties"),
    ],
)
def test_lists_that_contradict_themselves(members: Members, word: str) -> None:
    assert word in members.fault()


USUAL = [(EPISODE, 2, 1), (EPISODE, 3, 0), (FORMULA, 2, 1), (FORMULA, 3, 0)]


@pytest.mark.parametrize(("way", "nodes", "votes"), USUAL)
def test_usual_votes_follow_the_voters(way: str, nodes: int, votes: int) -> None:
    members = listed(way, *range(1, nodes + 1))
    assert members.device == votes == usual_votes(members) and not members.fault()
    assert Members.decode(members.encode()) == members


def test_slot_is_kept_and_that_of_who_has_just_left_is_nobody_elses() -> None:
    first = listed(FORMULA, 1, 2, 3, votes=2)
    assert [member.slot for member in first] == [1, 2, 3]
    newcomer = replace(first.all[0], node=4, uid=4004)
    second = with_usual_votes(first, first.without(2).with_member(newcomer))
    assert [(member.node, member.slot) for member in second] == [(1, 1), (3, 3), (4, 4)]
    third = with_usual_votes(second, second.with_member(replace(newcomer, node=5, uid=5005)))
    assert [(member.node, member.slot) for member in third] == [(1, 1), (3, 3), (4, 4), (5, 2)]
    assert all(member.slot == 0 for member in with_usual_votes(third, with_device(third, 0, None)))


def test_other_way_is_another_rule_for_who_is_alive() -> None:
    """Alone with its device a node could not commit the list that counts it by episode."""
    assert "needed" in fault_of_change(voters(1, 2), listed(EPISODE, 1, 2), {1})
    assert not fault_of_change(voters(1, 2), listed(EPISODE, 1, 2), {1, 2})


# --- the formula ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4])
def test_by_formula_every_commit_and_contact_meets_every_election(n: int) -> None:
    nodes = range(1, n + 1)
    subsets = [set(chosen) for size in range(n + 1) for chosen in combinations(nodes, size)]
    for device in range(1, n):
        for rule in ((True, 0), (True, 2), (False, 1)):
            plain = listed(FORMULA, *nodes, votes=device)
            one = Electorate.of(replace(plain, quorum_replication=rule[0], replication_factor=rule[1]))
            helped = [each for each in subsets if one.elects(each | {FORMULA_KEY})]
            alone = [each for each in subsets if one.elects(each)]
            holding = [each for each in subsets if one.commits(each | {FORMULA_KEY}) or one.keeps(each | {FORMULA_KEY})]
            assert helped and holding and set(nodes) in alone
            assert all(each & other for each in helped for other in holding), (n, device, rule)
            assert all(each & other for each in alone for other in helped), "two in one term"


def test_what_a_lone_survivor_elects_commits_nothing_and_has_no_lease() -> None:
    qraft = node(listed(FORMULA, 1, 2), says(ALONE, 1, way=FORMULA))
    at = late(qraft)
    assert qraft.role == "leader"
    qraft.take()
    assert not qraft.ready and qraft.lease_until < at


def test_who_counts_it_by_formula_stands_in_terms_of_its_own() -> None:
    members = listed(FORMULA, 1, 2, 3, 4, votes=3)
    for me in (1, 2, 3, 4):
        qraft = node(members, says((me, 12), me, way=FORMULA), me)
        late(qraft)
        assert qraft.role == "leader" and qraft.term % SLOTS == me


def test_in_the_term_of_another_it_helps_nobody() -> None:
    """The vote came after the candidate had taken the next term."""
    qraft = node(listed(FORMULA, 1, 2, 3, votes=2), Standing(ALONE, frozenset({1})), 1, 1, 7)
    at = late(qraft)
    for other in (2, 3):
        qraft.receive(say.PreVoteReply(CLUSTER, other, 7, 8, True), at)
    assert qraft.role == "candidate" and qraft.term == 8
    qraft.stand(says(ALONE, 1, way=FORMULA), at)
    assert qraft.role == "candidate", "term 8 is not its own"


# --- by episode -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "leads"),
    [
        (says(ALONE, 1), True),
        (says(ALONE, 1, unbroken=False), False),
        (Standing(ALONE, frozenset({1})), False),
        (says(BOTH, 1, 2), False),
        (says(ALONE, 1, way=FORMULA), False),
    ],
)
def test_one_of_two_is_elected_only_by_an_unbroken_vote_for_it_alone(standing: Standing, leads: bool) -> None:
    qraft = node(listed(EPISODE, 1, 2), standing)
    late(qraft)
    assert (qraft.role == "leader") == leads


@pytest.mark.parametrize(("ring", "counts"), [(BOTH, True), (OTHER, False), (say.NO_RING, False)])
def test_what_another_says_in_another_ring_is_no_vote_beside_the_device(ring: tuple[int, int], counts: bool) -> None:
    qraft = node(listed(EPISODE, 1, 2, 3, 4), says(BOTH, 1, 2))
    at = late(qraft)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True, ring=ring), at)
    assert (qraft.role == "candidate") == counts
    if counts:
        qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1, ring=OTHER), at)
        assert qraft.role == "candidate"
        qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1, ring=ring), at)
        assert qraft.role == "leader"


def leads_half(ring: tuple[int, int] = BOTH) -> tuple[QRaft, float]:
    """Node 1 of four, elected by itself, node 2 and the device."""
    qraft = node(listed(EPISODE, 1, 2, 3, 4), says(BOTH, 1, 2))
    at = late(qraft)
    qraft.receive(say.PreVoteReply(CLUSTER, 2, 1, 2, True, ring=BOTH), at)
    qraft.receive(say.VoteReply(CLUSTER, 2, 2, True, 1, ring=BOTH), at)
    number = stage.newest_round(qraft.take())
    qraft.receive(say.AppendReply(CLUSTER, 2, 2, number, qraft.last_index, (), ring), at)
    return qraft, at


def test_commit_and_lease_take_all_of_the_membership_in_its_ring() -> None:
    qraft, at = leads_half()
    assert qraft.ready and qraft.lease_until > at
    for other in (OTHER, say.NO_RING):
        qraft, at = leads_half(other)
        assert not qraft.ready and qraft.lease_until < at


ENDS = [Standing(BOTH, frozenset({1, 2})), says(BOTH, 1, 2, unbroken=False), says((1, 20), 1, 2)]


@pytest.mark.parametrize("then", ENDS)
def test_leader_has_no_lease_from_the_moment_the_vote_ends(then: Standing) -> None:
    qraft, at = leads_half()
    qraft.stand(then, at)
    assert qraft.lease_until < at


def test_who_led_by_a_vote_that_ended_helps_nobody_before_its_database_has_had_time_to_stop() -> None:
    """With nobody's promise but the arbiter's refusal to others, its own is all that there is."""
    qraft = node(listed(EPISODE, 1, 2), says(ALONE, 1))
    at = late(qraft)
    qraft.take()
    assert qraft.role == "leader" and qraft.ready and qraft.lease_until == at + 20
    for _ in range(4):
        at += 10
        qraft.tick(at)
        qraft.take()
    assert qraft.lease_until == at + 20
    at += 5
    qraft.stand(Standing(ALONE, frozenset({1})), at)
    assert qraft.lease_until < at
    qraft.tick(at)
    output = qraft.take()
    assert qraft.role == "follower" and not sent(output, say.Goodbye)
    vote = say.Vote(CLUSTER, 2, qraft.term + 1, 99, qraft.term + 1)
    for passed, granted in ((1, False), (24, False), (26, True)):
        qraft.receive(vote, at + passed)
        assert sent(qraft.take(), say.VoteReply, 2)[0].granted == granted, passed


# --- in sync ----------------------------------------------------------------------------------------


def follows_in(ring: tuple[int, int], unbroken: bool = False) -> tuple[QRaft, float]:
    """Node 1, which follows node 2 and has its log."""
    qraft = node(listed(EPISODE, 1, 2), says(ring, 1, 2, unbroken=unbroken), 1, 1)
    qraft.receive(stage.append(2, 1, 2, 1), NOW)
    qraft.tick(NOW + 1)
    return qraft, NOW + 1


def test_follower_asks_the_leader_and_is_in_sync_when_it_has_the_log_of_then() -> None:
    qraft, at = follows_in(BOTH)
    [query] = sent(qraft.take(), say.SyncQuery, 2)
    qraft.receive(say.SyncReply(CLUSTER, 2, 1, query.number, BOTH, 3, 1), at)
    assert not qraft.take().synced, "it lacks entry 3"
    qraft.receive(stage.append(2, 1, 2, 1, [stage.entry(3, 1)]), at)
    assert qraft.take().synced == [(BOTH, at)]


@pytest.mark.parametrize(
    "reply",
    [
        say.SyncReply(CLUSTER, 2, 1, 99, BOTH, 2, 1),
        say.SyncReply(CLUSTER, 2, 1, 1, OTHER, 2, 1),
        say.SyncReply(CLUSTER, 3, 1, 1, BOTH, 2, 1),
        say.SyncReply(CLUSTER, 2, 0, 1, BOTH, 2, 1),
    ],
)
def test_answer_of_another_question_ring_leader_or_term_shows_nothing(reply: say.SyncReply) -> None:
    qraft, at = follows_in(BOTH)
    qraft.take()
    qraft.receive(reply, at)
    assert not qraft.take().synced


def test_nobody_asks_whose_episode_is_unbroken_or_whose_ring_is_not_acknowledged() -> None:
    qraft, _ = follows_in(BOTH, unbroken=True)
    assert not sent(qraft.take(), say.SyncQuery)
    qraft = node(listed(EPISODE, 1, 2), Standing(BOTH, frozenset({1, 2})), 1, 1)
    qraft.receive(stage.append(2, 1, 2, 1), NOW)
    qraft.tick(NOW + 1)
    assert not sent(qraft.take(), say.SyncQuery)


def test_leader_answers_when_a_quorum_in_the_ring_has_confirmed_it_since() -> None:
    qraft, at = leads_half()
    qraft.take()
    qraft.receive(say.SyncQuery(CLUSTER, 2, 2, 5, BOTH), at)
    assert not sent(qraft.take(), say.SyncReply)
    at += qraft.settings.heartbeat_interval
    qraft.tick(at)
    number = stage.newest_round(qraft.take())
    qraft.receive(say.AppendReply(CLUSTER, 2, 2, number, qraft.last_index, (), OTHER), at)
    assert not sent(qraft.take(), say.SyncReply)
    at += qraft.settings.heartbeat_interval
    qraft.tick(at)
    number = stage.newest_round(qraft.take())
    qraft.receive(say.AppendReply(CLUSTER, 2, 2, number, qraft.last_index, (), BOTH), at)
    [reply] = sent(qraft.take(), say.SyncReply, 2)
    assert (reply.number, reply.ring, reply.last_index) == (5, BOTH, qraft.last_index)


def test_leader_answers_nobody_who_is_in_another_ring() -> None:
    qraft, at = leads_half()
    qraft.receive(say.SyncQuery(CLUSTER, 2, 2, 5, OTHER), at)
    qraft.receive(say.SyncQuery(CLUSTER, 3, 2, 5, BOTH), at)
    for _ in range(2):
        at += qraft.settings.heartbeat_interval
        qraft.tick(at)
        qraft.receive(say.AppendReply(CLUSTER, 2, 2, stage.newest_round(qraft.take()), qraft.last_index, (), BOTH), at)
        assert not sent(qraft.take(), say.SyncReply)


# --- which arbiter it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "counts"), [(5, True), (6, False), (0, False)])
def test_by_episode_only_the_arbiter_counts_that_the_list_names(asked: int, counts: bool) -> None:
    members = replace(listed(EPISODE, 1, 2), device_uid=5)
    qraft = node(members, says(ALONE, 1, arbiter=asked))
    late(qraft)
    assert (qraft.role == "leader") == counts
    fault = qraft.device_fault(NOW + 100)
    assert ("name the same host and port" in fault) == (asked == 6)


def test_list_of_a_version_that_did_not_tell_arbiters_apart_counts_any() -> None:
    qraft = node(listed(EPISODE, 1, 2), says(ALONE, 1, arbiter=6))
    late(qraft)
    assert qraft.role == "leader"


def test_lists_name_an_arbiter_only_when_all_tell_them_apart() -> None:
    before, after = listed(EPISODE, 1, 2), replace(listed(EPISODE, 1, 2), device_uid=5)
    assert "nodes 2 have not said" in fault_of_version(before, after, {1: 4, 2: 3})
    assert "nodes 2 have not said" in fault_of_version(voters(1, 2), after, {1: 4, 2: 3})
    assert not fault_of_version(before, after, {1: 4, 2: 4})
    assert not fault_of_version(after, replace(after, device_uid=6), {1: 4, 2: 3}), "who is there has said so before"
    assert not fault_of_version(before, listed(EPISODE, 1, 2), {1: 4, 2: 3})


# --- what people are told ---------------------------------------------------------------------------


def test_that_it_never_writes_by_formula_is_said() -> None:
    [remark] = remarks(listed(FORMULA, 1, 2, 3, 4), "off")
    assert "never to write" in remark and "3 of 4 votes" in remark
    assert not remarks(listed(EPISODE, 1, 2), "off") and not remarks(listed(FORMULA, 1, 2, 3), "off")
