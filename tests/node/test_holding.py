"""What waits for which save."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.events import (
    AskDevice,
    Asked,
    CancelJob,
    Effects,
    Entry,
    Job,
    Save,
    SaveEntries,
    SaveSnapshot,
    SaveVote,
    ShowDevice,
    Snapshot,
)
from qluster.holding import Holding, Message, unbound

ENTRIES: list[Save] = [SaveEntries((Entry(1, 1, "noop", b""),))]
VOTE: list[Save] = [SaveVote(2, 1)]
ONE, TWO = Message(b"1", None), Message(b"2", None)


def test_nothing_waits_while_nothing_is_saved() -> None:
    assert Holding().wait_for([]) == 0


def test_what_is_said_beside_a_save_waits_for_it_and_what_follows_too() -> None:
    holding = Holding()
    assert holding.wait_for(VOTE) == 1
    holding.order(1, VOTE)
    assert holding.wait_for([]) == 1
    assert holding.wait_for(ENTRIES) == 2


def test_held_things_come_out_in_order_when_their_save_is_durable() -> None:
    holding = Holding()
    for number, held in ((1, ONE), (2, TWO)):
        holding.order(number, ENTRIES)
        holding.hold(number, held)
    assert holding.ended(1) == [ONE]
    assert holding.wait_for([]) == 2
    assert holding.ended(2) == [TWO]
    assert holding.wait_for([]) == 0


def test_one_end_can_stand_for_several_saves() -> None:
    holding = Holding()
    for number, held in ((1, ONE), (2, TWO)):
        holding.order(number, ENTRIES)
        holding.hold(number, held)
    assert holding.ended(2) == [ONE, TWO]


def test_new_entries_need_not_wait_for_the_leaders_own_copy() -> None:
    holding = Holding()
    assert holding.wait_for(ENTRIES, unbound=True) == 0
    holding.order(1, ENTRIES)
    assert holding.wait_for([], unbound=True) == 0


def test_but_they_wait_for_the_term_they_stand_in() -> None:
    """Else a leader alone could say something in a term that it forgets, and say another thing in it again."""
    holding = Holding()
    assert holding.wait_for([*VOTE, *ENTRIES], unbound=True) == 1
    holding.order(1, VOTE)
    assert holding.wait_for(ENTRIES, unbound=True) == 2
    holding.ended(1)
    assert holding.wait_for(ENTRIES, unbound=True) == 0


def test_entries_and_heartbeats_wait_for_no_snapshot_of_what_was_applied_here() -> None:
    """It takes longer than anything else, and covers what the log has."""
    snapshot = Snapshot(1, 1, b"", b"")
    holding = Holding()
    holding.order(1, [*ENTRIES, SaveSnapshot(snapshot, reset=False)])
    assert holding.wait_for([SaveSnapshot(snapshot, reset=False)], unbound=True) == 0
    assert holding.wait_for([]) == 1
    holding.order(2, [SaveSnapshot(snapshot, reset=True)])
    assert holding.wait_for([], unbound=True) == 2


def test_device_is_asked_for_a_vote_when_the_candidates_own_is_durable_and_shown_what_is() -> None:
    """The word of the device stands beside this node's own vote for itself, and beside its own copy."""
    asked = AskDevice(Asked.VOTE, 3, 1, 2, 7)
    assert not unbound(asked, saved_index=7)
    assert unbound(ShowDevice(3, 1, 7, 1, 30_000), saved_index=7)
    assert not unbound(ShowDevice(3, 1, 8, 1, 30_000), saved_index=7)
    holding = Holding()
    holding.order(1, VOTE)
    holding.hold(holding.wait_for([], unbound=unbound(asked, 7)), asked)
    assert holding.ended(1) == [asked]


def test_a_job_that_is_cancelled_before_it_began_is_let_go_of() -> None:
    holding, effects = Holding(), Effects(start=[Job(6, None), Job(5, None)])
    holding.order(1, VOTE)
    for held in (ONE, Job(7, None), Job(8, None)):
        holding.hold(1, held)
    gone = [holding.withdraw(Job(10, CancelJob(number)), effects) is not None for number in (7, 7, 9)]
    assert gone == [True, False, False]
    assert holding.withdraw(Job(6, None), effects) is None and len(effects.start) == 2, "that cancels nothing"
    ended = holding.withdraw(Job(10, CancelJob(6)), effects)
    assert ended is not None and (ended.number, ended.result) == (6, True) and effects.start == [Job(5, None)]
    assert holding.ended(1) == [ONE, Job(8, None)]
