"""What this host's database is told next, and what may be said of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

from qluster.database.facts import Facts
from qluster.database.failures import DELAY_MOST
from qluster.database.orders import Adjust, Clone, Detach, Follow, Promote, Rewind, StartPrimary, StartStandby
from qluster.database.plan import Wanted
from qluster.events import CancelJob, Job, JobEnded
from qluster.keeper import Keeper

SYSTEM = 7
UPSTREAM = ("10.0.0.1", 5432)
OTHER = ("10.0.0.2", 5432)
NOTHING = Wanted()
STANDBY = Facts(
    directory="initialised", system_id=SYSTEM, server="running", in_recovery=True, standby=True,
    timeline=1, position=100,
)  # fmt: skip
FOLLOW = Wanted("follow", 1, UPSTREAM, SYSTEM)
DETACHED = Wanted("detached", 1, None, SYSTEM)
PRIMARY = Wanted("primary", 2, None, SYSTEM, 2)


def keeper(facts: Facts, wanted: Wanted = NOTHING) -> Keeper:
    one = Keeper(wanted)
    one.look(facts, 0.0)
    return one


def test_nothing_is_ordered_before_the_first_look() -> None:
    assert Keeper().step(FOLLOW, 1, 0.0) is None


def test_one_order_at_a_time_and_only_on_facts_newer_than_its_end() -> None:
    one = keeper(Facts(directory="empty"))
    job = one.step(FOLLOW, 1, 0.0)
    assert job is not None and isinstance(job.order, Clone)
    assert one.step(FOLLOW, 2, 0.1) is None
    assert one.ended(JobEnded(1), 1.0)
    assert one.step(FOLLOW, 3, 1.0) is None
    one.look(STANDBY, 1.1)
    job = one.step(FOLLOW, 4, 1.1)
    assert job is not None and isinstance(job.order, Follow)


def test_end_of_somebody_elses_job_is_not_taken() -> None:
    assert not keeper(STANDBY).ended(JobEnded(9), 0.0)


def test_copy_goes_on_through_an_election_and_ends_with_another_upstream() -> None:
    one = keeper(Facts(directory="empty"))
    one.step(FOLLOW, 1, 0.0)
    assert one.step(DETACHED, 2, 0.1) is None
    assert one.step(Wanted("follow", 2, OTHER, SYSTEM), 3, 0.2) == Job(3, CancelJob(1))


def test_promotion_is_cancelled_when_the_reign_is_over() -> None:
    one = keeper(STANDBY)
    job = one.step(PRIMARY, 1, 0.0)
    assert job is not None and isinstance(job.order, Promote)
    assert one.primary_possible
    assert one.step(DETACHED, 2, 0.1) == Job(2, CancelJob(1))


def test_primary_is_possible_from_the_order_until_facts_say_no() -> None:
    one = keeper(STANDBY)
    one.step(PRIMARY, 1, 0.0)
    one.look(STANDBY, 0.1)
    assert one.primary_possible, "the order is under way: what was seen may be from before it"
    one.ended(JobEnded(1, error="it failed"), 0.2)
    assert one.primary_possible
    one.look(STANDBY, 0.3)
    assert not one.primary_possible


def test_primary_that_nobody_ordered_is_bounded_too() -> None:
    one = keeper(STANDBY, FOLLOW)
    one.look(replace(STANDBY, in_recovery=False), 0.1)
    assert one.primary_possible, "somebody promoted it by hand"
    one.look(STANDBY, 0.2)
    assert not one.primary_possible


def test_position_is_final_only_without_upstream() -> None:
    streaming = Facts(
        directory="initialised", system_id=SYSTEM, server="running", in_recovery=True, standby=True, timeline=1,
        position=100, upstream="10.0.0.1:5432", receiver="streaming",
    )  # fmt: skip
    one = keeper(streaming)
    job = one.step(DETACHED, 1, 0.0)
    assert job is not None and isinstance(job.order, Detach)
    assert one.position(0.1) is None
    one.ended(JobEnded(1), 0.2)
    assert one.position(0.2) is None, "facts from before the end of the order do not count"
    one.look(STANDBY, 0.3)
    found = one.position(0.3)
    assert found is not None and (found.position, found.fault) == (100, "")


def test_position_says_up_to_where_the_database_that_was_here_before_may_have_confirmed() -> None:
    one = keeper(replace(STANDBY, owed=(1, 200)), DETACHED)
    found = one.position(0.0)
    assert found is not None and (found.position, found.fault, found.owed) == (100, "", (1, 200))
    assert one.status().owed == (1, 200)


def test_no_position_while_something_else_is_wanted() -> None:
    one = keeper(STANDBY, FOLLOW)
    assert one.position(0.0) is None


def test_host_without_a_copy_is_unfit_and_says_why() -> None:
    one = keeper(Facts(directory="empty"))
    one.step(DETACHED, 1, 0.0)
    found = one.position(0.0)
    assert found is not None and found.fault == "the database directory is empty"


def test_primary_that_would_not_run_is_passed_over_for_a_while() -> None:
    one = keeper(STANDBY)
    one.step(DETACHED, 1, 0.0)
    one.mark_unfit("it did not start", 0.0)
    found = one.position(1.0)
    assert found is not None and found.fault == "it did not start"
    assert not one.intact(SYSTEM, 1.0)
    assert one.intact(SYSTEM, 100.0)


def test_founding_takes_only_a_database_made_for_it() -> None:
    old = Facts(directory="initialised", system_id=SYSTEM)
    assert not keeper(old).intact(None, 0.0)
    assert keeper(Facts(directory="initialised", system_id=SYSTEM, fresh=True)).intact(None, 0.0)


def test_attempts_at_a_primary_are_counted_and_forgotten_with_another_want() -> None:
    stopped = Facts(directory="initialised", system_id=SYSTEM, last_reign=2)
    one = keeper(stopped)
    job = one.step(PRIMARY, 1, 0.0)
    assert job is not None and isinstance(job.order, StartPrimary)
    one.ended(JobEnded(1, error="no space left on device"), 1.0)
    assert one.attempts == 1
    assert "no space left on device" in one.fault
    one.step(DETACHED, 2, 1.0)
    assert one.attempts == 0


def test_what_fails_for_want_of_room_is_never_given_up_and_tried_at_once_when_there_is_some() -> None:
    stopped = Facts(directory="initialised", system_id=SYSTEM, standby=True, room=0, room_total=1 << 30)
    one, now = keeper(stopped), 0.0
    for number in range(1, 20):
        job = one.step(FOLLOW, number, now)
        assert job is not None and isinstance(job.order, StartStandby), "the database here is not damaged"
        one.ended(JobEnded(number, None, "no space left on device"), now)
        one.look(stopped, now)
        now += DELAY_MOST
    assert "0 of 1024 MiB are left" in one.fault and "given up" not in one.fault
    assert one.step(FOLLOW, 20, now - DELAY_MOST + 0.1) is None
    one.look(replace(stopped, room=1 << 29), now - DELAY_MOST + 0.2)
    assert one.step(FOLLOW, 21, now - DELAY_MOST + 0.2) is not None


def test_what_fails_while_the_server_stands_still_is_never_given_up_and_tried_at_once_when_it_goes_on() -> None:
    halted = replace(STANDBY, in_recovery=False, standby=False, last_reign=1, halted=True, halted_for=1.0)
    one, now = keeper(halted), 0.0
    for number in range(1, 20):
        job = one.step(PRIMARY, number, now)
        assert job is not None and isinstance(job.order, Adjust)
        one.ended(JobEnded(number, None, "the server does not take it in"), now)
        one.look(replace(halted, halted_for=30.0), now)
        assert "given up" not in one.fault
        now += DELAY_MOST
    assert one.step(PRIMARY, 20, now - DELAY_MOST + 0.1) is None
    one.look(replace(halted, halted=False, halted_for=0.0), now - DELAY_MOST + 0.2)
    assert one.step(PRIMARY, 21, now - DELAY_MOST + 0.2) is not None


def test_retry_that_has_passed_does_not_wake_for_ever() -> None:
    one = keeper(Facts(directory="empty"))
    one.step(FOLLOW, 1, 0.0)
    one.ended(JobEnded(1, True, "it does not answer"), 1.0)
    one.look(Facts(directory="empty"), 1.0)
    again_at = one.wake_at(1.0)
    assert 1.0 < again_at < 10.0
    assert one.wake_at(again_at) == float("inf")


def test_standby_that_waits_for_a_dead_upstream_does_not_hold_up_the_question_for_positions() -> None:
    one = keeper(STANDBY)
    job = one.step(FOLLOW, 1, 0.0)
    assert job is not None and isinstance(job.order, Follow)
    assert one.step(DETACHED, 2, 0.1) == Job(2, CancelJob(1))


FOLLOWS = replace(STANDBY, upstream="10.0.0.1:5432", receiver="streaming")


def fails(one: Keeper, wanted: Wanted, number: int, now: float, why: str, *, passing: bool = False) -> Job:
    """The order that comes next; it fails."""
    job = one.step(wanted, number, now)
    assert job is not None
    one.ended(JobEnded(number, passing or None, why), now)
    return job


def test_word_that_wal_is_of_another_way_ends_when_the_database_streams_after_its_rewind() -> None:
    """The look that found it is followed by a rewind and a start: no order to follow ever succeeds after it."""
    one = keeper(STANDBY)
    assert isinstance(fails(one, FOLLOW, 1, 0.0, "has WAL that the upstream does not have", passing=True).order, Follow)
    one.look(replace(STANDBY, standing="diverged"), 1.0)
    assert "has WAL that the upstream does not have" in one.fault
    job = one.step(FOLLOW, 2, 1.0)
    assert job is not None and isinstance(job.order, Rewind)
    one.ended(JobEnded(2, 4096), 2.0)
    one.look(replace(STANDBY, server="stopped", in_recovery=None), 2.1)
    job = one.step(FOLLOW, 3, 2.1)
    assert job is not None and isinstance(job.order, StartStandby)
    one.ended(JobEnded(3), 3.0)
    one.look(FOLLOWS, 3.1)
    assert (one.fault, one.state, one.status().error) == ("", "idle", "")


def test_word_that_it_does_not_stream_yet_ends_when_it_streams() -> None:
    one = keeper(STANDBY)
    fails(one, FOLLOW, 1, 0.0, "the standby does not stream from 10.0.0.1:5432 yet", passing=True)
    one.look(replace(FOLLOWS, receiver="waiting"), 0.5)
    assert "does not stream" in one.fault
    one.look(FOLLOWS, 1.0)
    assert one.fault == ""


def test_why_it_does_not_follow_the_replica_in_the_primarys_place_stays_while_it_follows_the_primary() -> None:
    through = replace(FOLLOW, via=OTHER)
    one = keeper(FOLLOWS, through)
    one.ended(JobEnded(1), 0.0)
    adjusted = replace(FOLLOWS, terms=through.terms)
    one.look(adjusted, 0.1)
    assert isinstance(fails(one, through, 2, 0.1, "10.0.0.2 does not answer", passing=True).order, Follow)
    one.look(adjusted, 0.2)
    assert one.fault == "10.0.0.2 does not answer"
    assert one.step(through, 3, 0.11) is None, "and the next attempt waits its time"
    one.look(replace(adjusted, upstream="10.0.0.2:5432"), 0.3)
    assert one.fault == ""
