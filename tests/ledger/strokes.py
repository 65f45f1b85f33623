"""The faults, one function for each: strike a cluster while its clients write, and say how to take it back.

Aimed at the primary, or at what follows from its loss. What a fault should lead to is not known here.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from faults.cables import Link, run
from faults.cluster import UNREACHED
from ledger.cluster import DB_PORT, DatabaseCluster
from ledger.wire import Refused

Undo = Callable[[], object]


@dataclass
class Scene:
    """Who is struck."""

    cluster: DatabaseCluster
    random: Random
    primary: int
    known: dict[str, object] = field(default_factory=dict)

    @property
    def others(self) -> list[int]:
        """The hosts of the standbys, in an order drawn anew."""
        rest = [number for number in self.cluster.numbers if number != self.primary]
        return self.random.sample(rest, len(rest))

    def wait(self, seconds: float) -> None:
        """A moment drawn from here to there."""
        time.sleep(self.random.uniform(0, seconds))

    def wait_for(self, holds: Callable[[], object], seconds: float) -> bool:
        """Whether something comes to hold in time: the fault aims at this moment, and strikes anyhow."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return True
            time.sleep(0.01)
        return False

    def restart(self, *numbers: int) -> None:
        """Start daemons that are down."""
        for number in numbers:
            if not self.cluster.runs(number):
                self.cluster.start(number)

    @property
    def covered(self) -> bool:
        """Whether the primary's directory may be lost without a trace: others are known to have what it acknowledged.

        Right after other faults it may have acknowledged alone; then the cluster rightly waits for just this directory.
        """
        if self.cluster.mode == "off":
            return True
        guarantee = (self.cluster.status(self.primary).get("cluster") or {}).get("guarantee")
        return bool(guarantee and guarantee["settled"] and guarantee["needed"])

    def state(self, number: int) -> str:
        """What a daemon does with its database just now."""
        found = self.cluster.status(number)
        me = (found.get("own") or {}).get("node")
        for node in found.get("nodes", []):
            if node["node"] == me and node["database"]:
                return str(node["database"]["state"])
        return ""


Stroke = Callable[[Scene], Undo]


def nothing() -> None:
    """Nothing to take back: the daemon sees to it."""


# --- processes ------------------------------------------------------------------------


def postmaster_killed(scene: Scene) -> Undo:
    """kill -9 of the primary's postmaster."""
    pid = scene.cluster.postmaster(scene.primary)
    scene.cluster.signal([pid] if pid else [], signal.SIGKILL)
    return nothing


def backend_killed(scene: Scene) -> Undo:
    """kill -9 of one process of the primary's server, as the kernel does when memory is short."""
    servers = scene.cluster.servers(scene.primary)[1:]
    scene.cluster.signal(scene.random.sample(servers, min(1, len(servers))), signal.SIGKILL)
    return nothing


def daemon_killed(scene: Scene) -> Undo:
    """kill -9 of the primary's daemon alone; its guard lives."""
    scene.cluster.kill(scene.primary)
    return lambda: scene.restart(scene.primary)


def daemon_and_guard_killed(scene: Scene) -> Undo:
    """kill -9 of both with one stroke."""
    guard = scene.cluster.guard(scene.primary)
    scene.cluster.signal([guard] if guard else [], signal.SIGKILL)
    scene.cluster.kill(scene.primary)
    return lambda: scene.restart(scene.primary)


def guard_killed(scene: Scene) -> Undo:
    """kill -9 of the guard, which the daemon starts again."""
    guard = scene.cluster.guard(scene.primary)
    scene.cluster.signal([guard] if guard else [], signal.SIGKILL)
    return nothing


def host_killed(scene: Scene) -> Undo:
    """Everything on the primary's host ends at once, and comes back later."""
    scene.cluster.kill_host(scene.primary)
    return lambda: scene.restart(scene.primary)


def daemon_restarted(scene: Scene) -> Undo:
    """The service manager stops the primary's daemon in order and starts it again."""
    scene.cluster.daemons[scene.primary].send_signal(signal.SIGTERM)

    def undo() -> None:
        with contextlib.suppress(Exception):
            scene.cluster.daemons[scene.primary].wait(40)
        scene.restart(scene.primary)

    return undo


def daemon_stopped(scene: Scene) -> Undo:
    """SIGSTOP of the daemon alone: the guard and the database go on."""
    scene.cluster.freeze(scene.primary)
    return lambda: scene.cluster.thaw(scene.primary) if scene.primary in scene.cluster.frozen else None


def database_stopped(scene: Scene) -> Undo:
    """SIGSTOP of all processes of the server, for a few seconds; the daemon lives."""
    pids = scene.cluster.servers(scene.primary)
    scene.cluster.signal(pids, signal.SIGSTOP)
    return lambda: scene.cluster.signal(pids, signal.SIGCONT)


