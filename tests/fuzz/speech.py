"""Makes any message of any kind out of chosen fields, near what a given node knows. Decoders have the last word.

Must not know what a node does with a message.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import msgspec
from fuzz import examples
from fuzz.source import Source
from qluster.cluster import commands
from qluster.cluster import messages as telling
from qluster.config import changeable
from qluster.consensus import messages as agreeing
from qluster.consensus.members import Member, Members
from qluster.node import Node
from qluster.status import DatabaseStatus, PoolStatus

FAR = 2**62
"""Far beyond everything, with room for what is counted on from there."""
IPS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.99", "", "host", "239.1.1.1", "::1", "\0", "é" * 90)
TEXTS = ("", "node", "listener", "0.1.0", "é", "a" * 1000, "\n", "10.0.0.2:5432")
ROLES = ("replica", "primary", "detached", "absent", "stopped", "none", "", "king")
POOL = PoolStatus(target="10.0.0.2:5432", reign=1)
AGREEING = get_args(agreeing.AnyMessage)
TELLING = get_args(telling.Message)


def numbers(node: Node) -> tuple[int, ...]:
    """Numbers that mean something to this node, and their neighbours."""
    qraft = node.qraft
    known = (0, 1, 2, 3, 4, 9)
    if qraft is None:
        return (*known, FAR)
    near = {qraft.term, qraft.commit_index, qraft.last_index, qraft.snapshot_index, qraft.members_index}
    return (*known, *sorted({max(0, one + step) for one in near for step in (-1, 0, 1, 2)}), FAR)


def payload(source: Source, node: Node, index: int) -> tuple[int, bytes]:
    """Kind and content of an entry."""
    match source.byte() % 8:
        case 0:
            return 0, b""
        case 1:
            return 0, source.one_of(numbers(node)).to_bytes(8, "big")
        case 2:
            return 0, max(0, index - 1).to_bytes(8, "big")
        case 3:
            return 1, members(source).encode()
        case 4:
            return source.byte() % 3, source.take(source.byte())
        case 5:
            return 2, commands.encode(source.one_of(examples.COMMANDS), source.text(8))
        case 6:
            return 2, commands.encode(command(source, node), "")
    return 2, commands.encode(commands.NodeMarked(2, False))


def command(source: Source, node: Node) -> commands.Body:
    """A command with chosen fields."""
    match source.byte() % 4:
        case 0:
            key = source.one_of((*changeable(), "ip", "unknown"))
            return commands.SettingsChanged({key: source.one_of(("9s", "7", "true", "", "200ms", "nonsense"))})
        case 1:
            return commands.Reign(*(source.one_of(numbers(node)) for _ in range(5)), source.one_of((1, 2, 2**63)))
        case 2:
            return commands.NodeExpected(source.one_of(IPS), source.one_of(TEXTS))
    return commands.ValueWritten(source.text(8), source.one_of((None, b"", b"value")), source.one_of((None, 0, 1, 5)))


def members(source: Source) -> Members:
    """A list of members, sound or not."""
    found = []
    for number in range(source.byte() % 6):
        fields = source.byte()
        found.append(
            Member(
                number + 1, source.one_of((0xAAAA0000, 7)) + number + 1, source.one_of(IPS), 8080,
                7400 if fields & 8 else 70_000, 5432 if fields & 1 else None, bool(fields & 2),
                "node" if fields & 4 else "listener",
            )
        )  # fmt: skip
    return Members(tuple(found), bool(source.byte() & 1), source.one_of((0, 1, 2, 3, 9, FAR)), source.byte() % 5)


def agreed(source: Source, node: Node) -> agreeing.AnyMessage:
    """A message of consensus."""
    kind = source.one_of(AGREEING)
    known = numbers(node)
    values: dict[str, object] = {}
    for name in kind.__struct_fields__:
        match name:
            case "cluster":
                values[name] = _cluster(source, node)
            case "node" | "candidate" | "successor" | "former":
                values[name] = source.one_of((2, 3, 1, 4, 9, FAR, 0))
            case "granted" | "override":
                values[name] = bool(source.byte() & 1)
            case "promise":
                values[name] = source.one_of((0.0, 2.0, 30.0, 86_400.0))
            case "silent":
                values[name] = tuple(source.one_of((1, 2, 3, 4)) for _ in range(source.byte() % 4))
            case "records":
                values[name] = ()
            case _:
                values[name] = source.one_of(known)
    message: agreeing.AnyMessage = kind(**values)
    if isinstance(message, agreeing.Append):
        return msgspec.structs.replace(message, records=_records(source, node, message))
    return message


def fitting(source: Source, node: Node) -> agreeing.AnyMessage | None:
    """What a leader would say next, with whatever it has in its entries; None where nobody is told such things."""
    qraft = node.qraft
    if qraft is None or qraft.role == "leader":
        return None
    leader = qraft.leader or (2 if node.me != 2 else 3)
    term = qraft.term + (qraft.leader is None)
    index = qraft.last_index
    last_term = qraft._me.journal.last_term  # there is no other way to know it
    records = tuple(
        agreeing.Record(term, *payload(source, node, index + place)) for place in range(1, source.byte() % 4 + 1)
    )
    commit = max(0, index + len(records) - source.byte() % 3)
    return agreeing.Append(node.cluster, leader, term, 1, 2.0, index, last_term, commit, records)


def _records(source: Source, node: Node, message: agreeing.Append) -> tuple[agreeing.Record, ...]:
    terms = sorted(source.one_of((message.term, message.prev_term, 1, 2, 3)) for _ in range(source.byte() % 4))
    return tuple(
        agreeing.Record(term, *payload(source, node, index))
        for index, term in enumerate(terms, start=message.prev_index + 1)
    )


def told(source: Source, node: Node) -> telling.Message:
    """A message of the cluster beside the log."""
    kind = source.one_of(TELLING)
    known = numbers(node)
    values: dict[str, object] = {}
    for name in kind.__struct_fields__:
        if name == "pool":
            values[name] = bool(source.byte() & 1) if kind is telling.Hello else source.one_of((None, POOL))
            continue
        make = _TOLD.get(name)
        values[name] = make(source, node) if make else source.one_of(known)
    return kind(**values)  # type: ignore[no-any-return]


def _cluster(source: Source, node: Node) -> int:
    chosen = source.byte()
    return node.cluster if chosen < 230 else (0, node.cluster + 1, max(0, node.cluster - 1), FAR)[chosen % 4]


def _database(source: Source, node: Node) -> DatabaseStatus | None:
    if source.byte() & 1:
        return None
    known = numbers(node)
    return DatabaseStatus(
        role=source.one_of(ROLES), system_id=source.one_of((1, 2, None)), timeline=source.one_of((1, 2, None)),
        position=source.one_of((*known, None)), streaming=bool(source.byte() & 1), error=source.one_of(("", "broken")),
    )  # fmt: skip


_TOLD: dict[str, Callable[[Source, Node], object]] = {
    "cluster": _cluster,
    "node": lambda source, _: source.one_of((2, 3, 1, 4, 9, FAR, 0)),
    "uid": lambda source, node: source.one_of((0xAAAA0002, node.uid, 0xAAAA0009, 7, 0, 2**64 - 1)),
    "ip": lambda source, _: source.one_of(IPS),
    "udp_port": lambda source, _: source.one_of((7400, 1, 65535)),
    "api_port": lambda source, _: source.one_of((8080, 1, 65535)),
    "db_port": lambda source, _: source.one_of((5432, None, 65535)),
    "role": lambda source, _: source.one_of(TEXTS),
    "reason": lambda source, _: source.one_of(TEXTS),
    "message": lambda source, _: source.one_of(TEXTS),
    "version": lambda source, _: source.one_of(TEXTS),
    "settings_digest": lambda source, _: source.one_of(TEXTS),
    "fit": lambda source, _: bool(source.byte() & 1),
    "writable": lambda source, _: bool(source.byte() & 1),
    "shared": lambda source, node: (
        node.entering.hello().shared if source.byte() & 1 else {source.text(): source.text()}
    ),
    "database": _database,
    "system_id": lambda source, _: source.one_of((1, 2, 2**64 - 1)),
}
