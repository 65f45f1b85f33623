"""Clients of the replicated registers: what they asked and what they were told becomes a history to be checked.

Must not know faults. A client asks whom it takes for the leader, waits so long, and then does not know.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from histories.linearizability import check
from histories.operations import Kind, Operation
from qluster.consensus.refusals import Refusal
from qluster.events import Entry
from swarm.quiet import GRAIN
from swarm.rules import Violated

if TYPE_CHECKING:
    from qluster.consensus.qraft import QRaft
    from swarm.host import Host
    from swarm.world import World

PATIENCE = 25.0
"""Seconds a client waits for its answer."""

CHECK_STEPS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class Demand:
    """How much is asked for."""

    keys: int = 3
    burst: int = 1
    """Requests that come at one moment, of which the node hears before it does anything."""
    writes_max: int = 1 << 20
    """Writes under way at most: clients that wait for an answer ask for nothing else."""


@dataclass(slots=True)
class Asked:
    """A write that is under way."""

    number: int
    kind: Kind
    key: str
    value: str | None
    expected: str | None
    began: float
    host: Host
    term: int = 0


class Clients:
    """All clients of a run."""

    def __init__(self, world: World, demand: Demand = Demand()) -> None:
        self._world = world
        self._demand = demand
        self.span = 0
        self.operations = 0
        self.unknown = 0
        self.acknowledged = 0
        self.undecided = 0
        self._number = 0
        self._history: list[Operation] = []
        self._writes: dict[int, Asked] = {}
        self._reads: dict[int, tuple[str, float, float]] = {}
        """Key, and when it was asked for: by the world's clock, by the host's."""

    def ask(self) -> None:
        """One burst of operations, at some node that takes itself for the leader."""
        world = self._world
        leaders = world.leaders()
        if not leaders:
            return
        host = leaders[0] if len(leaders) == 1 else world.random.choice(leaders)
        if host.qraft is None or world.now < host.hung_until:
            return
        heard = [self._ask_one(host, host.qraft) for _ in range(self._demand.burst)]
        if any(heard):
            world.perform(host)

    def _ask_one(self, host: Host, qraft: QRaft) -> bool:
        """Whether the node has something to do for it now."""
        self._number += 1
        key = f"{self.span}.{self._number % self._demand.keys}"
        draw = self._world.random.random()
        if draw < 0.45:
            return self._read(host, qraft, key, draw < 0.15)
        if len(self._writes) >= self._demand.writes_max:
            return False
        kind = Kind.WRITE if draw < 0.7 else Kind.CAS if draw < 0.93 else Kind.DELETE
        return self._write(host, qraft, kind, key)

    def _read(self, host: Host, qraft: QRaft, key: str, by_lease: bool) -> bool:
        now, local = self._world.now, host.clock(self._world.now)
        if by_lease:
            if qraft.ready and local < qraft.lease_until:
                self._note(Kind.READ, key, now, now + GRAIN / 2, host.registers.values.get(key))
            return False
        self._reads[self._number] = key, now, local
        qraft.request_read(self._number, local)
        return True

    def _write(self, host: Host, qraft: QRaft, kind: Kind, key: str) -> bool:
        world, number = self._world, self._number
        value = str(number) if kind is not Kind.DELETE else None
        expected = None
        if kind is Kind.CAS:
            expected = host.registers.values.get(key)
        asked = Asked(number, kind, key, value, expected, world.now, host)
        payload = f"{number}|{kind}|{key}|{value or ''}|{expected or ''}".encode()
        with suppress(Refusal):
            _, asked.term = qraft.propose("command", payload, host.clock(world.now))
            self._writes[number] = asked
            return True
        return False

    # --- answers -------------------------------------------------------------------------

    def applied(self, host: Host, entry: Entry, held: bool) -> None:
        """An entry took effect somewhere; the client hears of it from the host that it asked."""
        if entry.kind != "command":
            return
        asked = self._writes.get(int(entry.payload[: entry.payload.index(b"|")]))
        if asked is None or asked.host is not host:
            return
        now = self._world.now
        del self._writes[asked.number]
        self.acknowledged += 1
        self._note(asked.kind, asked.key, asked.began, now + GRAIN / 2, asked.value, asked.expected, held)

    def may_read(self, host: Host, ticket: int, may: bool) -> None:
        """A read may be served by what this host has applied, or not."""
        key, began, asked_at = self._reads.pop(ticket, ("", 0.0, 0.0))
        if may and key:
            self._world.rules.confirmed_after(host, asked_at)
            self._note(Kind.READ, key, began, self._world.now + GRAIN / 2, host.registers.values.get(key))

    def crashed(self, host: Host) -> None:
        """Who waits for this host will never hear."""
        for asked in [one for one in self._writes.values() if one.host is host]:
            self._unknown(asked)

    def give_up(self) -> None:
        """Who waited too long goes away."""
        limit = self._world.now - PATIENCE
        for asked in [one for one in self._writes.values() if one.began < limit]:
            self._unknown(asked)

    def _unknown(self, asked: Asked) -> None:
        del self._writes[asked.number]
        self.unknown += 1
        self._note(asked.kind, asked.key, asked.began, inf, asked.value, asked.expected)

    def _note(
        self, kind: Kind, key: str, began: float, ended: float, value: str | None, expected: str | None = None,
        held: bool = True,
    ) -> None:  # fmt: skip
        self.operations += 1
        client = str(self.operations % 7)
        if ended == inf:
            held = True
        self._history.append(Operation(client, key, kind, began, ended, value, expected, held))

    # --- verdicts --------------------------------------------------------------------------

    def judge(self) -> None:
        """The span is over: its history must be linearizable. The next one uses other keys."""
        for asked in list(self._writes.values()):
            self._unknown(asked)
        self._reads.clear()
        verdict = check(self._history, steps_max=CHECK_STEPS_MAX)
        self.undecided += len(verdict.undecided)
        if not verdict.legal:
            raise Violated(f"linearizability: {verdict.explanation}")
        self._history.clear()
        self.span += 1
