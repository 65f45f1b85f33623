"""The state directory as text for people: what a node would find if it started now.

It must not change anything in it, nor decide what is damage: that is ``edge/disk``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from collections.abc import Iterator

from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.cluster.commands import MalformedCommand, ValueWritten
from qluster.cluster.commands import decode as decode_command
from qluster.config import Config
from qluster.consensus.members import MalformedMembers, Members
from qluster.edge.disk import StateRefused
from qluster.edge.disk.survey import Survey, survey
from qluster.events import Entry

TEXT_MAX = 120
"""Characters of an entry's content that are shown."""


def show_state(config: Config, first: int | None) -> int:
    """Print what the state directory holds, and the entries from ``first`` on; the exit code."""
    try:
        found = survey(config.state_dir)
    except StateRefused as refused:
        print(refused, file=sys.stderr)
        return EXIT_TROUBLE
    print("\n".join(lines(config.state_dir, found)))
    if first is not None:
        for entry in found.entries:
            if entry.index >= first:
                print(entry_line(entry))
    if found.damage:
        print(found.damage, file=sys.stderr)
    return EXIT_TROUBLE if found.damage else EXIT_DONE


def lines(path: str, found: Survey) -> Iterator[str]:
    """One line for each thing that is there."""
    yield f"state directory  {path}, add_node {'is there' if found.invited else 'is missing'}"
    node = found.node
    if node is not None:
        who = f"node {node.node} of founding {node.cluster}" if node.identity else "of no cluster yet"
        yield f"node             {who}, uid {node.uid}, cluster {node.name or 'not named'}, started {node.boot} times"
    yield f"promises         term {found.term}, vote {found.vote or 'for nobody'}"
    snapshot = found.snapshot
    if snapshot is not None:
        yield f"snapshot         entry {snapshot.term}/{snapshot.index}, {len(snapshot.state):,} bytes of state"
    if found.entries:
        first, last = found.entries[0], found.entries[-1]
        yield f"entries          {first.term}/{first.index} to {last.term}/{last.index}"
    else:
        yield "entries          none after the snapshot" if snapshot else "entries          none"
    for number, size in found.segments:
        yield f"segment          {number}, {size:,} bytes"
    for note in found.notes:
        yield f"unfinished       {note}"
    for name, reason in found.old:
        yield f"set aside        {name}: {reason}"


def entry_line(entry: Entry) -> str:
    """One entry: term/index, kind, size, content."""
    text = _content(entry)
    if len(text) > TEXT_MAX:
        text = text[: TEXT_MAX - 3] + "..."
    return f"{entry.term}/{entry.index} {entry.kind} {len(entry.payload)} bytes {text}".rstrip()


def _content(entry: Entry) -> str:
    try:
        match entry.kind:
            case "command":
                body = decode_command(entry.payload).body
                # Values belong to whoever wrote them: a log that is shown around must not show them too.
                return f"{body.name} written" if isinstance(body, ValueWritten) else repr(body)
            case "members":
                members = Members.decode(entry.payload)
                return f"voters {sorted(members.voters)} listeners {sorted(members.listeners)}"
    except (MalformedCommand, MalformedMembers) as fault:
        return f"not understood: {fault}"
    return ""
