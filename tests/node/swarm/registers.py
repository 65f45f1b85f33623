"""Decides what the log means in the simulation: registers that clients write, read, compare and set.

Must not know consensus. A command is text: number of the operation, kind, key, value, expected value.
Keys belong to a span of the run ("3.1"); those of spans long over are forgotten, the same on every node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import dataclass, field

SPANS_KEPT = 2


@dataclass(slots=True)
class Registers:
    """The replicated state."""

    values: dict[str, str] = field(default_factory=dict)
    span: int = 0

    def apply(self, payload: bytes) -> bool:
        """Whether the condition of the command held."""
        _, kind, key, value, expected = payload.decode().split("|")
        span = int(key.split(".")[0])
        if span > self.span:
            self.span = span
            self.values = {
                one: held for one, held in self.values.items() if int(one.split(".")[0]) > span - SPANS_KEPT
            }
        if kind == "cas" and self.values.get(key, "") != expected:
            return False
        if kind == "delete":
            return self.values.pop(key, None) is not None
        self.values[key] = value
        return True

    def encode(self) -> bytes:
        """The state's bytes for a snapshot."""
        return json.dumps([self.span, self.values], sort_keys=True).encode()

    @classmethod
    def decode(cls, state: bytes) -> Registers:
        """What :meth:`encode` wrote."""
        span, values = json.loads(state)
        return cls(values, span)
