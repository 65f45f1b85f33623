"""One node's way to the arbiter's memory: opened over each connection, asked, shown to, and what it says.

Must not know what its vote decides. Only an arbiter that listed the messages of ``qnet/own.py`` is spoken to; a
corosync-qnetd never does. What is asked and not answered is lost with the connection: who asked asks again.

A memory never knows less than it has said. One that does was brought back from an older copy, and would vote twice
under a uid that counts: its word is not taken, and the arbiter is told to make it anew. Each node knows what was said
to it since its start, so this finds what one node at least has seen, and no more: who restores a directory must not
rely on it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import NamedTuple

from qluster.events import (
    AskDevice,
    Asked,
    DeviceAnswered,
    DeviceClosed,
    DeviceOpened,
    DeviceQuestion,
    DeviceShown,
    DeviceWord,
)
from qluster.qdevice.conversation import Conversation
from qluster.qnet.messages import Message
from qluster.qnet.names import Refusal, Stage
from qluster.qnet.own import MemoryAnswer, MemoryAsk, MemoryOpen, MemoryOpened, MemoryShow, MemoryShown

REFUSALS = {
    Refusal.FULL: "the arbiter has no room for another memory: it keeps 16 for one name of a cluster, one for each "
    "founding, 64 for an address without a certificate, and 4096 in all; `qluster-qnetd-tool --forget` makes room",
    Refusal.NOT_OPEN: "the arbiter says that no memory is open",
}

FORGOTTEN = (
    "the arbiter has closed this founding's memory: quorum was forced in a later one, which this node joins when it "
    "hears of it"
)

TERMS_AHEAD_MAX = 2**32
"""A memory knows terms from nodes of its cluster alone, who add one with each election: none is so far behind another.
To follow one that says so would end the cluster: terms never go back, and have an end."""


class Said(NamedTuple):
    """The most that a memory has said of itself: its uid, the term it is in, and the newest entry that it was shown."""

    uid: int
    term: int = 0
    entry: tuple[int, int] = (0, 0)

    def and_also(self, uid: int, term: int, entry: tuple[int, int] = (0, 0)) -> Said:
        """The same when it has said this as well."""
        if uid != self.uid:
            return Said(uid, term, entry)
        return Said(uid, max(self.term, term), max(self.entry, entry))


class MemoryLink:
    """The memory of one founding (0: this node speaks with none)."""

    def __init__(self, founding: int, lineage: tuple[int, ...] = ()) -> None:
        self.founding = founding
        self.lineage = lineage
        """Foundings from which it went on by force: the arbiter is to forget them."""
        self.uid = 0
        """Of the memory that is open; 0: none."""
        self.fault = ""
        """Why the last one was not opened."""
        self._term = 0
        """The newest that was asked or shown."""
        self._said = Said(0)
        self._void = 0
        """Uid of a memory that has gone back, and was to be made anew."""
        self._words: list[DeviceWord] = []

    def take(self) -> list[DeviceWord]:
        """What it said since the last call."""
        words, self._words = self._words, []
        return words

    @property
    def waiting(self) -> bool:
        """Whether it said something that was not taken."""
        return bool(self._words)

    def joined(self, conversation: Conversation) -> None:
        """The arbiter has taken this node in: open the memory, if it has one."""
        self.fault = ""
        if conversation.remembers:
            conversation.say(MemoryOpen, founding=self.founding, lineage=self.lineage or None)

    def lost(self) -> None:
        """There is no connection any more."""
        if self.uid:
            self._words.append(DeviceClosed())
        self.uid = 0

    def ask(self, conversation: Conversation, question: DeviceQuestion) -> None:
        """Pass a question on; nobody hears one while no memory is open."""
        if not self.uid:
            return
        self._term = max(self._term, question.term)
        if isinstance(question, AskDevice):
            conversation.say(
                MemoryAsk, stage=Stage(question.stage), term=question.term, candidate=question.candidate,
                last_term=question.last_term, index=question.last_index,
            )  # fmt: skip
        else:
            conversation.say(
                MemoryShow, term=question.term, leader=question.leader, index=question.index, round=question.round,
                promise=question.promise,
            )  # fmt: skip

    def heard(self, message: Message, conversation: Conversation) -> None:
        """One of its answers, which is whole."""
        match message:
            case MemoryOpened(uid=uid, refusal=refusal):
                assert uid is not None and refusal is not None
                self.lost()
                if refusal is not Refusal.NONE or not uid:
                    self.fault = REFUSALS.get(refusal, f"the arbiter opens no memory: {refusal.name.lower()}")
                elif not self._gone_back(uid, message):
                    self.uid, self.fault = uid, ""
                    self._words.append(DeviceOpened(uid))
                elif uid != self._void:
                    self._void = uid
                    conversation.say(MemoryOpen, founding=self.founding, void=uid)
            case MemoryAnswer(refusal=Refusal.NOT_OPEN) | MemoryShown(refusal=Refusal.NOT_OPEN):
                self.lost()
                self.fault = FORGOTTEN
            case MemoryAnswer(term=term) | MemoryShown(term=term) if self.uid and self._beyond(term):
                self.lost()
                self.fault = (
                    f"the arbiter's memory says that it has seen term {term}, and this cluster is in term "
                    f"{self._term}: it is damaged, or not this cluster's. It is asked no more over this connection"
                )
            case MemoryAnswer(stage=stage, term=term, asked=asked, granted=granted, refusal=refusal) if self.uid:
                assert stage is not None and term is not None and asked is not None and granted is not None
                behind = refusal is Refusal.OLD_LOG
                self._said = self._said.and_also(self.uid, term)
                self._words.append(DeviceAnswered(self.uid, Asked(stage), term, asked, granted, behind))
            case MemoryShown(term=term, index=index, round=number, refusal=refusal) if self.uid:
                assert term is not None and index is not None and number is not None
                self._said = self._said.and_also(self.uid, term, (term, index) if index else (0, 0))
                self._words.append(DeviceShown(self.uid, term, index, number, refusal is Refusal.NONE))
            case _:
                pass  # of a memory that is not open: nobody waits for it

    def _gone_back(self, uid: int, message: MemoryOpened) -> bool:
        """Whether it knows less than it has said."""
        assert message.term is not None and message.last_term is not None and message.index is not None
        said, entry = self._said, (message.last_term, message.index)
        if uid != said.uid or (message.term >= said.term and entry >= said.entry):
            self._said = said.and_also(uid, message.term, entry)
            return False
        self.fault = (
            f"the arbiter's memory is in term {message.term} with entry {entry[0]}/{entry[1]}, and was in term "
            f"{said.term} with entry {said.entry[0]}/{said.entry[1]}: its directory was brought back from an older "
            "copy. It is told once to make that memory anew; if this stays, stop it, empty its memory-dir, and start it"
        )
        return True

    def _beyond(self, term: int | None) -> bool:
        return term is not None and term > self._term + TERMS_AHEAD_MAX
