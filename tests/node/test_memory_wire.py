"""Clusters that speak with an arbiter that remembers by its protocol keep every rule; planted faults are found.

`QLUSTER_FULL_TESTS=1` runs hundreds of seeds, and the planted faults.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from random import Random
from unittest.mock import patch

import msgspec
import pytest
from consensus.invariants import Violated
from consensus.planted_witness import PLANTS as PLANTS_OF_DEVICES
from consensus.wire import Arbiter, WireWorld
from consensus.world import Faults
from planting import Plants
from qluster.consensus.settings import Settings
from qluster.qnet.framing import Frame, Framer
from qluster.qnet.memory import Memory
from qluster.qnet.messages import Message, encode
from qluster.qnet.names import Refusal, Stage
from qluster.qnet.output import Keep
from qluster.qnet.own import OWN_KINDS, MemoryAnswer, MemoryOpened, MemoryShown, decode_any

FULL = os.environ.get("QLUSTER_FULL_TESTS") == "1"
SEEDS = 150 if FULL else 2

SLOW = Settings(
    node_timeout=1.6, heartbeat_interval=0.4, pre_voting_timeout=0.4, leader_voting_timeout=0.4,
    replication_retry_interval=0.1, remove_interval=6.0, max_log_size=400,
)  # fmt: skip
"""A node connects again within a part of node-timeout, as it does with the defaults."""

WORLDS: dict[str, tuple[int, Faults]] = {
    "two-lossy": (2, Faults(loss=0.1, duplication=0.1, long_delay=0.05, weather_interval=4.0)),
    "two-crashing": (2, Faults(loss=0.02, crash=0.003, long_delay=0.02, partition=0.3, weather_interval=4.0)),
    "two-cut": (2, Faults(loss=0.02, partition=0.5, hang=0.1, weather_interval=2.5)),
    "two-drifting": (2, Faults(loss=0.05, partition=0.4, drift=0.05, crash=0.002, snapshots=True, weather_interval=3)),
    "four-stormy": (4, Faults(loss=0.1, partition=0.6, long_delay=0.1, crash=0.002, hang=0.3, weather_interval=3.0)),
    "changing": (3, Faults(loss=0.02, crash=0.002, partition=0.3, membership=True, snapshots=True, weather_interval=3)),
}


def run_world(kind: str, seed: int) -> WireWorld:
    """Bad weather, then good weather in which everything must come right."""
    nodes, faults = WORLDS[kind]
    world = WireWorld(seed, nodes, replace(faults), SLOW, witness=True)
    world.run(30.0)
    world.heal()
    world.run(12.0, weather=False)
    world.propose(b"last")
    world.run(2.0, weather=False)
    return world


@pytest.mark.parametrize("kind", WORLDS)
def test_rules_hold_and_the_cluster_recovers(kind: str) -> None:
    counts: dict[str, int] = {}
    for seed in range(SEEDS):
        world = run_world(kind, seed)
        assert isinstance(world.arbiter, Arbiter)
        assert world.settled() == "", f"seed {seed}"
        assert world.acknowledged > 2, f"seed {seed}: hardly anything was committed"
        for name, count in world.arbiter.counts.items():
            counts[name] = counts.get(name, 0) + count
    assert counts["connections"] and counts["pieces"], counts
    assert not FULL or (counts["votes"] and counts["shown"] and counts["lost"]), counts


# --- arbiters that are hostile, or wrong ---------------------------------------------------------------


class Wrong(Arbiter):
    """Whatever it says may be untrue, but for a vote, an entry and a promise that it does not give: who is believed in
    these can lie, as a voter can. Nobody may fall for the rest, and the cluster goes on when it is replaced."""

    chance = 0.0

    def tamper(self, data: bytes) -> bytes:
        random = self._random
        if random.random() >= self.chance:
            return data
        said, framer = b"", Framer()
        framer.know(OWN_KINDS)
        framer.feed(data)
        while isinstance(frame := framer.next(), Frame):
            message = decode_any(frame.kind, frame.body)
            if frame.kind in OWN_KINDS:
                message = wrong(message, random)  # type: ignore[arg-type]
            said += encode(message) * random.choice([1, 1, 1, 1, 2])
        return said if random.random() < 0.95 else said + random.randbytes(random.randint(1, 40))


def wrong(message: MemoryOpened | MemoryAnswer | MemoryShown, random: Random) -> Message:
    far = random.choice([0, 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1])
    seq = random.choice([message.seq, 0, 2**32 - 1])
    term = random.choice([message.term, message.term, far])
    no = random.choice(list(Refusal))
    if isinstance(message, MemoryOpened):
        uid = random.choice([message.uid, message.uid, far])
        return msgspec.structs.replace(message, seq=seq, uid=uid, term=far, last_term=far, index=far, refusal=no)
    if isinstance(message, MemoryAnswer):
        asked = random.choice([message.asked, far])
        stage = random.choice(list(Stage))
        return msgspec.structs.replace(
            message, seq=seq, term=term, asked=asked, stage=stage, granted=False, refusal=no)
    index, number = random.choice([0, 2**63, 2**64 - 1]), random.choice([0, 1, 2**63, 2**64 - 1])
    return msgspec.structs.replace(message, seq=seq, term=term, index=index, round=number, refusal=no)


class WrongWorld(WireWorld):
    make_arbiter = Wrong


@pytest.mark.parametrize("nodes", [2, 4])
def test_no_arbiter_brings_a_node_down_or_holds_the_cluster_up_when_it_is_replaced(nodes: int) -> None:
    for seed in range(60 if FULL else 3):
        world = WrongWorld(seed, nodes, Faults(loss=0.02, partition=0.2, weather_interval=4.0), SLOW, witness=True)
        arbiter = world.arbiter
        assert isinstance(arbiter, Wrong)
        world.run(4.0)
        arbiter.chance = 0.3
        world.run(16.0)
        arbiter.chance = 0.0
        world.heal()
        arbiter.crash(lost=True, down=0.1)
        world.run(12.0, weather=False)
        world.propose(b"last")
        world.run(2.0, weather=False)
        assert world.settled() == "", f"seed {seed}"
        assert max(host.qraft.term for host in world.hosts.values() if host.qraft is not None) < 2**48, f"seed {seed}"


# --- planted faults --------------------------------------------------------------------------------

PLANTS = Plants()
for sentence in ("its vote is given to who lacks what it was shown", "it promises a leader nothing"):
    PLANTS[sentence] = PLANTS_OF_DEVICES[sentence]


@PLANTS.plant("arbiter-forgets-promise: after its restart it votes at once")
def _promise() -> Iterator[None]:
    sound = Memory.__init__
    with patch.object(Memory, "__init__", lambda self, kept, found_at: sound(self, kept, None)):
        yield


@PLANTS.plant("it answers before what it keeps is durable")
def _early() -> Iterator[None]:
    def save(self: Arbiter) -> None:
        late = {one.key: one.kept for one in self._waiting if isinstance(one, Keep)}
        others = [one for one in self._waiting if not isinstance(one, Keep)]
        self._waiting.clear()
        self._waiting.extend(others)
        self._world.at(self._world.now + 0.05, partial(self._saved, self._life, late))

    with patch.object(Arbiter, "_save", save):
        yield


def shows_itself(kind: str, seed: int) -> bool:
    nodes, faults = WORLDS[kind]
    world = WireWorld(seed, nodes, replace(faults), SLOW, witness=True)
    try:
        world.run(30.0)
    except Violated:
        return True
    return False


@pytest.mark.skipif(not FULL, reason="a minute: QLUSTER_FULL_TESTS=1")
@pytest.mark.parametrize("sentence", PLANTS)
def test_planted_fault_is_found(sentence: str) -> None:
    with PLANTS[sentence]():
        found = any(shows_itself(kind, seed) for seed in range(60) for kind in ("two-cut", "two-crashing"))
    assert found, f"120 runs did not show: {sentence}"
