"""Decides what this node does for the tasks to which it has the claim: begin, stop, tell.

Must not know how a program is run: that is the task runner of the host, a process of its own, which outlives the
daemon. Nothing is begun here without a lease. It reaches so far from the moment at which the leader was asked for
it; who asks for none any more has no run left that must not run twice when it ends: the runner sees to that by
itself. Only after that the leader gives the claims to others (``dispatching.py``).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from qluster.cluster.messages import Granted, Working
from qluster.tasks import runner
from qluster.tasks.bodies import Begun, Ended, Verdict, Word
from qluster.tasks.reasons import one_line
from qluster.tasks.runner import ForgetRun, Lease, Met, Order, Own, RunnerFound, StartRun, StopRun
from qluster.tasks.task import REASON_MAX, Task

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.working")

CLAIM_LEASE = 10.0
"""Seconds from asking the leader until runs are stopped that must not run twice: long enough for a daemon that is
started anew and for several elections, short enough that the tasks of a dead host do not wait long."""

KILL_TIME = 2.0
"""Seconds after the end of a lease until its runs are dead for certain: the runner needs milliseconds, on a host
that is busy perhaps a second."""

RENEWALS = 4
"""So often within a lease it is asked for anew: two lost datagrams in a row cost nothing."""

WORD_INTERVAL = 0.2
"""Seconds after which words are said again that have not come into the log: an election takes longer anyway."""

ASK_INTERVAL = 0.5
"""Seconds after which a leader that gave no leave is asked again: it may have been elected just now."""

WORDS_MAX = 64
"""Words of one message, with half a kilobyte each at most."""

Claim = tuple[int, int]
"""Task and fencing number."""


class Workload:
    """The runs of this host as the node knows them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.fault = "the task runner has not been heard of yet"
        """Why nothing is begun here; "" when it is."""
        self._runs: dict[Claim, Verdict | None] = {}
        """Runs of the runner; the verdict with which one is being stopped."""
        self._ended: set[Claim] = set()
        self._words: dict[Claim, list[Word]] = {}
        self._fresh = self._found_unowned = False
        self._known = False
        """The runner has said which runs it has, and they are this node's."""
        self._knew = False
        """It had once: since then nothing has been begun that is not known here."""
        self._abreast: int | None = None
        """Up to here this node must have read the log before it begins anything: what it told of before its daemon was
        started anew may stand there. None: no leader has said it yet."""
        self._void = 0
        """The largest fencing number of claims that may have been begun by a runner that has forgotten all."""
        self._dead_at = node.started + CLAIM_LEASE + KILL_TIME
        """While the runner is away: from then on nothing runs that it was told to begin, and that is tied."""
        self.until = -inf
        """End of the lease."""
        self._asked_at = self._said_at = -inf
        self._asked_first = inf
        """What was asked for earlier was asked for by another daemon, which may have told of what it had since."""
        self._dates_ahead: float | None = None
        """Leader's wall clock less this node's monotonic one, at least: by its dates tasks are begun or not."""
        self._leader = 0
        self._orders: list[Order] = []
        self._mine: set[int] = set()
        """Tasks to which this node has the claim."""
        self._unbegun: set[int] = set()
        """Of these the ones that are to be begun, as far as was not looked yet."""
        self._touched: set[int] = set()
        """Tasks that have changed since it was looked which runs are to go on: with a thousand runs a look at each of
        them takes most of a millisecond, and each entry of the log asks for it."""
        self._scene: object = None
        """What decides for all runs, at that look; None: all of them are to be looked at."""

    @property
    def enabled(self) -> bool:
        """This host runs tasks."""
        return self._node.config.tasks is not None

    @property
    def claims(self) -> int:
        """To so many tasks this node has the claim, begun or not."""
        return len(self._mine)

    @property
    def wake_at(self) -> float:
        """When there is something to be said, or a lease ends."""
        if not self.enabled or not self._leads():
            return inf  # who leads next is an event
        return min(self._ask_at, self._said_at + WORD_INTERVAL) if self._words else self._ask_at

    @property
    def _ask_at(self) -> float:
        """When the leader is asked again."""
        answered = self.until >= self._asked_at + CLAIM_LEASE
        return self._asked_at + (CLAIM_LEASE / RENEWALS if answered else ASK_INTERVAL)

    def _leads(self) -> int:
        """Whom to talk to: who leads, if its version knows of tasks."""
        node = self._node
        leader = node.qraft.leader if node.qraft is not None else None
        report = node.reports.last(leader) if leader is not None else None
        knows = leader == node.me or (report is not None and report.tasks)
        return leader if leader is not None and knows else 0

    def take(self) -> list[Order]:
        """What the runner is to do."""
        orders, self._orders = self._orders, []
        return orders

    # --- what comes in -----------------------------------------------------------------

    def heard(self, what: runner.Happening, now: float) -> None:
        """The runner says something."""
        match what:
            case RunnerFound(runs, _, fault, owner, line, void):
                self._orders.append(Met(line))
                self._void = void
                self._found(runs, fault, owner, now)
            case runner.RunBegan() | runner.RunEnded() if not self._known:
                pass  # another node's, or another founding's: here the same numbers are other claims
            case runner.RunBegan(task, fence, at):
                self._say((task, fence), Begun(task, fence, at))
            case runner.RunEnded():
                self._over(what)
            case runner.RunnerFault(fault):
                self.fault = fault if self._known else self.fault
            case runner.RunnerLost(reason):
                self._dead_at = max(self._dead_at, self.until + KILL_TIME)
                self._known, self.fault = False, reason

    def _found(self, runs: tuple[runner.Run, ...], fault: str, owner: tuple[int, int], now: float) -> None:
        """It is there, perhaps as another process than before: what it does not have does not run."""
        own = self._node.cluster, self._node.me
        if owner != own or not self._node.me:
            # Of another founding, or of this host's former identity: numbers of tasks and claims may be the same. Who
            # is no node yet owns nothing: what nobody owns would be taken for his, and for another's when he is one.
            self._known, self._found_unowned = False, True
            self.fault = "the task runner has runs of another node" if any(owner) else "the task runner is new here"
            return
        self._known = self._knew = True
        self.fault = fault
        # What was said already is so: a claim that was said to be over is not begun after all.
        self._ended = {claim for claim, words in self._words.items() if any(isinstance(one, Ended) for one in words)}
        self._runs, self._unbegun, self._scene = {}, set(self._mine), None
        for run in runs:
            claim = run.task, run.fence
            self._runs[claim] = None
            if run.ended is not None:
                self._over(run.ended)
            elif run.began_at:
                self._say(claim, Begun(run.task, run.fence, run.began_at))
        if now < self.until:
            self._orders.append(Lease(self.until))

    def _over(self, ended: runner.RunEnded) -> None:
        claim = ended.task, ended.fence
        self._ended.add(claim)
        if ended.began_at:
            self._say(claim, Begun(ended.task, ended.fence, ended.began_at))
        verdict = Verdict.UNBEGUN if ended.verdict is Verdict.MOVED and not ended.began_at else ended.verdict
        reason = one_line(ended.reason)[:REASON_MAX]  # no more of it is kept, and words must fit into a message
        self._say(claim, Ended(ended.task, ended.fence, verdict, ended.at, reason, ended.result))

    def _say(self, claim: Claim, word: Word) -> None:
        words = self._words.setdefault(claim, [])
        if not any(type(one) is type(word) for one in words):
            words.append(word)
            self._fresh = True

    def granted(self, granted: Granted, now: float) -> None:
        """The leader has given leave, for a time that counts from the asking."""
        until = granted.sent + CLAIM_LEASE
        if granted.to == self._node.me and until > self.until and self._asked_first <= granted.sent <= self._asked_at:
            self.until = until
            self._dates_ahead = granted.wall - now if granted.wall else None
            # Each leave alone says how far is far enough; what an earlier leader had put last may never have come.
            self._abreast = granted.applied if self._abreast is None else min(self._abreast, granted.applied)
            if self._known:
                self._orders.append(Lease(until))

    # --- what is to be done ---------------------------------------------------------------

    def rebuild(self) -> None:
        """The board is another one."""
        self._mine = {task.id for task in self._node.state.tasks.live.values() if self._own(task)}
        self._unbegun, self._scene = set(self._mine), None

    def changed(self, numbers: set[int]) -> None:
        """These tasks have changed."""
        live = self._node.state.tasks.live
        self._touched |= numbers if self._known else set()
        for number in numbers:
            task = live.get(number)
            if task is not None and self._own(task):
                self._mine.add(number)
                self._unbegun.add(number)
            else:
                self._mine.discard(number)
                self._unbegun.discard(number)

    def _own(self, task: Task) -> bool:
        return task.claimed and task.node == self._node.me

    def step(self, now: float) -> None:
        """Begin and stop what is to be, and tell the leader."""
        if not self.enabled:
            return
        if self._found_unowned and self._node.me and self._abreast is not None:
            # Not before a leave has said how far a former daemon may have read: what that had begun is forgotten.
            self._found_unowned = False
            void = max(self._node.state.applied, self._abreast)
            heritage = tuple((one.former, one.index) for one in self._node.state.forced)
            self._orders.append(Own((self._node.cluster, self._node.me), void, heritage))
        if self._known:
            self._begin(now)
            self._end(now)
        else:
            self._decline(now)
        self._forget()
        self._tell(now)

    def _begin(self, now: float) -> None:
        state = self._node.state
        if now >= self.until or self._node.stopping or self._abreast is None or state.applied < self._abreast:
            return
        live = state.tasks.live
        unbegun, self._unbegun = sorted(self._unbegun), set()
        for number in unbegun:
            task = live[number]
            claim = number, task.fence
            if claim in self._runs or claim in self._ended:
                continue
            verdict, reason = self._unbeginnable(task, now)
            if verdict is not None:
                word = Ended(number, task.fence, verdict, self._node.wall(now), reason)
                self._ended.add(claim)
                self._say(claim, word)
                continue
            self._runs[claim] = None
            self._orders.append(self._start(task))

    def _decline(self, now: float) -> None:
        """Without a runner nothing is begun: what it was never told to begin may be another node's. What it may have
        begun is dead when the last lease that it was told of has passed: it may be away for good."""
        for number in sorted(self._mine):
            claim = number, self._node.state.tasks.live[number].fence
            unbegun = self._knew and claim not in self._runs
            if claim not in self._ended and (unbegun or now >= self._dead_at):
                self._ended.add(claim)
                verdict = Verdict.UNBEGUN if unbegun else Verdict.VANISHED
                self._say(claim, Ended(*claim, verdict, self._node.wall(now), self.fault))

    def _unbeginnable(self, task: Task, now: float) -> tuple[Verdict | None, str]:
        """Why a task that this node has the claim to is not begun here."""
        if task.began_at:
            return Verdict.VANISHED, "the task runner does not know it any more"
        forced = self._node.state.forced
        if forced and task.fence <= forced[-1].index:
            return Verdict.VANISHED, "quorum was forced since it was given, and what ran here was killed then"
        if task.fence <= self._void:
            return Verdict.VANISHED, "what the task runner had kept of its runs is gone"
        verdict, reason = self._unwanted(task, now)
        if verdict is Verdict.MOVED:  # what never began has nothing to lose by being begun where the role is now
            return Verdict.UNBEGUN, reason
        if verdict is None and self.fault:
            return Verdict.UNBEGUN, self.fault
        if verdict is None and task.spec.expires and self._date(now) >= task.spec.expires:
            return Verdict.UNBEGUN, "its time has passed"
        return verdict, reason

    def _date(self, now: float) -> float:
        """The date by the clock of who leads, as all that is decided by dates: this host's may be wrong."""
        return self._node.wall(now) if self._dates_ahead is None else now + self._dates_ahead

    def _start(self, task: Task) -> StartRun:
        node, spec = self._node, task.spec
        told = {
            "QLUSTER_CLUSTER": node.config.cluster.name,
            "QLUSTER_NODE": str(node.me),
            "QLUSTER_TASK_ID": str(task.id),
            "QLUSTER_TASK_NAME": spec.name,
            "QLUSTER_TASK_ATTEMPT": str(task.claims),
            "QLUSTER_TASK_FENCE": str(task.fence),
            "QLUSTER_TASK_FOUNDING": str(node.cluster),
        }
        return StartRun(
            task.id, task.fence, task.claims, spec.work, spec.template, spec.limits, spec.time_limit,
            not spec.overlap, spec.name, tuple(told.items()),
        )  # fmt: skip

    def _end(self, now: float) -> None:
        """Stop what is not to go on."""
        live = self._node.state.tasks.live
        scene, touched = self._decides(now), self._touched
        whole = scene != self._scene
        if not whole and not touched:
            return
        self._scene, self._touched = scene, set()
        for claim in [claim for claim in self._runs if whole or claim[0] in touched]:
            if self._runs[claim] is not None or claim in self._ended:
                continue
            if not self._read(claim):
                self._scene = None
                continue
            task = live.get(claim[0])
            own = task is not None and self._own(task) and task.fence == claim[1]
            if own and task is not None:
                verdict, reason = self._unwanted(task, now)
            else:
                verdict, reason = Verdict.CANCELLED, "its claim is over"
            if verdict is not None:
                self._runs[claim] = verdict
                self._orders.append(StopRun(*claim, verdict, reason))

    def _decides(self, now: float) -> object:
        """What of the node decides whether runs go on, beside the tasks themselves."""
        node, reign = self._node, self._node.state.reign
        drained = node.state.tasks.drained.get(node.me)
        over = drained is not None and bool(drained.deadline) and self._date(now) >= drained.deadline
        return node.me, reign is not None and reign.node == node.me, drained, over

    def _read(self, claim: Claim) -> bool:
        """This node has read the entry that gave the claim: before, the log says nothing of it."""
        return self._node.state.applied >= claim[1]

    def _unwanted(self, task: Task, now: float) -> tuple[Verdict | None, str]:
        """Why a task that this node has the claim to is not to run here (any longer)."""
        node = self._node
        if task.cancelled:
            return Verdict.CANCELLED, task.cancelled
        role = node.state.tasks.role(task)
        if role in ("leader", "replica") and (task.spec.moved != "stay" or not task.began_at):
            reigns = node.state.reign is not None and node.state.reign.node == node.me
            if reigns != (role == "leader"):
                return Verdict.MOVED, f"node {node.me} is {'the' if reigns else 'no'} leader"
        drained = node.state.tasks.drained.get(node.me)
        if drained is not None and drained.deadline and self._date(now) >= drained.deadline:
            return Verdict.DRAINED, f"node {node.me} was drained by {drained.by}"
        return None, ""

    def _forget(self) -> None:
        """What the log has of a run need not be said any more, and the runner need not keep it."""
        live = self._node.state.tasks.live
        for claim in list(self._words):
            task = live.get(claim[0])
            if not self._read(claim):
                continue
            if task is None or not self._own(task) or task.fence != claim[1]:
                del self._words[claim]
            elif task.began_at:
                self._words[claim] = [word for word in self._words[claim] if not isinstance(word, Begun)]
                if not self._words[claim]:
                    del self._words[claim]
        for claim in [claim for claim in self._ended if claim not in self._words]:
            self._ended.discard(claim)
            if self._runs.pop(claim, self) is not self:
                self._orders.append(ForgetRun(*claim))

    def _tell(self, now: float) -> None:
        """The leader hears what is new here, and is asked for a longer lease."""
        node = self._node
        leader = self._leads()
        renew = now >= self._ask_at or leader != self._leader
        again = bool(self._words) and (self._fresh or now >= self._said_at + WORD_INTERVAL)
        if not leader or not (renew or again):
            return
        self._leader, self._fresh = leader, False
        self._said_at = self._asked_at = now
        self._asked_first = min(self._asked_first, now)
        words = [word for claim in list(self._words)[:WORDS_MAX] for word in self._words[claim]][:WORDS_MAX]
        tasks = node.config.tasks
        assert tasks is not None
        working = Working(
            node.cluster, node.me, now, node.state.applied, tasks.slots, tasks.amounts, tasks.labels,
            "it is stopping" if node.stopping else self.fault[:REASON_MAX], tuple(words),
            bool(tasks.dask_python), node.qraft.term if node.qraft is not None else 0, node.boot,
        )  # fmt: skip
        if leader == node.me:
            node.tasking.dispatching.receive(working, now)
        elif (address := node.address(leader)) is not None:
            node.tell(working, address, now)
