"""What a leader makes of requests about tasks, and what there is to see of them then."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fuzz import examples, lone
from fuzz.lone import FOUNDING, UID, Lone
from msgspec.structs import replace
from qluster.api.tasks import read_schedule, read_tasks, read_template
from qluster.clients import Busy, Done, NotLeader, Outcome, Refused, TaskLooked, TaskRequested
from qluster.cluster import messages as telling
from qluster.config.structure import Tasks
from qluster.looking import SCANNED_MAX
from qluster.tasked import SlotsStatus
from qluster.tasks import asking, bulk
from qluster.tasks.bodies import Assigned, Gone, Submission, TaskCancelled, TasksForgotten, TasksMoved, TasksSubmitted
from qluster.tasks.routing import View
from qluster.tasks.spec import Command, Spec

REPORT = next(one for one in examples.TELLING if isinstance(one, telling.Report))
TRUE = {"command": ["/bin/true"]}


class Cluster:
    """A leader whose followers know of tasks and confirm what it says."""

    def __init__(self) -> None:
        self.lone = lone.leader()
        self.tickets = 100
        for number in (2, 3, 4):
            self.lone.report(UID + number, replace(REPORT, cluster=FOUNDING, node=number, tasks=True))

    @property
    def board(self) -> Any:
        return self.lone.node.state.tasks

    def ask(self, what: asking.Change, key: str = "") -> Outcome:
        self.tickets += 1
        return answer(self.lone, TaskRequested(self.tickets, key, what))

    def look(self, what: asking.Look) -> Outcome:
        self.tickets += 1
        return answer(self.lone, TaskLooked(self.tickets, what, "local"))

    def seen(self, what: asking.Look) -> dict[str, Any]:
        outcome = self.look(what)
        assert isinstance(outcome, Done), outcome
        return outcome.detail

    def submit(self, *documents: dict[str, Any], key: str = "", check: bool = False) -> Outcome:
        tasks, faults = read_tasks({"tasks": list(documents)})
        assert faults == []
        return self.ask(asking.Submit("anna", tasks, check), key)

    def deploy(self, name: str, document: dict[str, Any]) -> Outcome:
        template, faults = read_template(document, name)
        assert faults == []
        return self.ask(asking.WriteTemplate("anna", name, template))

    def schedule(self, name: str, document: dict[str, Any]) -> Outcome:
        schedule, filling, faults = read_schedule(document, "anna")
        assert faults == []
        return self.ask(asking.WriteSchedule("anna", name, schedule, filling))


def answer(node: Lone, request: TaskRequested | TaskLooked) -> Outcome:
    node.ask(request)
    for _ in range(3):
        if request.ticket not in node.answers:
            node.cooperate(UID + 2)
    return node.answers[request.ticket]


def numbers(outcome: Outcome) -> Any:
    assert isinstance(outcome, Done), outcome
    return outcome.detail["tasks"]


def refused(outcome: Outcome) -> dict[str, str]:
    assert isinstance(outcome, Refused), outcome
    return dict(outcome.faults)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_tasks_have_numbers_also_when_the_request_comes_again(cluster: Cluster) -> None:
    first = cluster.submit(TRUE, TRUE, key="k-1")
    assert numbers(first) == [1, 2]
    again = cluster.submit(TRUE, TRUE, key="k-1")
    assert isinstance(again, Done) and again.detail == {"repeated": True, "tasks": [1, 2]}
    other = cluster.submit(TRUE, key="k-1")
    assert isinstance(other, Refused) and other.word == "key-reused"
    keyed = cluster.submit({**TRUE, "key": "t"})
    assert numbers(keyed) == numbers(cluster.submit({**TRUE, "key": "t"})) == [3]
    another = cluster.submit({"command": ["/bin/false"], "key": "t"})
    assert isinstance(another, Refused) and another.word == "task-key-taken"


def test_nothing_is_taken_on_before_all_know_of_tasks(cluster: Cluster) -> None:
    cluster.lone.report(UID + 3, replace(REPORT, cluster=FOUNDING, node=3, tasks=False))
    outcome = cluster.submit(TRUE)
    assert isinstance(outcome, Busy) and "nodes 3 " in outcome.reason


def test_only_the_leader_takes_tasks_and_every_node_shows_them() -> None:
    follower = lone.follower()
    assert isinstance(answer(follower, TaskRequested(1, "", asking.Submit("", ()))), NotLeader)
    assert isinstance(answer(follower, TaskLooked(2, asking.ListTasks(), "leader")), NotLeader)
    outcome = answer(follower, TaskLooked(3, asking.Overview(), "local"))
    assert isinstance(outcome, Done)
    assert [node["slots"] for node in outcome.detail["nodes"]] == [None] * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(("document", "field"), [
    ({"command": ["true"]}, "command"), ({**TRUE, "target": {"where": "disk=="}}, "target.where"),
    ({**TRUE, "expires": "2001-01-01T00:00:00Z"}, "expires"), ({**TRUE, "needs": [-2]}, "needs"),
    ({**TRUE, "start": "2100-01-02T00:00:00Z", "expires": "2100-01-01T00:00:00Z"}, "expires"),
    ({**TRUE, "once": True, "retry": {"attempts": 1}}, "retry"), ({**TRUE, "needs": [-1]}, "needs"),
    ({**TRUE, "environment": {"LD_PRELOAD": "/tmp/x"}}, "environment"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_field(cluster: Cluster, document: Any, field: str) -> None:
    assert set(refused(cluster.submit(document))) == {field}
    assert not cluster.board.live


def test_a_circle_is_refused(cluster: Cluster) -> None:
    needing = [{**TRUE, "needs": [-3]}, {**TRUE, "needs": [-1]}, {**TRUE, "needs": [-2]}, TRUE]
    assert "tasks 1, 2, 3 of the request need each other" in refused(cluster.submit(*needing))["needs"]
    assert numbers(cluster.submit(TRUE, {**TRUE, "needs": [-1]}, {**TRUE, "needs": [-1, -2]})) == [1, 2, 3]
    assert refused(cluster.submit(TRUE, {**TRUE, "needs": [-2]}))["needs"].startswith("task 2 of the request needs it")
    unknown = cluster.submit({**TRUE, "needs": [99]})
    assert isinstance(unknown, Refused) and unknown.word == "no-such-task"


def test_a_request_that_does_not_fit_into_the_log(cluster: Cluster) -> None:
    outcome = cluster.submit(*[{"sql": "x" * 30_000}] * 3)
    assert isinstance(outcome, Refused) and outcome.word == "too-large-for-log"
    assert outcome.reason.endswith("max-log-size is 64000; the first 2 of its 3 tasks would fit")
    assert not cluster.board.live
    checked = cluster.submit(*[{"sql": "x" * 30_000}] * 3, check=True)
    assert isinstance(checked, Refused) and checked.word == "too-large-for-log"
    variables = {f"v{at}": "x" * 30_000 for at in range(3)}
    outcome = cluster.submit({"sql": "select 1", "variables": variables})
    assert isinstance(outcome, Refused) and "it is one task, and that is too large" in outcome.reason


def test_what_is_not_over_holds_no_more_text_than_nodes_can_bear(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LIVE_TEXT_MAX", 100_000)
    for _ in range(3):
        assert isinstance(cluster.submit({"sql": "x" * 30_000}), Done)
    outcome = cluster.submit({"sql": "x" * 30_000})
    assert isinstance(outcome, Refused) and outcome.word == "too-many-tasks"
    assert "wait, cancel some" in outcome.reason
    assert isinstance(cluster.ask(asking.Cancel("anna", 1)), Done)
    assert isinstance(cluster.submit({"sql": "x" * 30_000}), Done)
    every = {"sql": "x" * 3000, "target": {"each": True}}
    assert isinstance(cluster.submit(every), Refused), "each of its parts would hold as much"


def test_a_template_is_filled_in(cluster: Cluster) -> None:
    dump = {"task": {"command": ["/bin/dump", "{db}"], "priority": 2, "name": "dump"},
            "parameters": {"db": {"pattern": "[a-z]+"}}}  # fmt: skip
    assert isinstance(cluster.deploy("dump", dump), Done)
    one = {"template": "dump", "parameters": {"db": "orders"}, "priority": 7, "key": "k"}
    assert numbers(cluster.submit(one, {"template": "dump", "parameters": {"db": "b"}, "name": "x"})) == [1, 2]
    first, second = (cluster.board.find(number).spec for number in (1, 2))
    assert first == Spec(Command(("/bin/dump", "orders")), "dump", "dump", priority=7)
    assert (second.name, second.priority, second.template) == ("x", 2, "dump")
    assert "does not match" in refused(cluster.submit({"template": "dump", "parameters": {"db": "-x"}}))["parameters"]
    assert refused(cluster.submit({"template": "dump"})) == {"parameters": "db is missing"}
    unknown = cluster.submit({"template": "restore"})
    assert isinstance(unknown, Refused) and unknown.word == "no-such-template"
    assert list(cluster.seen(asking.ListTemplates("dump"))["templates"]) == ["dump"]
    gone = cluster.look(asking.ListTemplates("restore"))
    assert isinstance(gone, Refused) and gone.word == "no-such-template"


def test_a_task_is_listed_shown_and_cancelled(cluster: Cluster) -> None:
    cluster.submit({**TRUE, "name": "a"}, {**TRUE, "name": "b", "key": "kb"})
    assert [one["task"] for one in cluster.seen(asking.ListTasks())["tasks"]] == [2, 1]
    assert [one["task"] for one in cluster.seen(asking.ListTasks(name="a"))["tasks"]] == [1]
    assert [one["task"] for one in cluster.seen(asking.ListTasks(key="kb"))["tasks"]] == [2]
    shown = cluster.seen(asking.ShowTask(1))["task"]
    assert shown["by"] == "anna" and shown["why"].startswith("no node can run it")
    outcome = cluster.ask(asking.Cancel("anna", 1, "a mistake"))
    assert isinstance(outcome, Done) and outcome.index > 0
    assert outcome.detail == {"task": 1, "state": "cancelled", "changed": True}
    assert cluster.seen(asking.ShowTask(1))["task"]["why"] == "anna cancelled it: a mistake"
    assert [one["task"] for one in cluster.seen(asking.ListTasks(states=("cancelled",)))["tasks"]] == [1]
    assert [one["task"] for one in cluster.seen(asking.ListTasks(states=("waiting", "submitted")))["tasks"]] == [2]
    unknown = cluster.ask(asking.Cancel("anna", 9))
    assert isinstance(unknown, Refused) and unknown.word == "no-such-task"


def test_pages_follow_each_other_without_a_gap(cluster: Cluster) -> None:
    board = cluster.board
    for index in range(1, 41):
        board.apply(TasksSubmitted(1.0, "me", tuple([Submission(Spec(Command(("/bin/true",))))] * 200)), index)
    for number in range(1, 8001, 2):
        board.apply(TaskCancelled(number, 2.0, "me"), 41)
    board.apply(TasksForgotten(500), 42)
    found: list[int] = []
    before, pages = 0, 0
    while pages == 0 or before:
        page = cluster.seen(asking.ListTasks(before=before, limit=1000))
        found += [one["task"] for one in page["tasks"]]
        before, pages = page["next"], pages + 1
    assert found == [number for number in range(8000, 0, -1) if number % 2 == 0 or number > 1000]
    assert pages == 8
    # What is sought is far down: the request ends where it has looked long enough, and says so.
    for number in range(2, 8001, 2):
        board.apply(TaskCancelled(number, 2.0, "me"), 43)
    page = cluster.seen(asking.ListTasks(name="nobody"))
    assert page == {"tasks": [], "next": 8000 - SCANNED_MAX + 1}
    assert cluster.seen(asking.ListTasks(name="nobody", before=page["next"])) == {"tasks": [], "next": None}


def test_a_schedule_knows_its_template(cluster: Cluster) -> None:
    assert isinstance(cluster.deploy("t", {"task": TRUE}), Done)
    assert isinstance(cluster.schedule("s", {"cron": "0 3 * * *", "task": {"template": "t"}}), Done)
    fired, *_ = cluster.seen(asking.ListSchedules("s"))["schedules"]["s"]
    assert (fired.schedule.template, fired.schedule.submission.spec.template) == ("t", "t")
    assert fired.schedule.since == pytest.approx(2e9, abs=1000)
    unknown = cluster.schedule("s", {"cron": "0 3 * * *", "task": {"template": "u"}})
    assert isinstance(unknown, Refused) and unknown.word == "no-such-template"


def test_the_sum_of_it(cluster: Cluster) -> None:
    cluster.submit(TRUE, TRUE)
    cluster.board.apply(TasksMoved(2e9, (Assigned(1, 2),)), 1_000_000)
    assert isinstance(cluster.ask(asking.Drain("anna", 3, True, 60.0)), Done)
    found = cluster.seen(asking.Overview())
    assert found["states"]["assigned"] == 1
    by_node = {one["node"]: one for one in found["nodes"]}
    assert (by_node[2]["running"], by_node[2]["used"], by_node[3]["drained"]) == (1, 1, True)
    assert msgspec.json.encode(found)
    unknown = cluster.ask(asking.Drain("anna", 9, True))
    assert isinstance(unknown, Refused) and unknown.word == "no-such-node"


def test_what_the_leaders_own_file_forbids_is_refused_at_once(cluster: Cluster) -> None:
    """Where the leader runs tasks and could run this one; other hosts' files only their runners know."""
    node = cluster.lone.node
    node.config = replace(node.config, tasks=Tasks(commands=("/bin/",)))
    mine = View(node.me, ready=True, slots=4)
    node.tasking.dispatching.views = lambda now: [mine]  # type: ignore[method-assign]
    assert numbers(cluster.submit(TRUE)) == [1]
    outcome = cluster.submit({"command": ["/sbin/reboot"]})
    assert "tasks.commands" in refused(outcome)["command"]
    assert isinstance(outcome, Refused) and outcome.reason == "the request has a wrong value", "the fault says the rest"
    assert "tasks.shell" in refused(cluster.submit({"shell": "true"}))["command"]
    assert "tasks.sql-roles" in refused(cluster.submit({"sql": "select 1"}))["sql"]
    assert numbers(cluster.submit({"command": ["/sbin/reboot"], "target": {"nodes": [2]}})) == [2]
    assert isinstance(cluster.deploy("t", {"task": {"command": ["/sbin/reboot"]}}), Done)
    assert numbers(cluster.submit({"template": "t"})) == [3]