def host_stopped(scene: Scene) -> Undo:
    """Everything on the primary's host stands still, and then goes on where it was."""
    pids = [*scene.cluster.family(scene.primary), *scene.cluster.servers(scene.primary)]
    scene.cluster.signal(pids, signal.SIGSTOP)

    def undo() -> None:
        # In any order: a session may go on before whoever should end it.
        scene.cluster.signal(scene.random.sample(pids, len(pids)), signal.SIGCONT)

    return undo


def database_stutters(scene: Scene) -> Undo:
    """A slow machine: the server's processes stand still three quarters of the time, for two seconds."""
    for _ in range(20):
        pids = scene.cluster.servers(scene.primary)
        scene.cluster.signal(pids, signal.SIGSTOP)
        time.sleep(0.075)
        scene.cluster.signal(pids, signal.SIGCONT)
        time.sleep(0.025)
    return nothing


# --- the network ------------------------------------------------------------------------


def cut_off(scene: Scene) -> Undo:
    """The primary's host hears no other host, or none hears it, or both; its clients reach it all the time."""
    hears, speaks = scene.random.choice(((False, False), (True, False), (False, True)))
    cables = scene.cluster.cables
    return cables.lay(cables.isolation(scene.primary, hears=hears, speaks=speaks))


def one_link_cut(scene: Scene) -> Undo:
    """In one direction, between the primary and one standby."""
    pair = scene.random.sample([scene.primary, scene.others[0]], 2)
    return scene.cluster.cables.lay({(pair[0], pair[1]): Link(cut=True)})


def replication_cut(scene: Scene) -> Undo:
    """The daemons hear each other; the databases of one standby or of all cannot."""
    chosen = scene.others[: scene.random.choice((1, len(scene.others)))]
    for number in chosen:
        _block(scene.cluster, number)
    return lambda: [_unblock(scene.cluster, number) for number in chosen]


def replication_cut_then_lost(scene: Scene) -> Undo:
    """First no standby receives anything, then the primary's host dies."""
    for number in scene.others:
        _block(scene.cluster, number)
    scene.wait(2.5)
    scene.cluster.kill_host(scene.primary)

    def undo() -> None:
        for number in scene.cluster.numbers:
            _unblock(scene.cluster, number)
        scene.restart(scene.primary)

    return undo


def _block(cluster: DatabaseCluster, number: int) -> None:
    """A host's database receives nothing from others, and sends nothing to them."""
    rules = "; ".join([
        "add table inet replication",
        "add chain inet replication in { type filter hook input priority 0; policy accept; }",
        f"add rule inet replication in iifname eth0 tcp sport {DB_PORT} drop",
        f"add rule inet replication in iifname eth0 tcp dport {DB_PORT} drop",
    ])  # fmt: skip
    run("ip", "netns", "exec", cluster.cables.namespace(number), "nft", rules)


def _unblock(cluster: DatabaseCluster, number: int) -> None:
    rules = "add table inet replication; delete table inet replication"
    run("ip", "netns", "exec", cluster.cables.namespace(number), "nft", rules)


# --- disks ------------------------------------------------------------------------------


def disk_full(scene: Scene) -> Undo:
    """No space is left for the primary's data and WAL."""
    filler = _fill(scene.cluster, scene.primary)
    return lambda: os.unlink(filler)


def standby_disk_full(scene: Scene) -> Undo:
    """No space is left at a standby; then the primary is lost."""
    filler = _fill(scene.cluster, scene.others[0])
    scene.wait(1.0)
    scene.cluster.kill_host(scene.primary)

    def undo() -> None:
        os.unlink(filler)
        scene.restart(scene.primary)

    return undo


def _fill(cluster: DatabaseCluster, number: int) -> str:
    path = cluster.place(number) / "db/filler"
    with open(path, "wb") as file:
        left = os.statvfs(path)
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_frsize))
    return str(path)


def archive_down(scene: Scene) -> Undo:
    """The archive is not there, and the primary is lost meanwhile."""
    place, away = scene.cluster.root / "wal", scene.cluster.root / "wal.away"
    place.rename(away)
    scene.wait(1.0)
    postmaster_killed(scene)
    return lambda: away.rename(place)


def data_lost(scene: Scene) -> Undo:
    """The primary's host dies and comes back with an empty data directory."""
    covered = scene.covered
    scene.cluster.kill_host(scene.primary)

    def undo() -> None:
        if covered:
            shutil.rmtree(scene.cluster.data(scene.primary))
        scene.restart(scene.primary)

    return undo


# --- two at once --------------------------------------------------------------------------


def standby_then_primary(scene: Scene) -> Undo:
    """A standby is lost, then the primary; they come back in either order."""
    lost = [scene.others[0], scene.primary]
    scene.cluster.kill_host(lost[0])
    scene.wait(3.0)
    scene.cluster.kill_host(lost[1])
    return _back_in_any_order(scene, lost)


def primary_then_standby(scene: Scene) -> Undo:
    """The primary is lost, and soon after it one of those who could take over; both come back in either order."""
    lost = [scene.primary, scene.others[0]]
    scene.cluster.kill_host(lost[0])
    scene.wait(2.5)
    scene.cluster.kill_host(lost[1])
    return _back_in_any_order(scene, lost)


