"""A node that is asked to stop says goodbye, and goes although its disk stands still: one whole node, peers by hand."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from fuzz import examples, lone
from fuzz.lone import Lone
from qluster.clients import ValueWriteRequested
from qluster.consensus import messages as say
from qluster.database.facts import Facts
from qluster.database.orders import StopFast
from qluster.departing import STOP_PATIENCE
from qluster.events import StopRequested

STOPPED = Facts(directory="initialised", system_id=examples.SYSTEM_ID, server="stopped", timeline=1, position=4096)

PRIMARY = Facts(
    directory="initialised", system_id=examples.SYSTEM_ID, server="running", in_recovery=False, timeline=2,
    position=4096, last_reign=2,
)  # fmt: skip


def stopping(node: Lone) -> None:
    """It is asked to stop; its database does, in no time."""
    node.tell(StopRequested())
    for number, job in list(node.jobs.items()):
        assert isinstance(job.order, StopFast)
        node.end_job(number, None, None)
    node.look(STOPPED)


def test_leader_that_nobody_can_succeed_says_goodbye_before_it_leaves() -> None:
    node = lone.leader()
    node.heard.clear()
    stopping(node)
    assert node.left is not None and node.left.clean
    assert [type(message) for message in node.heard if isinstance(message, say.Goodbye)] == [say.Goodbye]


def with_hanging_disk() -> Lone:
    """A leader that has something to save, and a disk that does not end."""
    node = lone.leader()
    for number in list(node.jobs):
        node.end_job(number, None, None)
    node.saves_end = False
    node.ask(ValueWriteRequested(1, "k", "name", b"value", None))
    assert node.node.saving
    return node


def test_database_is_stopped_although_the_disk_stands_still() -> None:
    """Nobody can rely on a database that goes; only what begins one must not be forgotten."""
    node = with_hanging_disk()
    node.tell(StopRequested())
    node.look(lone.STANDBY)
    assert [type(job.order) for job in node.jobs.values()] == [StopFast]


def test_node_that_is_asked_to_stop_does_not_wait_for_its_disk_without_end() -> None:
    node = with_hanging_disk()
    stopping(node)
    assert node.left is None, "what it still has to say waits for the disk"
    node.wait(STOP_PATIENCE)
    assert node.left is None
    node.wait(STOP_PATIENCE + 0.1)
    assert node.left is not None and node.left.clean


def test_node_without_a_cluster_that_waits_for_its_database_to_stop_is_not_woken_again_and_again() -> None:
    node = lone.invited()
    node.tell(StopRequested())
    for _ in range(5):
        node.wait(STOP_PATIENCE)
        assert node.node.settle(node.now).wake_at > node.now
    node.look(STOPPED)
    assert node.left is not None and node.left.clean


def test_goodbye_waits_for_no_disk_and_is_said_before_the_node_leaves() -> None:
    node = with_hanging_disk()
    node.heard.clear()
    stopping(node)
    node.wait(STOP_PATIENCE)
    assert node.left is None and node.node.saving
    assert any(isinstance(message, say.Goodbye) for message in node.heard)
    node.save_ended()
    assert node.left is not None and node.left.clean


def test_leader_whose_disk_stands_still_releases_the_others_once_its_database_has_stopped() -> None:
    """Else they would keep their promise to it for all of node-timeout: nothing that it protects is left."""
    node = with_hanging_disk()
    node.look(PRIMARY)
    while node.node.qraft is not None and node.node.qraft.role == "leader":
        node.cooperate(lone.UID + 2)
        node.wait(0.1)
    assert not goodbyes(node), "its database may still confirm writes"
    for number in [number for number, job in node.jobs.items() if isinstance(job.order, StopFast)]:
        node.end_job(number, None, None)
    node.look(STOPPED)
    assert node.node.saving and [bye.term for bye in goodbyes(node)] == [node.node.qraft.term]
    node.wait(5.0)
    assert len(goodbyes(node)) == 1


def goodbyes(node: Lone) -> list[say.Goodbye]:
    return [message for message in node.heard if isinstance(message, say.Goodbye)]
