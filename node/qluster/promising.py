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

from qluster.cluster.commands import Founded, MalformedCommand, SettingsChanged
from qluster.cluster.commands import decode as decode_command
from qluster.cluster.state import decode as decode_state
from qluster.config.kinds import duration_milliseconds
from qluster.events import Saved

KEY = "cluster.node-timeout"


def promise_at_start(saved: Saved, node_timeout: float) -> float:
    """Seconds: ``node_timeout`` of the file, or the one that the log ends with when that is longer."""
    text = ""
    if saved.snapshot is not None:
        text = decode_state(saved.snapshot.state).values().get(KEY, "")
    for entry in saved.entries:
        if entry.kind != "command":
            continue
        with contextlib.suppress(MalformedCommand):
            match decode_command(entry.payload).body:
                case Founded(_, settings):
                    text = settings.get(KEY, text)
                case SettingsChanged(changes):
                    text = changes.get(KEY, text)
    with contextlib.suppress(ValueError):
        # One that this version cannot take is not in force here either.
        return max(node_timeout, duration_milliseconds(text) / 1000)
    return node_timeout
