"""What takes the place of a state: made whole beside it, then named in its stead.

It must not know why. A crash leaves the state of before, or this one: :func:`settle` decides at the next start which.
As long as the former state has its name, what was made beside it does not count.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil

from qluster.events import Refound, SaveRing

from . import identity, rings, snapshots
from .files import flush_directory
from .identity import NodeFile
from .log import Log
from .records import ENTRY_KINDS, RESET, VOTE, Record


def write(path: str, former: str, refound: Refound) -> None:
    """Make the directory ``path`` in the place of ``former``: whole, and durable but for its name."""
    shutil.rmtree(path, ignore_errors=True)
    for part in ("", "log", "snapshot"):
        os.mkdir(os.path.join(path, part), mode=0o700)
    node, ring = identity.read(former), rings.read(former)
    uid, who = node.number, refound.identity
    assert who is None or who.uid == uid, "the uid stays that of the host"
    log = Log(os.path.join(path, "log"), uid)
    log.create()
    try:
        records = _records(refound, os.path.join(path, "snapshot"))
        if records:
            log.append(records)
    finally:
        log.close()
    # No ring ever has a number that one had before; what was expected to vote belongs to the list of before.
    rings.write(path, SaveRing(ring.seq, 0))
    identity.write(path, NodeFile(
        uid=node.uid, boot=node.boot, name=node.name, sequence=log.sequence,
        cluster=who.cluster if who is not None else None, node=who.node if who is not None else None,
    ))
    flush_directory(path)


def _records(refound: Refound, directory: str) -> list[Record]:
    records = [Record(VOTE, refound.term, 0)] if refound.term else []
    snapshot = refound.snapshot
    if snapshot is not None:
        name = snapshots.file_name(snapshot, 1)
        snapshots.write(directory, name, snapshot)
        records.append(Record(RESET, snapshot.term, snapshot.index, name.encode()))
    entries = refound.entries
    return records + [Record(ENTRY_KINDS[one.kind], one.term, one.index, one.payload) for one in entries]


def settle(path: str, current: str) -> None:
    """After a crash: without a current state this is it, else it was never finished."""
    if not os.path.isdir(path):
        return
    if os.path.isdir(current):
        shutil.rmtree(path)
    else:
        os.rename(path, current)
    flush_directory(os.path.dirname(current))
