"""How far the WAL that lies in a directory goes on without a gap.

It must not know where the names come from.

After a rewind a directory says that its WAL reaches to where the upstream's did, and has of it what the upstream
had in files: an upstream that is itself a fresh copy has less than what is needed from the last common checkpoint on.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Collection

from qluster.database.wal import Fork, is_segment, position_of, segment_start

_LABEL = re.compile(r"^START WAL LOCATION: ([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}) ", re.MULTILINE)
_PARTED = re.compile(r"diverged at WAL location ([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}) on timeline ([0-9]+)")


def label_start(text: str) -> int | None:
    """Where recovery begins by a ``backup_label``, in bytes; None when it does not say."""
    found = _LABEL.search(text)
    return position_of(found[1]) if found else None


def parted_at(said: str) -> tuple[int, int] | None:
    """Timeline and position of the last WAL that both have, from what pg_rewind says; None: it says nothing of it."""
    found = _PARTED.search(said)
    return (int(found[2]), position_of(found[1])) if found else None


def unbroken(
    first: int, end: tuple[int, int], history: tuple[Fork, ...], here: Collection[str], segment_size: int
) -> tuple[int, int]:
    """Timeline and position up to which the WAL from ``first`` on is here; ``end`` where nothing is missing.

    ``end``: timeline and position to which it should reach, ``history``: the way of that timeline, ``here``: names
    of the files. A file of the newest timeline that has a part of a segment has all of that segment, and so has one
    of a timeline that came after; with an older one a server comes to where that timeline was left, and no further.
    """
    timeline, position = end
    if timeline > 1 and not history:
        return end  # nothing is known of the way
    ways = [(fork.timeline, fork.position) for fork in history] + [(timeline, position)]
    begun = [0, *(fork.position for fork in history)]
    newest: dict[int, int] = {}
    for name in filter(is_segment, here):
        at = segment_start(name, segment_size)
        newest[at] = max(newest.get(at, 0), int(name[:8], 16))
    for start in range(first - first % segment_size, position, segment_size):
        last = min(start + segment_size, position)
        parts = [way for way, begin in zip(ways, begun, strict=True) if begin < last and way[1] > start]
        if newest.get(start, 0) < parts[-1][0]:
            left = [way for way in parts if way[0] <= newest.get(start, 0)]
            return left[-1] if left else (parts[0][0], start)
    return end
