"""What is concluded from a ledger, and the file that holds it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger.book import Book, Noted, acknowledged, changes, joined, longest_pause, overlaps, size, stints, without

Rows = set[int]
ROWS = st.sets(st.integers(0, 40))


def ranges(rows: Rows) -> list[tuple[int, int]]:
    return joined((row, row + 1) for row in rows)


def rows(found: list[tuple[int, int]]) -> Rows:
    return {row for first, behind in found for row in range(first, behind)}


def noted(host: int, timeline: int, sent: float, at: float, first: int = 0) -> Noted:
    return Noted(first, 1, timeline, host, sent, at)


def test_what_was_written_is_read_by_others_that_have_the_file(tmp_path: Path) -> None:
    book = Book(tmp_path / "book", create=True)
    first, second = Noted(1 << 40, 3, 1, 2, 0.5, 0.6), Noted(7, 1, 2, 1, 1.0, 1.25)
    book.note(first)
    book.note(second)
    other = Book(tmp_path / "book")
    assert (other.records, other.commits) == (2, 4)
    assert list(other.read()) == [first, second] and list(other.read(1)) == [second]
    assert acknowledged(other.read()) == [(7, 8), (1 << 40, (1 << 40) + 3)]


def test_book_is_not_written_over(tmp_path: Path) -> None:
    Book(tmp_path / "book", create=True).close()
    with pytest.raises(FileExistsError):
        Book(tmp_path / "book", create=True)


@given(ROWS, ROWS)
def test_ranges_are_the_sets_that_they_stand_for(told: Rows, there: Rows) -> None:
    missing = without(ranges(told), ranges(there))
    assert rows(missing) == told - there
    assert size(missing) == len(told - there)
    assert missing == sorted(missing) and joined(missing) == joined(ranges(told - there))


def test_former_primary_that_acknowledges_what_was_sent_later_is_found() -> None:
    wrong = [noted(1, 1, 0.0, 0.1), noted(2, 2, 1.0, 1.1), noted(1, 1, 1.2, 1.3)]
    [(former, later)] = overlaps(stints(wrong))
    assert (former.host, later.host) == (1, 2)


def test_word_that_was_read_late_is_no_overlap() -> None:
    assert overlaps(stints([noted(1, 1, 0.9, 1.3), noted(2, 2, 1.0, 1.1)])) == []


def test_two_ways_from_one_timeline_are_no_overlap_unless_both_are_gone_at_once() -> None:
    one_after_the_other = [noted(1, 2, 0.0, 0.1), noted(2, 2, 1.0, 1.1), noted(2, 2, 2.0, 2.1)]
    assert overlaps(stints(one_after_the_other)) == []
    assert overlaps(stints([*one_after_the_other, noted(1, 2, 1.5, 1.6)])) != []


def test_return_on_a_newer_timeline_is_a_change_and_no_overlap() -> None:
    found = stints([noted(1, 1, 0.0, 0.1), noted(2, 2, 1.0, 1.1), noted(1, 3, 2.0, 2.1), noted(1, 3, 3.0, 3.1)])
    assert overlaps(found) == [] and changes(found) == 2


def test_pause_reaches_from_the_fault_to_the_next_word() -> None:
    assert longest_pause([0.5, 1.0, 3.5], 0.9, 4.0) == 2.5
    assert longest_pause([], 1.0, 4.0) == 3.0
