"""Every truncation and every flipped bit of what lies on the disk: a torn tail, or damage; never another entry."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fuzz import examples
from fuzz.harm import flips, truncations
from qluster.edge.disk import identity, snapshots
from qluster.edge.disk.identity import NodeFile
from qluster.edge.disk.log import Log
from qluster.edge.disk.records import (
    ENTRY_KINDS,
    GROUP_HEADER_SIZE,
    RESET,
    SECTOR_SIZE,
    VOTE,
    Record,
    group,
    group_body,
    group_header,
    segment_header,
    torn,
)
from qluster.edge.disk.replay import Contradiction
from qluster.edge.disk.trouble import LogDamaged, StateRefused
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.record import Record as Note
from qluster.edge.postgres.record import RecordFile
from qluster.events import Snapshot

UID = 0x1234_5678_9ABC_DEF0
SEGMENT_SIZE = 512
GROUPS = [
    [Record(VOTE, 1, 2)],
    [Record(ENTRY_KINDS["members"], 1, 1, examples.MEMBERS.encode()[:90])],
    [Record(ENTRY_KINDS["command"], 1, 2, b"first"), Record(ENTRY_KINDS["command"], 1, 3, b"second")],
    [Record(VOTE, 2, 0), Record(ENTRY_KINDS["command"], 2, 3, b"instead of the second")],
    [Record(ENTRY_KINDS["noop"], 2, 4)],
    [Record(ENTRY_KINDS["command"], 2, 5, bytes(40) + b"QGRP" + bytes(40))],
]
"""What is saved, each with a flush of its own. The last payload looks like a group."""

State = tuple[object, ...]
MEMORY = Path("/dev/shm")
"""Thousands of small files are written."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory, in memory where there is such a place."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as made:
        yield Path(made)


def state(log: Log) -> State:
    """What a log amounts to."""
    replay = log.replay
    return replay.term, replay.vote, replay.snapshot, tuple(replay.take_entries())


def read(directory: Path) -> State:
    log = Log(str(directory), UID, SEGMENT_SIZE)
    log.look()
    return state(log)


@pytest.fixture
def states(directory: Path) -> list[State]:
    """A log in ``directory``, and what it amounted to after each flush."""
    found = []
    log = Log(str(directory), UID, SEGMENT_SIZE)
    log.create()
    for records in GROUPS:
        log.append(records)
        found.append(read(directory))
    log.close()
    return found


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


def outcomes(directory: Path, segment: Path, harmed: Iterator[bytes]) -> Iterator[tuple[bytes, State | None]]:
    """What comes of each harmed form of a segment; None where it is called damaged."""
    whole = segment.read_bytes()
    for wrong in harmed:
        segment.write_bytes(wrong)
        try:
            yield wrong, read(directory)
        except (LogDamaged, Contradiction):
            yield wrong, None
    segment.write_bytes(whole)


def test_log_of_this_walk_has_several_segments(directory: Path, states: list[State]) -> None:
    assert len(segments(directory)) == 2
    assert read(directory) == states[-1]
    assert len(set(states)) == len(GROUPS)


def test_truncated_last_segment_is_a_torn_tail_or_damage(directory: Path, states: list[State]) -> None:
    *_, last = segments(directory)
    found = [outcome for _, outcome in outcomes(directory, last, truncations(last.read_bytes()))]
    assert all(outcome is None or outcome in states for outcome in found)
    known = [states.index(outcome) for outcome in found if outcome is not None]
    assert known == sorted(known), "more bytes never amount to less"
    assert known[-1] >= len(states) - 2, "what was cut off is at most the last group"


def test_truncated_former_segment_is_damage(directory: Path, states: list[State]) -> None:
    first, *_ = segments(directory)
    written = len(first.read_bytes().rstrip(b"\0"))
    for wrong, outcome in outcomes(directory, first, truncations(first.read_bytes())):
        assert outcome is None or (outcome == states[-1] and len(wrong) >= written)


