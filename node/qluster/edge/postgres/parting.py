"""Finds out whether a primary that was shut down in order is an ancestor of its successor: then it just follows it.

It must not know why it was shut down.

Numbers of timelines and positions alone do not prove it: where an operator, or an older version, promoted two servers
from the same place, both gave the new timeline the same number. So the last record itself is compared, a checkpoint
with its time, its checksum and the place of the record before it, with what the successor has there.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from pathlib import Path

from qluster.database.wal import Control, Course, segment_name
from qluster.edge.postgres.remotes import read_course
from qluster.edge.postgres.session import Remote
from qluster.edge.postgres.site import Site

RECORD_SIZE = 64
"""Bytes of the record that are compared: its head with checksum and the place of the record before, and its begin."""

BYTES = "SELECT pg_read_binary_file($1, $2, $3, true) AS bytes"


async def went_on(site: Site, upstream: Remote) -> bool:
    """Whether the upstream has the last record of the server that was shut down here, and went its way after it."""
    if site.server.pid is not None or site.server.leftover() is not None:
        return False
    control = await site.control()
    if control.state != "shut down":
        return False
    timeline = following_timeline(control, await read_course(upstream))
    if timeline is None:
        return False
    position, size = control.position, control.segment_size
    offset = position % size
    file = site.directory.path / "pg_wal" / segment_name(control.timeline, position, size)
    mine = await asyncio.to_thread(_bytes, file, offset)
    # Of the segment in which it went its own way, the successor has made a copy under the new timeline.
    name = f"pg_wal/{segment_name(timeline, position, size)}"
    theirs = (await upstream.row(BYTES, name, offset, RECORD_SIZE))["bytes"]
    return len(mine) == RECORD_SIZE and theirs is not None and bytes(theirs) == mine


def following_timeline(control: Control, upstream: Course) -> int | None:
    """The timeline that followed this one on the upstream's way; None when the last record here is not before that.

    The place where a way parts lies between two records: if a record begins before it, all of it does. In
    another segment than that place there is no copy of the record under the new timeline.
    """
    timelines = [fork.timeline for fork in upstream.history] + [upstream.timeline]
    for place, fork in enumerate(upstream.history):
        if fork.timeline == control.timeline:
            same = control.position // control.segment_size == fork.position // control.segment_size
            whole = control.position % control.segment_size + RECORD_SIZE <= control.segment_size
            return timelines[place + 1] if control.position < fork.position and same and whole else None
    return None


def _bytes(path: Path, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(RECORD_SIZE)
    except OSError:
        return b""
