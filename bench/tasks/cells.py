"""What is measured of tasks, each question once.

Must not know how results are shown. Submissions are for an hour later, so that nothing of them runs meanwhile.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import load
from bench.figures import Figures, from_latencies
from bench.programs import Program
from bench.site import CALM, OPERATE_TOKEN, Site
from bench.systems.qluster import PORT
from bench.tasks.celery_site import NOBODY_LISTENS, CelerySite
from bench.tasks.cluster import TaskCluster
from bench.tasks.ledger import account, script

CLIENTS = 64
BATCH = 50
"""Tasks of one request, in the batch form."""
DATE = ["/bin/date", "+%s.%N"]
"""It says when it began, to the nanosecond, and ends."""
HISTORY = 100_000
CHUNK = 250
"""Tasks of one request that fills the history."""

Values = dict[str, Any]


@contextmanager
def cluster(folder: Path, slots: int = 8) -> Iterator[TaskCluster]:
    """Three nodes, durable, each with a task runner."""
    made = TaskCluster(Site(folder / "qluster", 3, CALM), slots)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def peer(folder: Path, *, fsync: bool) -> Iterator[CelerySite]:
    """Celery with Redis."""
    made = CelerySite(folder / "celery", fsync=fsync)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def later(seconds: float = 3600.0) -> str:
    """A date to come."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def task(**others: object) -> Values:
    """A small task."""
    return {"name": "bench", "command": DATE, **others}


# --- submission -------------------------------------------------------------------------


def submission(running: TaskCluster, h2load: Program, form: str, seconds: float) -> Values:
    """Submissions a second from 64 clients through REST with TLS."""
    one = task(start=later())
    body = one if form == "single" else {"tasks": [one] * BATCH}
    headers = {"Authorization": f"Bearer {OPERATE_TOKEN}", "Content-Type": "application/json", ":method": "POST"}
    url = f"https://{running.site.ip(running.leader())}:{PORT}/tasks"
    order = load.Order(url, json.dumps(body).encode(), headers)
    before = running.summary()["states"].get("waiting", 0)
    outcome = load.run(h2load, order, CLIENTS, seconds, 0, running.site.folder)
    each = 1 if form == "single" else BATCH
    kept = running.summary()["states"].get("waiting", 0) - before
    if kept < outcome.done * each:
        raise load.LoadFailed(f"{outcome.done * each} tasks acknowledged, {kept} are there")
    figures = outcome.figures
    return {"tasks_a_second": figures.rate * each, **_times(figures), "refused": figures.refused}


def _times(figures: Figures) -> Values:
    found = asdict(figures)
    return {name: found[name] for name in ("p50", "p99", "worst", "count")}


def celery_submission(site: CelerySite, form: str, seconds: float) -> Values:
    """The same at the peer: 64 threads of one client process, each with a connection."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def client() -> None:
        from celery import group

        app = site.app()
        signature = app.tasks["bench.run"].s(DATE).set(queue=NOBODY_LISTENS)
        while (began := time.monotonic()) < end:
            if form == "single":
                signature.apply_async()
            else:
                group(signature for _ in range(BATCH)).apply_async()
            took.append(time.monotonic() - began)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    began = time.monotonic()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    figures = from_latencies(took, time.monotonic() - began)
    return {"tasks_a_second": figures.rate * (1 if form == "single" else BATCH), **_times(figures)}


# --- start --------------------------------------------------------------------------------


def start(running: TaskCluster, count: int, pause: float) -> Values:
    """From sending the submission to the start of the program, one after the other on an idle cluster."""
    asked: dict[int, float] = {}
    leader = running.leader()
    for _ in range(count):
        at = time.time()
        [number] = running.ask("POST", "/tasks", task(), leader)["tasks"]
        asked[number] = at
        time.sleep(pause)
    took = []
    for number, at in asked.items():
        took.append(float(running.read("GET", f"/tasks/{number}/output?wait=10")) - at)
    return _times(from_latencies(took, sum(took)))


def celery_start(site: CelerySite, count: int, pause: float) -> Values:
    """The same at the peer: a worker process that waits runs the same program."""
    run = site.app().tasks["bench.run"]
    took = []
    for _ in range(count):
        at = time.time()
        asked = run.delay(DATE)
        took.append(float(asked.get(timeout=10)) - at)
        time.sleep(pause)
    return _times(from_latencies(took, sum(took)))


# --- history ------------------------------------------------------------------------------


def history(running: TaskCluster, h2load: Program, count: int, seconds: float) -> Values:
    """What so many tasks that are over cost each node, and the next submissions."""
    before = submission(running, h2load, "single", seconds)
    idle = running.resident()
    words = ["/bin/true", *(f"--an-argument-as-people-write-them={number}" for number in range(3))]
    gone = 0
    while gone < count:
        size = min(CHUNK, count - gone)
        made = running.ask("POST", "/tasks", {"tasks": [
            task(command=words, start=later(0.3), expires=later(0.4), name=f"report of department {one}")
            for one in range(size)
        ]})  # fmt: skip
        if "tasks" not in made:
            time.sleep(0.1)  # so many at once are not taken: those before must end first
            continue
        gone += size
    running.settle(count, 600.0)
    after = submission(running, h2load, "single", seconds)
    grown = [now - then for now, then in zip(running.resident(), idle, strict=True)]
    slower = 1 - after["tasks_a_second"] / before["tasks_a_second"]
    return {"tasks": count, "grown_mib": max(grown) / 2**20, "before": before["tasks_a_second"],
            "after": after["tasks_a_second"], "slower": slower}  # fmt: skip


# --- failover -----------------------------------------------------------------------------


def failover(running: TaskCluster, count: int, seconds: float) -> Values:
    """The leader's host dies while so many tasks run."""
    path = running.site.folder / "ledger"
    one = {"name": "long", "shell": script(path, seconds), "time_limit": 600}
    for begin in range(0, count, CHUNK):
        running.ask("POST", "/tasks", {"tasks": [one] * min(CHUNK, count - begin)})
    end = time.monotonic() + 120
    while len(path.read_text().splitlines() if path.exists() else []) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"not all of {count} tasks began: {running.summary()}")
        time.sleep(0.1)
    leader, at = running.leader(), time.time()
    running.lose(leader)
    dead = {leader: time.time()}
    running.settle(count, 300.0)
    found = account(path.read_text().splitlines(), dead)
    states = running.summary()["ended"]
    return {**asdict(found), "states": states, "seconds": time.time() - at}
