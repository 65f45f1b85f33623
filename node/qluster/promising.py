"""Decides for how long a node that starts keeps to a promise that it can no longer remember.

Must not know the clock, nor how votes are asked for.

A follower promises its leader to vote for nobody else for node-timeout, and the leader's lease rests on that.
The promise itself is not saved: a node that starts behaves as if it had just given one. How long it was is in the
log, not in the file: node-timeout may have been raised since the file was written, and the leader's lease with it.
Entries that are not known to be committed count too. Where a leader uses a value, a quorum has the entry.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
from collections.abc import Iterator

from qluster.cluster.commands import Founded, MalformedCommand, SettingsChanged
from qluster.cluster.commands import decode as decode_command
from qluster.cluster.state import decode as decode_state
from qluster.config.kinds import duration_milliseconds
from qluster.events import Saved

KEY = "cluster.node-timeout"


def promise_at_start(saved: Saved, node_timeout: float) -> float:
    """Seconds: ``node_timeout`` of the file, or the one that the log ends with when that is longer.

    A value that this version cannot take is not in force here; the one before it is.
    """
    seconds = node_timeout
    for text in _values(saved):
        with contextlib.suppress(ValueError):
            seconds = duration_milliseconds(text) / 1000
    return max(node_timeout, seconds)


def _values(saved: Saved) -> Iterator[str]:
    """What the log says, one value after the other."""
    if saved.snapshot is not None:
        yield from _value(decode_state(saved.snapshot.state).values())
    for entry in saved.entries:
        if entry.kind != "command":
            continue
        with contextlib.suppress(MalformedCommand):
            match decode_command(entry.payload).body:
                case Founded(_, settings) | SettingsChanged(settings):
                    yield from _value(settings)


def _value(settings: dict[str, str]) -> Iterator[str]:
    if KEY in settings:
        yield settings[KEY]
