"""Thousands of datagrams that are not for this node: each is counted, none is kept, nothing is done because of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from fuzz.flood import FRIEND, KINDS, Outcome, flood, floods, link_under_flood, node_under_flood, replayed
from fuzz.picture import picture
from qluster.events import DatagramReceived, Effects, TimePassed
from qluster.transport.envelope import Drop
from qluster.transport.link import Link

COUNT = 500
GROWN_MAX = 12 * 1024
"""Bytes that may be held after hundreds of datagrams: what the interpreter itself keeps for the next objects."""
COUNTERS = frozenset({"counters", "_counters"})


def sound(outcome: Outcome) -> bool:
    return outcome.dropped == outcome.count and outcome.grown < GROWN_MAX


def test_flood_leaves_a_link_as_it_was() -> None:
    link, receive = link_under_flood()
    replayed(link, 10.0)
    before = picture(link, COUNTERS)
    for name, drop, datagrams in list(floods(link, 10.0))[: len(KINDS)]:
        outcome = flood(receive, link, drop, datagrams, COUNT)
        assert sound(outcome), (name, outcome)
    assert picture(link, COUNTERS) == before
    assert link.senders == 1, "the good peer is remembered, and nobody else"


def test_replayed_datagrams_are_counted_and_not_kept() -> None:
    link, receive = link_under_flood()
    seen = replayed(link, 10.0)
    before = picture(link, COUNTERS)
    assert sound(flood(receive, link, Drop.REPLAYED, seen, COUNT))
    assert picture(link, COUNTERS) == before


@pytest.mark.parametrize("name", KINDS)
def test_node_does_nothing_because_of_a_flood(name: str) -> None:
    lone, receive = node_under_flood()
    lone.tell(TimePassed())
    drop, datagrams = next((drop, some) for what, drop, some in floods(lone.node.link, lone.now) if what == name)
    assert sound(flood(receive, lone.node.link, drop, datagrams, COUNT))
    effects: Effects = lone.node.handle(DatagramReceived(datagrams[0], FRIEND), lone.now)
    assert (effects.save, effects.send, effects.start, effects.answer, effects.leave) == ([], [], [], [], None)
    assert lone.node.qraft is not None and lone.node.qraft.role == "follower"
    assert isinstance(lone.node.link, Link)
