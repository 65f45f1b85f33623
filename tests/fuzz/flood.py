"""A flood of datagrams from a host without the key, or with old ones: what each costs, and what stays of it.

``python -m fuzz.flood --count 1000000`` prints a table; the unit stage runs a short form. Sockets have no part in it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from time import perf_counter

from fuzz.lone import Lone, follower
from qluster.events import Address, DatagramReceived
from qluster.transport.envelope import Drop, Header, cluster_tag
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Key, Sealer
from sim.host import KEY

STRANGER: Address = ("192.0.2.66", 9)
FRIEND: Address = ("10.0.0.2", 7400)
FORGED_KEY = Key(KEY.id, bytes(range(100, 132)))
UNKNOWN_KEY = Key(77, bytes(range(100, 132)))
DIFFERENT = 600
"""Datagrams made of each kind; they are sent over and over. More senders than anybody remembers."""
PAYLOAD = bytes(range(256)) * 5
UID_BASE = 5_000


def _foreign(random: Random) -> bytes:
    return random.randbytes(random.randrange(100, 1400))


def _short(random: Random) -> bytes:
    return b"QLS1" + random.randbytes(random.randrange(0, 40))


def _sealed(random: Random, key: Key, cluster: str = "sim", chunk: tuple[int, int] = (0, 1)) -> bytes:
    sealer = Sealer(cluster, UID_BASE + random.getrandbits(40), random.getrandbits(31), key)
    return sealer.seal(random.randrange(8), random.getrandbits(48) + 1, *chunk, PAYLOAD[: random.randrange(1200)])


def _unsealed(random: Random) -> bytes:
    """A header as ours, and noise under it: who knows the name of the cluster can make it without effort."""
    header = Header(0, KEY.id, cluster_tag("sim"), random.getrandbits(63), 1, random.getrandbits(60) + 1, 9, 0, 1)
    return header.encoded() + random.randbytes(400)


KINDS: dict[str, tuple[Drop, Callable[[Random], bytes]]] = {
    "noise": (Drop.FOREIGN, _foreign),
    "cut short": (Drop.SHORT, _short),
    "other cluster": (Drop.CLUSTER, lambda random: _sealed(random, KEY, "another")),
    "unknown key": (Drop.KEY, lambda random: _sealed(random, UNKNOWN_KEY)),
    "too many chunks": (Drop.OVERSIZED, lambda random: _sealed(random, FORGED_KEY, chunk=(7, 60_000))),
    "noise under a good header": (Drop.FORGED, _unsealed),
    "sealed with a wrong key": (Drop.FORGED, lambda random: _sealed(random, FORGED_KEY)),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a flood of one kind came to."""

    count: int
    dropped: int
    microseconds: float
    """For one datagram."""
    grown: int
    """Bytes of memory that are held after it and were not before."""


def replayed(link: Link, now: float) -> list[bytes]:
    """Datagrams of a good peer that the link has received already."""
    peer = Link("sim", 2, 1, [KEY], LinkSettings(), Random(2), now)
    seen = []
    for number in range(100):
        peer.send(b"%d" % number, None, now)
        seen += [send.datagram for send in peer.due(now + number)]
    for datagram in seen:
        link.receive(datagram, FRIEND, now)
    return seen


def floods(link: Link, now: float) -> Iterator[tuple[str, Drop, list[bytes]]]:
    """Each kind with its datagrams."""
    for name, (drop, make) in KINDS.items():
        random = Random(name)
        yield name, drop, [make(random) for _ in range(DIFFERENT)]
    yield "replayed", Drop.REPLAYED, replayed(link, now)


def flood(receive: Callable[[bytes], object], link: Link, drop: Drop, datagrams: list[bytes], count: int) -> Outcome:
    """So many datagrams in a row."""
    counter = f"dropped_{drop.value}"
    for datagram in datagrams:
        receive(datagram)
    before = link.counters[counter]
    began = perf_counter()
    for datagram in islice(cycle(datagrams), count):
        receive(datagram)
    seconds = perf_counter() - began
    dropped = link.counters[counter] - before
    return Outcome(count, dropped, seconds / count * 1e6, _grown(receive, datagrams))


def _grown(receive: Callable[[bytes], object], datagrams: list[bytes]) -> int:
    """Traced apart from the timing, which it would spoil: between the first half and the second, once more each."""
    half = len(datagrams) // 2
    held = []
    tracemalloc.start()
    try:
        for part in (datagrams[:half], datagrams[half:]):
            for datagram in part:
                receive(datagram)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return held[1] - held[0]


def link_under_flood() -> tuple[Link, Callable[[bytes], object]]:
    """A link alone."""
    link = Link("sim", 1, 1, [KEY], LinkSettings(), Random(1), 10.0)
    return link, lambda datagram: link.receive(datagram, STRANGER, 10.0)


def node_under_flood() -> tuple[Lone, Callable[[bytes], object]]:
    """A whole node that follows a leader."""
    lone = follower()
    return lone, lambda datagram: lone.node.handle(DatagramReceived(datagram, STRANGER), lone.now)


def main() -> None:
    """Print what each kind costs a link and a node."""
    parser = argparse.ArgumentParser(prog="fuzz.flood", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="datagrams of each kind")
    count = parser.parse_args().count
    link, receive = link_under_flood()
    lone, handle = node_under_flood()
    print(f"{count} datagrams of each kind; microseconds for one, and bytes held after {DIFFERENT} more")
    for where, its_link, take in (("link", link, receive), ("node", lone.node.link, handle)):
        for name, drop, datagrams in floods(its_link, 10.0 if where == "link" else lone.now):
            outcome = flood(take, its_link, drop, datagrams, count)
            assert outcome.dropped == outcome.count, (name, outcome)
            print(f"{where}  {name:<26} {outcome.microseconds:8.1f} us  {outcome.grown:8d} bytes")


if __name__ == "__main__":
    main()
