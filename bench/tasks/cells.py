"""What is measured of tasks, each question once.

Must not know how results are shown. Submissions are for an hour later, so that nothing of them runs meanwhile.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import load
from bench.figures import Figures, from_latencies
from bench.programs import Program
from bench.site import CALM, OPERATE_TOKEN, Site, Timers
from bench.systems.qluster import PORT
from bench.tasks.celery_site import NOBODY_LISTENS, CelerySite
from bench.tasks.cluster import TaskCluster
from bench.tasks.ledger import Ledger, account

CLIENTS = 64
BATCH = 50
"""Tasks of one request, in the batch form."""
DATE = ["/bin/date", "+%s.%N"]
"""It says when it began, to the nanosecond, and ends."""
CROWDED = Timers(1.0, 5.0)
"""Three hosts on two cores that begin a thousand programs: with a second of silence as the limit they elect instead.
The product's own default is 30 s."""
HISTORY = 100_000
CHUNK = 250
"""Tasks of one request that fills the history, or is to run long."""
FILL_SECONDS = 180.0
"""For the history to be full."""
BEGIN_SECONDS = 180.0
"""For all long tasks to run, and for those of a dead host to run elsewhere."""
TELL_SECONDS = 5.0
"""Between two lines about what is going on."""


class NotReached(Exception):
    """A measurement did not come to what it measures: the message says how far it came."""


Values = dict[str, Any]


@contextmanager
def cluster(folder: Path, slots: int = 8, timers: Timers = CALM) -> Iterator[TaskCluster]:
    """Three nodes, durable, each with a task runner."""
    made = TaskCluster(Site(folder / "qluster", 3, timers), slots)
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


def submission(running: TaskCluster, h2load: Program, form: str, seconds: float, begin: float = 3600.0) -> Values:
    """Submissions a second from 64 clients through REST with TLS, of tasks that ``begin`` so many seconds later; whose
    that is soon, they expire then."""
    one = task(start=later(begin), **({"expires": later(begin + 0.1)} if begin < 3600.0 else {}))
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
        took.append(float(running.output(number)) - at)
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
    soon = seconds + 3.0
    before = submission(running, h2load, "single", seconds, soon)
    _until("what was submitted expires", FILL_SECONDS, lambda: _waiting(running), 0)
    idle = running.resident()
    words = ["/bin/true", *(f"--an-argument-as-people-write-them={number}" for number in range(2))]
    began, told = time.monotonic(), 0.0
    while (known := running.summary().get("history", 0)) < count:
        if time.monotonic() > began + FILL_SECONDS:
            raise NotReached(f"{known} of {count} tasks are over after {FILL_SECONDS:g} s: {running.summary()}")
        # The first is cancelled, and with it all that need it: words and trail take about what a run's result takes.
        made = running.ask("POST", "/tasks", {"tasks": [
            task(command=words, start=later(), name=f"report of department {one}", **({"needs": [-1]} if one else {}))
            for one in range(CHUNK)
        ]})  # fmt: skip
        if "tasks" in made:
            running.ask("DELETE", f"/tasks/{made['tasks'][0]}")
        told = _tell(told, f"{known} of {count} tasks are over")
    filled = time.monotonic() - began
    _until("what was submitted expires", FILL_SECONDS, lambda: _waiting(running), 0)
    grown = [now - then for now, then in zip(running.resident(), idle, strict=True)]
    after = submission(running, h2load, "single", seconds, soon)
    slower = 1 - after["tasks_a_second"] / before["tasks_a_second"]
    return {"tasks": running.summary()["history"], "grown_mib": max(grown) / 2**20, "filled_seconds": filled,
            "before": before, "after": after, "slower": slower}  # fmt: skip


def _waiting(running: TaskCluster) -> int:
    """Tasks that are not over; -1 when nobody says."""
    states = running.summary().get("states")
    return sum(states.values()) if states is not None else -1


# --- failover -----------------------------------------------------------------------------


def failover(running: TaskCluster, count: int) -> Values:
    """The leader's host dies while so many tasks run."""
    ledger = Ledger(running.site.folder)
    try:
        found = _failover(running, ledger, count)
    finally:
        ledger.open()
    return found


def _failover(running: TaskCluster, ledger: Ledger, count: int) -> Values:
    one = {"name": "long", "command": ["/bin/sh", str(ledger.script)], "time_limit": 1200}
    asked = time.time()
    for begin in range(0, count, CHUNK):
        tasks = [{**one, "key": f"long-{number}"} for number in range(begin, min(begin + CHUNK, count))]
        end = time.monotonic() + TELL_SECONDS * 4
        while "tasks" not in (made := running.ask("POST", "/tasks", {"tasks": tasks})):
            if time.monotonic() > end:  # asked again, a task of the same key is the same task
                raise NotReached(f"tasks were not accepted: {made}")
            time.sleep(0.2)
    _until("tasks run", BEGIN_SECONDS, lambda: len(ledger.begun()), count)
    latest = max(at for runs in ledger.begun().values() for _, at in runs.values())
    memory = running.resident()
    leader = running.leader()
    hit = {task for task, runs in ledger.begun().items() if runs[max(runs)][0] == leader}
    running.lose(leader)
    at = time.time()
    _until("tasks of the dead host run elsewhere", BEGIN_SECONDS, lambda: len(_moved(ledger, hit, leader)), len(hit))
    again = from_latencies([began - at for began in _moved(ledger, hit, leader)], 1.0)
    ledger.open()
    _until("tasks are over", BEGIN_SECONDS, lambda: sum(running.summary().get("ended", {}).values()), count)
    return {
        **asdict(account(ledger.lines)), "hit": len(hit), "ended": running.summary()["ended"],
        "all_begun": latest - asked, "elsewhere_p50": again.p50, "elsewhere_worst": again.worst,
        "daemon_mib": max(memory) / 2**20, "seconds": time.time() - at,
    }  # fmt: skip


def _moved(ledger: Ledger, hit: set[int], dead: int) -> list[float]:
    """When each task of the dead host was begun on another one."""
    every = ledger.begun()
    last = [every[task][max(every[task])] for task in hit]
    return [at for node, at in last if node != dead]


# --- waiting ------------------------------------------------------------------------------


def _until(what: str, seconds: float, count: Callable[[], int], wanted: int) -> None:
    """Wait until it is so many, and say meanwhile how many it is; raises :class:`NotReached`."""
    end, told = time.monotonic() + seconds, time.monotonic()
    while (found := count()) != wanted:
        if time.monotonic() > end:
            raise NotReached(f"{what}: {found} instead of {wanted} after {seconds:g} s")
        told = _tell(told, f"{what}: {found} of {wanted}")
        time.sleep(0.2)


def _tell(told: float, line: str) -> float:
    """Say it when nothing was said for a while; when something was said last."""
    if time.monotonic() < told + TELL_SECONDS:
        return told
    print(line, file=sys.stderr, flush=True)
    return time.monotonic()
