"""The memories of all clusters: found, made, asked; what changed in them is to be kept before the answer leaves.

Must not know connections, nor where anything is kept.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from qluster.qnet.memory import Kept, Memory
from qluster.qnet.messages import Message
from qluster.qnet.names import Refusal
from qluster.qnet.own import MemoryAnswer, MemoryAsk, MemoryOpen, MemoryOpened, MemoryShow, MemoryShown

Key = tuple[bytes, int]
"""Name of a cluster, and the number of its founding: a cluster that is founded anew begins its terms anew."""

FOUNDINGS_MAX = 16
"""Memories of one name. To forget the oldest would let it vote twice; an operator may."""
MEMORIES_MAX = 4096
"""Memories of all names."""
NAME_MAX = 255
"""Bytes of a cluster's name that has a memory. Where anybody may connect, longer ones would fill the disk: all memories
together must stay smaller than a file that is written anew with each batch."""
UID_MAX = 2**64 - 1


class Memories:
    """Empties itself of nothing: who forgets may vote twice."""

    def __init__(self, kept: Mapping[Key, Kept], random: Random, now: float) -> None:
        self._memories = {key: Memory(one, now) for key, one in kept.items()}
        self._random = random

    def __iter__(self) -> Iterator[tuple[Key, Kept]]:
        return iter((key, memory.kept) for key, memory in self._memories.items())

    def kept(self, key: Key | None) -> Kept | None:
        """What is to be kept of one of them; None while there is none."""
        memory = self._memories.get(key) if key is not None else None
        return memory.kept if memory is not None else None

    def answer(self, key: Key | None, message: Message, now: float) -> Message:
        """What the memory says to a client that opens it, to a candidate, or to a leader."""
        if isinstance(message, MemoryOpen):
            assert key is not None
            return self._opened(key, message)
        memory = self._memories.get(key) if key is not None else None
        if isinstance(message, MemoryAsk):
            return _asked(memory, message, now)
        assert isinstance(message, MemoryShow)
        return _shown(memory, message, now)

    def forget(self, name: bytes, message: MemoryOpen) -> list[Key]:
        """The memories of foundings that this one voids: each is another one from now on, which no list names.

        Nobody counts it then but who has it put into a list by those who hold the log, without it.
        """
        assert message.founding is not None
        found = [(name, former) for former in message.lineage or () if former < message.founding]
        gone = [key for key in found if key in self._memories and self._memories[key].kept.term]
        for key in gone:
            self._memories[key] = Memory(Kept(self._random.randint(1, UID_MAX)), None)
        return gone

    def _opened(self, key: Key, message: MemoryOpen) -> MemoryOpened:
        if key not in self._memories:
            refusal = self._refusal(key[0])
            if refusal is not Refusal.NONE:
                return MemoryOpened(seq=message.seq, uid=0, term=0, last_term=0, index=0, refusal=refusal)
            self._memories[key] = Memory(Kept(self._random.randint(1, UID_MAX)), None)
        kept = self._memories[key].kept
        return MemoryOpened(
            seq=message.seq, uid=kept.uid, term=kept.term, last_term=kept.last_term, index=kept.index,
            refusal=Refusal.NONE,
        )  # fmt: skip

    def _refusal(self, name: bytes) -> Refusal:
        """Why there is to be no further memory of this name."""
        if len(name) > NAME_MAX:
            return Refusal.LONG_NAME
        of_name = sum(other == name for other, _ in self._memories)
        full = of_name >= FOUNDINGS_MAX or len(self._memories) >= MEMORIES_MAX
        return Refusal.FULL if full else Refusal.NONE


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
