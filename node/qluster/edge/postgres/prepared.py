"""Takes away what a server would not: files of prepared transactions that are newer than where its recovery begins.

It must not know why the server is started.

A copy and a rewind bring files of transactions that were prepared after that place. Recovery means to remove them,
since it meets each of them again. Servers of versions 17 and 18 remove a file of another name, then take the
transaction for restored and forget it: what was acknowledged as prepared would be gone with the next failover.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import re

from qluster.edge.disk.files import flush_directory
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.programs import QUICK_LIMIT
from qluster.edge.postgres.site import Site

log = logging.getLogger(__name__)

_PLACE = re.compile(r"^CHECKPOINT LOCATION: ([0-9A-F]+/[0-9A-F]+)$", re.MULTILINE)
_TIMELINE = re.compile(r"^START WAL LOCATION: .* \(file ([0-9A-F]{8})[0-9A-F]{16}\)$", re.MULTILINE)
_NEXT = re.compile(r"desc: CHECKPOINT_(?:ONLINE|SHUTDOWN) .*; xid ([0-9]+):([0-9]+);")


async def withdraw_newer(site: Site) -> None:
    """Before a start: only what was prepared before the checkpoint with which recovery begins stays."""
    folder = site.directory.path / "pg_twophase"
    # Older versions name them by eight digits, and do it right.
    found = sorted(path for path in folder.glob("*") if re.fullmatch("[0-9A-F]{16}", path.name))
    if not found:
        return
    first = await _first_after(site)
    if first is None:
        log.warning("prepared-not-judged files=%d hint=with pg_waldump in database.bin-dir they are", len(found))
        return
    newer = [path for path in found if int(path.name, 16) >= first]
    for path in newer:
        log.info("prepared-withdrawn file=%s next=%d hint=recovery reads it again", path.name, first)
        path.unlink()
    if newer:
        flush_directory(str(folder))


async def _first_after(site: Site) -> int | None:
    """The first transaction that had no number yet at the checkpoint with which recovery begins; None: not known."""
    try:
        label = (site.directory.path / "backup_label").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return (await site.control()).next_xid
    place, timeline = _PLACE.search(label), _TIMELINE.search(label)
    if place is None or timeline is None:
        return None
    wal = site.directory.path / "pg_wal"
    arguments = ["--path", str(wal), "--timeline", str(int(timeline[1], 16)), "--start", place[1], "--limit", "1"]
    try:
        ended = await site.programs.run("pg_waldump", arguments, time_limit=QUICK_LIMIT)
    except PostgresFailed:
        return None
    said = _NEXT.search(ended.output)
    return (int(said[1]) << 32) + int(said[2]) if said is not None else None
