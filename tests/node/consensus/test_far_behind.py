"""A node that fetches a snapshot finds the leader's log still there behind it, however fast the cluster writes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from consensus.stage import STARTED, confirm, leader_of, newest_round, sent, voters
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft
from qluster.consensus.settings import FETCHED_BYTES_MAX, TAIL_ENTRIES_MAX

THREE = voters(1, 2, 3)
PAYLOAD = bytes(100)
BACK = STARTED + 31
"""When node 3 is heard again."""


def write(qraft: QRaft, count: int, now: float, payload: bytes = PAYLOAD) -> None:
    """The cluster writes, node 2 follows, and the leader takes a snapshot of it all."""
    for _ in range(count // 500):
        for _ in range(500):
            qraft.propose("command", payload, now)
        number = newest_round(qraft.take())
        qraft.saved(qraft.saving(), now)
        confirm(qraft, 2, qraft.last_index, number, now)
        qraft.take()
    qraft.compact(qraft.commit_index, b"state")
    qraft.take()


def alone_with_2(qraft: QRaft, since: float) -> None:
    """So much time passes that node 3 counts as gone."""
    for seconds in range(1, 33, 4):
        qraft.tick(since + seconds)
        confirm(qraft, 2, qraft.last_index, newest_round(qraft.take()), since + seconds)


def offered_to_3() -> tuple[QRaft, int]:
    """A leader that has just offered a snapshot to node 3, which was gone for a while."""
    qraft = leader_of(THREE)
    alone_with_2(qraft, STARTED)
    write(qraft, TAIL_ENTRIES_MAX + 2000, BACK)
    assert qraft._me.journal.base_index > 100
    qraft.receive(say.AppendRefusal(CLUSTER, 3, qraft.term, 0, qraft.last_index, 4, 0), BACK)
    (offer,) = sent(qraft.take(), say.SnapshotOffer, to=3)
    return qraft, offer.index


def test_log_behind_an_offered_snapshot_is_kept_until_it_was_fetched() -> None:
    qraft, index = offered_to_3()
    for _ in range(3):
        write(qraft, TAIL_ENTRIES_MAX + 2000, BACK + 1)
    confirm(qraft, 3, index, 0, BACK + 2)
    assert sent(qraft.take(), say.SnapshotOffer, to=3) == []
    repairs: list[say.Append] = []
    for step in range(40):
        qraft.tick(BACK + 2 + step / 2)
        repairs += sent(qraft.take(), say.Append, to=3)
        if repairs:
            break
    assert repairs[0].prev_index == index and repairs[0].entries


def test_log_is_kept_for_a_node_that_is_there_and_late() -> None:
    qraft, index = offered_to_3()
    confirm(qraft, 3, index, 0, BACK + 1)
    for _ in range(3):
        write(qraft, TAIL_ENTRIES_MAX + 2000, BACK + 1)
    assert qraft._me.journal.base_index <= index


def test_log_kept_for_others_is_bounded_in_bytes() -> None:
    qraft, _ = offered_to_3()
    for _ in range(3):
        write(qraft, 1000, BACK + 1, bytes(FETCHED_BYTES_MAX // 2000))
    journal = qraft._me.journal
    assert journal.size_between(journal.base_index, qraft.snapshot_index) <= FETCHED_BYTES_MAX


def test_nothing_is_kept_for_a_node_that_is_gone() -> None:
    qraft, index = offered_to_3()
    alone_with_2(qraft, BACK)
    write(qraft, TAIL_ENTRIES_MAX + 2000, BACK + 32)
    assert qraft._me.journal.base_index > index
    assert qraft.snapshot_index - qraft._me.journal.base_index <= TAIL_ENTRIES_MAX
