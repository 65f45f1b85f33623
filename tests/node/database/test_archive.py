"""Whether an archive is complete, from the names of its files."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.database.archive import Gap, examine, removable
from qluster.database.backups import Backup

SIZE = 16 * 1024 * 1024


def segment(timeline: int, number: int) -> str:
    """A segment's name; 256 of them to a log file."""
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def backup(timeline: int, start: float, stop: float, label: str = "b") -> Backup:
    """A backup; positions in segments."""
    return Backup(label=label, system_id=1, timeline=timeline, start=int(start * SIZE), stop=int(stop * SIZE),
                  began=0, ended=0, size=1, node="a", segment_size=SIZE)  # fmt: skip


def history(*forks: tuple[int, float]) -> str:
    """The text of a history file; positions in segments."""
    places = [(timeline, int(at * SIZE)) for timeline, at in forks]
    return "".join(f"{timeline}\t{at >> 32:X}/{at & 0xFFFFFFFF:X}\tno recovery target\n" for timeline, at in places)


def look(files: Sequence[str], histories: dict[str, str], backups: Sequence[Backup], **sizes: int) -> object:
    """Examine files of the right size."""
    found = {name: sizes.get(name, SIZE) for name in [*files, *histories]}
    return examine(found, histories, backups, SIZE)


ONE = [segment(1, number) for number in range(2, 7)]


def test_an_empty_archive_is_complete_and_reaches_nowhere() -> None:
    found = examine({}, {}, [], SIZE)
    assert found.complete and (found.timeline, found.newest, found.reaches) == (0, "", "")


def test_a_row_of_segments_is_complete() -> None:
    found = look(ONE, {}, [backup(1, 2.1, 2.5), backup(1, 4.1, 4.5)])
    assert found.complete and found.newest == found.reaches == segment(1, 6) and found.segments == 5


@pytest.mark.parametrize("lost", [3, 5])
def test_a_gap_is_named_and_ends_what_can_be_reached(lost: int) -> None:
    found = look([name for name in ONE if name != segment(1, lost)], {}, [backup(1, 2.1, 2.5)])
    assert found.gaps == (Gap(segment(1, lost), segment(1, lost), 1),) and not found.complete
    assert found.reaches == segment(1, lost - 1) and found.newest == segment(1, 6)
    assert f"{segment(1, lost)} is missing" in found.faults[0]


def test_segments_before_the_oldest_backup_are_not_missed() -> None:
    assert look(ONE[2:], {}, [backup(1, 4.1, 4.5)]).complete


def test_gaps_across_a_log_file_are_counted_whole() -> None:
    files = [segment(1, number) for number in range(250, 263) if number not in range(254, 258)]
    found = look(files, {}, [backup(1, 250.5, 250.6)])
    assert found.gaps == (Gap("0000000100000000000000FE", "000000010000000100000001", 4),)


def test_where_a_timeline_begins_its_own_segment_is_needed_and_not_the_partial_one() -> None:
    files = [segment(1, 2), segment(1, 3), segment(1, 4) + ".partial", segment(2, 4), segment(2, 5)]
    found = look(files, {"00000002.history": history((1, 4.5))}, [backup(1, 2.1, 2.5)])
    assert found.complete and found.timeline == 2 and found.reaches == segment(2, 5)


def test_what_a_former_primary_wrote_beyond_the_fork_does_not_fill_a_gap() -> None:
    files = [segment(1, 2), segment(1, 3), segment(1, 4), segment(1, 5), segment(2, 5)]
    found = look(files, {"00000002.history": history((1, 4.5))}, [backup(1, 2.1, 2.5)])
    assert found.gaps == (Gap(segment(2, 4), segment(2, 4), 1),)


def test_a_fork_at_the_edge_of_a_segment_needs_the_whole_old_one() -> None:
    files = [segment(1, 2), segment(1, 3), segment(2, 4)]
    assert look(files, {"00000002.history": history((1, 4.0))}, [backup(1, 2.1, 2.5)]).complete
    found = look([files[0], files[2]], {"00000002.history": history((1, 4.0))}, [backup(1, 2.1, 2.5)])
    assert [gap.first for gap in found.gaps] == [segment(1, 3)]