def test_flipped_bit_is_damage_or_makes_no_difference(directory: Path, states: list[State]) -> None:
    """Never a torn tail: the groups are all there, and were acknowledged."""
    for segment in segments(directory):
        written = len(segment.read_bytes().rstrip(b"\0"))
        for place, (_, outcome) in enumerate(outcomes(directory, segment, flips(segment.read_bytes()))):
            same = outcome == states[-1] and place // 8 >= written
            assert outcome is None or same, f"bit {place % 8} of byte {place // 8} of {segment.name}"


def test_segment_of_another_node_or_under_another_number_is_damage(directory: Path, states: list[State]) -> None:
    first, last = segments(directory)
    foreign = Log(str(directory), UID + 1, SEGMENT_SIZE)
    with pytest.raises(LogDamaged, match="belongs to node"):
        foreign.look()
    last.write_bytes(first.read_bytes())
    with pytest.raises(LogDamaged, match="number 1 inside"):
        read(directory)


def test_harmed_identity_is_refused_or_says_the_same(directory: Path) -> None:
    contents = NodeFile(uid=f"{UID:016x}", boot=7, name="walk", sequence=9, cluster=1000, node=3)
    identity.write(str(directory), contents)
    [path] = directory.iterdir()
    whole = path.read_bytes()
    for wrong in [*truncations(whole), *flips(whole)]:
        path.write_bytes(wrong)
        try:
            assert identity.read(str(directory)) == contents
        except (LogDamaged, StateRefused):
            continue


def test_harmed_note_of_the_database_is_refused_or_says_the_same(directory: Path) -> None:
    """One flipped bit in the number of the reign would choose the wrong primary."""
    file, note = RecordFile(str(directory)), Note(system_id=2**63 + 5, last_reign=7, phase="rewind")
    file.write(note)
    [path] = directory.iterdir()
    whole = path.read_bytes()
    for wrong in [*truncations(whole), *flips(whole)]:
        path.write_bytes(wrong)
        try:
            assert file.read() == note, wrong
        except PostgresFailed:
            continue


def test_note_of_a_version_without_a_checksum_is_read(directory: Path) -> None:
    file = RecordFile(str(directory))
    (directory / "database.json").write_text('{"system_id":5,"fresh":false,"last_reign":7,"phase":""}')
    assert file.read() == Note(system_id=5, last_reign=7)


def test_harmed_snapshot_is_damage(directory: Path) -> None:
    snapshot = Snapshot(5, 2, b"members", b"state")
    snapshots.write(str(directory), "one.snapshot", snapshot)
    path = directory / "one.snapshot"
    whole = path.read_bytes()
    assert snapshots.read(str(directory), path.name) == snapshot
    for wrong in [*truncations(whole), *flips(whole), whole + b"\0"]:
        path.write_bytes(wrong)
        with pytest.raises(LogDamaged):
            snapshots.read(str(directory), path.name)


def test_index_beyond_all_is_damage_at_once(directory: Path) -> None:
    """Reading counted up to it, which no start survived."""
    far = 2**63
    segment = bytearray(segment_header(UID, 1))
    records = [[Record(RESET, 1, far, b"x.snapshot")], [Record(ENTRY_KINDS["noop"], 1, 5)], [Record(RESET, 1, 2)]]
    for sequence, each in enumerate(records, start=1):
        segment += group(each, UID, 1, len(segment), sequence)
    (directory / "0000000000000001.log").write_bytes(segment)
    assert read(directory)[3] == ()


def test_flipped_bit_in_an_entry_of_zeros_is_damage(directory: Path) -> None:
    """Anybody can write zeros into the key-value store; a harmed last group was then taken for a torn tail."""
    log = Log(str(directory), UID)
    log.create()
    log.append([Record(ENTRY_KINDS["command"], 1, 1, b"acknowledged" + bytes(2000))])
    log.close()
    [segment] = segments(directory)
    whole = bytearray(segment.read_bytes())
    whole[-2005] ^= 1
    segment.write_bytes(whole)
    with pytest.raises(LogDamaged):
        read(directory)


