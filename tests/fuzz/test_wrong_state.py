"""Well-formed messages that nobody expects, in every role: no crash, and nothing malformed is said in answer.

What remains are the messages after which two nodes cannot both be right about what is committed or who leads;
a node that is told so stops. They are named in :data:`PROVE_A_FAULT`, and each is shown to be one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from copy import deepcopy
from random import Random
from zlib import crc32

import pytest
from fuzz.roles import FIELDS, NOW, ROLES, append, messages, sound
from qluster.consensus import messages as say
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft

FULL = int(os.environ.get("FUZZ_FULL", "0"))
"""How many times more than in the fast form."""
COUNT = 60 * (1 + FULL)
"""Messages of one kind for one role."""
WALKS = 10 * (1 + FULL)
STEPS = 60

PROVE_A_FAULT = (
    "both lead in term",
    "lead in",
    "replaces the committed entry",
    "is committed here",
)
"""What only a broken rule of consensus (S1, S6) can bring about: two leaders of one term, another entry where
one is committed."""


def proves_a_fault(error: BaseException) -> bool:
    return isinstance(error, AssertionError) and any(words in str(error) for words in PROVE_A_FAULT)


def told(qraft: QRaft, message: say.AnyMessage, now: float) -> bool:
    """Tell it, and see to what follows; False when it stopped because of a proven fault."""
    try:
        qraft.receive(message, now)
    except AssertionError as error:
        if not proves_a_fault(error):
            raise AssertionError(f"{qraft.role} was told {message}") from error
        assert isinstance(message, say.Append | say.SnapshotOffer), "only who claims to lead can prove that"
        return False
    output = qraft.take()
    for _, answer in output.send:
        assert say.decode(say.encode(answer)) == answer
    return True


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", [*FIELDS, say.Append], ids=lambda kind: kind.__name__)
def test_unexpected_message_is_borne(role: str, kind: type[say.Message]) -> None:
    original = ROLES[role]()
    random = Random(crc32(f"{role} {kind.__name__}".encode()))
    for message in messages(kind, random, COUNT):
        qraft = deepcopy(original)
        if not told(qraft, message, NOW):
            continue
        for later in (NOW, NOW + 1, NOW + 60):
            qraft.tick(later)
            qraft.take()


class Slow(QRaft):
    """A participant whose disk takes its time: :meth:`catch_up` ends the saves that are under way."""

    number = 0

    def take(self) -> Output:
        """What it wants done; what it wants saved is not durable yet."""
        output = super().take()
        if output.save:
            self.number = self.saving()
        return output

    def catch_up(self, now: float) -> None:
        """All that was ordered is durable."""
        if self.number:
            self.saved(self.number, now)
            self.number = 0


@pytest.mark.parametrize("role", ROLES)
def test_rows_of_unexpected_messages_are_borne_while_the_disk_is_slow(role: str) -> None:
    original = ROLES[role]()
    original.__class__ = Slow
    walk_rows(original, "slow " + role)


@pytest.mark.parametrize("role", ROLES)
def test_rows_of_unexpected_messages_are_borne(role: str) -> None:
    walk_rows(ROLES[role](), role)


def walk_rows(original: QRaft, role: str) -> None:
    """Rows of messages, with time passing now and then."""
    for walk in range(WALKS):
        random = Random(crc32(f"{role} {walk}".encode()))
        qraft, now = deepcopy(original), NOW
        for _ in range(STEPS):
            kind = random.choice([*FIELDS, say.Append])
            message = append(random) if kind is say.Append else next(messages(kind, random, 1), None)
            if message is None or not sound(message):
                continue
            if not told(qraft, message, now):
                break
            if isinstance(qraft, Slow) and random.random() < 0.2:
                qraft.catch_up(now)
            if random.random() < 0.3:
                now += random.choice((0.0, 0.01, 1.0, 40.0))
                qraft.tick(now)
                qraft.take()
