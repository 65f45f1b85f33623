"""What must hold in every simulated cluster, one function for each invariant, named by it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.events import Entry

if TYPE_CHECKING:
    from sim.world import World


class Violated(AssertionError):
    """An invariant does not hold: the run's story says how it came to that."""


class Checks:
    """Checks after every step, with what they must remember of earlier ones."""

    def __init__(self) -> None:
        self._leaders: dict[tuple[int, int], str] = {}
        self._committed: dict[tuple[int, int], tuple[int, str, bytes]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def after_step(self, world: World) -> None:
        """Every check that must hold at every moment."""
        self.election_safety(world)
        self.state_machine_safety(world)
        one_writer(world)
        writable_is_current(world)

    def election_safety(self, world: World) -> None:
        """S1: at most one leader in a term of a founding."""
        for host in world.hosts.values():
            qraft = host.node.qraft if host.node else None
            if qraft is None or host.node is None or qraft.role != "leader":
                continue
            name = self._leaders.setdefault((host.node.cluster, qraft.term), f"{host.name}/{host.node.me}")
            if name != f"{host.name}/{host.node.me}":
                raise Violated(f"S1: {name} and {host.name} both lead term {qraft.term}")

    def state_machine_safety(self, world: World) -> None:
        """S12: an index is applied with the same bytes everywhere (told by :meth:`applied`)."""
        for host in world.hosts.values():
            if host.node is None or host.node.qraft is None:
                continue
            qraft, applied = host.node.qraft, host.node.state.applied
            if not qraft.snapshot_index <= applied <= qraft.commit_index <= qraft.last_index:
                raise Violated(f"S12: {host.name} {qraft.snapshot_index} {applied} {qraft.commit_index} {qraft.last_index}")

    def applied(self, host: str, cluster: int, entry: Entry) -> None:
        """An entry was applied on a host."""
        value = (entry.term, entry.kind, entry.payload)
        if self._committed.setdefault((cluster, entry.index), value) != value:
            raise Violated(f"S12: {host} applies another entry {entry.index} than others did")


def one_writer(world: World) -> None:
    """D1: at most one database can take a write."""
    writers = [host.name for host in world.hosts.values() if host.database is not None and host.database.writable]
    if len(writers) > 1:
        raise Violated(f"D1: {' and '.join(writers)} can both be written to")


def writable_is_current(world: World) -> None:
    """``GET /is-leader`` says 200 on one node at most."""
    names = [host.name for host in world.hosts.values() if host.node and host.node.hosting.may_write(world.now)]
    if len(names) > 1:
        raise Violated(f"{' and '.join(names)} both say that they may be written to")


def converged(world: World) -> str:
    """Liveness, once faults have stopped: what is still missing, "" when nothing is."""
    hosts = [host for host in world.hosts.values() if host.database is not None]
    writers = [host for host in hosts if host.node and host.node.hosting.may_write(world.now)]
    if len(writers) != 1:
        return f"{len(writers)} nodes may be written to"
    first = writers[0]
    assert first.database is not None
    for host in hosts:
        assert host.database is not None
        if host is not first and not (host.database.running and host.database.wal == first.database.wal):
            reason = host.node.status(world.now).own.message if host.node else "down"
            return f"the database of {host.name} is not equal to that of {first.name}: {reason}"
        if host.node is None or host.node.state.applied != first.node.state.applied:  # type: ignore[union-attr]
            return f"{host.name} has not applied what {first.name} has"
    for host in world.hosts.values():
        if host.pool_target is not None and host.pool_target[0] != first.ip:
            return f"the pool on {host.name} points at {host.pool_target[0]}"
    return ""
