"""Decides what the key-value store holds after each write, and which writes do not happen.

Must not know how writes are agreed on. The same writes give the same store on every node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

from qluster.clients import Refused

NAME_LENGTH_MAX = 128
"""Characters of a key: room for a path of a few words."""

VALUE_SIZE_MAX = 61_440
"""Bytes of a value: with its key it fits into one log entry of the default size."""

NAMES_MAX = 10_000
"""Keys at once: the store is for settings of scripts, locks and notes, not a database beside the database."""

BYTES_MAX = 16 * 1024 * 1024
"""Keys and values together: all of it stands in the memory of each node, and in each snapshot."""

LIST_MAX = 1_000
"""Keys in one answer; the next answer goes on after the last of them."""


class Value(Struct, array_like=True, frozen=True):
    """A value, and the index of the entry that wrote it."""

    value: bytes
    index: int


class Values(Struct):
    """Values by key."""

    of: dict[str, Value] = field(default_factory=dict)
    size: int = 0
    """Bytes of all keys and values."""

    def index(self, name: str) -> int:
        """Index of the key's last change, 0 when there is no such key."""
        found = self.of.get(name)
        return found.index if found is not None else 0

    def write(self, name: str, value: bytes | None, cas: int | None, index: int) -> Refused | None:
        """Write, or remove with None; what stood against it, None when it happened.

        Only the log's order decides: who leads no longer might say of an old state that a key is there.
        """
        known = self.of.get(name)
        if cas is not None and cas != self.index(name):
            return Refused("cas", f"the index of {name} is {self.index(name)}, not {cas}")
        if value is None:
            return self._remove(name)
        size = self.size + len(name) + len(value) - (len(name) + len(known.value) if known is not None else 0)
        if known is None and len(self.of) >= NAMES_MAX:
            return Refused("key", f"there are {NAMES_MAX} keys already; remove some")
        if size > BYTES_MAX and size > self.size:
            return Refused("", f"keys and values would have {size} bytes, at most {BYTES_MAX} are possible")
        self.of[name] = Value(value, index)
        self.size = size
        return None

    def _remove(self, name: str) -> Refused | None:
        known = self.of.pop(name, None)
        if known is None:
            return Refused("key", f"there is no key {name}", "no-such-key")
        self.size -= len(name) + len(known.value)
        return None

    def names(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """Up to :data:`LIST_MAX` keys in order, and whether more follow."""
        found = sorted(name for name in self.of if name.startswith(prefix))
        begin = bisect_left(found, after + "\0") if after else 0
        return found[begin : begin + LIST_MAX], len(found) > begin + LIST_MAX
