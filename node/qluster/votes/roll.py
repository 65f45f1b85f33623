"""What a node knows of each node's votes.

Must not know quorum. A node that left stays on the roll as dead, until it is heard again.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qluster.votes.information import Flag, State

NOTHING = Flag(0)


@dataclass(slots=True)
class Entry:
    """One node, as it last spoke of itself."""

    node: int
    votes: int = 0
    expected: int = 0
    state: State = State.DEAD
    flags: Flag = NOTHING
    device_name: str = ""

    def mark(self, flag: Flag, on: bool) -> None:
        """Set or clear flags."""
        self.flags = self.flags | flag if on else self.flags & ~flag

    def facts(self) -> tuple[int, int, State, Flag]:
        """What makes it necessary to calculate anew when it changes."""
        return self.votes, self.expected, self.state, self.flags


class Roll:
    """All nodes that were ever heard, this one from the beginning."""

    def __init__(self, me: Entry) -> None:
        self.me = me
        self._entries = {me.node: me}

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.node))

    def get(self, node: int) -> Entry | None:
        """The node with this number."""
        return self._entries.get(node)

    def entry(self, node: int) -> Entry:
        """The node with this number, entered now if it was never heard."""
        return self._entries.setdefault(node, Entry(node))

    def bury(self, nodes: Iterable[int]) -> None:
        """These left the membership."""
        for node in nodes:
            self.entry(node).state = State.DEAD

    @property
    def members(self) -> list[Entry]:
        """Those that are here and stay."""
        return [entry for entry in self if entry.state is State.MEMBER]

    @property
    def present(self) -> int:
        """Votes of the members."""
        return sum(entry.votes for entry in self.members)

    @property
    def highest_expected(self) -> int:
        """Votes expected by the member that expects most."""
        return max((entry.expected for entry in self.members), default=0)

    def expect(self, votes: int) -> None:
        """All members expect so many votes."""
        for entry in self.members:
            entry.expected = votes

    @property
    def device_name(self) -> str:
        """The name under which members have registered the device, "" where none has."""
        named = (entry.device_name for entry in self.members if entry.flags & Flag.DEVICE_REGISTERED)
        return next(filter(None, named), "")

    @property
    def master_wins(self) -> bool:
        """Whether the device of some member casts its vote for a master."""
        both = Flag.DEVICE_CASTS | Flag.MASTER_WINS
        return any(entry.flags & both == both for entry in self.members)
