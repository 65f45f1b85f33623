"""What the arbiter wants done, in the order in which it is to be done.

Must not know why.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import StrEnum

import msgspec

from qluster.qnet.client import YES_OR_NO, Client, printable
from qluster.qnet.memories import Key
from qluster.qnet.memory import Kept
from qluster.qnet.messages import Message, ServerError, encode
from qluster.qnet.names import ErrorCode, MessageType, OwnMessage, Vote
from qluster.qnet.settings import REFUSALS_TOLD_MAX, Settings

NAME_TOLD_MAX = 64
"""Signs of a cluster's name that a log line shows."""


class Word(StrEnum):
    """What can happen that is worth a line in the log."""

    TURNED_AWAY = "client-turned-away"
    JOINED = "client-joined"
    LEFT = "client-left"
    DROPPED = "client-dropped"
    REFUSED = "message-refused"
    VOTE = "vote"
    FORGOTTEN = "memory-forgotten"


class Send(msgspec.Struct, frozen=True, gc=False):
    """These bytes go to this connection: one message."""

    connection: int
    data: bytes


class BeginTls(msgspec.Struct, frozen=True, gc=False):
    """After what was sent so far TLS begins, as a server. ``rest`` came behind STARTTLS: its first bytes."""

    connection: int
    rest: bytes


class Close(msgspec.Struct, frozen=True, gc=False):
    """After what was sent so far the connection ends. Nothing need be said of it any more."""

    connection: int
    reason: str


class Happened(msgspec.Struct, frozen=True):
    """A line for the log."""

    word: Word
    facts: dict[str, str | int]


class Keep(msgspec.Struct, frozen=True):
    """This must be durable before anything that follows is performed."""

    key: Key
    kept: Kept


Effect = Send | BeginTls | Close | Happened | Keep


class Output:
    """Collects effects; holds back what a client that does not read cannot take."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._effects: list[Effect] = []
        self.doomed: dict[Client, str] = {}
        """Who is to be closed when the message at hand is dealt with, and why."""

    def take(self) -> list[Effect]:
        """Everything since the last call."""
        effects, self._effects = self._effects, []
        return effects

    def send(self, client: Client, data: bytes) -> None:
        """One message to a client."""
        if len(data) > self._settings.reply_size_max:
            self.doom(client, f"an answer of {len(data)} bytes, {self._settings.reply_size_max} are allowed")
        elif not client.blocked:
            self._effects.append(Send(client.connection, data))
        elif len(client.outbox) < self._settings.outstanding_max:
            client.outbox.append(data)
        else:
            self.doom(client, f"{len(client.outbox)} messages wait for it, no more may")

    def answer(self, client: Client, message: Message) -> None:
        """The same, not yet encoded."""
        self.send(client, encode(message))

    def vote(self, client: Client, vote: Vote) -> None:
        """This vote is sent to the client."""
        if vote in YES_OR_NO and vote is not client.vote_yes_no:
            self.happened(Word.VOTE, client, vote=vote.name)
        client.sent(vote)

    def refuse(self, client: Client, seq: int | None, error: ErrorCode, why: str) -> None:
        """A message is refused and the connection stays."""
        self.refused(client, error, why)
        self.answer(client, ServerError(seq=seq, reply_error_code=error))

    def refused(self, client: Client, error: ErrorCode, why: str) -> None:
        """A message was refused; the first few are told."""
        client.refusals += 1
        if client.refusals <= REFUSALS_TOLD_MAX:
            last = " (further ones are not told)" if client.refusals == REFUSALS_TOLD_MAX else ""
            self.happened(Word.REFUSED, client, error=error.name, why=why + last)

    def doom(self, client: Client, reason: str) -> None:
        """The connection is to be closed."""
        self.doomed.setdefault(client, reason)

    def release(self, client: Client) -> None:
        """The client reads again."""
        client.blocked = False
        self._effects += [Send(client.connection, data) for data in client.outbox]
        client.outbox.clear()

    def begin_tls(self, client: Client) -> None:
        """TLS begins behind everything that was sent."""
        self.release(client)
        self._effects.append(BeginTls(client.connection, client.framer.rest()))

    def keep(self, key: Key, kept: Kept) -> None:
        """What a memory must not lose."""
        self._effects.append(Keep(key, kept))

    def forgotten(self, key: Key) -> None:
        """A memory is gone: to make room, because it had gone back, or as an operator asked."""
        about: dict[str, str | int] = {"cluster": printable(key[0], NAME_TOLD_MAX), "founding": key[1]}
        self._effects.append(Happened(Word.FORGOTTEN, about))

    def close(self, connection: int, reason: str) -> None:
        """A connection ends."""
        self._effects.append(Close(connection, reason))

    def happened(self, word: Word, client: Client, **facts: str | int) -> None:
        """Something happened to a client."""
        about: dict[str, str | int] = {}
        if client.cluster is not None:
            about = {"cluster": printable(client.cluster.name, NAME_TOLD_MAX), "node": client.node_id}
        self._effects.append(Happened(word, {**about, "address": client.address, **facts}))


def named(kind: int) -> str:
    """A type of message as a log line names it."""
    for names in (MessageType, OwnMessage):
        if kind in tuple(names):
            return names(kind).name
    return f"type {kind}"
