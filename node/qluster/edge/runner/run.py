"""One run from its order to its end.

It must not know who ordered it. What is kept on disk is kept in threads; what must not wait is in the attendant.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from qluster.edge import clock
from qluster.edge.runner import kin
from qluster.edge.runner.attendant import HANGS
from qluster.edge.runner.capture import Budget, Capture
from qluster.edge.runner.flushing import Flushing
from qluster.edge.runner.forker import Forker
from qluster.edge.runner.groups import Groups
from qluster.edge.runner.line import Line
from qluster.edge.runner.plan import Bid, Born, Over, Plan, Stop, Tie, Unborn
from qluster.edge.runner.prepare import Preparing
from qluster.edge.runner.program import Unstartable
from qluster.edge.runner.record import Began, Record
from qluster.edge.runner.works import Works
from qluster.tasks.bodies import Result, Verdict
from qluster.tasks.reasons import judge, one_line, tail
from qluster.tasks.runner import RunBegan, RunEnded, StartRun, StopRun

log = logging.getLogger("qluster.runner")

DRAIN_LIMIT = 1.0
"""Seconds to read what is left in the pipes when nothing of the program runs any more."""


class World:
    """What all runs of a runner have in common."""

    def __init__(self, runs: str, works: Works, forker: Forker, groups: Groups, preparing: Preparing,
                 troubled: Callable[[OSError], None], orphaned: Callable[[], None]) -> None:  # fmt: skip
        self.runs = runs
        self.works = works
        self.forker = forker
        self.groups = groups
        self.preparing = preparing
        self.troubled = troubled
        """The disk does not take what is to be kept."""
        self.orphaned = orphaned
        """There is no forker any more."""
        self.flushing = Flushing()
        self.until = 0.0
        """End of the lease."""
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class ActiveRun:
    """A run that goes on."""

    def __init__(self, order: StartRun, world: World) -> None:
        self.order = order
        self.began_at = 0.0
        self._world = world
        self._name = f"{order.task}-{order.fence}"
        self.record = Record(world.runs, order.task, order.fence)
        self._stop: StopRun | None = None
        self._line: Line | None = None
        self._planned = False
        self._captures: list[Capture] = []

    async def live(self, began: Callable[[RunBegan], None]) -> RunEnded:
        """From the order to the end, which is kept on disk when this comes back, where it was begun."""
        try:
            ended = await self._live(began)
        except Unstartable as fault:
            ended = self._end(Verdict.UNSTARTABLE, str(fault))
        except OSError as error:
            log.error("run-broke run=%s error=%s", self._name, error)
            self._world.troubled(error)
            # Once its plan is told nobody knows whether it was begun: it is not said not to be.
            verdict = Verdict.VANISHED if self._planned else Verdict.UNBEGUN
            ended = self._end(verdict, f"the task runner: {error.strerror or error}")
        finally:
            for capture in self._captures:
                capture.close()
            if self._line is not None:
                self._line.close()
        return await self._keep(ended)

    def tie(self, until: float) -> None:
        """The lease reaches further."""
        if self.order.tied:
            self._say(Tie(until))

    def stop(self, order: StopRun) -> None:
        """It is not wanted any more; the first who said so is remembered."""
        if self._stop is None:
            self._stop = order
            self._say(Stop(order.grace))

    # --- its life --------------------------------------------------------------------------

    async def _live(self, began: Callable[[RunBegan], None]) -> RunEnded:
        world = self._world
        kept = asyncio.create_task(self._prepared())
        # Its attendant is forked while the disk takes the order, and waits for its plan.
        budget = Budget(self.order.limits.output)
        self._captures = [Capture(budget, reserve, world.troubled) for reserve in (budget.reserve, 0)]
        try:
            line = Line(world.forker.attendant(*(capture.writing for capture in self._captures)))
        except BrokenPipeError:
            await asyncio.wait([kept])
            world.orphaned()
            return self._end(Verdict.UNBEGUN, "the task runner is started anew")
        self._line = line
        for capture in self._captures:
            capture.handed_over()
        try:
            plan = await kept
        except OSError as error:
            world.troubled(error)
            return self._end(Verdict.UNBEGUN, f"the task runner cannot keep it: {error.strerror or error}")
        if self._stop is not None:
            return self._end(self._stop.verdict, self._stop.reason)
        if line.gone:
            return self._end(Verdict.UNBEGUN, "no process could be made to attend it: see the log of the task runner")
        for name, capture in zip(("stdout", "stderr"), self._captures, strict=True):
            capture.begin(self.record.path / name)
        self._planned = True
        self._say(replace(plan, until=world.until))
        if self._stop is not None:
            self._say(Stop(self._stop.grace))
        return await self._attend(line, plan, began)

    async def _prepared(self) -> Plan:
        plan, paths = await asyncio.to_thread(self._prepare)
        await self._world.flushing.flush(*paths)
        return plan

    def _prepare(self) -> tuple[Plan, tuple[Path, ...]]:
        paths = self.record.create(self.order)
        self._world.works.make(self._name)
        group = self._world.groups.open(self._name, self.order.limits)
        return self._world.preparing.plan(self.order, self.record, group, self._world.until), paths

    async def _attend(self, line: Line, plan: Plan, began: Callable[[RunBegan], None]) -> RunEnded:
        while (word := await line.word()) is not None:
            match word:
                case Born(pid, ticks):
                    self._born(pid, ticks, began)
                case Unborn(reason, late):
                    return self._end(Verdict.UNBEGUN if late else Verdict.UNSTARTABLE, reason)
                case Over():
                    return await self._over(word)
        # Somebody killed the attendant, and the kernel with it the program: what it had begun is found by its mark.
        self._world.groups.kill(self._name)
        await asyncio.to_thread(kin.until_nothing, lambda: kin.kill_marked(plan.mark) > 0, HANGS)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._world.forker.end_marked, plan.mark)
        return self._end(Verdict.VANISHED, "the process that attended it was killed")

    def _born(self, pid: int, ticks: int, began: Callable[[RunBegan], None]) -> None:
        self.began_at = clock.wall()
        with contextlib.suppress(OSError):  # less is known after a crash then
            self.record.began(Began(self.began_at, pid, ticks, self._world.boot))
        log.info("run-began run=%s attempt=%d pid=%d", self._name, self.order.attempt, pid)
        began(RunBegan(self.order.task, self.order.fence, self.began_at))

    async def _over(self, over: Over) -> RunEnded:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT):
                await asyncio.gather(*(capture.done for capture in self._captures))
        used = self._world.groups.used(self._name)
        cpu, memory = over.cpu, over.memory
        if used is not None:
            cpu, memory = max(cpu, used.cpu), used.memory or memory
        verdict, reason = judge(
            self.order, over.code, over.signal, over.cause, self._stop, short=used is not None and used.short,
            crowded=used is not None and used.crowded,
        )
        if over.left:
            log.error("run-hangs run=%s processes=%d hint=they are killed and do not go", self._name, over.left)
            reason += f"; {over.left} of its processes hang in the kernel, killed"
        output, errors = self._captures
        result = Result(
            over.code, over.signal, cpu, memory, over.seconds, (output.size, errors.size),
            tail(errors.tail, output.tail),
        )
        return self._end(verdict, reason, result)

    def _end(self, verdict: Verdict, reason: str, result: Result | None = None) -> RunEnded:
        order = self.order
        return RunEnded(
            order.task, order.fence, verdict, clock.wall(), one_line(reason), result or Result(), self.began_at
        )

    async def _keep(self, ended: RunEnded) -> RunEnded:
        if self._world.groups.usable:
            await asyncio.to_thread(self._world.groups.remove, self._name)
        try:
            if self.record.path.exists():
                await self._world.flushing.flush(*await asyncio.to_thread(self.record.ended, ended))
        except OSError as error:
            # The log of the cluster will have it. If this runner dies before, the run will be said to have vanished.
            log.error("run-end-not-kept run=%s error=%s", self._name, error)
            self._world.troubled(error)
        log.info("run-ended run=%s verdict=%s reason=%s", self._name, ended.verdict.name.lower(), ended.reason or "-")
        return ended

    def _say(self, bid: Bid) -> None:
        if self._line is not None:
            self._line.say(bid)


def clear_leftovers(record: Record, groups: Groups, mark: str, boot: str) -> bool:
    """Kill all that a former runner left of a run; True when something was met. It waits: call it in a thread."""
    if not end_leftovers(record, groups, mark, boot):
        return False
    kin.until_nothing(lambda: end_leftovers(record, groups, mark, boot), HANGS)
    return True


def end_leftovers(record: Record, groups: Groups, mark: str, boot: str) -> bool:
    """Kill what a former runner left of a run; True when something was met."""
    groups.kill(record.path.name)
    met = 0
    birth = record.birth()
    if birth is not None and birth.boot == boot:
        found = kin.relative(birth.pid)
        if found is not None and found.ticks == birth.ticks:
            kin.send_group(birth.pid, 9)
            kin.send(birth.pid, 9)
            met += 1
    return met + kin.kill_marked(mark) > 0
