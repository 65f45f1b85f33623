"""Who takes part in a cell, and how one of them is measured once.

Must not know how results are kept or shown.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import disk, failover, inside, load
from bench.cell import Cell
from bench.namespaces import Hosts, obstacle
from bench.processes import Server
from bench.programs import Program
from bench.site import CALM, QUICK, SEED, Site
from bench.systems.etcd import Etcd
from bench.systems.pysync import PySync
from bench.systems.qluster import Qluster

System = Qluster | Etcd | PySync
Values = dict[str, Any]

IDLE_REST = 10.0
"""Seconds between the cluster's completion and the count of an idle cluster's CPU: starting is no idling."""
MILLION_CLIENTS = 256
MILLION_KEYS = 100
"""Keys that are written again and again: the store itself does not grow, or hardly."""


@dataclass(frozen=True)
class Plan:
    """How long, how often, with what."""

    folder: Path
    source: Path
    etcd: Program
    h2load: Program
    seconds: float
    warm: float
    idle_seconds: float
    commits: int
    patience: float
    attempts: int


class Skipped(Exception):
    """This host cannot do it: the message says why."""


def contenders(cell: Cell) -> list[str]:
    """Names of those who take part."""
    return {
        "disk": ["disk-growing", "disk-preallocated"],
        "entry": ["qluster", "etcd", "pysyncobj"],
        "million": ["qluster"],
    }.get(cell.kind, ["qluster", "etcd"])


def measure(cell: Cell, name: str, plan: Plan) -> Values:
    """One contender, once."""
    match cell.kind:
        case "disk":
            return _disk(name, plan)
        case "http":
            return _http(cell, name, plan)
        case "entry":
            return _entry(cell, name, plan)
        case "bytes":
            return _bytes(cell, name, plan)
        case "failover":
            return _failover(name, plan)
        case "idle":
            return _idle(name, plan)
    assert cell.kind == "million", cell
    return _million(plan)


def _site(plan: Plan, name: str) -> Site:
    return Site(plan.folder / name, 3, CALM)


def _make(name: str, site: Site, plan: Plan, within: bool = False) -> System:
    match name:
        case "qluster":
            return Qluster(site, plan.source, within)
        case "etcd":
            return Etcd(site, plan.etcd)
    assert name == "pysyncobj", name
    return PySync(site)


@contextmanager
def _running(system: System) -> Iterator[System]:
    try:
        system.start()
        yield system
    finally:
        system.stop()


def _cpu(system: System) -> float:
    return sum(server.cpu_seconds() for server in system.servers.values() if server.alive)


def _loaded(system: System, work: Callable[[], load.Outcome]) -> Values:
    """Figures of a load, the servers' CPU in it, and whether all that was acknowledged was committed."""
    commits, cpu, began = system.commits(), _cpu(system), time.monotonic()
    outcome = work()
    cpu, took = _cpu(system) - cpu, time.monotonic() - began
    committed = system.commits() - commits
    if committed < outcome.done:
        raise load.LoadFailed(f"{system.name}: {outcome.done} writes acknowledged, {committed} committed")
    return {
        **asdict(outcome.figures), "cpu_per_1000": cpu / outcome.done * 1000, "cores": cpu / took,
        "done": outcome.done, "committed": committed,
    }  # fmt: skip


def _disk(name: str, plan: Plan) -> Values:
    preallocated = name == "disk-preallocated"
    found = {size: disk.measure(plan.folder, size, preallocated, plan.seconds / 3) for size in (256, 4096, 61_440)}
    return {f"{size}": asdict(figures) for size, figures in found.items()}


def _http(cell: Cell, name: str, plan: Plan) -> Values:
    with _running(_make(name, _site(plan, name), plan)) as system:
        assert not isinstance(system, PySync), "it has no HTTP"
        order, folder = system.http(cell.size), system.site.folder
        return _loaded(system, lambda: load.run(plan.h2load, order, cell.clients, plan.seconds, plan.warm, folder))


