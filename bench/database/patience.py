"""How short node-timeout may be: counts the changes of leader and primary that nobody caused, on cores that are full.

``python -m bench.database.patience --node-timeout 1s --seconds 3600`` founds a cluster with databases and a client
that writes all the time, keeps every core busy with more processes than there are cores, and strikes nothing.
Must not know how the cluster decides.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import programs
from bench.database import client
from bench.database.hosts import NET, DatabaseHosts, DatabaseSite, obstacle, standing
from bench.database.systems.base import target
from bench.database.systems.qluster import DatabaseQluster
from bench.site import CALM

LOOK_SECONDS = 0.5
"""Between two looks at who leads."""
TABLE = "patience"
HOG = [sys.executable, "-c", "while True: sum(range(100_000))"]
"""A process that wants a whole core."""
SHARES = {"heartbeat-interval": 0.2, "pre-voting-timeout": 0.3, "leader-voting-timeout": 0.3,
          "replication-retry-interval": 0.2}
"""The other times, as parts of node-timeout."""


@dataclass
class Seen:
    """What happened in one run."""

    seconds: float = 0.0
    terms: list[tuple[float, int]] = field(default_factory=list)
    """When (seconds since the begin) the cluster was first seen in which term."""
    reigns: list[tuple[float, int, int]] = field(default_factory=list)
    """When which reign of which node began."""
    silent: int = 0
    """Looks at which no node said that it leads."""
    looks: int = 0
    load: list[float] = field(default_factory=list)

    @property
    def false_elections(self) -> int:
        """Terms that nobody caused."""
        return self.terms[-1][1] - self.terms[0][1] if self.terms else 0


def main(words: list[str]) -> int:
    """Run each time-out; 1 when one had an election that nobody caused, 2 when nothing can be measured here."""
    chosen = _parser().parse_args(words)
    if reason := obstacle():
        print(f"no hosts can be made here: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = programs.CACHE / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        with standing(folder, chosen.memory) as hosts:
            found = {each: _run(chosen, each, hosts, folder) for each in chosen.node_timeout}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    chosen.results.mkdir(parents=True, exist_ok=True)
    name = f"patience-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.json"  # several run at a time
    (chosen.results / name).write_text(json.dumps({each: vars(seen) for each, seen in found.items()}, indent=1))
    print(f"results: {chosen.results / name}")
    return 1 if any(seen.false_elections for seen in found.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.database.patience", description=__doc__)
    parser.add_argument("--node-timeout", action="append", required=True, metavar="TIME", help="such as 1s or 500ms")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for each")
    parser.add_argument("--hogs", type=int, default=2 * (os.cpu_count() or 1), help="processes that fill the cores")
    parser.add_argument("--memory", action="store_true", help="databases in memory instead of on this disk")
    parser.add_argument("--source", type=Path, default=programs.ROOT / "node", help="folder of the daemon's package")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "failover", help="folder for the results")
    return parser


def _run(chosen: argparse.Namespace, timeout: str, hosts: DatabaseHosts, folder: Path) -> Seen:
    hosts.wipe()
    site = DatabaseSite(folder / "qluster", len(hosts.numbers), CALM, NET, hosts.interface, hosts.entering, hosts)
    system = DatabaseQluster(site, site.nodes, chosen.source.resolve(), programs.database(), "quorum", "fast")
    system.adjust(times_of(timeout))
    try:
        system.start()
        asyncio.run(client.create(target(site), system.primary(), TABLE))
        with _beside([client.words(target(site), TABLE, folder / "ledger"), *[HOG] * chosen.hogs]):
            seen = _watch(system, chosen.seconds)
    finally:
        for number in hosts.numbers:
            hosts.kill(number)
        system.stop()
    changes = f"{seen.false_elections} elections and {len(seen.reigns) - 1} new reigns"
    print(f"node-timeout {timeout}: {changes} that nobody caused in {seen.seconds:.0f} s, "
          f"load {max(seen.load):.1f} at most", flush=True)  # fmt: skip
    return seen


def times_of(timeout: str) -> dict[str, str]:
    """All times of a cluster with this node-timeout."""
    seconds = float(timeout[:-2]) / 1000 if timeout.endswith("ms") else float(timeout.removesuffix("s"))
    return {"node-timeout": timeout, **{key: f"{round(1000 * seconds * part)}ms" for key, part in SHARES.items()}}


@contextlib.contextmanager
def _beside(commands: list[list[str]]) -> Iterator[None]:
    """Processes that run as long as this lasts."""
    running = [subprocess.Popen(words, cwd=programs.ROOT) for words in commands]
    try:
        yield
        ended = [one.args for one in running if one.poll() is not None]
        assert not ended, f"it ended by itself: {ended}"
    finally:
        for one in running:
            one.kill()
            one.wait()


def _watch(system: DatabaseQluster, seconds: float) -> Seen:
    seen, began = Seen(), time.monotonic()
    while seen.seconds < seconds:
        _note(system, seen)
        time.sleep(LOOK_SECONDS)
        seen.seconds = time.monotonic() - began
    return seen


def _note(system: DatabaseQluster, seen: Seen) -> None:
    maps = [system.map(number) for number in system.site.numbers]
    clusters = [found["cluster"] for found in maps if found.get("cluster")]
    seen.looks += 1
    seen.silent += not any((found.get("own") or {}).get("consensus_role") == "leader" for found in maps)
    seen.load.append(os.getloadavg()[0])
    term = max((cluster["term"] for cluster in clusters), default=0)
    if term and (not seen.terms or term > seen.terms[-1][1]):
        seen.terms.append((seen.seconds, term))
    reign = max((cluster["reign"] for cluster in clusters if cluster["reign"]), key=lambda one: one["number"],
                default=None)
    if reign is not None and (not seen.reigns or reign["number"] > seen.reigns[-1][1]):
        seen.reigns.append((seen.seconds, reign["number"], reign["node"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
