"""Choices out of bytes: what a fuzzer changes in them changes what is chosen.

Must not know what is chosen from. When the bytes are used up every choice is the first one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

One = TypeVar("One")


class Source:
    """Reads choices from the front of some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def empty(self) -> bool:
        """Nothing is left."""
        return self._at >= len(self._content)

    def byte(self) -> int:
        """0 to 255; 0 when nothing is left."""
        return self.take(1)[0] if not self.empty else 0

    def take(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        taken = self._content[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._content))

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def one_of(self, choices: Sequence[One]) -> One:
        """One of up to 256 choices."""
        assert 0 < len(choices) <= 256, "a byte chooses"
        return choices[self.byte() % len(choices)]

    def text(self, length_max: int = 24) -> str:
        """Any text."""
        return self.take(self.byte() % (length_max + 1)).decode("utf-8", "replace")
