"""Clients that submit tasks, cancel them, drain nodes and write schedules; what they were told is held against the
board of every node and against what really ran.

Its chances are its own: worlds without tasks stay what they are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace
from qluster.clients import Done, Refused, Superseded, TaskLooked, TaskRequested, Unconfirmed
from qluster.config.structure import Tasks
from qluster.events import Answer, Effects
from qluster.node import Node
from qluster.tasks import asking
from qluster.tasks.bodies import Schedule, Submission
from qluster.tasks.spec import Command, Need, Retry, Spec, Target
from qluster.tasks.task import Task

from sim.board_checks import BoardChecks
from sim.checks import Violated
from sim.ledger import Ledger
from sim.runner import SimRunner

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

SLOTS = 3
TICKETS_FROM = 1_000_000_000
ASK_INTERVAL = (0.05, 1.2)
END_SECONDS = 400.0
"""Simulated seconds in which all tasks must be over once nothing is disturbed: some are retried, some run for long."""
NOWHERE = "gone=yes"
"""A label that no node has."""


class Tasking:
    """All that has to do with tasks in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.random = Random(f"tasks {world.seed}")
        self.ledger = Ledger(world)
        self.board = BoardChecks(world, self.ledger)
        self._tickets = TICKETS_FROM
        self._asked: dict[int, TaskRequested] = {}
        self._told: dict[tuple[int, str], list[int]] = {}
        """Founding and idempotency key → the tasks that the answer named."""
        self.asking = False
        for host in world.hosts.values():
            if self.random.random() < 0.9:
                labels = {"disk": self.random.choice(["ssd", "hdd"]), "zone": self.random.choice("ab")}
                tasks = Tasks(slots=SLOTS, commands=("/bin/",), resources={"gpu": "2"}, labels=labels)
                host.config = host.proper = replace(host.config, tasks=tasks)
                host.runner = SimRunner(world, host, self.ledger)

    # --- clients ---------------------------------------------------------------------

    def ask_always(self) -> None:
        """One request after another, now here, now there."""
        self.asking = True
        self._ask()

    def _ask(self) -> None:
        if not self.asking:
            return
        host = self._somebody()
        if host is not None:
            key = f"task-{self._tickets}" if self.random.random() < 0.8 else ""
            self._request(host, TaskRequested(0, key, self._change()))
            if self.random.random() < 0.2:
                self._look(host)
        self._world.at(self._world.now + self.random.uniform(*ASK_INTERVAL), self._ask)

    def _somebody(self) -> Host | None:
        hosts = [host for host in self._world.hosts.values() if host.node is not None]
        leader = self._world.leader()
        if leader is not None and self.random.random() < 0.9:
            return leader
        return self.random.choice(hosts) if hosts else None

    def _request(self, host: Host, request: TaskRequested) -> None:
        self._tickets += 1
        request = TaskRequested(self._tickets, request.key, request.what)
        self._asked[request.ticket] = request
        host.give(request)

    def _look(self, host: Host) -> None:
        self._tickets += 1
        what = self.random.choice([asking.ListTasks(limit=5), asking.Overview(), asking.ListSchedules()])
        host.give(TaskLooked(self._tickets, what, "local"))

    def _change(self) -> asking.Change:
        random = self.random
        match random.choices(["submit", "cancel", "drain", "schedule"], [12, 3, 1, 1])[0]:
            case "cancel" if self.board.numbers:
                return asking.Cancel("sim", random.choice(self.board.numbers[-30:]), random.choice(["", "enough"]))
            case "drain":
                return self._drain(random.randint(1, 5), drained=random.random() < 0.5)
            case "schedule":
                schedule = Schedule("* * * * *", Submission(Spec(Command(("/bin/true",)))))
                return asking.WriteSchedule("sim", random.choice("xyz"), random.choice([schedule, None]))
        size = random.choice([1, 1, 1, 2, 5])
        return asking.Submit("sim", tuple(self._submission(place) for place in range(size)))

    def _drain(self, node: int, *, drained: bool) -> asking.Drain:
        return asking.Drain("sim", node, drained, self.random.choice([0.0, 1.0, 5.0]))

    def _submission(self, place: int) -> Submission:
        random = self.random
        once = random.random() < 0.25
        needs = ()
        if place and random.random() < 0.3:
            needs = (Need(-random.randint(1, place), random.choice(["success", "any", "failure"])),)
        elif self.board.numbers and random.random() < 0.1:
            needs = (Need(random.choice(self.board.numbers[-10:]), "any"),)
        wall = 1e9 + self._world.now
        start = wall + random.uniform(0, 8) if random.random() < 0.15 else 0.0
        group = random.choice(["", "", "", "g", "h"])
        spec = Spec(
            Command(("/bin/true", str(random.randint(0, 3)))), target=self._target(), priority=random.randint(0, 9),
            slots=random.choice([1, 1, 1, 2, 0]), resources=random.choice([(), (), (("gpu", 1),)]), start=start,
            expires=(start or wall) + random.uniform(2, 60) if random.random() < 0.15 else 0.0,
            retry=Retry(0 if once else random.choice([0, 1, 3]), 0.5, 2.0, 4.0), once=once,
            overlap=random.random() < 0.15, moved=random.choice(["stop", "restart", "stay"]), needs=needs, group=group,
            group_limit={"": 1, "g": 1, "h": 2}[group],
        )  # fmt: skip
        return Submission(spec, f"key-{random.randint(0, 40)}" if random.random() < 0.2 else "")

    def _target(self) -> Target:
        random = self.random
        where = random.choice(["", "", "", "disk=ssd", "zone!=b", NOWHERE])
        match random.choice(["any", "any", "any", "leader", "replica", "pooler", "each", "lag", "node"]):
            case "each":
                return Target(each=True, role=random.choice(["any", "replica"]))
            case "lag":
                return Target("replica", least_lag=True)
            case "node":
                return Target(nodes=(random.randint(1, 4),), fail=random.random() < 0.5)
            case role:
                return Target(role, where=where, pack=random.random() < 0.3, fail=random.random() < 0.3)

    # --- what they are told --------------------------------------------------------------

    def after_turn(self, host: Host, node: Node, effects: Effects) -> None:
        """A host has carried out what its node wanted."""
        for answer in effects.answer:
            self._answered(node, answer)
        self.board.after_turn(host, node)

    def _answered(self, node: Node, answer: Answer) -> None:
        request = self._asked.pop(answer.ticket, None)
        if request is None:
            return
        self._world.count(f"task {type(answer.outcome).__name__}", fault=False)
        match answer.outcome:
            case Done(index, detail) if isinstance(request.what, asking.Submit):
                numbers = list(detail["tasks"])  # type: ignore[call-overload]
                self._accepted(node, request, index, numbers)
            case Unconfirmed() | Superseded() if request.key and self._world.leader() is not None:
                leader = self._world.leader()
                assert leader is not None
                self._world.at(self._world.now + 0.3, lambda: self._request(leader, request))
            case Refused(_, reason, word, wrong) if word not in (
                "task-key-taken", "no-such-task", "no-such-node", "no-such-schedule", "no-such-template"):  # fmt: skip
                if not any("has passed" in fault for _, fault in wrong):
                    raise Violated(f"tasks: {request.what} was refused: {reason}")

    def _accepted(self, node: Node, request: TaskRequested, index: int, numbers: list[int]) -> None:
        if request.key:
            told = self._told.setdefault((node.cluster, request.key), numbers)
            if told != numbers:
                raise Violated(f"tasks: the key {request.key} was answered with {told} and with {numbers}")
        if len(numbers) != len(request.what.tasks):
            raise Violated(f"tasks: {len(request.what.tasks)} were asked for, and {numbers} accepted")
        for number in numbers:
            self.board.accepted(node, number, index)

    # --- the end -----------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Nothing is disturbed any more: every task ends, or has a reason that stands."""
        self.asking = False
        self._world.run(END_SECONDS, lambda: not self._lasting(), every=1.0)
        lasting = self._lasting()
        if lasting:
            task = lasting[0]
            what = f"task {task.id} is {task.state.name}: {task.reason}; {task}"
            raise Violated(f"tasks: {len(lasting)} do not end, {what}")
        for name, count in (("tasks accepted", len(self.board.numbers)), ("runs of tasks", self.ledger.all)):
            self._world.injected[name] = count

    def _lasting(self) -> list[Task]:
        leader = self._world.leader()
        if leader is None or leader.node is None:
            return [Task(0, Spec(Command(())), 0.0, "nobody leads")]
        board = leader.node.state.tasks
        for number in list(board.drained):
            self._request(leader, TaskRequested(0, "", asking.Drain("sim", number, False)))
        tasked = [host for host in self._world.hosts.values() if host.runner is not None and host.node is not None]
        return [task for task in board.live.values() if not self._stands(task, board.live, tasked)]

    def _stands(self, task: Task, live: dict[int, Task], hosts: list[Host]) -> bool:
        """No host that is there fits, or the task waits for one of which that is so."""
        if task.waits or task.parts:
            others = [live[other] for other in (*task.waits, *task.parts) if other in live]
            return any(self._stands(other, live, hosts) for other in others)
        return task.pending and not any(_fits(task.spec, host) for host in hosts)


def _fits(spec: Spec, host: Host) -> bool:
    """A slow, obvious second opinion of where a task could run."""
    node, target = host.node, spec.target
    if node is None or host.config.tasks is None or node.me not in {member.node for member in node.settled}:
        return False
    labels, reign = host.config.tasks.labels, node.state.reign
    right = {
        "any": True, "pooler": host.database is None, "leader": reign is not None and reign.node == node.me,
        "replica": host.database is not None and reign is not None and reign.node != node.me,
    }[target.role]  # fmt: skip
    wanted = {"": True, "disk=ssd": labels["disk"] == "ssd", "zone!=b": labels["zone"] != "b", NOWHERE: False}
    return right and wanted[target.where] and (not target.nodes or node.me in target.nodes) and spec.slots <= SLOTS
