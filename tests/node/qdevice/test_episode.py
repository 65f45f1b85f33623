"""When a vote may count by episode: a table of what mends one and what breaks it, and each reason in words."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qdevice.world import World, together
from qluster.qdevice.counting import WAYS, why_not
from qluster.qdevice.episode import Break, Episode, Held
from qluster.qdevice.voting import Said
from qluster.qnet.names import DecisionAlgorithm, TieBreakerMode, Vote
from qluster.qnet.tlv import RingId, TieBreaker

HERE, THERE = RingId(1, 8), RingId(1, 12)
HELD = Held(HERE, 5.0)
WHOLE, REFUSED = Episode(None), Episode(Break.REFUSED)


@pytest.mark.parametrize(
    ("before", "ring", "asked_at", "held", "unbroken"),
    [
        (Episode(), HERE, 5.0, HELD, True),
        (Episode(), HERE, 6.0, HELD, True),
        (REFUSED, HERE, 6.0, HELD, True),
        (Episode(Break.LOST), HERE, 6.0, HELD, True),
        (Episode(), HERE, 4.9, HELD, False),
        (Episode(), THERE, 6.0, HELD, False),
        (Episode(), HERE, 6.0, None, False),
        (WHOLE, HERE, 4.9, HELD, True),
        (WHOLE, THERE, 6.0, None, True),
    ],
)
def test_in_sync_mends_only_by_news_of_now(
    before: Episode, ring: RingId, asked_at: float, held: Held | None, unbroken: bool
) -> None:
    assert before.in_sync(ring, asked_at, held).unbroken is unbroken


def test_a_start_a_refusal_and_a_lost_connection_break_it() -> None:
    assert not Episode().unbroken and "restarted" in Episode().reason
    assert WHOLE.refused() == REFUSED and "refused" in REFUSED.reason
    assert WHOLE.lost() == Episode(Break.LOST) and "lost its connection" in WHOLE.lost().reason
    assert WHOLE.reason == ""


@pytest.mark.parametrize(
    ("algorithm", "connection", "ring", "said", "episode", "reason"),
    [
        ("ffsplit", "", HERE, Said(Vote.ACK, HERE, 5.0), WHOLE, ""),
        ("ffsplit", "", HERE, Said(Vote.ACK, HERE, 5.0), REFUSED, "has refused it since"),
        ("ffsplit", "", HERE, Said(Vote.ACK, THERE, 5.0), WHOLE, "of the membership 1.8 yet"),
        ("ffsplit", "", HERE, Said(Vote.NACK, HERE, 5.0), WHOLE, "refuses the membership 1.8"),
        ("ffsplit", "", HERE, Said(Vote.WAIT_FOR_REPLY, HERE, 5.0), WHOLE, "waits for the other nodes"),
        ("ffsplit", "", HERE, Said(Vote.ASK_LATER, HERE, 5.0), WHOLE, "lacks lists"),
        ("ffsplit", "", HERE, None, WHOLE, "has not said anything"),
        ("ffsplit", "refused", HERE, Said(Vote.ACK, HERE, 5.0), WHOLE, "no connection to the arbiter: refused"),
        ("ffsplit", "", None, None, WHOLE, "no membership"),
        ("lms", "", HERE, Said(Vote.ACK, HERE, 5.0), REFUSED, ""),
        ("two_node_lms", "", HERE, Said(Vote.ACK, HERE, 5.0), Episode(), ""),
        ("test", "", HERE, Said(Vote.ACK, HERE, 5.0), WHOLE, "never counts"),
    ],
)
def test_why_a_vote_does_not_count(
    algorithm: str, connection: str, ring: RingId | None, said: Said | None, episode: Episode, reason: str
) -> None:
    found = why_not(DecisionAlgorithm[algorithm.upper()], connection, ring, said, episode)
    assert reason in found
    assert bool(found) is bool(reason)


def test_every_algorithm_has_its_way() -> None:
    assert {name.name: way for name, way in WAYS.items()} == {
        "TEST": "", "FFSPLIT": "episode", "TWO_NODE_LMS": "formula", "LMS": "formula",
    }  # fmt: skip


def test_the_client_keeps_it_from_what_comes_over_the_wire() -> None:
    world = together()
    one = world.clients[1]
    assert one.held is not None and one.reason == one.episode.reason != ""
    one.in_sync(HERE, world.now, world.now)
    assert one.reason == ""
    world.cut(world.lines_of(1)[0])
    assert one.episode.broken is Break.LOST and "connection was reset" in one.reason
    world.wait(5.0)
    assert one.held is not None and "lost its connection" in one.reason


def test_a_refusal_of_a_former_ring_breaks_it_too() -> None:
    world = together()
    two = world.clients[2]
    two.in_sync(HERE, world.now, world.now)
    world.ring(RingId(2, 12), 2)
    world.ring(RingId(1, 12), 1)
    line = world.lines_of(2)[0]
    for other in (line, world.lines_of(1)[0]):
        while other.up:
            world.deliver(other, up=True)
    # The refusal is under way, and node 2 is in another ring before it comes.
    world.ring(RingId(2, 16), 2)
    while line.down:
        world.deliver(line, up=False)
    assert two.episode.broken is Break.REFUSED
    assert two.voting.said is None


def test_a_word_from_before_the_refusal_mends_nothing() -> None:
    """Four nodes, leader 1: while it is refused the other half goes on, and then its own old heartbeat comes."""
    world = World(4, tie_breaker=TieBreaker(TieBreakerMode.HIGHEST))
    world.ring(HERE, 1, 2, 3, 4)
    world.wait(0.1)
    for client in world.clients.values():
        client.in_sync(HERE, world.now, world.now)
        assert client.reason == ""
    world.ring(RingId(1, 12), 1, 2)
    sent_at = world.now
    world.ring(RingId(3, 12), 3, 4)
    world.wait(1.0)
    assert [client.reason == "" for client in world.clients.values()] == [False, False, True, True]
    world.stop_arbiter()
    for node in (3, 4):
        world.clients[node]._open_at = float("inf")
    world.start_arbiter()
    world.wait(10.0)
    two = world.clients[2]
    assert two.held is not None and two.held.ring == RingId(1, 12), "the arbiter remembers nobody whom it refused"
    two.in_sync(RingId(1, 12), sent_at, world.now)
    assert not two.episode.unbroken
    two.in_sync(RingId(1, 12), two.held.since, world.now)
    assert two.episode.unbroken
