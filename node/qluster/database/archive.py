"""Whether a WAL archive is complete, and what of it nobody needs any more: from names and sizes alone.

It must not know where the archive lies.

Recovery reads each segment from the newest timeline of its way that has it: where a timeline begins, its own
first segment holds the end of the one before as well. So of each segment exactly one file is needed, and a
file that is missing is a gap at which every recovery ends.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from qluster.database.backups import Backup
from qluster.database.wal import Fork, history_name, history_of, position_text

_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_RELATED = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial(\.[A-Za-z0-9_.-]+)?|\.[0-9A-F]{8}\.backup)")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
GAPS_SHOWN = 20
"""Gaps that are named; an archive with more is not read gap by gap."""


class Gap(Struct, frozen=True):
    """Files that are missing, the first and the last of them, and how many."""

    first: str
    last: str
    count: int


class Completeness(Struct, frozen=True, kw_only=True):
    """What was found."""

    segments: int = 0
    timeline: int = 0
    """The newest timeline; 0: the archive is empty."""
    newest: str = ""
    """The last segment up to which recovery would come if nothing were missing."""
    reaches: str = ""
    """The last segment up to which it does come from the newest backup on."""
    gaps: tuple[Gap, ...] = ()
    missing: tuple[str, ...] = ()
    """History files that are missing."""
    damaged: tuple[str, ...] = ()
    """Files that have not the size of a segment."""
    aside: tuple[str, ...] = ()
    """Backups that do not lie on the way to the newest timeline."""
    unread: tuple[str, ...] = ()
    """History files that cannot be read."""
    written: float = 0
    """When the newest segment was written, in seconds since 1970; 0: there is none."""

    @property
    def complete(self) -> bool:
        """Whether each backup can be recovered up to the newest segment."""
        return not (self.gaps or self.missing or self.damaged or self.unread)

    @property
    def faults(self) -> list[str]:
        """A sentence for each fault."""
        found = []
        for gap in self.gaps:
            span = f"{gap.first} is missing" if gap.count == 1 else f"{gap.first} to {gap.last} are missing"
            found.append(f"{span}: {gap.count} of the archive's segments; no recovery goes beyond")
        found += [f"{name} is missing: recovery does not find the way to the newest timeline" for name in self.missing]
        found += [f"{name} is damaged: it has not the size of a segment" for name in self.damaged]
        found += [f"{name} cannot be understood" for name in self.unread]
        return found


def examine(
    files: Mapping[str, int], histories: Mapping[str, str], backups: Sequence[Backup], segment_size: int
) -> Completeness:
    """Compare what is there (name → size) with what the backups need up to the newest segment."""
    segments = {name: size for name, size in files.items() if _SEGMENT.fullmatch(name)}
    known = [int(match[1], 16) for name in segments if (match := _SEGMENT.fullmatch(name))]
    # A history of comments only keeps its number from being taken: it is no timeline.
    known += [int(match[1], 16) for name in files
              if (match := _HISTORY.fullmatch(name)) and _leads_somewhere(histories.get(name, ""))]
    timeline = max(known, default=0)
    damaged = tuple(sorted(name for name, size in segments.items() if size != segment_size))
    forks, unread = _way(timeline, histories)
    newest = _newest(segments, timeline, forks, segment_size)
    usable, aside = _sorted_out(backups, timeline, forks)
    gaps: list[Gap] = []
    reaches = newest
    if usable and newest is not None:
        gaps = _gaps(segments, min(_number(each.start, segment_size) for each in usable), newest, timeline, forks,
                     segment_size)  # fmt: skip
        begin = _number(max(each.start for each in usable), segment_size)
        number = begin
        while number <= newest and _needed(number, timeline, forks, segment_size) in segments:
            number += 1
        reaches = number - 1 if number > begin else None
    return Completeness(
        segments=len(segments),
        timeline=timeline,
        newest=_named(newest, timeline, forks, segment_size),
        reaches=_named(reaches, timeline, forks, segment_size),
        gaps=tuple(gaps[:GAPS_SHOWN]),
        missing=tuple(name for name in _histories(timeline, backups) if name not in files),
        damaged=damaged,
        aside=aside,
        unread=unread,
    )


def removable(names: Iterable[str], backups: Sequence[Backup], segment_size: int) -> list[str]:
    """Archived files that no recovery from one of these backups reads; none when there is no backup.

    History files are small, and each recovery looks for them: they stay.
    """
    if not backups:
        return []
    keep = min(_number(backup.start, segment_size) for backup in backups)
    found = []
    for name in names:
        match = _SEGMENT.fullmatch(name) or _RELATED.fullmatch(name)
        if match is not None and _number_in(match, segment_size) < keep:
            found.append(name)
    return sorted(found)


def _way(timeline: int, histories: Mapping[str, str]) -> tuple[tuple[Fork, ...], tuple[str, ...]]:
    """Where the way to this timeline left the older ones; what cannot be read is told."""
    name = history_name(timeline)
    if name not in histories:
        return (), ()
    try:
        return history_of(histories[name]), ()
    except ValueError:
        return (), (name,)


def _sorted_out(
    backups: Sequence[Backup], timeline: int, forks: Sequence[Fork]
) -> tuple[list[Backup], tuple[str, ...]]:
    ends = {fork.timeline: fork.position for fork in forks}
    usable = [
        backup for backup in backups
        if backup.timeline == timeline or backup.stop <= ends.get(backup.timeline, -1)
    ]  # fmt: skip
    return usable, tuple(backup.label for backup in backups if backup not in usable)


def _histories(timeline: int, backups: Sequence[Backup]) -> list[str]:
    """Recovery is told the newest timeline, and reads from its history how to get there from the backup's own."""
    return [history_name(timeline)] if any(backup.timeline < timeline for backup in backups) else []


