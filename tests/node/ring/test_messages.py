"""What nodes say of rings, on the wire: every message comes back, and what no node says is refused."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from fuzz.examples import RINGING
from qluster.ring.messages import Beat, MalformedMessage, Message, Proposal, Telling, decode, encode
from qluster.votes.information import Change, Kind, NodeInformation, Ring
from qluster.votes.options import NODES_MAX

SAID = NodeInformation(Ring(1, 9), 2, 1, 3, 0)


@pytest.mark.parametrize("message", RINGING, ids=lambda one: type(one).__name__)
def test_every_message_comes_back(message: Message) -> None:
    assert decode(encode(message)) == message


def test_quiet_beat_is_small() -> None:
    assert len(encode(Beat(1_790_000_000, 64, 300, 100_000, 4000, (1, 4000), (1, 4000)))) < 40


def test_largest_beat_fits_in_one_datagram() -> None:
    nodes = tuple(range(200, 200 + NODES_MAX))
    beat = Beat(1_790_000_000, 200, 300, 2**40, 2**40, (200, 2**40), (200, 2**40), nodes, nodes)
    assert len(encode(beat)) < 1200


@pytest.mark.parametrize("message", [
    Beat(5, 2, 1, 1, 9, (1, 9), (1, 9), (1, 3), (1, 3)),
    Beat(5, 2, 1, 1, 9, (1, 9), (1, 9), (2, 1), (2, 1)),
    Beat(5, 2, 1, 1, 9, (1, 9), (1, 9), (1, 2), ()),
    Beat(5, 2, 1, 1, 9, (1, 9), (1, 9), (2, 2), (2, 2)),
    Beat(5, 0, 1, 1, 9, (1, 9), (1, 9)),
    Beat(5, 2, 1, 1, 9, (1, 9), (1, 9), tuple(range(1, NODES_MAX + 2)), (2,)),
    Proposal(5, 2, (2, 9), ()),
    Proposal(5, 2, (2, 9), (1, 2)),
    Proposal(5, 2, (1, 9), (2, 3)),
    Proposal(5, 2, (2, 0), (2, 3)),
    Telling(5, 2),
    Telling(5, 2, SAID, Change(Ring(1, 9), Kind.EXPECTED, 0, 3)),
    Telling(5, 3, SAID),
    Telling(5, 2, msgspec.structs.replace(SAID, votes=-1)),
    Telling(5, 2, None, Change(Ring(1, 9), Kind.EXPECTED, 0, 0)),
])  # fmt: skip
def test_what_no_node_says_is_refused(message: Message) -> None:
    with pytest.raises(MalformedMessage):
        decode(encode(message))


@pytest.mark.parametrize("text", [b"", b"\x93", b"\xc0", b"\x92\xa4beat\x01", b"\x91" * 5000])
def test_bytes_that_are_no_message_are_refused(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(text)