def _entry(cell: Cell, name: str, plan: Plan) -> Values:
    task = inside.Task(cell.clients, cell.size, plan.seconds, plan.warm)
    with _running(_make(name, _site(plan, name), plan, within=True)) as system:
        if not isinstance(system, Etcd):
            return _loaded(system, lambda: system.run(task))
        order, folder = system.grpc(cell.size), system.site.folder
        return _loaded(system, lambda: load.run(plan.h2load, order, cell.clients, plan.seconds, plan.warm, folder))


def _bytes(cell: Cell, name: str, plan: Plan) -> Values:
    reason = obstacle()
    if reason:
        raise Skipped(reason)
    hosts = Hosts(cell.nodes)
    site = Site(plan.folder / name, cell.nodes, CALM, hosts.net, hosts.interface, hosts.entering)
    try:
        hosts.make()
        return hosts.from_within(lambda: _sent(_make(name, site, plan), hosts, cell, plan))
    finally:
        hosts.remove()


def _sent(made: System, hosts: Hosts, cell: Cell, plan: Plan) -> Values:
    with _running(made) as system:
        assert not isinstance(system, PySync), "it has no HTTP"
        leader, order, folder = system.leader(), system.http(cell.size), system.site.folder
        # From the leader's own host, by loopback: what a client sends and gets does not pass the cable.
        prefix = system.site.prefix(leader)
        load.run(plan.h2load, order, cell.clients, 1, 0, folder, prefix)
        before = hosts.sent(leader)
        values = _loaded(system, lambda: load.run(plan.h2load, order, cell.clients, plan.seconds, 0, folder, prefix))
        sent = hosts.sent(leader) - before
        if system.leader() != leader:
            raise load.LoadFailed(f"{system.name}: the leader changed while its bytes were counted")
        return {**values, "bytes_per_commit": sent / values["done"]}


def _failover(name: str, plan: Plan) -> Values:
    site = replace(_site(plan, name), timers=QUICK)
    with _running(_make(name, site, plan)) as system:
        assert not isinstance(system, PySync), "it has no HTTP"
        load.run(plan.h2load, system.http(256), 8, 1, 0, site.folder)
        leader = system.leader()
        left = [endpoint for endpoint in system.writes() if endpoint.node != leader]
        took = asyncio.run(failover.measure(left, site.folder / "ca.crt", system.servers[leader].kill))
        return {"seconds": took}


def _idle(name: str, plan: Plan) -> Values:
    # Each with its own default timers; etcd's are those of every other cell.
    site = replace(_site(plan, name), timers=SEED if name == "qluster" else CALM)
    with _running(_make(name, site, plan)) as system:
        time.sleep(min(IDLE_REST, plan.idle_seconds))
        leader = system.leader()
        before = {number: server.cpu_seconds() for number, server in system.servers.items()}
        time.sleep(plan.idle_seconds)
        shares = {number: (server.cpu_seconds() - before[number]) / plan.idle_seconds
                  for number, server in system.servers.items()}
        return {
            "leader_share": shares[leader], "share": max(shares.values()),
            "resident": max(_resident(system.servers)), "leader_resident": system.servers[leader].resident_bytes(),
        }  # fmt: skip


def _million(plan: Plan) -> Values:
    with _running(Qluster(_site(plan, "qluster"), plan.source, True)) as system:
        assert isinstance(system, Qluster), "only the product is asked"
        time.sleep(min(IDLE_REST, plan.idle_seconds))
        idle = _resident(system.servers)
        outcome = system.run(inside.Task(MILLION_CLIENTS, 256, 0, 0, plan.commits, MILLION_KEYS))
        after = _resident(system.servers)
        growth = max(now / then for now, then in zip(after, idle, strict=True))
        return {
            "idle": idle, "after": after, "resident": max(after), "growth": growth, "rate": outcome.figures.rate,
            "done": outcome.done,
        }  # fmt: skip


def _resident(servers: dict[int, Server]) -> list[int]:
    return [server.resident_bytes() for server in servers.values()]
