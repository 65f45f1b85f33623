"""Faults planted into the arbiter that remembers, and into how a whole node counts it: the simulator must find each."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from consensus import planted_witness
from planting import Plants
from qluster.qnet.memory import Kept, Memory

from sim.arbiter import Arbiter

PLANTS = Plants()

PLANTS.method(
    "arbiter-forgets-promise: after its restart it votes at once", Arbiter, "load",
    lambda self: {founding: Memory(kept, None) for founding, kept in self._disk.items()},
)
PLANTS.method(
    "arbiter-forgets: it lost its disk and says that it is the same", Arbiter, "load",
    lambda self: {founding: Memory(Kept(kept.uid), None) for founding, kept in self._disk.items()},
)
for sentence, plant in planted_witness.PLANTS.items():
    if not sentence.startswith("arbiter-forgets"):
        PLANTS[sentence] = plant
