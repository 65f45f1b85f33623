"""What a state directory holds, for people: read as a start would read it, and nothing is changed.

It must not know what the entries mean. A daemon may run meanwhile; what it is writing just now may look torn.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from qluster.events import Entry, Snapshot

from . import identity, snapshots
from .identity import NodeFile
from .log import Log
from .replay import Contradiction
from .trouble import LogDamaged, StateRefused


@dataclass(slots=True)
class Survey:
    """Everything that can still be read."""

    node: NodeFile | None = None
    invited: bool = False
    """Whether the file ``add_node`` is there."""
    term: int = 0
    vote: int | None = None
    snapshot: Snapshot | None = None
    entries: list[Entry] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)
    """Number and bytes of each segment of the log."""
    notes: list[str] = field(default_factory=list)
    """What a start would mend, because a crash left it unfinished."""
    damage: str = ""
    """What a start would stumble over, "" when nothing."""
    old: list[tuple[str, str]] = field(default_factory=list)
    """States that were set aside: name and reason."""


def survey(state_dir: str) -> Survey:
    """Look at a state directory. Raises StateRefused when there is none that can be read."""
    found = Survey()
    current = os.path.join(state_dir, "current")
    try:
        found.invited = os.path.exists(os.path.join(state_dir, "add_node"))
        found.old = _old_states(state_dir)
        if not os.path.isdir(current):
            raise StateRefused(f"{state_dir}: holds no state.")
        found.node = identity.read(current)
        _read_log(current, found.node, found)
    except LogDamaged as damage:
        found.damage = str(damage)
    except OSError as error:
        path = error.filename or state_dir
        raise StateRefused(f"{path}: {error.strerror}. Run this as the service's user.") from None
    return found


def _read_log(current: str, node: NodeFile, found: Survey) -> None:
    directory = os.path.join(current, "log")
    log = Log(directory, node.number)
    try:
        log.look()
        if log.sequence < node.sequence:
            raise LogDamaged(directory, 0, f"it ends with group {log.sequence}, but group {node.sequence} was durable")
        record = log.replay.snapshot
        if record is not None:
            found.snapshot = snapshots.read(os.path.join(current, "snapshot"), record.payload.decode())
        found.entries = log.replay.take_entries()
    except Contradiction as error:
        raise LogDamaged(directory, 0, str(error)) from None
    finally:
        found.term, found.vote = log.replay.term, log.replay.vote
        found.segments, found.notes = log.segments, log.notes


def _old_states(state_dir: str) -> list[tuple[str, str]]:
    names = [name for name in os.listdir(state_dir) if re.fullmatch(r"old\.[0-9]{1,9}", name)]
    states = []
    for name in sorted(names, key=lambda name: int(name[4:])):
        try:
            with open(os.path.join(state_dir, name, "reason"), encoding="utf-8") as file:
                reason = file.read().strip()
        except OSError:
            reason = "no reason was noted"
        states.append((name, reason))
    return states


