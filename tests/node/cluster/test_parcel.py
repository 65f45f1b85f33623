"""A snapshot on its way from one node to another."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib

import pytest
from qluster.cluster.parcel import WrongParcel, pack, unpack
from qluster.events import Snapshot

SNAPSHOT = Snapshot(40, 3, b"members", b"state")


def test_snapshot_arrives_as_it_was_sent() -> None:
    assert unpack(pack(7, SNAPSHOT), 7, 40) == unpack(pack(7, SNAPSHOT), 7, 5) == SNAPSHOT


def test_snapshot_of_another_founding_is_refused() -> None:
    with pytest.raises(WrongParcel, match="a snapshot of founding 8, not of 7"):
        unpack(pack(8, SNAPSHOT), 7, 40)


def test_snapshot_older_than_was_asked_for_is_refused() -> None:
    with pytest.raises(WrongParcel, match="of entry 3/40, wanted was 41 or later"):
        unpack(pack(7, SNAPSHOT), 7, 41)


def test_bytes_cut_short_or_with_flipped_bits_are_refused_or_another_snapshot() -> None:
    whole = pack(7, SNAPSHOT)
    for length in range(len(whole)):
        with pytest.raises(WrongParcel):
            unpack(whole[:length], 7, 40)
    for place in range(len(whole)):
        for bit in range(8):
            harmed = bytearray(whole)
            harmed[place] ^= 1 << bit
            with contextlib.suppress(WrongParcel):
                assert unpack(bytes(harmed), 7, 40) != SNAPSHOT
