"""Plants faults into a copy of the daemon and plays rounds until each is found: do these rounds see at all?

`PYTHONPATH=node:tests/node:tests python -m faults.planted` prints a table; a minute or a few for each fault.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faults import cables, cluster, disks
from faults.campaign import Round, play
from faults.nemesis import NETWORK, Fault, all_killed, failed_flush, killed, power_cut

ROUNDS_MAX = 8
ROUND_SECONDS = 15.0


@dataclass(frozen=True)
class Planted:
    """One fault: what instead of what in which files, and who strikes."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    kinds: tuple[Fault, ...]


STAYS = (
    "qluster/consensus/office.py",
    "if now >= self.rounds.contact_at(me.configuration) + me.settings.node_timeout:",
    "if False:",
)
"""A leader that hears nobody steps down before others can be elected: alone this hides what a read does wrong."""
PLANTED = (
    Planted("reads without the lease", (STAYS, (
        "qluster/serving.py", "held = node.qraft.ready and node.qraft.lease_until > now", "held = node.qraft.ready",
    )), NETWORK),
    Planted("reads without a round", (STAYS, (
        "qluster/serving.py", "    node.qraft.request_read(ticket, now)\n", "    return outcome()\n",
    )), NETWORK),
    Planted("flushes left out", ((
        "qluster/edge/disk/files.py", "        os.fdatasync(descriptor)\n", "        pass\n",
    ),), (power_cut,)),
    Planted("failed flushes passed over", ((
        "qluster/edge/disk/files.py",
        "        os.fdatasync(descriptor)\n    except OSError as error:\n",
        "        os.fdatasync(descriptor)\n    except OSError as error:\n        return\n",
    ),), (failed_flush, failed_flush, power_cut)),
    Planted("terms and votes not saved", ((
        "qluster/edge/disk/store.py", "        return [Record(VOTE, save.term, save.vote or 0)]\n",
        "        return []\n",
    ),), (killed, all_killed, *NETWORK)),
)  # fmt: skip


def plant(name: str, edits: Iterable[tuple[str, str, str]], node: Path, folder: Path) -> Path:
    """A copy of the daemon with this fault in it."""
    copy = folder / "node"
    shutil.copytree(node, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, right, wrong in edits:
        text = (copy / file).read_text()
        assert text.count(right) == 1, f"{file} has changed: plant {name!r} anew"
        (copy / file).write_text(text.replace(right, wrong))
    return copy


def search(planted: Planted, node: Path) -> str:
    """Play rounds against a daemon with this fault; how and when it was found."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        cluster.PROGRAM = plant(planted.name, planted.edits, node, Path(folder))
        began = time.monotonic()
        for seed in range(1, ROUNDS_MAX + 1):
            played = play(Round(seed), ROUND_SECONDS, kinds=planted.kinds)
            if played.violations:
                what = played.violations[0].partition("\n")[0][:100]
                return f"round {seed}, {time.monotonic() - began:.0f} s | {what}"
    return f"not in {ROUNDS_MAX} rounds | "


def main() -> int:
    """All of them, or those whose names are given; 0 when all were found."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if reason := cables.obstacle() or disks.obstacle():
        print(f"not here: {reason}", file=sys.stderr)
        return 2
    node, missed = cluster.PROGRAM, 0
    print("| planted | found | as |\n|---|---|---|", flush=True)
    for planted in PLANTED:
        if sys.argv[1:] and planted.name not in sys.argv[1:]:
            continue
        found = search(planted, node)
        missed += found.startswith("not")
        print(f"| {planted.name} | {found} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
