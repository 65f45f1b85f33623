"""Which replication slots a server keeps for the other nodes, and how far back each of them keeps WAL.

It must not know how a slot is made, nor who the nodes are beyond their names.

Every server keeps a slot for each other node, replicas as well: whoever becomes primary has then what a node that
is away still needs. The server moves a slot by itself only while its node streams from it. All others are moved by
what their nodes say of themselves, and never beyond the redo position here: so far back the WAL is needed here
anyway, and a former primary that has to be rewound begins at a checkpoint that is not older.

A slot whose WAL is gone (``max_slot_wal_keep_size``) is made anew without keeping anything: its node needs a copy,
makes the slot keep WAL before the copy begins, and until it comes back no disk fills for its sake.
Slots of other names are not ours, and are left alone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qluster.config.keys import SLOT_PREFIX
from qluster.database.facts import Facts, Slot
from qluster.database.orders import KeepSlots, Terms

PREFIX = SLOT_PREFIX
STEP = 64 << 20
"""Bytes that a slot may lag behind before it is moved: four segments, which no disk misses."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the database of another node has come, by its own word."""

    name: str
    timeline: int
    position: int


def slot_name(name: str) -> str:
    """The slot of a node that replicates under this name; "" for none."""
    return f"{PREFIX}{name}" if name else ""


def slots_kept(facts: Facts, terms: Terms, reached: Iterable[Reached]) -> KeepSlots | None:
    """What is to be done with the slots here; None when all is as it should be, or they are not known."""
    if facts.slots is None or facts.redo is None:
        return None
    names = {slot_name(name): name for name in terms.others}
    known = {one.name: one for one in reached}
    ours = {slot.name: slot for slot in facts.slots if slot.physical and slot.name.startswith(PREFIX)}
    idle = [slot for slot in ours.values() if not slot.active]
    targets = {slot.name: _target(known, names.get(slot.name, ""), facts) for slot in idle}
    stale = {slot.name for slot in idle if slot.name in names and _is_stale(slot, targets[slot.name], facts)}
    lost = {slot.name for slot in idle if slot.lost and slot.name in names}
    removed = {slot.name for slot in idle if slot.name not in names}
    order = KeepSlots(
        drop=tuple(sorted(removed | lost | stale)),
        make=tuple(sorted((names.keys() - ours.keys()) | stale)),
        make_open=tuple(sorted(lost)),
        advance=tuple(sorted(_advances(idle, lost | removed, targets))),
    )
    return order if order != KeepSlots() else None


def _target(known: Mapping[str, Reached], name: str, facts: Facts) -> int | None:
    """From where on WAL is to be kept for a node; None when that is not known.

    A position on another timeline says nothing: its node may have to go back to where the ways parted.
    """
    one = known.get(name)
    if one is None or one.timeline != facts.timeline or facts.redo is None:
        return None
    return min(one.position, facts.redo)


def _is_stale(slot: Slot, target: int | None, facts: Facts) -> bool:
    """It keeps nothing, and its node has caught up since: from now on there is something to keep."""
    return slot.position is None and not slot.lost and target is not None and target == facts.redo


def _advances(
    idle: Iterable[Slot], dropped: set[str], targets: Mapping[str, int | None]
) -> Iterable[tuple[str, int]]:
    for slot in idle:
        target = targets[slot.name]
        if slot.name in dropped or slot.position is None or target is None:
            continue
        if target >= slot.position + STEP:
            yield slot.name, target
