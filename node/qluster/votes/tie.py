"""Which half of a divided cluster goes on: the tie-breaker's rule.

Must not know votes; it is asked only when exactly half of them are here.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """By what it decides."""

    LOWEST = "lowest"
    HIGHEST = "highest"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class TieBreaker:
    """The rule, and its list of nodes where it has one."""

    mode: Mode
    nodes: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str) -> TieBreaker:
        """The rule in the words of a configuration. Raises ValueError with what is wrong and what to do."""
        words = text.split()
        if words in (["lowest"], ["highest"]):
            return cls(Mode(words[0]))
        if not words or not all(word.isascii() and word.isdecimal() and int(word) for word in words):
            raise ValueError(f'"{text}" is not one of lowest, highest, or numbers of nodes with blanks between them. '
                             "Use one of these.")
        nodes = tuple(int(word) for word in words)
        if len(set(nodes)) < len(nodes):
            raise ValueError(f'"{text}" names a node twice. Name each once.')
        return cls(Mode.LIST, nodes)

    def __str__(self) -> str:
        return " ".join(map(str, self.nodes)) if self.mode is Mode.LIST else self.mode.value

    def chooses(self, here: Collection[int], before: Collection[int], quorate: Collection[int]) -> bool:
        """Whether the half with these members goes on.

        ``before`` are the members before the last change, ``quorate`` those of the last membership that had its quorum
        by votes. A list gives way to the first of its nodes that is here, unless an earlier one was a member before:
        that one may live on the other side.
        """
        if self.mode is Mode.LIST:
            place = next((place for place, node in enumerate(self.nodes) if node in here), None)
            return place is not None and not any(node in before for node in self.nodes[:place])
        if not quorate:
            return False
        return (min(quorate) if self.mode is Mode.LOWEST else max(quorate)) in here