def all_killed(scene: Scene) -> Undo:
    """The power is gone everywhere."""
    for number in scene.cluster.numbers:
        scene.cluster.kill_host(number)
    return _back_in_any_order(scene, scene.cluster.numbers)


def _back_in_any_order(scene: Scene, lost: list[int]) -> Undo:
    def undo() -> None:
        for number in scene.random.sample(lost, len(lost)):
            scene.restart(number)
            scene.wait(2.0)

    return undo


def successor_struck(scene: Scene) -> Undo:
    """The primary is cut off, and whoever is promoted is killed in the middle of that."""
    before = max(scene.cluster.reigns, default=0)
    lift = scene.cluster.cables.lay(scene.cluster.cables.isolation(scene.primary))
    rest = scene.others
    found: list[int] = []

    def promoting() -> bool:
        for number in rest:
            if scene.state(number) == "promoting" or max(scene.cluster.reigns, default=0) > before:
                leads = [one for one in rest if (scene.cluster.status(one).get("own") or {}).get("may_write") is True]
                found[:] = leads or [number]
                return True
        return False

    if scene.wait_for(promoting, 6.0):
        scene.random.choice((scene.cluster.kill_host, scene.cluster.kill))(found[0])

    def undo() -> None:
        lift()
        scene.restart(*found)

    return undo


def return_struck(scene: Scene) -> Undo:
    """The primary is lost, comes back, and is killed while it rewinds, copies or starts, up to three times."""
    scene.cluster.kill_host(scene.primary)
    scene.wait(3.0)
    for _ in range(scene.random.randrange(1, 4)):
        scene.restart(scene.primary)
        scene.wait_for(lambda: scene.state(scene.primary) in ("rewinding", "cloning", "starting"), 4.0)
        scene.wait(0.2)
        scene.cluster.kill_host(scene.primary)
    return lambda: scene.restart(scene.primary)


def source_struck(scene: Scene) -> Undo:
    """The primary is lost and comes back; while it rewinds or copies, the one that it copies from is killed."""
    loses = scene.random.random() < 0.5 and scene.covered
    scene.cluster.kill_host(scene.primary)
    if loses:
        shutil.rmtree(scene.cluster.data(scene.primary), ignore_errors=True)
    scene.wait_for(lambda: scene.cluster.primary() not in (None, scene.primary), 8.0)
    scene.restart(scene.primary)
    scene.wait_for(lambda: scene.state(scene.primary) in ("rewinding", "cloning"), 4.0)
    now = scene.cluster.primary()
    if now is not None:
        scene.cluster.kill_host(now)
    return lambda: scene.restart(*scene.cluster.numbers)


def paused_standby(scene: Scene) -> Undo:
    """An operator pauses the replay of a standby; then the primary is lost."""
    with contextlib.suppress(OSError, Refused):
        scene.cluster.sql(scene.others[0], "select pg_wal_replay_pause()")
    scene.wait(1.0)
    scene.cluster.kill_host(scene.primary)

    def undo() -> None:
        scene.restart(scene.primary)
        for number in scene.cluster.numbers:
            with contextlib.suppress(OSError, Refused):
                scene.cluster.sql(number, "select pg_wal_replay_resume() where pg_is_in_recovery()")

    return undo


# --- operators ----------------------------------------------------------------------------


def switchover(scene: Scene) -> Undo:
    """An operator moves the primary."""
    target = scene.cluster.own(scene.others[0]).get("node")
    with contextlib.suppress(*UNREACHED):
        scene.cluster.ask(scene.primary, "POST", f"/leader?node={target}", token="operate", limit=20.0)
    return nothing


def switchover_struck(scene: Scene) -> Undo:
    """The same, and the former primary or its successor dies in the middle of it."""
    target = scene.others[0]
    node = scene.cluster.own(target).get("node")
    with contextlib.suppress(*UNREACHED):
        scene.cluster.ask(scene.primary, "POST", f"/leader?node={node}", token="operate", limit=0.2)
    scene.wait(1.0)
    struck = scene.random.choice((scene.primary, target))
    scene.cluster.kill_host(struck)
    return lambda: scene.restart(struck)


STROKES: dict[Stroke, int] = {
    postmaster_killed: 3, backend_killed: 2, daemon_killed: 2, daemon_and_guard_killed: 2, guard_killed: 1,
    host_killed: 3, daemon_restarted: 2, daemon_stopped: 3, database_stopped: 1, host_stopped: 3, database_stutters: 1,
    cut_off: 5, one_link_cut: 2, replication_cut: 2, replication_cut_then_lost: 2, disk_full: 1, standby_disk_full: 1,
    archive_down: 1, data_lost: 1, standby_then_primary: 2, primary_then_standby: 2, all_killed: 1,
    successor_struck: 2, return_struck: 2, source_struck: 2, paused_standby: 1, switchover: 3, switchover_struck: 2,
}  # fmt: skip
"""Each with its weight."""
BY_NAME = {stroke.__name__: stroke for stroke in STROKES}
