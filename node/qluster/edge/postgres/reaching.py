"""Where the WAL of a directory whose server does not answer ends.

It must not know who asks, nor start anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
from pathlib import Path

from qluster.database.reach import label_start, unbroken
from qluster.database.wal import Control, history_name, history_of
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.site import Site

LABEL_NAME = "backup_label"


async def own_end(site: Site) -> tuple[int, int]:
    """Timeline and position up to which the WAL is here, of a server that is stopped or not yet consistent.

    As a rule the control file knows it. Of a standby it says where the WAL must reach to before it is consistent,
    which after a rewind need not be here.
    """
    control = await site.control()
    first = _label_start(site.directory.path) or (control.redo if "recovery" in control.state else None)
    end = control.timeline, control.position
    return end if first is None else _reached(site.directory.path / "pg_wal", first, control)


async def check_whole(site: Site) -> None:
    """Refuse to start what was rewound and lacks WAL that whom it was rewound to had removed: it is outrun.

    A server reads the newest file of a segment that it finds, and that of the timeline which was given up goes on
    behind the place where both parted.
    """
    if _label_start(site.directory.path) is None:
        return
    control, (timeline, position) = await site.control(), await own_end(site)
    if (timeline, position) == (control.timeline, control.position):
        return
    site.standing = "outrun"
    raise PostgresFailed(
        f"the WAL of this directory ends at timeline {timeline}, position {position}, before the database is "
        f"consistent (timeline {control.timeline}, position {control.position}): it is copied anew",
        passing=True,
    )


def _label_start(path: Path) -> int | None:
    try:
        return label_start((path / LABEL_NAME).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None


def _reached(wal: Path, first: int, control: Control) -> tuple[int, int]:
    text = ""
    with contextlib.suppress(FileNotFoundError):
        text = (wal / history_name(control.timeline)).read_text(encoding="utf-8", errors="replace")
    try:
        history = history_of(text)
    except ValueError as error:
        raise PostgresFailed(f"{wal / history_name(control.timeline)}: {error}") from None
    end = control.timeline, control.position
    return unbroken(first, end, history, set(os.listdir(wal)), control.segment_size)
