"""Plants faults into a copy of the daemon and plays short rounds until each is found: does the ledger see at all?

`make ledger-planted` prints a table. One layer alone hides what another one does wrong, so some faults are two.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edge.daemon_world import NODE
from faults import cables
from faults.planted import plant
from ledger import cluster
from ledger.campaign import Round, play
from ledger.strokes import Stroke, cut_off, daemon_stopped, host_killed

ROUNDS_MAX = 4
FAULTS = 4

STAYS = (
    "qluster/hosting.py",
    "        return node.qraft.lease_until if node.qraft is not None and self.reigns() else -inf",
    "        return inf",
)
"""Nobody ends the database when the lease is over."""
UNCUT = (
    ("qluster/database/plan.py", "return Detach(wanted.terms) if facts.upstream is not None else None", "return None"),
    (
        "qluster/keeper.py",
        'facts.in_recovery and facts.upstream is None and facts.receiver == "none"',
        "facts.in_recovery",
    ),
)
"""Positions are told while the former primary is still followed."""


@dataclass(frozen=True)
class Planted:
    """What instead of what in which files, for which clusters, and who strikes."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    mode: str
    strokes: tuple[Stroke, ...]


PLANTED = (
    Planted("acknowledges without waiting for replicas", (
        ("qluster/database/settings.py", '_names": terms.synchronous', '_names": ""'),
        ("qluster/edge/postgres/starting.py", "await names_in_force(site) != order.terms.synchronous", "False"),
        ("qluster/edge/postgres/following.py", "await names_in_force(site) != names", "False"),
        ("qluster/edge/postgres/looking.py", "names != site.terms.synchronous", "False"),
    ), "quorum", (cut_off, host_killed)),
    Planted("nobody ends a primary whose lease is over", (STAYS,), "off", (daemon_stopped,)),
    Planted("positions are told while the former primary is followed, and nobody ends that one",
            (STAYS, *UNCUT), "quorum", (daemon_stopped,)),
)  # fmt: skip


def search(planted: Planted) -> tuple[bool, str]:
    """Whether it was found; in which round, after how long, and as what."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        node = plant(planted.name, planted.edits, NODE, Path(folder))
        began = time.monotonic()
        for seed in range(1, ROUNDS_MAX + 1):
            played = play(Round(seed, planted.mode), 120.0, node=node, strokes=planted.strokes, faults=FAULTS)
            if played.violations:
                return True, f"round {seed}, {time.monotonic() - began:.0f} s | {played.violations[0][:110]}"
    return False, f"not in {ROUNDS_MAX} rounds | "


def main() -> int:
    """All of them, or those whose names contain what is given; 0 when all were found."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if reason := cables.obstacle() or cluster.obstacle():
        print(f"not here: {reason}", file=sys.stderr)
        return 2
    missed = 0
    print("| planted | found | as |\n|---|---|---|", flush=True)
    for planted in PLANTED:
        if sys.argv[1:] and not any(word in planted.name for word in sys.argv[1:]):
            continue
        found, how = search(planted)
        missed += not found
        print(f"| {planted.name} | {how} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
