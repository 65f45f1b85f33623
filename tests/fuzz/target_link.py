"""A link, told anything under good and bad seals, and a good peer that it must still understand at the end."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

from fuzz.source import Source
from qluster.transport.envelope import FLAGS_KNOWN
from qluster.transport.link import SENDERS_MAX, Link, LinkSettings
from qluster.transport.probe import Ask, encoded
from qluster.transport.repair import Request, Want
from qluster.transport.seal import Key, Sealer

KEY, OTHER = Key(1, bytes(range(32))), Key(2, bytes(range(32, 64)))
HERE, THERE = ("10.0.0.1", 7400), ("10.0.0.2", 7400)
SETTINGS = LinkSettings(max_log_size=4096, datagram_size=548, send_buffer_capacity=32, recv_buffer_capacity=32)
STEPS_MAX = 80
NUMBERS = (1, 2, 3, 4, 5, 64, 65, 1023, 1024, 1025, 2**32, 2**63, 2**64 - 1)
CHUNKS = ((0, 1), (0, 2), (1, 2), (0, 3), (2, 3), (9, 10), (10, 11), (0, 65_535))
PAUSES = (0.0, 0.001, 0.006, 0.03, 0.2, 2.0, 11.0)


class Pair:
    """The link, its good peer, and strangers who hold the key."""

    def __init__(self) -> None:
        self.now = 10.0
        self.link = Link("one", 1, 1, [KEY, OTHER], SETTINGS, Random(1), self.now)
        self.peer = Link("one", 2, 1, [KEY], SETTINGS, Random(2), self.now)
        self.strangers: dict[tuple[int, int, int], Sealer] = {}
        self.seen: list[bytes] = []

    def tell(self, datagram: bytes) -> list[bytes]:
        """The link receives this; what must hold after each datagram does."""
        counters = self.link.counters
        before = counters["datagrams_received"]
        messages = [received.message for received in self.link.receive(datagram, THERE, self.now)]
        assert counters["datagrams_received"] == before + 1
        assert self.link.senders <= SENDERS_MAX
        assert all(len(message) <= SETTINGS.message_size_max for message in messages)
        return messages

    def exchange(self, lose: int) -> list[bytes]:
        """What both have to say goes both ways, but for the datagrams whose bits are set."""
        heard = []
        for place, send in enumerate(self.peer.due(self.now)):
            if not lose >> place % 8 & 1:
                heard += self.tell(send.datagram)
        for place, send in enumerate(self.link.due(self.now)):
            if not lose >> place % 8 & 1 and send.to in (None, THERE):
                self.peer.receive(send.datagram, HERE, self.now)
        return heard


def run(content: bytes) -> None:
    """Play one row; then the good peer says something, and it arrives."""
    source, pair = Source(content), Pair()
    for _ in range(STEPS_MAX):
        if source.empty:
            break
        _step(source, pair)
        assert pair.link.wake_at == pair.link.wake_at, "a time is a number"
    pair.now += 20.0
    pair.exchange(0)
    pair.peer.send(b"still there?" * 200, None, pair.now)
    heard: list[bytes] = []
    for _ in range(50):
        heard += pair.exchange(0)
        pair.now += 0.02
    assert b"still there?" * 200 in heard, "a good peer is understood whatever strangers said"


def _step(source: Source, pair: Pair) -> None:
    match source.byte() % 8:
        case 0:
            pair.tell(source.take(source.byte()))
        case 1 | 2 | 3:
            datagram = _sealed(source, pair)
            pair.seen.append(datagram)
            pair.tell(datagram)
        case 4 if pair.seen:
            harmed = bytearray(source.one_of(pair.seen[-200:]))
            harmed[source.number(2) % len(harmed)] ^= source.byte()
            pair.tell(bytes(harmed))
        case 5:
            pair.peer.send(source.take(source.byte()) * source.one_of((0, 1, 1, 15)), None, pair.now)
            pair.exchange(source.byte())
        case 6:
            pair.link.send(bytes(source.byte() * 20), source.one_of((None, THERE)), pair.now)
            pair.exchange(source.byte())
        case _:
            pair.now += source.one_of(PAUSES)
            pair.exchange(source.byte())


def _sealed(source: Source, pair: Pair) -> bytes:
    """What a stranger with the key could send; its uid is never that of the good peer."""
    who = source.one_of((3, 4, 1, *range(100, 180))), source.one_of((1, 2, 2**32 - 1)), source.byte() % 3
    sealer = pair.strangers.get(who)
    if sealer is None:
        key = (KEY, OTHER, Key(9, bytes(range(64, 96))))[who[2]]
        sealer = pair.strangers[who] = Sealer("one", who[0], who[1], key)
    chunk, chunks = source.one_of(CHUNKS)
    payload = source.one_of((_request, _probe, _noise))(source)
    return sealer.seal(source.byte() % (2 * FLAGS_KNOWN), source.one_of(NUMBERS), chunk, chunks, payload)


def _noise(source: Source) -> bytes:
    return source.take(source.byte())


def _probe(source: Source) -> bytes:
    return encoded(Ask(source.byte(), source.byte(), bool(source.byte() & 1), bytes(source.byte())))


def _request(source: Source) -> bytes:
    wants = [
        Want(bool(source.byte() & 1), source.one_of(NUMBERS), source.number(source.byte() % 40))
        for _ in range(source.byte() % 4)
    ]
    return Request(source.one_of((1, 2)), source.one_of((1, 2)), wants).encoded()[: source.one_of((10_000, 12, 25))]
