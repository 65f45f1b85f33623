"""The load: Debian's h2load for every system that speaks HTTP or gRPC, and what its log says.

Must not know the systems: an :class:`Order` says where to and what.
One thread, keep-alive connections, one request at a time on each: a closed loop of so many clients.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figures, from_latencies
from bench.programs import Program

OVER_SECONDS = 30.0
"""For the generator to end after its time: more means it hangs."""


class LoadFailed(Exception):
    """The generator did not do its work: the message has what it said."""


@dataclass(frozen=True)
class Order:
    """One kind of request."""

    url: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    grpc: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a load: ``done`` answers of 2xx in the whole run; the figures leave the warming-up away."""

    figures: Figures
    done: int


def run(h2load: Program, order: Order, clients: int, seconds: float, warm: float, folder: Path,
        prefix: list[str] | None = None) -> Outcome:
    """Load one address for ``warm + seconds``."""
    body, log = folder / "body", folder / "requests.log"
    body.write_bytes(order.body)
    log.unlink(missing_ok=True)
    words = [*(prefix or []), h2load.path, "-t", "1", "-c", str(clients), "-m", "1", "-d", str(body),
             f"--log-file={log}", "-D", str(max(1, round(warm + seconds)))]
    words += [] if order.grpc else ["--h1"]
    for name, value in order.headers.items():
        words += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*words, order.url], env=h2load.environment, capture_output=True, text=True,
        timeout=warm + seconds + OVER_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not log.exists():
        raise LoadFailed(f"h2load ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return _read(log, warm, seconds)


def _read(log: Path, warm: float, seconds: float) -> Outcome:
    """Each line: start in microseconds of the epoch, status code, microseconds until the end of the answer."""
    began: list[int] = []
    took: list[int] = []
    refused: dict[str, int] = {}
    with log.open() as lines:
        for line in lines:
            start, status, micros = line.split("\t")
            if status.startswith("2"):
                began.append(int(start))
                took.append(int(micros))
            else:
                refused[status] = refused.get(status, 0) + 1
    if not began:
        raise LoadFailed(f"no request succeeded; status codes: {refused}")
    first = min(began) + int(warm * 1e6)
    last = first + int(seconds * 1e6)
    asked = zip(began, took, strict=True)
    latencies = [micros / 1e6 for start, micros in asked if first <= start + micros <= last]
    if not latencies:
        raise LoadFailed(f"{len(began)} requests succeeded, none in the {seconds:g} s that count")
    return Outcome(from_latencies(latencies, seconds, sum(refused.values())), len(began))
