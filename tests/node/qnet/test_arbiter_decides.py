"""The arbiter with its clients: whom it gives the vote, and when it says so."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.qnet.messages import (
    AskForVote,
    AskForVoteReply,
    HeuristicsChange,
    HeuristicsChangeReply,
    NodeList,
    NodeListReply,
    ServerError,
    VoteInfo,
    VoteInfoReply,
)
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, Heuristics, NodeListType, Vote
from qnet.shorthand import HIGHEST, nodes
from qnet.stage import Stage, two_together, votes

LMS, TWO = DecisionAlgorithm.LMS, DecisionAlgorithm.TWO_NODE_LMS


def test_ack_of_one_half_waits_for_the_confirmation_of_the_other() -> None:
    stage = two_together()
    assert votes(stage.membership("n1", "1.c", 1)) == [(NodeListReply, Vote.WAIT_FOR_REPLY, "1.c")]
    told = stage.membership("n2", "2.c", 2)
    assert votes(told) == [(VoteInfo, Vote.NACK, "2.c"), (NodeListReply, Vote.NO_CHANGE, "2.c")]
    assert not stage.raw("n1")
    stage.say("n2", VoteInfoReply(seq=1), VoteInfoReply(seq=3))
    assert not stage.raw("n1"), "another number confirms nothing"
    stage.say("n2", VoteInfoReply(seq=2))
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.ACK, "1.c")]
    stage.say("n2", VoteInfoReply(seq=2))
    assert not stage.raw("n1"), "and only once"


def test_ack_is_not_forgotten_when_an_older_vote_is_confirmed_meanwhile() -> None:
    """The released server takes the late confirmation for one of the ACK that it has not sent, and never sends it."""
    stage = two_together()
    stage.say("n1", HeuristicsChange(seq=50, heuristics=Heuristics.PASS))
    [late] = [one for one in stage.take("n1") if isinstance(one, VoteInfo)]
    stage.say("n2", VoteInfoReply(seq=2))
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    stage.confirm("n1", late)
    stage.say("n2", VoteInfoReply(seq=3))
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.ACK, "1.c")]


def test_who_owes_a_confirmation_and_disconnects_is_decided_without() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    stage.close("n2")
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.ACK, "1.c")]


def test_who_waits_for_its_ack_and_disconnects_leaves_the_vote_to_the_other() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    stage.close("n1")
    assert votes(stage.take("n2")) == [(VoteInfo, Vote.ACK, "2.c")]


def test_new_disagreement_stops_what_was_about_to_be_told() -> None:
    stage = two_together()
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    assert votes(stage.membership("n1", "1.10", 1, 2)) == [(NodeListReply, Vote.WAIT_FOR_REPLY, "1.10")]
    stage.say("n2", VoteInfoReply(seq=2))
    assert not stage.raw("n1")


def test_all_are_told_on_each_run_also_what_they_know() -> None:
    stage = two_together()
    stage.say("n1", HeuristicsChange(seq=9, heuristics=Heuristics.PASS))
    assert votes(stage.take("n1")) == [
        (VoteInfo, Vote.ACK, "1.8"),
        (HeuristicsChangeReply, Vote.NO_CHANGE, "1.8"),
    ]
    assert votes(stage.take("n2")) == [(VoteInfo, Vote.ACK, "1.8")]


def test_ring_is_that_of_the_message_for_its_sender_and_the_known_one_for_others() -> None:
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, at=f"{node}.4")
        stage.config(f"n{node}", 1, 2)
    stage.membership("n1", "1.8", 1)
    assert votes(stage.take("n2")) == [(VoteInfo, Vote.NACK, "2.4")], "it has said no membership yet"
    assert votes(stage.membership("n2", "2.c", 2)) == [
        (VoteInfo, Vote.NACK, "2.c"),
        (NodeListReply, Vote.NO_CHANGE, "2.c"),
    ]


def test_lists_in_another_order_are_answered_later() -> None:
    stage = Stage()
    stage.join("n1", 1)
    assert votes(stage.membership("n1", "1.8", 1, 2)) == [(NodeListReply, Vote.ASK_LATER, "1.8")]
    stage.say("n1", HeuristicsChange(seq=50, heuristics=Heuristics.FAIL))
    assert votes(stage.take("n1")) == [(HeuristicsChangeReply, Vote.ASK_LATER, "1.8")]
    assert votes(stage.config("n1", 1, 2)) == [(NodeListReply, Vote.ASK_LATER, "1.8")]
    assert votes(stage.config("n1", 1, 2, changed=True)) == [
        (VoteInfo, Vote.ACK, "1.8"),
        (NodeListReply, Vote.NO_CHANGE, "1.8"),
    ]


def test_client_without_lists_is_neither_told_nor_in_the_way_when_the_only_other_leaves() -> None:
    """The released server ends itself here."""
    stage = Stage()
    stage.join("n1", 1)
    stage.config("n1", 1, 2)
    stage.membership("n1", "1.8", 1, 2)
    stage.join("n2", 2)
    stage.close("n1")
    assert not stage.raw("n2")
    stage.config("n2", 1, 2)
    assert votes(stage.membership("n2", "2.c", 2))[0] == (VoteInfo, Vote.ACK, "2.c")


def test_what_was_selected_is_forgotten_with_the_last_client() -> None:
    stage = two_together()
    stage.close("n1")
    stage.raw("n2")
    stage.membership("n2", "2.c", 2)
    stage.close("n2")
    for node in (1, 2):
        stage.join(f"back{node}", node)
        stage.config(f"back{node}", 1, 2)
    stage.membership("back1", "1.10", 1)
    stage.raw("back2")
    assert votes(stage.membership("back2", "2.10", 2))[0] == (VoteInfo, Vote.NACK, "2.10")


def test_newest_checks_count_for_the_whole_partition() -> None:
    """The released server looks at the old ones for all of the partition but who sent the new, one run long."""
    stage = Stage()
    for node in (1, 2, 3, 4):
        stage.join(f"n{node}", node)
        stage.config(f"n{node}", 1, 2, 3, 4)
    for node in (1, 2):
        stage.membership(f"n{node}", "1.8", 1, 2, heuristics=Heuristics.PASS)
    for node in (3, 4):
        stage.membership(f"n{node}", "3.8", 3, 4, heuristics=Heuristics.PASS)
    for node in (1, 2, 3, 4):
        stage.raw(f"n{node}")
    stage.say("n2", HeuristicsChange(seq=90, heuristics=Heuristics.FAIL))
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.NACK, "1.8")]


def four_in_halves(stage: Stage, *without: int) -> None:
    """Nodes 1 and 2 see each other, so do 3 and 4; all but those named are connected and were told."""
    here = [node for node in (1, 2, 3, 4) if node not in without]
    for node in here:
        stage.join(f"n{node}", node)
        stage.config(f"n{node}", 1, 2, 3, 4)
    for node in here:
        stage.membership(f"n{node}", "1.8" if node < 3 else "3.8", *((1, 2) if node < 3 else (3, 4)))
    for node in here:
        stage.raw(f"n{node}")


def test_who_disconnects_does_not_count_for_its_half_any_more() -> None:
    """The released server counts it in this one run, and no longer in the next."""
    stage = Stage()
    four_in_halves(stage)
    stage.close("n1")
    assert votes(stage.take("n2")) == [(VoteInfo, Vote.NACK, "1.8")]


def test_node_that_is_named_twice_counts_once() -> None:
    stage = Stage()
    four_in_halves(stage, 1, 2)
    stage.join("n1", 1)
    stage.config("n1", 1, 2, 3, 4)
    stage.raw("n3")
    told = stage.membership("n1", "1.8", 1, 1, 1)
    assert votes(told)[0] == (VoteInfo, Vote.NACK, "1.8")
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, algorithm=TWO, tie_breaker=HIGHEST)
        stage.membership(f"n{node}", "1.8", 1, 2)
    assert votes(stage.membership("n1", "1.c", 1, 1)) == [(NodeListReply, Vote.NACK, "1.c")]


def test_vote_info_confirmed_by_others_than_ffsplit_is_taken_note_of() -> None:
    stage = Stage()
    stage.join("n1", 1, algorithm=LMS)
    stage.say("n1", VoteInfoReply(seq=7))
    assert not stage.raw("n1")


def test_lms_looks_again_after_a_quarter_of_a_heartbeat_until_it_can_answer() -> None:
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, algorithm=LMS, heartbeat=2400)
        stage.config(f"n{node}", 1, 2)
        stage.membership(f"n{node}", "1.8", 1, 2)
    assert votes(stage.membership("n1", "1.c", 1)) == [(NodeListReply, Vote.WAIT_FOR_REPLY, "1.c")]
    stage.wait(1.3)
    assert not stage.raw("n1"), "node 2 still says that it sees node 1"
    assert votes(stage.membership("n2", "2.c", 2)) == [(NodeListReply, Vote.WAIT_FOR_REPLY, "2.c")]
    stage.wait(0.49)
    assert not stage.raw("n1")
    stage.wait(0.02)
    assert votes(stage.take("n1")) == [(VoteInfo, Vote.ACK, "1.c")]
    stage.wait(0.6)
    [told] = stage.take("n2")
    assert votes([told]) == [(VoteInfo, Vote.NACK, "2.c")] and told.seq == 1
    stage.wait(1.0)
    assert not stage.bytes, "it is told once"


def test_lms_answer_that_is_asked_for_stops_looking_again() -> None:
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, algorithm=LMS)
        stage.membership(f"n{node}", "1.8", 1, 2)
    stage.membership("n1", "1.c", 1)
    stage.membership("n2", "2.c", 2)
    stage.say("n1", AskForVote(seq=30))
    assert votes(stage.take("n1")) == [(AskForVoteReply, Vote.ACK, "1.c")]
    stage.say("n2", NodeList(seq=31, node_list_type=NodeListType.QUORUM, quorate=False, nodes=nodes(2)))
    assert votes(stage.take("n2")) == [(NodeListReply, Vote.NACK, "2.c")]
    stage.wait(5)
    assert not stage.bytes


def test_lms_tells_nobody_when_a_client_leaves_or_its_checks_change() -> None:
    stage = Stage()
    for node in (1, 2):
        stage.join(f"n{node}", node, algorithm=LMS)
        stage.membership(f"n{node}", "1.8", 1, 2)
    stage.say("n1", HeuristicsChange(seq=30, heuristics=Heuristics.FAIL))
    assert votes(stage.take("n1")) == [(HeuristicsChangeReply, Vote.NO_CHANGE, "1.8")]
    stage.close("n1")
    assert not stage.raw("n2")


def test_two_node_lms_serves_two_nodes() -> None:
    stage = Stage()
    stage.join("n1", 1, algorithm=TWO)
    stage.say("n1", AskForVote(seq=30))
    assert votes(stage.take("n1")) == [(AskForVoteReply, Vote.ASK_LATER, "1.8")]
    stage.say("n1", NodeList(seq=31, node_list_type=NodeListType.INITIAL_CONFIG, nodes=nodes(1, 2, 3)))
    assert stage.take("n1") == [ServerError(seq=31, reply_error_code=ErrorCode.UNSUPPORTED_DECISION_ALGORITHM)]
    stage.membership("n1", "1.8", 1, 2)
    stage.say("n1", HeuristicsChange(seq=32, heuristics=Heuristics.FAIL), AskForVote(seq=33))
    assert votes(stage.take("n1")) == [
        (HeuristicsChangeReply, Vote.NO_CHANGE, "1.8"),
        (AskForVoteReply, Vote.ACK, "1.8"),
    ]
