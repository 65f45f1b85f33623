"""A write that is sent again happens once, and another one under its key does not happen at all."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from fuzz import lone
from fuzz.lone import UID, Lone
from qluster.clients import (
    ClientRequest,
    Done,
    LeaderChangeRequested,
    NodeAddRequested,
    NodeDownRequested,
    NodeRemoveRequested,
    Outcome,
    Refused,
    SettingsChangeRequested,
    ValueWriteRequested,
)
from qluster.cluster import commands
from qluster.cluster.state import State, decode, encode
from qluster.events import Entry
from qluster.serving import fingerprint

WRITE = ValueWriteRequested(1, "k", "name", b"value", None)
OTHERS: list[ClientRequest] = [
    ValueWriteRequested(2, "k", "name", b"other", None),
    ValueWriteRequested(2, "k", "another", b"value", None),
    ValueWriteRequested(2, "k", "name", b"value", 0),
    ValueWriteRequested(2, "k", "name", None, None),
    SettingsChangeRequested(2, "k", {"cluster.remove-interval": "90s"}),
    NodeAddRequested(2, "k", "10.0.0.9", "node"),
    NodeDownRequested(2, "k", 3, True),
    NodeRemoveRequested(2, "k", 3),
    LeaderChangeRequested(2, "k", 2),
]


def answer(node: Lone, request: ClientRequest) -> Outcome:
    """What a client is answered once node 2 has the entry, too."""
    node.ask(request)
    if request.ticket not in node.answers:
        node.cooperate(UID + 2)
    return node.answers[request.ticket]


def reused(outcome: object) -> bool:
    return isinstance(outcome, Refused) and (outcome.word, outcome.field) == ("key-reused", "Idempotency-Key")


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_another_request_under_the_key_of_a_write_is_refused(other: ClientRequest) -> None:
    node = lone.leader()
    first = answer(node, WRITE)
    assert isinstance(first, Done)
    before = encode(node.node.state)
    assert reused(answer(node, other))
    assert encode(node.node.state) == before
    repeated = ValueWriteRequested(3, "k", "name", b"value", None)
    assert answer(node, repeated) == Done(first.index, {"repeated": True})


def test_another_request_is_refused_also_while_the_first_is_under_way() -> None:
    """Nobody could know of the first one yet when the second came: the log's order decides, on each node alike."""
    node = lone.leader()
    node.ask(WRITE)
    node.ask(ValueWriteRequested(2, "k", "name", b"other", None))
    node.ask(ValueWriteRequested(3, "k", "name", b"value", None))
    assert not node.answers
    node.cooperate(UID + 2)
    first = node.answers[1]
    assert isinstance(first, Done) and reused(node.answers[2])
    assert node.answers[3] == Done(first.index, {"repeated": True})
    assert node.node.state.store.of["name"].value == b"value"


def test_request_is_recognised_after_the_leader_was_restored_from_a_snapshot() -> None:
    state = State()
    assert state.apply(Entry(1, 1, "command", written(b"1", fingerprint(WRITE)))) is None
    restored = decode(encode(state), 1)
    assert restored == state
    assert restored.happened("k", fingerprint(WRITE)) == Done(1, {"repeated": True})
    assert reused(restored.happened("k", fingerprint(OTHERS[0])))


def written(value: bytes, mark: bytes) -> bytes:
    return commands.encode(commands.ValueWritten("name", value), "k", mark)


class OldState(msgspec.Struct):
    """What a version without fingerprints knows of a snapshot."""

    applied: int = 0
    keys: dict[str, int] = {}


def test_snapshot_of_a_version_without_fingerprints_takes_any_request_for_the_first() -> None:
    restored = decode(msgspec.msgpack.encode(OldState(1, {"k": 1})), 1)
    assert restored.happened("k", fingerprint(WRITE)) == Done(1, {"repeated": True})
    assert restored.happened("k", fingerprint(OTHERS[0])) == Done(1, {"repeated": True})


def test_version_without_fingerprints_reads_snapshots_and_commands_that_have_them() -> None:
    """While the nodes of a cluster are upgraded one after another, and on the way back."""
    state = State()
    state.apply(Entry(1, 1, "command", written(b"1", fingerprint(WRITE))))
    assert msgspec.msgpack.decode(encode(state), type=OldState) == OldState(1, {"k": 1})
    old = msgspec.defstruct("Old", [("key", str), ("body", commands.ValueWritten)], array_like=True)
    read = msgspec.msgpack.decode(written(b"1", fingerprint(WRITE)), type=old)
    assert (read.key, read.body) == ("k", commands.ValueWritten("name", b"1"))
    assert commands.decode(msgspec.msgpack.encode(("k", commands.ValueWritten("name", b"1")))).fingerprint == b""


def test_fingerprint_is_that_of_the_request_and_not_of_its_sending() -> None:
    """These bytes stand in logs and snapshots: with others, a version would refuse what the one before was asked."""
    assert fingerprint(WRITE) == fingerprint(ValueWriteRequested(9, "other", "name", b"value", None))
    assert fingerprint(WRITE).hex() == "e82ae3eaf96e9fa8"
    assert fingerprint(ValueWriteRequested(1, "", "name", b"value", None)) == b""
    changes = {"cluster.remove-interval": "90s", "cluster.node-timeout": "9s"}
    turned = dict(reversed(changes.items()))
    assert list(turned) != list(changes)
    assert fingerprint(SettingsChangeRequested(1, "k", changes)) == fingerprint(SettingsChangeRequested(2, "k", turned))