NEARLY_NOTHING = bytes(500) + b"\x40" + bytes(700) + b"\0\x01\0" + bytes(900) + b"text" + bytes(300) + b"\x80"
"""Sectors of zeros, and some in which one bit alone is set."""


def last_group(shift: int, payload: bytes) -> tuple[bytes, int]:
    """A segment with a last group that stands ``shift`` bytes further on, and its place."""
    segment = segment_header(UID, 1)
    segment += group([Record(ENTRY_KINDS["command"], 1, 1, b"x" * shift)], UID, 1, len(segment), 1)
    return segment + group([Record(ENTRY_KINDS["command"], 1, 2, payload)], UID, 1, len(segment), 2), len(segment)


@pytest.mark.parametrize("shift", [0, 100, 376, 380, 383, 391, 399, 407, 415])
def test_flipped_bit_in_a_group_of_nearly_nothing_is_damage(directory: Path, shift: int) -> None:
    """Wherever the borders of the sectors fall, also into the headers."""
    segment, place = last_group(shift, NEARLY_NOTHING)
    for bit in range(place * 8, len(segment) * 8, 1 if shift == 0 else 3):
        wrong = bytearray(segment)
        wrong[bit // 8] ^= 1 << bit % 8
        (directory / "0000000000000001.log").write_bytes(wrong)
        with pytest.raises(LogDamaged, match=f"at byte {place}: the last group is complete"):
            read(directory)


def test_flipped_bit_in_the_header_of_a_group_is_no_torn_write_wherever_it_stands() -> None:
    for shift in range(SECTOR_SIZE):
        segment, place = last_group(shift, b"")
        for bit in range(place * 8, (place + GROUP_HEADER_SIZE) * 8):
            wrong = bytearray(segment)
            wrong[bit // 8] ^= 1 << bit % 8
            assert group_header(wrong, UID, 1, place) is None
            assert not torn(wrong, place, None), (shift, bit)


@pytest.mark.parametrize("payload", [NEARLY_NOTHING, b"text" * 700, b""], ids=["nearly nothing", "text", "nothing"])
def test_sector_that_was_not_written_is_a_torn_tail_also_among_zeros(directory: Path, payload: bytes) -> None:
    """And none is written from which a single flipped bit would make one that was not written."""
    path = directory / "0000000000000001.log"
    for shift in range(SECTOR_SIZE):
        segment, place = last_group(shift, payload)
        for sector in range(place // SECTOR_SIZE, -(-len(segment) // SECTOR_SIZE)):
            begin, end = max(place, sector * SECTOR_SIZE), min((sector + 1) * SECTOR_SIZE, len(segment))
            assert int.from_bytes(segment[begin:end], "little").bit_count() > 1
            if shift % 7 == 0:
                path.write_bytes(segment[:begin] + bytes(end - begin) + segment[end:])
                assert len(read(directory)[3]) == 1  # type: ignore[arg-type]
        if shift % 7 == 0:
            path.write_bytes(segment)
            assert read(directory)[3][1].payload == payload  # type: ignore[index]


def test_masks_cannot_be_foreseen_by_who_writes_values() -> None:
    """Else a value could be made of sectors that come out empty under each mask in turn."""
    def mask(place: int) -> int:
        header = group_header(bytes(place) + group([Record(VOTE, 0, 0, bytes(2000))], UID, 1, place, 1), UID, 1, place)
        assert header is not None
        return header.mask

    assert len({mask(place) for place in range(0, 2000, 20)}) == 100


def test_value_that_is_empty_under_the_first_masks_is_saved_and_read() -> None:
    found = group_header(group([Record(VOTE, 0, 0, bytes(2000))], UID, 1, 0, 1), UID, 1, 0)
    assert found is not None
    payload = bytes(2000) + found.mask.to_bytes(4, "little") * 500
    whole = group([Record(VOTE, 0, 0, payload)], UID, 1, 0, 1)
    header = group_header(whole, UID, 1, 0)
    assert header is not None and header.mask not in (0, found.mask)
    [record] = group_body(whole, 0, header) or []
    assert record.payload == payload
