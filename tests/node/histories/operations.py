"""Decides nothing: what clients asked of registers and what they were told, as the checkers read it.

Must not know who recorded it: a simulated cluster, a real one and a table of known histories all give these.

A register is a key. Its value is anything hashable; None means that the key is absent.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import inf

Value = Hashable


class Kind(StrEnum):
    """What was asked."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request and its answer.

    ``ended`` is ``inf`` where the outcome is unknown: the request may take effect at any time after ``began``,
    or never. What is known not to have happened, and never to happen, is no operation at all: leave it out.
    """

    client: str
    key: str
    kind: Kind
    began: float
    ended: float = inf
    value: Value = None
    """What a read answered, what a write or a compare-and-set puts."""
    expected: Value = None
    """What a compare-and-set wants to find."""
    held: bool = True
    """Whether the compare-and-set found it; whether a delete found anything."""

    def __post_init__(self) -> None:
        if not self.began <= self.ended:
            raise ValueError(f"{self} ends before it begins")
        if self.kind is Kind.WRITE and self.value is None:
            raise ValueError(f"client {self.client} writes nothing to {self.key}: that is a delete")

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if it happened."""
        return self.ended == inf

    def __str__(self) -> str:
        match self.kind:
            case Kind.READ:
                return f"read → {_shown(self.value)}"
            case Kind.WRITE:
                text = f"write {_shown(self.value)}"
            case Kind.CAS:
                text = f"cas {_shown(self.expected)} → {_shown(self.value)}"
            case _:
                text = "delete"
        if self.unknown:
            return f"{text}: unknown"
        return text if self.held else f"{text}: no"


def _shown(value: Value) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def read(client: str, key: str, began: float, ended: float, value: Value) -> Operation:
    """A read that was answered."""
    return Operation(client, key, Kind.READ, began, ended, value)


def write(client: str, key: str, began: float, ended: float, value: Value) -> Operation:
    """A write that was answered, or (``ended`` inf) was not."""
    return Operation(client, key, Kind.WRITE, began, ended, value)


def cas(
    client: str, key: str, began: float, ended: float, expected: Value, value: Value, held: bool = True
) -> Operation:
    """A write that was to happen only where the key had this value."""
    return Operation(client, key, Kind.CAS, began, ended, value, expected, held)


def delete(client: str, key: str, began: float, ended: float, held: bool = True) -> Operation:
    """The key was taken away, or (``held`` false) was not there."""
    return Operation(client, key, Kind.DELETE, began, ended, None, None, held)


def to_lines(operations: Iterable[Operation]) -> Iterable[str]:
    """One JSON object a line, for a file that is kept; values must be strings, numbers or None."""
    for operation in operations:
        fields = asdict(operation)
        fields["ended"] = None if operation.unknown else operation.ended
        yield json.dumps(fields, separators=(",", ":"))


def from_lines(lines: Iterable[str]) -> list[Operation]:
    """What :func:`to_lines` wrote."""
    found = []
    for line in lines:
        fields = json.loads(line)
        fields["kind"] = Kind(fields["kind"])
        fields["ended"] = inf if fields["ended"] is None else fields["ended"]
        found.append(Operation(**fields))
    return found
