"""Positions, timelines, control data."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.database.wal import (
    Course,
    Fork,
    compare,
    control_of,
    history_name,
    history_of,
    last_segments,
    position_of,
    position_text,
    segment_start,
    timeline_at,
)

MEBI = 1024 * 1024

CONTROL = """\
pg_control version number:            1800
Database system identifier:           7710748956976818574
Database cluster state:               in archive recovery
pg_control last modified:             Sat Nov 21 22:04:03 2026
Latest checkpoint location:           0/16EF7D8
Latest checkpoint's REDO location:    0/16EF7D8
Latest checkpoint's TimeLineID:       1
Minimum recovery ending location:     0/0
Min recovery ending loc's timeline:   0
wal_log_hints setting:                off
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
Bytes per WAL segment:                16777216
Data page checksum version:           1
"""


@pytest.mark.parametrize("text", ["0/0", "0/3000060", "16/B374D848", "FFFFFFFF/FFFFFFFF"])
def test_a_position_survives_the_way_there_and_back(text: str) -> None:
    assert position_text(position_of(text)) == text


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/123456789", "x/1", "0/1/2", "-1/0"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no WAL position"):
        position_of(text)


def test_a_segment_begins_where_its_name_says() -> None:
    assert segment_start("000000020000000100000003", 16 * MEBI) == (1 << 32) + 3 * 16 * MEBI
    with pytest.raises(ValueError, match="no name of a WAL segment"):
        segment_start("00000002.history", 16 * MEBI)


def test_a_history_is_read_with_its_comments() -> None:
    text = "1\t0/5000060\tno recovery target specified\n\n# by hand\n2\t0/70000A0\tbecause\n"
    assert history_of(text) == (Fork(1, 0x5000060), Fork(2, 0x70000A0))
    assert history_of("") == ()
    assert history_name(26) == "0000001A.history"


@pytest.mark.parametrize("text", ["1", "x\t0/1\twhy", "1\tnowhere\twhy", "2\t0/2\t\n1\t0/1\t"])
def test_a_damaged_history_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        history_of(text)


HISTORY = (Fork(1, 1000), Fork(3, 2000))


@pytest.mark.parametrize(
    ("timeline", "position", "verdict"),
    [
        pytest.param(5, 2500, "fits", id="behind on its timeline"),
        pytest.param(5, 3000, "fits", id="level on its timeline"),
        pytest.param(5, 3001, "diverged", id="ahead on its timeline"),
        pytest.param(1, 1000, "fits", id="at the fork"),
        pytest.param(1, 1001, "diverged", id="beyond the fork"),
        pytest.param(3, 1500, "fits", id="before the later fork"),
        pytest.param(3, 2001, "diverged", id="beyond the later fork"),
        pytest.param(2, 10, "diverged", id="a timeline that was left out"),
        pytest.param(6, 2500, "diverged", id="a newer timeline than the upstream's"),
        pytest.param(1, 499, "outrun", id="its WAL is gone upstream"),
        pytest.param(1, 500, "fits", id="its WAL is just there"),
    ],
)
def test_whether_a_standby_can_follow(timeline: int, position: int, verdict: str) -> None:
    assert compare(timeline, position, Course(5, 3000, HISTORY, oldest=500)) == verdict


@pytest.mark.parametrize(
    ("timeline", "position", "cut", "verdict"),
    [
        pytest.param(1, 900, {1}, "outrun", id="the end of its timeline cannot be sent"),
        pytest.param(1, 900, {3}, "outrun", id="nor the end of one on its way"),
        pytest.param(1, 1000, {1}, "fits", id="it has that end"),
        pytest.param(3, 1500, {1}, "fits", id="what it has behind it does not matter"),
        pytest.param(5, 2500, {1, 3}, "fits", id="it is on the upstream's own"),
    ],
)
def test_whether_the_ends_of_older_timelines_can_be_sent(
    timeline: int, position: int, cut: set[int], verdict: str
) -> None:
    assert compare(timeline, position, Course(5, 3000, HISTORY, oldest=500, cut=frozenset(cut))) == verdict


def test_the_end_of_a_timeline_lies_in_a_file_of_the_next_one() -> None:
    history = (Fork(1, 0x5000060), Fork(3, 0x1_02000000))
    assert last_segments(11, history, 16 * MEBI) == {1: "000000030000000000000005", 3: "0000000B0000000100000002"}
    assert last_segments(1, (), 16 * MEBI) == {}


def test_unknown_oldest_wal_outruns_nobody() -> None:
    assert compare(1, 0, Course(1, 10)) == "fits"


def test_control_data_are_read() -> None:
    control = control_of(CONTROL)
    assert (control.system_id, control.state) == (7710748956976818574, "in archive recovery")
    assert (control.timeline, control.position, control.segment_size) == (1, 0x16EF7D8, 16 * MEBI)
    assert control.redo == 0x16EF7D8
    assert (control.checksums, control.log_hints, control.clean) == (True, False, False)
    assert dict(control.least)["max_connections"] == 100
    assert control.next_xid is None, "not every server says it"
    assert control_of(f"{CONTROL}\nLatest checkpoint's NextXID:          2:757\n").next_xid == (2 << 32) + 757


def test_a_standby_reaches_to_its_minimum_recovery_point() -> None:
    text = CONTROL.replace("location:     0/0", "location:     0/5000000").replace(
        "timeline:   0", "timeline:   2"
    )
    assert (control_of(text).timeline, control_of(text).position) == (2, 0x5000000)


@pytest.mark.parametrize("state", ["shut down", "shut down in recovery"])
def test_a_clean_stop_is_known(state: str) -> None:
    assert control_of(CONTROL.replace("in archive recovery", state)).clean


def test_control_data_without_a_line_name_it() -> None:
    with pytest.raises(ValueError, match="no line 'Bytes per WAL segment'"):
        control_of(CONTROL.replace("Bytes per WAL segment", "Octets"))


def test_standby_that_is_behind_will_have_what_is_here() -> None:
    behind = Course(5, 3000, HISTORY, oldest=500, recovering=True)
    assert compare(5, 3001, behind) == "fits" and compare(6, 3500, behind) == "fits"
    assert compare(5, 3001, Course(5, 3000, HISTORY, oldest=500)) == "diverged", "a primary has all there is"
    older = HISTORY[-1]
    assert compare(older.timeline, older.position + 1, behind) == "diverged", "its own way parted before"
    assert compare(5, 400, behind) == "outrun"


@pytest.mark.parametrize(
    ("position", "timeline"), [(0, 1), (99, 1), (100, 2), (149, 2), (150, 5), (2**40, 5)],
)  # fmt: skip
def test_position_belongs_to_one_of_the_timelines_that_lead_to_the_newest(position: int, timeline: int) -> None:
    assert timeline_at(position, 5, (Fork(1, 100), Fork(2, 150))) == timeline
    assert timeline_at(position, 1, ()) == 1
