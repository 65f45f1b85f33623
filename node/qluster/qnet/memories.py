"""The memories of all clusters: found, made, asked, forgotten; what changed in them is to be kept before the answer
leaves.

Must not know connections, nor where anything is kept.

Whoever forgets may vote twice, so a memory that is made anew has another uid, and counts only when a list of members
names that one, which those who hold the log must commit without it. To forget is safe therefore, at any time; what it
costs is that the arbiter does not count until all nodes have agreed on that. Hence what is forgotten to make room is
what nobody misses: never one that somebody speaks of at the moment, and otherwise first what was never asked for a
vote nor shown a leader, then what belongs to a founding that a later one of the same name has taken the place of.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from random import Random

from qluster.qnet.memory import GONE, Kept, Memory
from qluster.qnet.messages import Message
from qluster.qnet.names import Refusal
from qluster.qnet.own import MemoryAnswer, MemoryAsk, MemoryOpen, MemoryOpened, MemoryShow, MemoryShown

Key = tuple[bytes, int]
"""Name of a cluster, and the number of its founding: a cluster that is founded anew begins its terms anew."""

FOUNDINGS_MAX = 16
"""Memories of one name."""
MEMORIES_MAX = 4096
"""Memories of all names."""
SOURCE_MAX = 64
"""Memories made for one address that shows no certificate: nobody else's place is taken by who makes up names. A node
makes one for each founding."""
NAME_MAX = 255
"""Bytes of a cluster's name that has a memory. Where anybody may connect, longer ones would fill the disk: all memories
together must stay smaller than a file that is written anew with each batch."""
UID_MAX = 2**64 - 1


class Memories:
    """All of one arbiter, those that were opened last at the end."""

    def __init__(self, kept: Mapping[Key, Kept], random: Random, now: float) -> None:
        self._memories = {key: Memory(one, now) for key, one in kept.items()}
        self._found = set(kept)
        """Those on the disk whatever they know: other versions keep also what nobody has used yet."""
        self._random = random
        self._source: dict[Key, str] = {}
        """For whom one was made since the start."""
        self._gone: list[Key] = []

    def __iter__(self) -> Iterator[tuple[Key, Kept]]:
        return iter((key, memory.kept) for key, memory in self._memories.items())

    def kept(self, key: Key | None) -> Kept | None:
        """What is to be kept of one of them; None while there is none, or nothing that anybody would miss."""
        memory = self._memories.get(key) if key is not None else None
        return memory.kept if memory is not None and memory.kept.used else None

    def uid(self, key: Key) -> int:
        """Which one it is; 0: none."""
        return self._memories[key].kept.uid if key in self._memories else 0

    def voided(self, name: bytes, message: MemoryOpen) -> list[Key]:
        """The memories of foundings that this one voids: it went on from them by force."""
        assert message.founding is not None
        found = [(name, former) for former in message.lineage or () if former < message.founding]
        return [key for key in found if key in self._memories]

    def take_gone(self) -> list[tuple[Key, Kept]]:
        """What was forgotten since the last call, as it is to be kept."""
        gone, self._gone = self._gone, []
        return [(key, GONE) for key in gone]

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget these: who asks for them again meets others."""
        for key in keys:
            if self._memories.pop(key).kept.used or key in self._found:
                self._gone.append(key)
                self._found.discard(key)
            self._source.pop(key, None)

    def open(self, key: Key, message: MemoryOpen, source: str = "", in_use: Collection[Key] = ()) -> MemoryOpened:
        """What a client is told that wants to speak of a memory. ``source``: its address, "" if its certificate speaks
        for the name; ``in_use``: of which memories anybody speaks."""
        found = self._memories.get(key)
        if found is not None and message.void == found.kept.uid:
            self.forget([key])
        elif found is not None:
            self._memories[key] = self._memories.pop(key)  # to the end: it was opened last
        if key not in self._memories:
            refusal = self._refusal(key, source, in_use)
            if refusal is not Refusal.NONE:
                return MemoryOpened(seq=message.seq, uid=0, term=0, last_term=0, index=0, refusal=refusal)
            self._memories[key] = Memory(Kept(self._random.randint(1, UID_MAX)), None)
            if source:
                self._source[key] = source
        kept = self._memories[key].kept
        return MemoryOpened(
            seq=message.seq, uid=kept.uid, term=kept.term, last_term=kept.last_term, index=kept.index,
            refusal=Refusal.NONE,
        )  # fmt: skip

    def answer(self, key: Key | None, message: Message, now: float) -> Message:
        """What the memory says to a candidate, or to a leader."""
        memory = self._memories.get(key) if key is not None else None
        if isinstance(message, MemoryAsk):
            return _asked(memory, message, now)
        assert isinstance(message, MemoryShow)
        return _shown(memory, message, now)

    # --- room ------------------------------------------------------------------------------------

    def _refusal(self, key: Key, source: str, in_use: Collection[Key]) -> Refusal:
        """Why there is to be no further memory of this name; room is made for one where there is none."""
        if len(key[0]) > NAME_MAX:
            return Refusal.LONG_NAME
        of_source = [one for one, maker in self._source.items() if source and maker == source]
        of_name = [one for one in self._memories if one[0] == key[0]]
        limits = ((of_source, SOURCE_MAX, self._unused(of_source, in_use)),
                  (of_name, FOUNDINGS_MAX, self._spare(of_name, in_use, key[1])),
                  (self._memories, MEMORIES_MAX, self._spare(self._memories, in_use)))  # fmt: skip
        for there, most, spare in limits:
            if len(there) < most:
                continue
            victim = next(iter(spare), None)
            if victim is None:
                return Refusal.FULL
            self.forget([victim])
        return Refusal.NONE

    def _unused(self, keys: Iterable[Key], in_use: Collection[Key]) -> Iterator[Key]:
        """Those that nobody would miss, the longest not opened first."""
        ours = set(keys)
        return (key for key, memory in self._memories.items()
                if key in ours and not memory.kept.used and key not in in_use)  # fmt: skip

    def _spare(self, keys: Iterable[Key], in_use: Collection[Key], before: int = UID_MAX) -> Iterator[Key]:
        """Those, and of foundings that others have taken the place of the oldest ones. ``before``: of earlier ones."""
        yield from self._unused(keys, in_use)
        newest: dict[bytes, int] = {}
        for (name, founding), memory in self._memories.items():
            if memory.kept.used:
                newest[name] = max(newest.get(name, 0), founding)
        for key in sorted(keys, key=lambda one: one[1]):
            if key[1] < min(newest.get(key[0], 0), before) and key not in in_use:
                yield key


def _asked(memory: Memory | None, message: MemoryAsk, now: float) -> MemoryAnswer:
    stage, term, candidate = message.stage, message.term, message.candidate
    assert stage is not None and term is not None and candidate is not None
    assert message.last_term is not None and message.index is not None
    granted, refusal = False, Refusal.NOT_OPEN
    if memory is not None:
        granted, refusal = memory.ask(stage, term, candidate, (message.last_term, message.index), now)
    known = memory.kept.term if memory is not None else 0
    return MemoryAnswer(seq=message.seq, stage=stage, term=known, asked=term, granted=granted, refusal=refusal)


def _shown(memory: Memory | None, message: MemoryShow, now: float) -> MemoryShown:
    term, leader, index, promise = message.term, message.leader, message.index, message.promise
    assert term is not None and leader is not None and index is not None and promise is not None
    refusal = memory.show(term, leader, index, promise, now) if memory is not None else Refusal.NOT_OPEN
    kept = memory.kept if memory is not None else Kept(0)
    reached = kept.index if kept.last_term == term and refusal is Refusal.NONE else 0
    return MemoryShown(seq=message.seq, term=kept.term, index=reached, round=message.round, refusal=refusal)
