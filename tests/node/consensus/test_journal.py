"""The log in memory."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from qluster.consensus.journal import Journal, JournalDamaged, opened
from qluster.consensus.settings import BATCH_ENTRIES_MAX, TAIL_BYTES_MAX, TAIL_ENTRIES_MAX
from qluster.events import Entry


def entries(first: int, *terms: int) -> list[Entry]:
    """Entries of these terms, from an index on."""
    return [Entry(first + place, term, "command", b"%d" % (first + place)) for place, term in enumerate(terms)]


def journal(*terms: int) -> Journal:
    return Journal(0, 0, entries(1, *terms))


def terms_of(one: Journal) -> list[int]:
    return [entry.term for entry in one.between(one.base_index, one.last_index)]


def test_terms_are_known_from_the_base_to_the_end_only() -> None:
    one = Journal(10, 3, entries(11, 3, 4))
    assert [one.term_at(index) for index in (9, 10, 11, 12, 13)] == [None, 3, 3, 4, None]
    assert (one.last_index, one.last_term) == (12, 4)


@pytest.mark.parametrize("wrong", [entries(3, 1), entries(1, 2), entries(2, 0)])
def test_entries_that_do_not_follow_are_refused(wrong: list[Entry]) -> None:
    with pytest.raises(JournalDamaged):
        journal(1).append(wrong)


def test_merge_returns_what_is_new() -> None:
    one = journal(1, 1)
    assert one.merge(entries(2, 1, 1, 2), 0) == entries(3, 1, 2)
    assert terms_of(one) == [1, 1, 1, 2]


def test_merge_cuts_only_from_the_first_entry_that_differs() -> None:
    one = journal(1, 1, 2, 2, 2)
    assert one.merge(entries(2, 1, 3), 1) == entries(3, 3)
    assert terms_of(one) == [1, 1, 3]


@pytest.mark.parametrize("again", [[], entries(1, 1), entries(2, 1, 2), entries(1, 1, 1, 2)])
def test_shorter_older_or_empty_append_cuts_nothing(again: list[Entry]) -> None:
    """B7, S6: messages overtake each other."""
    one = journal(1, 1, 2, 2)
    assert one.merge(again, 0) == []
    assert terms_of(one) == [1, 1, 2, 2]


def test_committed_entry_is_never_cut() -> None:
    with pytest.raises(AssertionError, match="committed entry 2"):
        journal(1, 1, 1).merge(entries(2, 2), 2)


def test_entries_behind_the_base_are_passed_over() -> None:
    """B11: they are committed, whatever an old message says of them."""
    one = Journal(3, 2, entries(4, 2))
    assert one.merge(entries(1, 1, 1, 2, 2, 2), 3) == entries(5, 2)


def test_entries_that_contradict_the_base_are_a_fault_of_their_sender() -> None:
    """They were taken for the next ones, and the log called damaged, when their terms were older than the base's."""
    with pytest.raises(AssertionError, match="committed entry 3"):
        Journal(3, 2, entries(4, 2)).merge(entries(3, 1, 1), 3)


def test_first_and_last_index_of_a_term_let_a_leader_skip_it() -> None:
    one = Journal(2, 1, entries(3, 1, 3, 3, 3, 5))
    assert one.first_index_of(3) == 4
    assert one.last_index_of(3) == 6
    assert one.last_index_of(1) == 3
    assert one.last_index_of(4) is None
    assert Journal(2, 1).last_index_of(1) == 2


def test_batch_is_bounded_in_bytes_and_has_at_least_one_entry() -> None:
    one = Journal(0, 0, [Entry(index, 1, "command", b"x" * 100) for index in range(1, 10)])
    assert [len(one.batch(0, 9, size)) for size in (1, 100, 231, 232, 10_000)] == [1, 1, 1, 2, 9]
    assert one.batch(3, 5, 10_000) == one.between(3, 5)
    assert one.batch(9, 9, 100) == []


def test_batch_is_bounded_in_entries() -> None:
    one = journal(*[1] * (BATCH_ENTRIES_MAX + 5))
    assert len(one.batch(0, one.last_index, 10**9)) == BATCH_ENTRIES_MAX


def test_snapshot_keeps_a_tail_for_slow_followers() -> None:
    one = journal(*[1] * (TAIL_ENTRIES_MAX + 100))
    one.forget_up_to(one.last_index - 10)
    assert one.last_index - 10 - one.base_index == TAIL_ENTRIES_MAX


def test_tail_is_bounded_in_bytes() -> None:
    one = Journal(0, 0, [Entry(index, 1, "command", b"x" * 1_000_000) for index in range(1, 30)])
    one.forget_up_to(29)
    assert 0 < one.size_between(one.base_index, 29) <= TAIL_BYTES_MAX
    assert one.term_at(one.base_index) == 1


def test_saved_entries_that_a_snapshot_covers_are_dropped() -> None:
    one = opened(3, 2, entries(2, 1, 2, 2, 3))
    assert (one.base_index, one.base_term, terms_of(one)) == (3, 2, [2, 3])


def test_saved_log_that_contradicts_the_snapshot_is_dropped() -> None:
    """B15, B16: the host died after it had stored a leader's snapshot and before it had dropped its log."""
    one = opened(3, 5, entries(2, 1, 2, 2, 3))
    assert (one.last_index, one.last_term) == (3, 5)


def test_saved_log_that_ends_before_the_snapshot_is_dropped() -> None:
    assert opened(9, 5, entries(2, 1, 2)).last_index == 9


def test_missing_entries_are_damage() -> None:
    with pytest.raises(JournalDamaged, match="entries 4 to 5 are missing"):
        opened(3, 2, entries(6, 2))


Terms = some.lists(some.integers(1, 4), min_size=1, max_size=12).map(sorted)


@given(Terms, Terms, some.integers(0, 12))
def test_after_a_merge_the_log_begins_as_the_leaders(own: list[int], leader: list[int], begin: int) -> None:
    """Whatever was there: what the message says is there, in front of it what was there before."""
    begin = min(begin, len(leader), len(own))
    if own[:begin] != leader[:begin]:
        return
    one = journal(*own)
    one.merge(entries(begin + 1, *leader[begin:]), 0)
    assert terms_of(one)[: len(leader)] == leader
    same = sum(1 for _ in zip(own, leader, strict=False))
    if own[:same] == leader[:same]:
        assert len(terms_of(one)) == max(len(own), len(leader))
