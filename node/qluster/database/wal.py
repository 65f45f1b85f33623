"""WAL positions, timelines and control data: read them, compare them.

It must not know where the texts come from.

A position is a count of bytes since the beginning of WAL; PostgreSQL writes it as two hexadecimal
halves. A timeline's history lists, for each older timeline, where the way left it: a directory that
went beyond such a place on an older timeline has WAL that nobody else has, and cannot follow.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_POSITION = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")


def position_of(text: str) -> int:
    """``0/3000060`` → bytes. Raises ValueError for anything else."""
    match = _POSITION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no WAL position like 0/3000060")
    return int(match[1], 16) << 32 | int(match[2], 16)


def position_text(position: int) -> str:
    """Bytes → ``0/3000060``, as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def is_segment(name: str) -> bool:
    """Whether a file of ``pg_wal`` is a whole segment."""
    return _SEGMENT.fullmatch(name) is not None


def segment_start(name: str, segment_size: int) -> int:
    """Where a WAL segment file begins. Raises ValueError when the name is none."""
    match = _SEGMENT.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no name of a WAL segment")
    return int(match[2], 16) * (1 << 32) + int(match[3], 16) * segment_size


def segment_name(timeline: int, position: int, segment_size: int) -> str:
    """The file of a timeline that has this position."""
    high, low = divmod(position // segment_size, (1 << 32) // segment_size)
    return f"{timeline:08X}{high:08X}{low:08X}"


@dataclass(frozen=True, slots=True)
class Fork:
    """The way left this timeline at this position."""

    timeline: int
    position: int


def history_of(text: str) -> tuple[Fork, ...]:
    """Parse a ``.history`` file, oldest timeline first. Raises ValueError for a damaged one."""
    forks: list[Fork] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split(None, 2)
        if not words:
            continue
        if len(words) < 2 or not words[0].isdecimal():
            raise ValueError(f"line {number} of the timeline history is damaged: {line!r}")
        fork = Fork(int(words[0]), position_of(words[1]))
        if forks and fork.timeline <= forks[-1].timeline:
            raise ValueError(f"line {number} of the timeline history goes backwards: {line!r}")
        forks.append(fork)
    return tuple(forks)


def timeline_at(position: int, timeline: int, history: tuple[Fork, ...]) -> int:
    """Which of the timelines that lead to this one has this position: whoever follows has a file before its content."""
    return next((fork.timeline for fork in history if position < fork.position), timeline)


def history_name(timeline: int) -> str:
    """The file that tells how a timeline came about (the first one has none)."""
    return f"{timeline:08X}.history"


@dataclass(frozen=True, slots=True)
class Course:
    """Where a server is, and by which way it came there."""

    timeline: int
    position: int
    history: tuple[Fork, ...] = ()
    oldest: int | None = None
    """Where its oldest WAL segment begins; None when unknown."""
    cut: frozenset[int] = frozenset()
    """Older timelines whose end it cannot send any more, see :func:`last_segments`."""
    recovering: bool = False
    """It is a standby: what it does not have yet, whom it follows may have."""


def last_segments(timeline: int, history: tuple[Fork, ...], segment_size: int) -> dict[int, str]:
    """Older timeline → the file from which a server sends the end of it.

    That is a file of the next timeline, which began with a copy. When that one is left within the same segment,
    its file is renamed for the archive (``.partial``), and a standby that is still on the older one, and was
    away for two promotions, would be refused for ever: "requested WAL segment has already been removed".
    """
    following = [fork.timeline for fork in history[1:]] + [timeline] * bool(history)
    return {
        fork.timeline: segment_name(later, fork.position, segment_size)
        for fork, later in zip(history, following, strict=True)
    }


def compare(timeline: int, position: int, upstream: Course) -> Literal["fits", "diverged", "outrun"]:
    """Whether a standby whose WAL ends here can follow that upstream.

    Ours must have been read before the upstream's: then more WAL here than there is WAL that
    the upstream does not have, also on its own timeline.
    """
    limit = upstream.position
    if upstream.recovering and (timeline > upstream.timeline or (timeline == upstream.timeline and position > limit)):
        return "fits"  # it streams from there as soon as that one has come as far
    if timeline != upstream.timeline:
        fork = next((fork for fork in upstream.history if fork.timeline == timeline), None)
        if fork is None:
            return "diverged"
        limit = fork.position
    if position > limit:
        return "diverged"
    if upstream.oldest is not None and position < upstream.oldest:
        return "outrun"
    ahead = (fork for fork in upstream.history if fork.timeline >= timeline and fork.position > position)
    if any(fork.timeline in upstream.cut for fork in ahead):
        return "outrun"
    return "fits"


@dataclass(frozen=True, slots=True)
class Control:
    """What pg_controldata says, as far as it is needed."""

    system_id: int
    state: str
    timeline: int
    position: int
    """As far as the WAL of this directory is known to reach; it may reach further after a crash."""
    segment_size: int
    checksums: bool
    log_hints: bool
    least: tuple[tuple[str, int], ...] = ()
    """Settings that a standby of this WAL must at least have."""
    redo: int | None = None
    """Where recovery would begin; None: not said."""
    next_xid: int | None = None
    """The first transaction that had no number yet at the last checkpoint, with its epoch; None: not said."""

    @property
    def clean(self) -> bool:
        """Whether the server was shut down in order."""
        return self.state in ("shut down", "shut down in recovery")


_LEAST = (
    ("max_connections", "max_connections setting"),
    ("max_worker_processes", "max_worker_processes setting"),
    ("max_wal_senders", "max_wal_senders setting"),
    ("max_prepared_transactions", "max_prepared_xacts setting"),
    ("max_locks_per_transaction", "max_locks_per_xact setting"),
)


def control_of(text: str) -> Control:
    """Parse the output of pg_controldata (in the C locale). Raises ValueError when lines are missing."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon:
            fields[key.strip()] = rest.strip()
    try:
        return _control(fields)
    except KeyError as error:
        raise ValueError(f"pg_controldata has no line {error.args[0]!r}: {text[:200]!r}") from None


def _control(fields: dict[str, str]) -> Control:
    ends = [
        (int(fields["Latest checkpoint's TimeLineID"]), position_of(fields["Latest checkpoint location"])),
        (
            int(fields["Min recovery ending loc's timeline"]),
            position_of(fields["Minimum recovery ending location"]),
        ),
    ]
    timeline, position = max(ends)
    return Control(
        system_id=int(fields["Database system identifier"]),
        state=fields["Database cluster state"],
        timeline=timeline,
        position=position,
        segment_size=int(fields["Bytes per WAL segment"]),
        checksums=fields["Data page checksum version"] != "0",
        log_hints=fields["wal_log_hints setting"] == "on",
        least=tuple((name, int(fields[line])) for name, line in _LEAST),
        redo=position_of(fields.get("Latest checkpoint's REDO location", "0/0")) or None,
        next_xid=_full(fields.get("Latest checkpoint's NextXID", "")),
    )


def _full(text: str) -> int | None:
    """The number of a transaction with its epoch, from "epoch:number"."""
    epoch, colon, number = text.partition(":")
    return (int(epoch) << 32) + int(number) if colon and epoch.isdecimal() and number.isdecimal() else None
