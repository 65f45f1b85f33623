"""The votes as people know them: the text of `corosync-quorumtool`, column by column, and the same as plain values.

Must not know how the votes came about. Names and the date are the caller's.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from qluster.votes.information import Flag
from qluster.votes.view import NodeView, View

PROVIDER = "qluster_votequorum"
LABEL = 18
"""Width of a label with its colon."""
COLUMN = 10


class Order(StrEnum):
    """Of the lines for nodes."""

    NODE = "node"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Style:
    """How it is printed: the options -H, -p and -o of the tool."""

    hexadecimal: bool = False
    device_column: bool = False
    """Print the column Qdevice in any case."""
    order: Order = Order.NODE
    provider: str = PROVIDER


PLAIN = Style()


def status(view: View, names: Mapping[int, str], date: str, style: Style = PLAIN) -> str:
    """The text of `-s`. ``date`` as `ctime` prints it, without its line end."""
    members = view.members
    general = (
        ("Date", date), ("Quorum provider", style.provider), ("Nodes", str(len(members))),
        ("Node ID", f"0x{view.node:08x}" if style.hexadecimal else str(view.node)), ("Ring ID", str(view.ring)),
        ("Quorate", "Yes" if view.quorate else "No"),
    )
    votes = (
        ("Expected votes", str(view.expected)), ("Highest expected", str(view.highest_expected)),
        ("Total votes", str(view.total)), ("Quorum", f"{view.quorum} {' ' if view.quorate else 'Activity blocked'}"),
        ("Flags", "".join(f"{word} " for word in view.flags)),
    )
    return (section("Quorum information", general) + "\n" + section("Votequorum information", votes)
            + nodes(view, names, style))


def nodes(view: View, names: Mapping[int, str], style: Style = PLAIN) -> str:
    """The text of `-l`, which is also the last section of `-s`."""
    members = list(view.members)
    if style.order is Order.NAME:
        members.sort(key=lambda one: _name(one, names))
    registered = any(one.flags & Flag.DEVICE_REGISTERED for one in members)
    column = registered or style.device_column
    head = ["Nodeid", "Votes", *(["Qdevice"] if column else [])]
    lines = ["", *_title("Membership information"), "".join(_cell(text) for text in head) + "Name"]
    for one in members:
        cells = [_number(one.node, style), _cell(str(one.votes)), *([_cell(one.device)] if column else [])]
        local = " (local)" if one.node == view.node else ""
        lines.append("".join(cells) + _name(one, names) + local)
    if registered:
        cast = view.device_votes if view.device_casts else 0
        withheld = "" if view.device_casts else f" (votes {view.device_votes})"
        lines.append(f"{_number(0, style)}{_cell(str(cast))}{_cell('')}{view.device_name}{withheld}")
    return "\n".join(lines) + "\n"


def structure(view: View, names: Mapping[int, str]) -> dict[str, object]:
    """The same for programs, which need not read columns."""
    return {
        "node": view.node,
        "ring": {"node": view.ring.node, "seq": view.ring.seq, "text": str(view.ring)},
        "quorate": view.quorate,
        "settled": view.settled,
        "why": view.why.value,
        "reason": view.reason,
        "expected_votes": view.expected,
        "highest_expected": view.highest_expected,
        "total_votes": view.total,
        "quorum": view.quorum,
        "flags": list(view.flags),
        "nodes": [_node(one, view, names) for one in view.nodes],
        "device": {
            "name": view.device_name, "votes": view.device_votes, "cast": view.device_casts,
        } if any(one.flags & Flag.DEVICE_REGISTERED for one in view.members) else None,
    }


def exit_code(view: View) -> int:
    """What `-s` ends with."""
    return 0 if view.quorate else 2


def _node(one: NodeView, view: View, names: Mapping[int, str]) -> dict[str, object]:
    return {
        "node": one.node,
        "name": _name(one, names),
        "local": one.node == view.node,
        "member": one.member,
        "state": one.state.name.lower(),
        "votes": one.votes,
        "expected_votes": one.expected,
        "device": {
            "text": one.device,
            "registered": bool(one.flags & Flag.DEVICE_REGISTERED),
            "alive": bool(one.flags & Flag.DEVICE_ALIVE),
            "cast": bool(one.flags & Flag.DEVICE_CASTS),
            "master_wins": bool(one.flags & Flag.MASTER_WINS),
        },
    }


def _title(text: str) -> list[str]:
    return [text, "-" * len(text)]


def section(title: str, rows: tuple[tuple[str, str], ...]) -> str:
    """A title with its line, and rows of a label and a text; a label that is too wide keeps one blank."""
    return "\n".join([*_title(title), *(f"{label + ':':<{LABEL - 1}} {value}" for label, value in rows)]) + "\n"


def _cell(text: str) -> str:
    return f"{text:>{COLUMN}} "


def _number(node: int, style: Style) -> str:
    return f"0x{node:08x} " if style.hexadecimal else _cell(str(node))


def _name(one: NodeView, names: Mapping[int, str]) -> str:
    return names.get(one.node, str(one.node))
