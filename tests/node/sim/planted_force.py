"""Faults planted into how a quorum is forced: the simulator must find each."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from planting import Plants
from qluster import force
from qluster.cluster import reign
from qluster.forcing import Forcing

from sim.arbiter import Arbiter

PLANTS = Plants()
"""Found by whole plays, see ``forced.py``."""
DIRECTED = Plants()
"""Found where a lease of the former majority still runs: it must lose its quorum in the second of the order."""

PLANTS.method(
    "same-founding: the smaller list goes on in the founding that it comes from", force, "founding_number",
    lambda former, wall, node: former,
)


@PLANTS.plant("guarantees-forgotten: what was guaranteed to clients does not bind who goes on")
def _guarantees_forgotten() -> Iterator[None]:
    sound = force.carried

    def carried(*arguments: object) -> object:
        state = sound(*arguments)  # type: ignore[arg-type]
        state.guarantees = ()
        return state

    with patch.object(force, "carried", carried):
        yield


RUNS = Plants()
"""Each is found by a run of its own."""


@RUNS.plant("same-numbers: two sides on which quorum was forced begin reigns and timelines of the same numbers")
def _same_numbers() -> Iterator[None]:
    with (
        patch.object(reign, "_skipped", lambda forced: reign.REIGNS_SKIPPED),
        patch.object(reign, "_lane", lambda forced: 0),
    ):
        yield


RUNS.method(
    "former-memory: the arbiter goes on remembering a founding that was voided", Arbiter, "_forget",
    lambda self, founding: None,
)

DIRECTED.method(
    "lease-not-waited-for: the new founding begins as soon as it is ordered", Forcing, "_ready_at",
    lambda self, under_way: under_way.since,
)
