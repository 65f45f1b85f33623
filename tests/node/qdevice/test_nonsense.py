"""An arbiter that says anything at any moment: the client ends the connection with a reason, and comes back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from random import Random

import pytest
from qdevice.test_client import Alone, taken_in
from qluster.qdevice.orders import Came, Checked, Ended, Opened, Secured
from qluster.qnet.messages import (
    AskForVoteReply,
    EchoReply,
    HeuristicsChangeReply,
    Message,
    NodeListReply,
    PreinitReply,
    ServerError,
    SetOptionReply,
    VoteInfo,
    encode,
)
from qluster.qnet.names import Heuristics, NodeListType, TlsSupported, Vote
from qluster.qnet.tlv import RingId

SEEDS = 2000 if os.environ.get("QLUSTER_FULL_TESTS") else 150
RINGS = [RingId(1, 8), RingId(1, 12), RingId(2, 8), RingId(0, 0)]


def take_in(alone: Alone, tls: str) -> None:
    """The arbiter does what it should, up to here."""
    alone.greet(TlsSupported.UNSUPPORTED if tls == "off" else TlsSupported.REQUIRED)
    if tls != "off":
        alone.client.handle(Secured(alone.client._attempts), alone.now)
    alone.hear(taken_in(alone.client._numbers.last))


def word(random: Random, number: int, joined: bool) -> Message:
    """Any message of an arbiter, as a rule one that fits."""
    seq = random.choice([number, number, number, number + 1, 0])
    vote, ring = random.choice(list(Vote)), random.choice(RINGS)
    words: list[Message] = [
        PreinitReply(seq=seq, tls_supported=random.choice(list(TlsSupported)), tls_client_cert_required=True),
        taken_in(seq, reply_error_code=random.choice([0, 0, 0, 15, 17])),
        ServerError(seq=seq, reply_error_code=random.randint(0, 25)),
        SetOptionReply(seq=seq, keep_active_partition_tie_breaker=True),
        EchoReply(seq=random.choice([1, 2])),
        NodeListReply(seq=seq, node_list_type=random.choice(list(NodeListType)), ring_id=ring, vote=vote),
        AskForVoteReply(seq=seq, vote=vote, ring_id=ring),
        VoteInfo(seq=seq, vote=vote, ring_id=ring),
        HeuristicsChangeReply(seq=seq, vote=vote, ring_id=ring, heuristics=Heuristics.PASS),
    ]
    return random.choice(words[3:] if joined and random.random() < 0.9 else words)


def spoilt(random: Random, data: bytes) -> bytes:
    """Cut short, or with a byte that is another."""
    if random.random() < 0.1:
        return data[: random.randint(0, len(data))]
    if random.random() < 0.2:
        place = random.randrange(len(data))
        return data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
    return data


@pytest.mark.parametrize("tls", ["off", "on", "required"])
def test_whatever_an_arbiter_says_the_client_lives_on(tls: str) -> None:
    ended = joined = 0
    for seed in range(SEEDS):
        random = Random(f"{tls} {seed}")
        alone = Alone(tls=tls, heuristics=random.choice(["off", "on"]))
        client, seq = alone.client, 8
        for _ in range(60):
            attempt = client._attempts
            what = random.random()
            if client.conversation is not None and not client._connected and random.random() < 0.3:
                take_in(alone, tls)
            if what < 0.6:
                data = spoilt(random, encode(word(random, client._numbers.last, client._connected)))
                client.handle(Came(attempt, data), alone.now)
            elif what < 0.8:
                client.handle(random.choice([Opened, Secured])(attempt), alone.now)
            elif what < 0.84:
                client.handle(Ended(attempt, "reset", random.random() < 0.5), alone.now)
            elif what < 0.88:
                seq += 4
                client.membership(RingId(1, seq), (1, 2), alone.now)
            elif what < 0.92:
                client.handle(Checked(client.checks.number, random.choice(["", "bad"])), alone.now)
            else:
                alone.wait(random.choice([0.1, 3.0, 70.0]))
            alone.take()
            joined += client._connected
            ended += client.fault is not None
            assert client.fault is None or len(client.fault.reason) > 4
            assert client.reason, "nobody has said that this node is in sync"
            assert client.held is None or client.held.ring == client.voting.ring
            assert client.wake_at < float("inf")
    assert ended > SEEDS and joined > SEEDS
