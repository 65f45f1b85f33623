"""The task runner of a simulated host: a process of its own beside the daemon, with records on the host's disk.

It outlives the daemon, dies with its host, stands still with it, and ends what is tied when the lease has passed by
the host's clock. What it says may come late and twice, and is lost with the connection; its chances are its own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import TYPE_CHECKING

from qluster.events import TasksHeard
from qluster.node import Node
from qluster.tasks.bodies import Result, Verdict
from qluster.tasks.runner import (
    ForgetRun,
    Happening,
    Lease,
    Met,
    Own,
    Run,
    RunBegan,
    RunEnded,
    RunnerFault,
    RunnerFound,
    RunnerLost,
    StartRun,
    StopRun,
)
from qluster.tasks.spec import Command, Limits
from qluster.tasks.tether import Tether
from qluster.working import CLAIM_LEASE

if TYPE_CHECKING:
    from sim.host import Host
    from sim.ledger import Ledger
    from sim.world import World

Claim = tuple[int, int]

LENGTHS = (0.0, 0.05, 0.3, 1.0, 4.0, 15.0)
STOPPED = "its task runner was stopped"
ENDS = (Verdict.DONE,) * 7 + (Verdict.FAILED, Verdict.FAILED, Verdict.TIMED_OUT)


@dataclass(slots=True)
class SimRun:
    """One run, as its record has it."""

    order: StartRun
    owner: tuple[int, int]
    began_at: float = 0.0
    going: bool = False
    ended: RunEnded | None = None


class SimRunner:
    """One host's runner."""

    def __init__(self, world: World, host: Host, ledger: Ledger) -> None:
        self._world, self._host, self._ledger = world, host, ledger
        self.random = Random(f"runner {world.seed} {host.ip}")
        self._runs: dict[Claim, SimRun] = {}
        self._owner, self._void = (0, 0), 0
        self.outputs: set[Claim] = set()
        """Claims whose output is here."""
        self._tether = Tether(CLAIM_LEASE, 0.0)
        self._up = True
        self._stopping = False
        self._foundings = int(host.ip.rpartition(".")[2]) << 40
        self._link = self._met = 0
        """Number of the connection to the daemon; what was said over another one is lost."""
        self._node: Node | None = None
        self._said_at = -inf

    # --- its life -----------------------------------------------------------------

    def connect(self, node: Node) -> None:
        """A daemon has started."""
        self._node, self._link = None, self._link + 1
        link = self._link
        self._world.at(self._world.now + self.random.choice([0.001, 0.05, 0.4]), lambda: self._found(node, link))

    def _found(self, node: Node, link: int) -> None:
        if self._defer(lambda: self._found(node, link)) or link != self._link or self._host.node is not node:
            return
        if not self._up:
            self._world.at(self._world.now + 0.5, lambda: self._found(node, link))
            return
        self._node = node
        self._say(self._all())

    def _all(self) -> RunnerFound:
        runs = [Run(*claim, run.began_at, run.ended) for claim, run in sorted(self._runs.items())]
        return RunnerFound(tuple(runs), 1, "", self._owner, self._link, self._void)

    def disconnect(self, seconds: float) -> None:
        """The connection breaks."""
        node = self._node
        if node is None:
            return
        self._node, self._link = None, self._link + 1
        link = self._link
        if self._host.node is node:
            self._host.give(TasksHeard(RunnerLost("the connection to the task runner ended")))
        self._world.at(self._world.now + seconds, lambda: self._found(node, link))

    def fail(self, seconds: float) -> None:
        """It cannot begin anything for a while."""
        self._say(RunnerFault("its disk is full"))
        self._world.at(self._world.now + seconds, lambda: self._say(RunnerFault("")))

    def die(self, seconds: float) -> None:
        """The runner dies with all its runs, and is started again."""
        self.power_lost()
        self.disconnect(seconds)

    def stop(self, seconds: float) -> None:
        """It is stopped in order, which takes a while, and started again after so many seconds."""
        if self._stopping or self._node is None:
            return
        self._stopping = True
        for claim, run in list(self._runs.items()):
            if run.ended is None:
                wait = self.random.uniform(0.0, 5.0)
                self._world.at(self._world.now + wait, lambda claim=claim: self._end(claim, Verdict.DRAINED, STOPPED))  # type: ignore[misc]
        if self.random.random() < 0.5:  # else it stops between two words
            self._say(RunnerFault(STOPPED))
        self._world.at(self._world.now + self.random.uniform(0.5, 6.0), lambda: self._stopped(seconds))

    def _stopped(self, seconds: float) -> None:
        if not self._defer(lambda: self._stopped(seconds)):
            self._stopping = False
            self.die(seconds)

    def power_lost(self) -> None:
        """The host is without power: what ran runs no more, and its record says only that it began."""
        for claim, run in self._runs.items():
            if run.ended is None:
                self._stop_going(claim, run)
                verdict = Verdict.VANISHED if run.began_at else Verdict.UNBEGUN
                at = self._wall()
                run.ended = RunEnded(*claim, verdict, at, "the host was down", Result(), run.began_at)

    def was_anothers(self, claims: Sequence[Claim]) -> None:
        """It has runs of another founding, with these numbers, and its daemon finds them."""
        if self._runs:
            return  # they would be gone, and are this one's
        self._foundings += 1
        self._owner = self._foundings, 1
        for claim in claims:
            order = StartRun(*claim, 1, Command(("/bin/true",)), "", Limits(), 0.0, tied=True)
            self._runs[claim] = SimRun(order, self._owner, self._wall())
        self.disconnect(0.01)

    def lose_records(self) -> None:
        """Its directory is gone, after the host was without power."""
        self._runs, self._owner, self._void, self.outputs = {}, (0, 0), 0, set()
        self._tether = Tether(CLAIM_LEASE, self._host.slept)

    def wiped(self) -> None:
        """The runner dies, and its directory is empty when it is started again."""
        self.power_lost()
        self.lose_records()
        self.disconnect(0.1)

    def thawed(self) -> None:
        """The host goes on: before anything else the runner ends what should not run any more."""
        self._kill_expired()
        for claim, run in self._runs.items():
            if run.going:
                self._ledger.goes_on(self._host, run.owner, claim)

    # --- orders -------------------------------------------------------------------------

    def ordered(self, node: Node, orders: Sequence[object]) -> None:
        """What the daemon wants done, over the connection that stands now."""
        link = self._link
        for order in orders:
            if isinstance(order, Met):
                self._met = order.line
            elif self._node is node and self._met == link:
                self._world.at(self._world.now + 0.0005, lambda order=order: self._take(order, link))  # type: ignore[misc]

    def _take(self, order: object, link: int) -> None:
        if link != self._link or self._defer(lambda: self._take(order, link)):
            return
        match order:
            case StartRun(task, fence):
                if (task, fence) not in self._runs:
                    run = self._runs[task, fence] = SimRun(order, self._owner)
                    wait = self.random.choice([0.0, 0.001, 0.02, 0.5])
                    self._world.at(self._world.now + wait, lambda: self._begin((task, fence), run))
            case StopRun(task, fence, verdict, reason, grace):
                seconds = self.random.uniform(0.0, grace)
                self._world.at(self._world.now + seconds, lambda: self._end((task, fence), verdict, reason))
            case ForgetRun(task, fence):
                found = self._runs.get((task, fence))
                if found is not None and found.ended is not None:
                    del self._runs[task, fence]
            case Lease(until):
                self._tether.take(self._host.awake_at(until), self._clock(), self._host.slept)
                self._world.at(self._host.world_time(until) + 0.001, self._lease_over)
            case Own():
                self._own(order)

    def _own(self, own: Own) -> None:
        if own.owner != self._owner:
            for claim, run in self._runs.items():
                if run.ended is None:
                    self._end(claim, Verdict.CANCELLED, "it is another node's")
            known = own.inherits(self._owner)
            self.outputs = {claim for claim in self.outputs if claim[1] <= known}
            self._runs, self._owner, self._void = {}, own.owner, own.void
        self._say(self._all())

    def _begin(self, claim: Claim, run: SimRun) -> None:
        if self._defer(lambda: self._begin(claim, run)) or self._runs.get(claim) is not run or run.ended is not None:
            return
        if self._passed() or self._stopping:
            self._end(claim, Verdict.UNBEGUN, STOPPED if self._stopping else "the lease is over")
            return
        if self.random.random() < getattr(self._world, "refusal", 0.03):
            self._end(claim, self.random.choice([Verdict.UNSTARTABLE, Verdict.REFUSED]), "not here")
            return
        run.began_at, run.going = self._wall(), True
        self.outputs.add(claim)
        self._ledger.begins(self._host, run.owner, claim, run.order)
        self._say(RunBegan(*claim, run.began_at))
        length, verdict = self.random.choice(LENGTHS) * self.random.uniform(0.5, 1.5), self.random.choice(ENDS)
        self._world.at(self._world.now + length, lambda: self._end(claim, verdict, "", run))

    def _end(self, claim: Claim, verdict: Verdict, reason: str, of: SimRun | None = None) -> None:
        run = self._runs.get(claim)
        if self._defer(lambda: self._end(claim, verdict, reason, of)) or run is None or run.ended is not None:
            return
        if of is None or of is run:
            self._stop_going(claim, run)
            run.ended = RunEnded(*claim, verdict, self._wall(), reason, Result(), run.began_at)
            self._say(run.ended)

    def _stop_going(self, claim: Claim, run: SimRun) -> None:
        if run.going:
            run.going = False
            self._ledger.ends(self._host, run.owner, claim)

    def _lease_over(self) -> None:
        if not self._defer(self._lease_over):
            self._kill_expired()

    def _passed(self) -> bool:
        return self._tether.passed(self._clock(), self._host.slept)

    def _clock(self) -> float:
        return self._host.awake_at(self._host.clock())

    def _kill_expired(self) -> None:
        if not self._passed():
            return
        for claim, run in list(self._runs.items()):
            if run.order.tied and run.going:
                self._stop_going(claim, run)
                run.ended = RunEnded(*claim, Verdict.CUT_OFF, self._wall(), "the lease is over", Result(), run.began_at)
                self._say(run.ended)

    # --- what it says --------------------------------------------------------------------

    def _say(self, what: Happening) -> None:
        if self._node is None:
            return
        again = 1 + (self.random.random() < 0.05 and isinstance(what, RunBegan | RunEnded))
        self._said_at = max(self._said_at, self._world.now + self.random.choice([0.0, 0.0, 0.001, 0.05, 0.8]))
        node, link = self._node, self._link
        for _ in range(again):
            self._world.at(self._said_at, lambda: self._hear(node, link, what))

    def _hear(self, node: Node, link: int, what: Happening) -> None:
        if link == self._link and self._host.node is node and not self._defer(lambda: self._hear(node, link, what)):
            self._host.give(TasksHeard(what))

    def _defer(self, what: object) -> bool:
        """Whether the host stands still: then this happens when it goes on."""
        host = self._host
        if not (host.host_frozen and host.frozen):
            return False
        self._world.at(host.frozen_until + 0.0001, what)  # type: ignore[arg-type]
        return True

    def _wall(self) -> float:
        return 1e9 + self._world.now
