"""Decides, on the node that leads, what the log is told of tasks: who gets which claim, whose claims are over.

Must not know how a task is run. A claim is taken from a node that says nothing only when its lease has passed, which
counts from its asking, and the time in which its runner kills. A new leader does not know what its predecessor
granted last: it counts from the moment at which it was ready, for no leave was given after that by another. From the
moment at which the end of a claim is put into the log its node gets no leave before it has read that.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from qluster.cluster import commands
from qluster.cluster.messages import Granted, Working
from qluster.consensus.refusals import Refusal
from qluster.tasks import bulk
from qluster.tasks.asking import FromTemplate
from qluster.tasks.board import NAMES, Board
from qluster.tasks.bodies import (
    Assigned,
    Begun,
    Ended,
    Failed,
    Gone,
    Held,
    ScheduleFired,
    ScheduleWritten,
    Step,
    Submission,
    TasksForgotten,
    TasksMoved,
    Verdict,
    Word,
)
from qluster.tasks.filling import made
from qluster.tasks.forgetting import Forgetting
from qluster.tasks.queue import STEPS_MAX, Queue
from qluster.tasks.routing import View
from qluster.tasks.schedules import Diary
from qluster.tasks.task import REASON_MAX
from qluster.working import CLAIM_LEASE, KILL_TIME

if TYPE_CHECKING:
    from qluster.consensus.members import Member
    from qluster.node import Node

log = logging.getLogger("qluster.dispatching")

READY = CLAIM_LEASE * 0.75
"""Seconds without a word after which a node gets no new tasks: its lease is near its end."""

WORDS_MAX = 4096
"""Words of nodes that wait for the log; who is not heard says it again."""

AGAIN = 0.05
"""Seconds at least between two looks that nothing but a date is the reason for."""

STEPS_SHARE = 0.75
"""Of the bytes of an entry that steps fill at most: the rest is for what encloses them."""

BARE = 50
"""Characters of a step's words, of four bytes at most, where it would else not fit into the smallest entry there can
be, 1024 bytes."""

SHY, SHY_MAX, SHY_OVER = 0.1, 5.0, 20.0
"""Seconds for which a node gets no claim after it did not begin one, the first time, doubled each time, and at most;
and after which the next time is a first one. It may have a reason that it does not know itself yet, as a host that
slept or a runner that is being stopped, and a task is given up after some claims."""

CLOCKS_INTERVAL = 10.0
"""Seconds between two looks whether schedules that a wrong clock has silenced may go on."""

CLOCKS_APART = 60.0
"""Seconds by which clocks that agree may differ: nobody has set them by the second, and reports take their time."""

LAG_UNKNOWN = 1 << 62


@dataclass(frozen=True, slots=True)
class _Heard:
    working: Working
    at: float


class Dispatching:
    """The leader's part."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._term = 0
        self._since = inf
        """Since when this node has led, all entries before its own applied."""
        self.queue: Queue | None = None
        self._diary = Diary({})
        self._forgetting = Forgetting(-inf)
        self._heard: dict[int, _Heard] = {}
        self._granted: dict[int, float] = {}
        self._words: dict[tuple[int, int, bool], Word] = {}
        self._shy: dict[int, tuple[float, float]] = {}
        """Node → until when it gets no claim, for it did not begin one, and for how long."""
        self._boots: dict[int, int] = {}
        """Node → how often its daemon was started, as far as is heard."""
        self._owed: dict[int, int] = {}
        """Node → index of the last entry that may tell what a former daemon of it said."""
        self._proposed = 0
        """Index of the last entry with steps that was proposed here."""
        self._barring: dict[int, int] = {}
        """Node → index of the entry, applied or not, with which a claim was taken from it."""
        self._stirred = True
        self._scene: object = None
        self._clocks_at = inf
        """When the clocks are compared again, because of a schedule that waits for a time that is far away."""
        self._looked_at = -inf

    @property
    def waiting(self) -> bool:
        """Steps are on their way into the log: what is planned beside them would take what they take."""
        return self._proposed > self._node.state.applied

    @property
    def wake_at(self) -> float:
        """When something is due without a word of anybody."""
        if self.queue is None or self.waiting:
            return inf
        wall = min(self.queue.wake_at, self._diary.wake_at)
        due = self._node.monotonic_of(wall) if wall < inf else inf
        silent = min((self._silent_at(node) for node, tasks in self.queue.on.items() if tasks), default=inf)
        unheard = self._known_at if self._looked_at < self._known_at and self._node.state.tasks.live else inf
        shy = min((until for until, _ in self._shy.values() if until > self._looked_at), default=inf)
        return max(min(due, silent, unheard, shy, self._forget_at, self._clocks_at), self._looked_at + AGAIN)

    @property
    def _forget_at(self) -> float:
        """When some of the tasks that are over are to be forgotten."""
        node, kept = self._node, self._node.config.cluster
        return self._forgetting.due_at(node.state.tasks, kept.task_history, kept.task_history_time, node.monotonic_of)

    @property
    def _known_at(self) -> float:
        """From then on a member that has said nothing runs no task: before, its word may be on its way."""
        return self._since + CLAIM_LEASE

    def receive(self, working: Working, now: float) -> None:
        """A node says what it does, and asks for leave to go on."""
        node = self._node
        if self.queue is None or node.qraft is None or not node.leads or node.qraft.term != self._term:
            return
        if working.term not in (0, self._term) or self._overtaken(working):
            return
        known = self._heard.get(working.node)
        self._stirred |= known is None or _offer(known.working) != _offer(working) or not self._ready(working.node, now)
        self._heard[working.node] = _Heard(working, now)
        for word in working.words:
            if len(self._words) < WORDS_MAX:
                self._words[word.task, word.fence, isinstance(word, Ended)] = word
        if self._may_go_on(working, now):
            self._granted[working.node] = now
            applied = max(node.state.applied, self._owed.get(working.node, 0))
            granted = Granted(node.cluster, node.me, working.node, working.sent, applied, node.wall(now))
            if working.node == node.me:
                node.tasking.workload.granted(granted, now)
            elif (address := node.address(working.node)) is not None:
                node.tell(granted, address, now)

    def _overtaken(self, working: Working) -> bool:
        """Whether this was said by a daemon that was started anew since. The new one knows nothing of what it did not
        begin, and decides anew: what the log has not heard of that yet is void, and what is on its way it reads first.
        """
        node, known = working.node, self._boots.get(working.node, 0)
        if working.boot > known:
            live, self._boots[node], self._owed[node] = self._node.state.tasks.live, working.boot, self._proposed
            self._words = {
                claim: word for claim, word in self._words.items() if claim[0] in live and live[claim[0]].node != node
            }
        return 0 < working.boot < known

    def _may_go_on(self, working: Working, now: float) -> bool:
        """Whether it gets leave. A claim of it that was ended without its word it must have read of first."""
        node = self._node
        assert node.qraft is not None
        read = max(node.state.tasks.barred.get(working.node, 0), self._barring.get(working.node, 0))
        return node.qraft.lease_until > now and working.applied >= read and node.settled.get(working.node) is not None

    def _ready(self, number: int, now: float) -> bool:
        granted = self._granted.get(number)
        return granted is not None and now < granted + READY

    def rebuild(self) -> None:
        """The board is another one."""
        if self.queue is not None:
            self.queue = Queue(self._node.state.tasks)
            self._diary = Diary(self._node.state.tasks.schedules)
            self._forgetting = Forgetting(self._looked_at)

    def changed(self, numbers: set[int]) -> None:
        """These tasks have changed."""
        self._stirred = True
        if self.queue is not None:
            for number in numbers:
                self.queue.note(number)
            if NAMES in numbers:
                self._diary.refresh(self._node.state.tasks.schedules)

    def _forget_term(self) -> None:
        """What was heard and said in an office."""
        self._heard, self._granted, self._words, self._barring, self._proposed = {}, {}, {}, {}, 0
        self._shy, self._boots, self._owed = {}, {}, {}

    def step(self, now: float) -> bool:
        """Tell the log what is due; True when it was told something."""
        node = self._node
        if not node.leads or node.qraft is None:
            if self.queue is not None:
                self.queue = None
                self._forget_term()
            return False
        if self.queue is None or self._term != node.qraft.term:
            self._term, self._since = node.qraft.term, now
            self._forget_term()
            self.queue = Queue(node.state.tasks)
            self._diary = Diary(node.state.tasks.schedules)
            self._forgetting = Forgetting(now)
            self._stirred = True
        if self.waiting or not self._due(now):
            return False
        if now >= self._forget_at and self._forget(now):
            return True  # alone: what else is said now may end tasks, and these would be counted anew
        self._looked_at, self._stirred = now, False
        fired = self._fire(now) | self._go_on(now)
        steps = self._steps(self.queue, now)
        self.queue.compact()
        return (bool(steps) and self._propose(steps, now)) or fired

    def _fire(self, now: float) -> bool:
        """Tell the log of dates of schedules that have come."""
        node = self._node
        board = node.state.tasks
        said = False
        for due in self._diary.due(board.schedules, board.live, round(node.wall(now), 3)):
            fired = _with_task(board, due)
            size = len(commands.encode(fired))
            if size > node.config.udp.max_log_size:  # its template has grown since the schedule was written
                most = node.config.udp.max_log_size
                reason = f"its task takes {size} bytes, an entry of the log {most}: put what is long into a file"
                fired = replace(due, skipped=reason)
            if not self._say(fired, now):
                break
            said = True
        return said

    def _go_on(self, now: float) -> bool:
        """Begin schedules anew that wait for a far date, where it is certain that the clock was wrong which set it."""
        node, said = self._node, False
        wall = round(node.wall(now), 3)
        ahead = self._diary.ahead(wall)
        self._clocks_at = now + CLOCKS_INTERVAL if ahead else inf
        if ahead and self.clock_stands(now):
            for name in ahead:
                schedule = node.state.tasks.schedules[name].schedule
                log.warning("schedule-goes-on name=%s hint=a clock was ahead when its last date was seen to", name)
                said |= self._say(ScheduleWritten(name, replace(schedule, since=wall), wall, anew=True), now)
        return said

    def clock_stands(self, now: float) -> bool | None:
        """Whether this node's clock is right by those of the others that vote; None: nobody can say."""
        node = self._node
        wall, others = node.wall(now), [one for one in node.settled.voters if one != node.me]
        theirs = [at for one in others if (at := node.reports.wall_of(one, now)) is not None]
        near = sum(abs(at - wall) <= CLOCKS_APART for at in theirs)
        if near and 2 * (near + 1) > len(others) + 1:
            return True
        return False if len(theirs) - near > near else None

    def _forget(self, now: float) -> bool:
        """Tell the log that the oldest tasks are forgotten."""
        node, kept = self._node, self._node.config.cluster
        count = self._forgetting.count(
            node.state.tasks, kept.task_history, kept.task_history_time, now, node.wall(now))  # fmt: skip
        return bool(count) and self._say(TasksForgotten(count), now)

    def _say(self, body: commands.Body, now: float, *, urgent: bool = False) -> bool:
        """Tell the log; False where it takes nothing now: all is found again at the next look."""
        node = self._node
        assert node.qraft is not None
        try:
            self._proposed, _ = node.qraft.propose("command", commands.encode(body), now, urgent=urgent)
        except Refusal as refusal:
            log.debug("put-off body=%s reason=%s", type(body).__name__, refusal.reason)
            return False
        return True

    def _due(self, now: float) -> bool:
        state = self._node.state
        scene = state.reign, state.tasks.drained, self._node.settled
        if self._scene != scene:  # where tasks may run has changed, though none of them has
            self._scene, self._stirred = (state.reign, dict(state.tasks.drained), self._node.settled), True
        if self.queue is not None and self._node.wall(now) < self.queue.looked:
            self._stirred = True  # somebody has set the clock back
        return self._stirred or bool(self._words) or now >= self.wake_at

    def _steps(self, queue: Queue, now: float) -> list[Step]:
        steps = [*self._said(now), *self._gone(queue, now)]
        if len(steps) < STEPS_MAX:
            steps += queue.plan(self.views(now), self._node.wall(now))
        return steps

    def _said(self, now: float) -> list[Step]:
        """Words of nodes whose claims stand, of each run its begin before its end."""
        live, words = self._node.state.tasks.live, list(self._valid_words())
        for node in {live[word.task].node for word in words if isinstance(word, Begun)}:
            self._shy.pop(node, None)
        unbegun = (word for word in words if isinstance(word, Ended) and word.verdict is Verdict.UNBEGUN)
        for node in {live[word.task].node for word in unbegun}:
            until, pause = self._shy.get(node, (-inf, 0.0))
            pause = SHY if now >= until + SHY_OVER else min(2 * pause, SHY_MAX)
            self._shy[node] = now + pause, pause
        return list(words)

    def _valid_words(self) -> Iterator[Word]:
        live, found = self._node.state.tasks.live, 0
        for key in sorted(self._words, key=lambda key: key[2]):
            word, task = self._words[key], live.get(key[0])
            valid = task is not None and task.claimed and task.fence == word.fence
            if not valid or (isinstance(word, Begun) and task is not None and task.began_at):
                del self._words[key]
            elif found < STEPS_MAX // 2:
                del self._words[key]
                found += 1
                yield word

    def _gone(self, queue: Queue, now: float) -> Iterator[Step]:
        """Claims of nodes whose leave is over."""
        live = self._node.state.tasks.live
        for node, numbers in queue.on.items():
            if numbers and now >= self._silent_at(node):
                log.warning("tasks-lost node=%d tasks=%d", node, len(numbers))
                for number in sorted(numbers)[: STEPS_MAX // 2]:
                    yield Gone(number, live[number].fence)

    def _silent_at(self, node: int) -> float:
        """When the claims of a node are over, if it says nothing more."""
        return self._granted.get(node, self._since) + CLAIM_LEASE + KILL_TIME

    def _propose(self, steps: list[Step], now: float) -> bool:
        node = self._node
        assert self.queue is not None
        steps, rest = _fitting(steps, int(node.config.udp.max_log_size * STEPS_SHARE))
        # Who has the claim begins when it knows: else that would wait for entries that follow.
        urgent = any(isinstance(step, Assigned) and step.node != node.me for step in steps)
        if not self._say(TasksMoved(round(node.wall(now), 3), tuple(steps)), now, urgent=urgent):
            self._put_back(steps + rest)
            return False
        live = node.state.tasks.live
        self._barring |= {live[step.task].node: self._proposed for step in steps if isinstance(step, Gone)}
        self._put_back(rest)
        return True

    def _put_back(self, steps: list[Step]) -> None:
        assert self.queue is not None
        self.queue.put_back(steps)
        for step in steps:
            if isinstance(step, Begun | Ended):
                self._words.setdefault((step.task, step.fence, isinstance(step, Ended)), step)

    # --- what the leader knows of the nodes ---------------------------------------------

    def views(self, now: float) -> list[View]:
        """The members, with what their claims take."""
        node = self._node
        positions = {member.node: self._position(member.node) for member in node.settled}
        newest = max((position for position in positions.values() if position is not None), default=0)
        found = []
        for member in node.settled:
            position = positions[member.node]
            found.append(self._view(member, LAG_UNKNOWN if position is None else newest - position, now))
        if self.queue is not None:
            self.queue.load(found)
        return found

    def _position(self, number: int) -> int | None:
        report = self._node.reports.last(number)
        if number == self._node.me:
            said = self._node.reports.said
            return said[1] if said is not None else None
        return report.database.position if report is not None and report.database is not None else None

    def _view(self, member: Member, lag: int, now: float) -> View:
        node = self._node
        heard = self._heard.get(member.node)
        working = heard.working if heard is not None else None
        reign, database = node.state.reign, member.db_port is not None and member.role == "node"
        role = "leader" if reign is not None and reign.node == member.node else "replica"
        passing = reign is None or reign.node != node.me  # who leads reigns, or is about to
        fault = working.fault if working is not None else ""
        ready = self._ready(member.node, now)
        if not fault and now < self._shy.get(member.node, (-inf, 0.0))[0]:
            fault = "it did not begin what it was given last"
        return View(
            member.node, role if database else "none", passing, working is not None or now >= self._known_at,
            working is not None, ready and not fault, fault, member.pool,
            member.node in node.state.tasks.drained, working.slots if working is not None else 0,
            working.resources if working is not None else {},
            (working.labels if working is not None else {}) | {"node": str(member.node), "ip": member.ip}, lag,
            dask=working.dask if working is not None else None,
        )  # fmt: skip


def _offer(working: Working) -> tuple[object, ...]:
    """What of a node's words changes where tasks may run."""
    return working.slots, working.resources, working.labels, working.fault, working.dask


def _fitting(steps: list[Step], size: int) -> tuple[list[Step], list[Step]]:
    """Those that fit into so many bytes, and the rest: words of programs may be long."""
    for place, step in enumerate(steps):
        size -= len(msgspec.msgpack.encode(step))
        if size < 0:
            # One that is alone too large has the words of a program, or a reason: they are cut, for it must be told.
            return (steps[:place], steps[place:]) if place else ([_bare(step)], steps[1:])
    return steps, []


def _bare(step: Step) -> Step:
    """With as many words as any entry has room for."""
    if isinstance(step, Ended):
        return replace(step, reason=step.reason[:BARE], result=replace(step.result, tail=step.result.tail[-BARE:]))
    return replace(step, reason=step.reason[:BARE]) if isinstance(step, Held | Failed) else step


def _with_task(board: Board, fired: ScheduleFired) -> ScheduleFired:
    """With the task that its template makes now, or why that makes none."""
    schedule = board.schedules[fired.name].schedule
    if fired.skipped:
        return fired
    own = schedule.submission.spec
    if not schedule.template:
        return replace(fired, skipped=bulk.overfull(board.text, bulk.text(own))[:REASON_MAX])
    found = made(board.templates, FromTemplate(schedule.template, schedule.parameters, own.name, priority=own.priority))
    if isinstance(found, Submission):
        full = bulk.overfull(board.text, bulk.text(found.spec))[:REASON_MAX]
        return replace(fired, skipped=full, spec=None if full else found.spec)
    wrong = "; ".join(f"{field}: {fault}" for field, fault in found or ())[:REASON_MAX]
    return replace(fired, skipped=wrong or f"there is no template {schedule.template} any more")
