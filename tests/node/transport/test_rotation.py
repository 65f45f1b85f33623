"""The cluster key is changed while everybody speaks and the network loses: no message is lost by it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.transport.seal import Key
from transport.lossy_world import KEYS, Faults, Network

OLD, NEW = KEYS[0], Key(2, bytes(range(64, 96)))
STEPS = ([OLD, NEW], [NEW, OLD], [NEW])
"""What each node's file holds, one step after the other; a step begins when the one before is over everywhere."""
SETTLED = 3.0
"""Seconds after a step until the next: nothing sealed with the old key is under way or repaired any more."""


Sent = set[tuple[int, bytes]]


def speak_all(network: Network, seconds: float, sent: Sent) -> None:
    """Everybody says something to all, twenty times a second."""
    end = network.now + seconds
    while network.now < end:
        for uid, link in enumerate(network.links.values(), start=1):
            message = b"%d at %.3f" % (uid, network.now) + bytes(2000)
            link.send(message, None, network.now)
            sent.add((uid, message))
        network.run(network.now + 0.050)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "faults", [Faults(), Faults(lost=0.03, repeated=0.05, delay_max=0.004)], ids=["clean", "lossy"]
)
def test_rotation_under_load_loses_nothing(faults: Faults, seed: int) -> None:
    network, sent = Network(4, Faults(), seed), Sent()
    # What was before the first message heard of a node is nobody's loss.
    speak_all(network, 0.1, sent)
    network.faults = faults
    for keys in STEPS:
        for link in network.links.values():
            link.rekey(keys)
            speak_all(network, 0.2, sent)
        speak_all(network, SETTLED, sent)
    network.faults = Faults()
    speak_all(network, 0.1, sent)
    network.run()
    for uid, heard in enumerate(network.heard.values(), start=1):
        assert {one for one in heard if one[0] != uid} == {one for one in sent if one[0] != uid}
        assert max(heard.values()) == 1
    assert network.total("dropped_unknown_key") == network.total("dropped_forged") == 0
    assert len(sent) > 500