def test_a_timeline_without_a_finished_segment_reaches_to_its_beginning() -> None:
    files = [segment(1, 2), segment(1, 3)]
    found = look(files, {"00000002.history": history((1, 4.5))}, [backup(1, 2.1, 2.5)])
    assert found.complete and found.newest == segment(1, 3)


def test_missing_and_unreadable_histories_and_short_files_are_told() -> None:
    files = [segment(1, 2), segment(2, 3), segment(3, 4)]
    found = look(files, {"00000002.history": history((1, 3.0))}, [backup(1, 2.1, 2.5)])
    assert found.missing == ("00000003.history",) and not found.complete
    found = look(files, {"00000002.history": history((1, 3.0)), "00000003.history": "what"}, [backup(3, 4.1, 4.2)])
    assert found.unread == ("00000003.history",) and not found.complete
    found = look(ONE, {}, [backup(1, 2.1, 2.5)], **{ONE[1]: 17})
    assert found.damaged == (ONE[1],) and not found.complete


def test_numbers_of_timelines_may_have_gaps_and_reserved_ones_lead_nowhere() -> None:
    files = [segment(1, 2), segment(1, 3), segment(4, 4), segment(4, 5), segment(1, 4) + ".partial.db1-1a2b3c4d"]
    reserved = "# reserved by qluster: this number was for a promotion of which nothing is known here\n"
    histories = {"00000002.history": reserved, "00000004.history": history((1, 4.5)), "00000009.history": reserved}
    found = look(files, histories, [backup(1, 2.1, 2.5)])
    assert found.complete and found.timeline == 4 and found.aside == () and found.reaches == segment(4, 5)
    assert removable(files, [backup(4, 5.1, 5.2)], SIZE) == sorted([*files[:3], files[4]])


def test_a_backup_of_a_past_that_was_left_is_aside_and_makes_no_gap() -> None:
    files = [segment(1, 2), segment(2, 3), segment(2, 4)]
    backups = [backup(1, 2.1, 2.5, "old"), backup(1, 5.1, 5.5, "left")]
    found = look(files, {"00000002.history": history((1, 3.5))}, backups)
    assert found.aside == ("left",) and found.complete


def test_wal_goes_that_no_backup_needs_and_histories_stay() -> None:
    related = [segment(1, 2) + ".00000028.backup", segment(1, 3) + ".partial", "00000002.history", ".x.part", "other"]
    names = [*ONE, *related, segment(2, 2)]
    kept = [backup(1, 5.1, 5.5), backup(1, 4.0, 4.5)]
    assert removable(names, kept, SIZE) == sorted([*ONE[:2], *related[:2], segment(2, 2)])
    assert removable(names, [], SIZE) == []


@given(st.integers(2, 300), st.integers(1, 40), st.sets(st.integers(0, 40)), st.floats(0, 0.9))
def test_a_gap_is_found_wherever_it_is(first: int, count: int, lost: set[int], within: float) -> None:
    """Compared with the plain way: walk on until a segment is missing."""
    numbers = [first + each for each in range(count)]
    files = {segment(1, number): SIZE for number in numbers if number - first not in lost}
    found = examine(files, {}, [backup(1, first + within, first + within)], SIZE)
    last = max((number for number in numbers if number - first not in lost), default=None)
    missing = [number for number in numbers if last is not None and number <= last and number - first in lost]
    assert sum(gap.count for gap in found.gaps) == sum(gap.count for gap in found.gaps[:20])
    assert found.complete is not bool(missing)
    if len(found.gaps) < 20:
        assert sum(gap.count for gap in found.gaps) == len(missing)


@given(st.lists(st.floats(2, 300), min_size=1, max_size=5), st.integers(1, 3))
def test_what_is_removed_is_never_needed(starts: list[float], timeline: int) -> None:
    backups = [backup(1, start, start) for start in starts]
    names = [segment(timeline, number) for number in range(1, 310)]
    kept = set(names) - set(removable(names, backups, SIZE))
    assert all(segment(timeline, number) in kept for start in starts for number in range(int(start), 310))
