"""A node that was removed learns it, whatever it and its leader remember of when that was."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from consensus.stage import NOW, append, participant, voters
from consensus.world import CLUSTER
from qluster.consensus import messages as say
from qluster.consensus.qraft import QRaft
from qluster.events import Snapshot

WITHOUT_FOUR = voters(1, 2, 3)


def restarted() -> QRaft:
    """Node 4 restarts from a snapshot behind the list that removed it: for it that list is as new as the snapshot."""
    return participant(4, [], 2, snapshot=Snapshot(6, 2, WITHOUT_FOUR.encode(), b""))


def test_removed_node_that_restarts_from_a_snapshot_believes_its_leader() -> None:
    """It followed for ever: its list has the snapshot's index, and the leader's the lower one of the entry itself."""
    qraft = restarted()
    assert not qraft.removed
    qraft.receive(append(2, 3, 6, 2), NOW + 1)
    qraft.receive(say.Expelled(CLUSTER, 2, 3, 5, 4), NOW + 1)
    assert qraft.removed


def test_who_is_not_its_leader_may_speak_of_an_older_list() -> None:
    qraft = restarted()
    qraft.receive(append(2, 3, 6, 2), NOW + 1)
    qraft.receive(say.Expelled(CLUSTER, 1, 3, 5, 4), NOW + 1)
    qraft.receive(say.Expelled(CLUSTER, 2, 2, 5, 4), NOW + 1)
    assert not qraft.removed


def test_member_of_the_newest_list_is_not_expelled_by_an_older_one() -> None:
    members = voters(1, 2, 3, 4)
    qraft = participant(4, [], 2, snapshot=Snapshot(6, 2, members.encode(), b""))
    qraft.receive(append(2, 3, 6, 2), NOW + 1)
    qraft.receive(say.Expelled(CLUSTER, 2, 3, 5, 4), NOW + 1)
    assert not qraft.removed
