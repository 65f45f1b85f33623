"""Faults planted into how tasks are given and begun: the worlds of tasks must find each."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any
from unittest.mock import patch

from planting import Plants
from qluster import dispatching
from qluster.dispatching import Dispatching
from qluster.tasks import endings
from qluster.tasks.board import Board
from qluster.tasks.bodies import Step
from qluster.tasks.queue import Queue
from qluster.tasks.runner import Met, RunBegan, RunEnded
from qluster.tasks.tether import Tether
from qluster.working import Workload

PLANTS = Plants()

PLANTS.method("claims are taken before the lease ends", dispatching, "CLAIM_LEASE", 2.0)


def _no_wait(self: Dispatching, node: int) -> float:
    """When the claims of a node are over."""
    since = self._granted.get(node, -inf)
    return since + dispatching.CLAIM_LEASE + dispatching.KILL_TIME


PLANTS.method("a new leader takes the claims of whom it has not heard at once", Dispatching, "_silent_at", _no_wait)


@PLANTS.plant("a node begins without a lease")
def _no_lease() -> Iterator[None]:
    sound = Workload._begin

    def begin(self: Workload, now: float) -> None:
        until, self.until = self.until, inf
        sound(self, now)
        self.until = until

    from sim.runner import SimRunner

    def unasked(self: SimRunner, claim: Any, run: Any) -> None:
        with patch.object(SimRunner, "_passed", lambda self: False):
            trusting(self, claim, run)

    trusting = SimRunner._begin
    with patch.object(Workload, "_begin", begin), patch.object(SimRunner, "_begin", unasked):
        yield


PLANTS.method(
    "leave is given to who has not read that its claim is over", Dispatching, "_may_go_on",
    lambda self, working, now: self._node.qraft.lease_until > now,
)


@PLANTS.plant("leave is given while the end of a claim is on its way into the log")
def _unbarred() -> Iterator[None]:
    sound = Dispatching._may_go_on

    def may_go_on(self: Dispatching, working: Any, now: float) -> bool:
        self._barring = {}
        return sound(self, working, now)

    with patch.object(Dispatching, "_may_go_on", may_go_on):
        yield


@PLANTS.plant("an end is taken with an old fencing number")
def _old_number() -> Iterator[None]:
    def said(self: Dispatching, now: float) -> Iterator[Step]:
        words, self._words = self._words, {}
        live = self._node.state.tasks.live
        yield from (word for word in words.values() if word.task in live and live[word.task].claimed)

    any_number = patch.object(Board, "_valid", lambda self, task, fence: task.claimed)
    with any_number, patch.object(Dispatching, "_said", said):
        yield


@PLANTS.plant("after its start a daemon begins what is its without asking the runner")
def _unasked() -> Iterator[None]:
    sound = Workload.step

    def step(self: Workload, now: float) -> None:
        if not self._known:
            self._known, self.fault, self._runs = True, "", {}
        sound(self, now)

    from sim.runner import SimRunner

    def take(self: SimRunner, order: Any, link: int) -> None:
        claim = getattr(order, "task", 0), getattr(order, "fence", 0)
        if type(order).__name__ == "StartRun" and claim in self._runs:
            self._begin(claim, self._runs[claim])
        else:
            known(self, order, link)

    known = SimRunner._take
    with patch.object(Workload, "step", step), patch.object(SimRunner, "_take", take):
        yield


@PLANTS.plant("after its start a daemon begins what it read of before, whatever stands behind")
def _not_abreast() -> Iterator[None]:
    sound = Workload._begin

    def begin(self: Workload, now: float) -> None:
        self._abreast = 0 if self._abreast is not None else None
        sound(self, now)

    with patch.object(Workload, "_begin", begin):
        yield


PLANTS.method("a run whose claim is not read of yet is taken for over", Workload, "_read", lambda self, claim: True)


@PLANTS.plant("what was said to be over is begun when the runner is back")
def _said_and_begun() -> Iterator[None]:
    sound = Workload._found

    def found(self: Workload, *arguments: Any) -> None:
        sound(self, *arguments)
        self._ended = {claim for claim in self._ended if claim in self._runs}

    with patch.object(Workload, "_found", found):
        yield


PLANTS.method("the limit of a group is not held", Queue, "_group_full", lambda self, spec, groups: False)
PLANTS.method("claims count for nothing on their nodes", Queue, "load", lambda self, views: None)


@PLANTS.plant("what is run once at most is run again when its node is gone")
def _twice() -> Iterator[None]:
    from msgspec.structs import replace

    sound = endings._interrupted

    def interrupted(board: Board, task: Any, *arguments: Any) -> None:
        spec = task.spec
        task.spec = replace(spec, once=False)
        sound(board, task, *arguments)
        task.spec = spec

    with patch.object(endings, "_interrupted", interrupted):
        yield


@PLANTS.plant("a node that begins nothing is given the same again at once")
def _not_shy() -> Iterator[None]:
    with patch.multiple(dispatching, SHY=0.0, SHY_MAX=0.0):
        yield


@PLANTS.plant("what is killed as another's says how this one's claims ended")
def _anothers_words() -> Iterator[None]:
    sound = Workload.heard

    def heard(self: Workload, what: Any, now: float) -> None:
        known, self._known = self._known, self._known or isinstance(what, RunBegan | RunEnded)
        sound(self, what, now)
        if isinstance(what, RunBegan | RunEnded):
            self._known = known

    with patch.object(Workload, "heard", heard):
        yield


@contextmanager
def former_words() -> Iterator[None]:
    """A leader takes what a former daemon of a node said: it takes thousands of plays, and ``test_attacked.py``."""
    with patch.object(Dispatching, "_overtaken", lambda self, working: False):
        yield


@contextmanager
def unmet() -> Iterator[None]:
    """What was ordered before the node heard what runs is sent: only ``test_attacked.py`` shows it."""
    from sim.runner import SimRunner

    sound = SimRunner.ordered

    def ordered(self: SimRunner, node: Any, orders: Any) -> None:
        self._met = self._link
        sound(self, node, [order for order in orders if not isinstance(order, Met)])

    with patch.object(SimRunner, "ordered", ordered):
        yield


@PLANTS.plant("a runner that has forgotten all is taken for one that began nothing")
def _nothing_void() -> Iterator[None]:
    sound = Workload._begin

    def begin(self: Workload, now: float) -> None:
        self._void = 0
        sound(self, now)

    with patch.object(Workload, "_begin", begin):
        yield


@PLANTS.plant("what a runner that is away may have begun is given up before its lease has passed")
def _soon_dead() -> Iterator[None]:
    sound = Workload._decline

    def decline(self: Workload, now: float) -> None:
        self._dead_at = -inf
        sound(self, now)

    with patch.object(Workload, "_decline", decline):
        yield


@PLANTS.plant("a host that slept does not know that its lease has passed")
def _slept_through() -> Iterator[None]:
    sound = Tether._mind

    def mind(self: Tether, now: float, slept: float) -> None:
        sound(self, now, self._slept)

    with patch.object(Tether, "_mind", mind):
        yield
