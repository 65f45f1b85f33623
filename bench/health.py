"""What the routes of load balancers bear, sound and while the database hangs: a real cluster, real databases.

Three daemons with PostgreSQL on this host, a network namespace each (as root). h2load keeps connections open and
asks one question after the other on each; it shares the host's cores with the three daemons and their databases.
Each load is measured twice: while the database of the asked node is sound, and while all of its processes are stopped
(SIGSTOP). What neighbours disturbed is measured again, and the calmest try counts.
``make bench-health`` runs it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from edge.fault_world import Hosts, kin, obstacle, wait_for

from bench import neighbours, programs

CLIENTS = (1, 16, 64)
HANG_SECONDS = 6.0
"""After so long without an answer a database counts as hung: a look at it takes 4 seconds at most."""


@dataclass(frozen=True)
class Load:
    """A route, and whom it is asked of: the primary or a replica."""

    route: str
    of: str


PATIENCE = 10.0
"""Seconds to wait for a calm machine before each measurement."""

LOADS = (Load("/is-leader", "primary"), Load("/is-leader", "replica"), Load("/is-replica?max-lag=10MiB", "replica"))


@dataclass(frozen=True)
class Figure:
    """One line of the table. Latencies are milliseconds of all requests, whatever the answer."""

    route: str
    of: str
    database: str
    clients: int
    answers_a_second: int
    p50: float
    p99: float
    worst: float
    codes: dict[str, int]
    daemon_cpu_us: float
    """CPU of the asked daemon for each answer, what else it does included."""
    foreign_cores: float


# --- the cluster ----------------------------------------------------------------------


@contextlib.contextmanager
def cluster() -> Iterator[Hosts]:
    """Three hosts with databases, synchronous replication on."""
    hosts = Hosts()
    try:
        for number in (1, 2, 3):
            hosts.prepare(number, cluster__synchronous="quorum")
            hosts.start(number)
        wait_for("a whole cluster", hosts.whole, 90)
        yield hosts
    finally:
        hosts.end()


@contextlib.contextmanager
def hanging(hosts: Hosts, number: int) -> Iterator[None]:
    """Every process of a node's database is stopped meanwhile."""
    postmaster = hosts.postmaster(number)
    assert postmaster is not None, f"node {number} has no server"
    stopped = [postmaster, *kin(postmaster)]
    hosts.freeze(*stopped)
    try:
        time.sleep(HANG_SECONDS)
        yield
    finally:
        hosts.thaw(*stopped)


def whom(hosts: Hosts, of: str) -> int:
    """The number of the node to ask."""
    [primary] = hosts.writable()
    return primary if of == "primary" else next(number for number in (1, 2, 3) if number != primary)


# --- the load -------------------------------------------------------------------------


def calmest(attempts: int, measured: Callable[[], Figure]) -> Figure:
    """One line of the table: the first undisturbed try, else the one that was disturbed least."""
    tries: list[Figure] = []
    for _ in range(attempts):
        neighbours.wait_until_calm(PATIENCE if attempts > 1 else 0.0)
        tries.append(measured())
        if tries[-1].foreign_cores <= neighbours.CALM_CORES:
            break
    return min(tries, key=lambda figure: figure.foreign_cores)


def measure(hosts: Hosts, load: Load, database: str, number: int, clients: int, seconds: float) -> Figure:
    """One try."""
    h2load = programs.bring("h2load")
    log = hosts.root / "requests.log"
    log.unlink(missing_ok=True)
    daemon = hosts.daemons[number].pid
    watch, began, before = neighbours.Watch(), time.monotonic(), cpu_seconds(daemon)
    others = [pid for pid in cluster_processes(hosts) if pid != daemon]
    idle = sum(map(cpu_seconds, others))
    said = subprocess.run(
        [h2load.path, "--h1", "-t", "1", "-m", "1", "-c", str(clients), "-D", str(round(seconds)),
         f"--log-file={log}", hosts.url(number) + load.route],
        env=h2load.environment, capture_output=True, text=True, timeout=seconds + 30, check=False,
    )  # fmt: skip
    lasted, used = time.monotonic() - began, cpu_seconds(daemon) - before
    ours = (used + sum(map(cpu_seconds, others)) - idle) / lasted
    if said.returncode != 0 or not log.exists():
        raise SystemExit(f"h2load ended with {said.returncode}: {(said.stderr or said.stdout)[-500:]}")
    foreign = max(0.0, watch.foreign_cores() - ours)
    took, codes, span = read(log)
    p50, p99, worst = (round(at(took, share), 2) for share in (0.5, 0.99, 1.0))
    return Figure(
        load.route, load.of, database, clients, round(len(took) / span), p50, p99, worst, dict(codes),
        round(used / len(took) * 1e6, 1), round(foreign, 2),
    )  # fmt: skip


def cluster_processes(hosts: Hosts) -> list[int]:
    """Every daemon and what it has started."""
    return [pid for daemon in hosts.daemons.values() for pid in (daemon.pid, *kin(daemon.pid))]


def read(log: Path) -> tuple[list[float], Counter[str], float]:
    """Milliseconds of each request in order of size, how often which code was answered, and seconds in all."""
    took, began, codes = [], [], Counter[str]()
    with log.open() as lines:
        for line in lines:
            start, code, micros = line.split("\t")
            took.append(int(micros) / 1000)
            began.append(int(start))
            codes[code] += 1
    span = (max(start + 1000 * lasted for start, lasted in zip(began, took, strict=True)) - min(began)) / 1e6
    return sorted(took), codes, span


def at(took: list[float], share: float) -> float:
    """The time within which so large a share of the requests were answered."""
    return took[min(len(took) - 1, int(share * len(took)))]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(seconds: float, attempts: int) -> list[Figure]:
    """Every load, sound and hanging."""
    figures: list[Figure] = []

    def add(load: Load, database: str, number: int) -> None:
        for clients in CLIENTS:
            measured = partial(measure, hosts, load, database, number, clients, seconds)
            figures.append(calmest(attempts, measured))
            print(line(figures[-1]), flush=True)

    with cluster() as hosts:
        for load in LOADS:
            number = whom(hosts, load.of)
            add(load, "sound", number)
            with hanging(hosts, number):
                add(load, "hangs", number)
            wait_for("a whole cluster again", hosts.whole, 90)
    return figures


HEAD = (
    "| route | asked of | its database | connections | answers/s | p50 | p99 | worst "
    "| CPU each | cores of others | codes |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(figure: Figure) -> str:
    """A row of the table."""
    codes = ", ".join(f"{count:,} × {code}" for code, count in sorted(figure.codes.items()))
    return (
        f"| `{figure.route}` | {figure.of} | {figure.database} | {figure.clients} | {figure.answers_a_second:,} "
        f"| {figure.p50:.2f} ms | {figure.p99:.2f} ms | {figure.worst:.2f} ms "
        f"| {figure.daemon_cpu_us:.0f} µs | {figure.foreign_cores:.2f} | {codes} |"
    )


def main(words: list[str]) -> int:
    """Measure, print, keep."""
    parser = ArgumentParser(prog="bench-health", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--attempts", type=int, default=3, help="at a measurement that neighbours disturb")
    parser.add_argument("--realtime", action="store_true", help="run everything before all else on this machine")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "results" / "health.json")
    chosen = parser.parse_args(words)
    if reason := obstacle():
        print(f"cannot be measured here: {reason}", file=sys.stderr)
        return 2
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    print(HEAD, flush=True)
    figures = run(chosen.seconds, max(1, chosen.attempts))
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    chosen.results.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    print(f"results: {chosen.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