def test_a_task_that_is_lost_is_told_of(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.submit({**TRUE, "once": True, "name": "a"})
    board, applying = cluster.board, cluster.lone.node.applying
    for index, body in enumerate((Assigned(1, 2), Gone(1, 500)), 500):
        board.apply(TasksMoved(2e9, (body,)), index)
    applying.told_up_to = 501
    applying._applied(TasksMoved(2e9, (Gone(1, 500),)), 501, cluster.lone.now)
    assert "task-lost" not in caplog.text, "who ran before this start has said it"
    applying.told_up_to = 500
    applying._applied(TasksMoved(2e9, (Gone(1, 500),)), 501, cluster.lone.now)
    assert "task-lost task=1 name='a' node=2 attempts=1 reason=" in caplog.text
    counters = cluster.lone.node.status(cluster.lone.now).own.counters
    assert (counters["tasks_submitted"], counters["tasks_lost"]) == (1, 1)
    assert cluster.lone.node.qraft is not None
    last = cluster.lone.node.qraft.last_index
    cluster.lone.start()
    assert cluster.lone.node.applying.told_up_to == last


def test_the_status_counts_tasks_and_has_the_slots_that_the_leader_knows(cluster: Cluster) -> None:
    cluster.submit(TRUE, TRUE, {**TRUE, "start": "2050-01-01T00:00:00Z"})
    node, board = cluster.lone.node, cluster.board
    board.apply(TasksMoved(2e9, (Assigned(1, 2),)), 500)
    mine = View(node.me, slots=4, used=1)
    node.tasking.dispatching.views = lambda now: [mine, View(2, runs=False)]  # type: ignore[method-assign]
    found = node.status(cluster.lone.now).tasks
    assert found.states == {"submitted": 1, "waiting": 1, "assigned": 1} and next(iter(found.states)) == "submitted"
    assert found.slots == (SlotsStatus(node=node.me, ip="10.0.0.1", total=4, used=1),)
    assert (found.enabled, found.fault, found.running, found.history) == (False, "", 0, 0), "this host runs none"
    node.config = replace(node.config, tasks=Tasks())
    assert "has not been heard of" in node.status(cluster.lone.now).tasks.fault
    follower = lone.follower().node
    assert follower.status(cluster.lone.now).tasks.slots == ()


def test_a_date_that_comes_makes_a_task(cluster: Cluster) -> None:
    assert isinstance(cluster.deploy("t", {"task": TRUE}), Done)
    assert isinstance(cluster.schedule("s", {"cron": "* * * * *", "task": {"template": "t"}}), Done)
    for _ in range(140):
        cluster.lone.wait(0.5)
        cluster.lone.cooperate(UID + 2)
        cluster.lone.cooperate(UID + 3)
    fired = cluster.board.schedules["s"]
    assert cluster.board.live[1].schedule == "s" and cluster.board.live[1].spec.template == "t"
    assert fired.task == 1 and fired.last % 60 == 0
    shown, following, silent = cluster.seen(asking.ListSchedules())["schedules"]["s"]
    assert shown is fired and following == fired.last + 60 and silent == ""