def _leads_somewhere(history: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in history.splitlines())


def _newest(segments: Mapping[str, int], timeline: int, forks: Sequence[Fork], segment_size: int) -> int | None:
    """Number of the newest segment of the newest timeline; before its first one, that before its beginning."""
    numbers = [
        _number_in(match, segment_size)
        for name in segments if (match := _SEGMENT.fullmatch(name)) and int(match[1], 16) == timeline
    ]  # fmt: skip
    if numbers:
        return max(numbers)
    if not forks:
        return None
    before = _number(forks[-1].position, segment_size) - 1
    return before if before >= 0 else None


def _gaps(
    segments: Mapping[str, int], first: int, last: int, timeline: int, forks: Sequence[Fork], segment_size: int
) -> list[Gap]:
    found: list[Gap] = []
    count, begun, end = 0, "", ""
    for number in range(first, last + 1):
        name = _needed(number, timeline, forks, segment_size)
        if name in segments:
            if count:
                found.append(Gap(begun, end, count))
            count = 0
            continue
        begun, end, count = (begun if count else name), name, count + 1
    return [*found, Gap(begun, end, count)] if count else found


def _needed(number: int, timeline: int, forks: Sequence[Fork], segment_size: int) -> str:
    """The file from which recovery reads a segment: of the newest timeline that had begun by then."""
    chosen = timeline
    for fork in reversed(forks):
        if number >= _number(fork.position, segment_size):
            break
        chosen = fork.timeline
    return _segment_name(chosen, number, segment_size)


def _named(number: int | None, timeline: int, forks: Sequence[Fork], segment_size: int) -> str:
    return "" if number is None else _needed(number, timeline, forks, segment_size)


def _number(position: int, segment_size: int) -> int:
    return position // segment_size


def _number_in(match: re.Match[str], segment_size: int) -> int:
    return int(match[2], 16) * ((1 << 32) // segment_size) + int(match[3], 16)


def _segment_name(timeline: int, number: int, segment_size: int) -> str:
    each = (1 << 32) // segment_size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


def end_of(name: str, segment_size: int) -> str:
    """Where a segment ends, as people write positions; "" for no segment."""
    match = _SEGMENT.fullmatch(name)
    return position_text((_number_in(match, segment_size) + 1) * segment_size) if match else ""
