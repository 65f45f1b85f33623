"""Votes as people know them from corosync-quorumtool, from the answer that the interface is known to give."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from api import sample_status as sample
from msgspec.structs import replace
from qluster.api import views
from qluster.api.shapes import QuorumAnswer
from qluster.cli.quorum import LIST_PROVIDER, text, view_of
from qluster.consulted import VotingDevice
from qluster.voted import DeviceVoteStatus, VotesStatus
from qluster.votes import display
from qluster.votes.display import Style

GOLDEN = Path(__file__).parents[2] / "golden/api"
DATE = "Sat Nov 21 20:03:40 2026"


def answer(**votes: object) -> QuorumAnswer:
    return views.quorum(replace(sample.healthy(), votes=sample.votes(**votes)))


def test_answer_of_the_interface_is_shown_section_by_section() -> None:
    found = msgspec.json.decode((GOLDEN / "quorum.json").read_bytes(), type=QuorumAnswer)
    assert text(found, DATE, Style()) == """\
Quorum information
------------------
Date:             Sat Nov 21 20:03:40 2026
Quorum provider:  qluster_votequorum
Nodes:            3
Node ID:          1
Ring ID:          1.1a
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   3
Highest expected: 3
Total votes:      3
Quorum:           2 \x20
Flags:            Quorate WaitForAll\x20

Membership information
----------------------
    Nodeid      Votes Name
         1          1 10.0.0.1 (local)
         2          1 10.0.0.2
         3          1 10.0.0.3
"""
    assert display.exit_code(view_of(found)) == 0


def test_device_has_its_column_and_its_line() -> None:
    flags = sample.votes().nodes[0].device
    cast = replace(flags, text="A,V,NMW", registered=True, alive=True, cast=True)
    nodes = [replace(one, device=cast) for one in sample.votes().nodes[:2]]
    device = DeviceVoteStatus(name="Qdevice", votes=1, cast=True)
    shown = text(answer(nodes=nodes, device=device), DATE, Style(), only_nodes=True)
    assert shown.splitlines()[-3:] == [
        "         1          1    A,V,NMW 10.0.0.1 (local)",
        "         2          1    A,V,NMW 10.0.0.2",
        "         0          1            Qdevice",
    ]


def test_what_forbids_and_what_binds_stands_at_the_end() -> None:
    waits = "1 of 3 expected votes are here, and all are waited for"
    shown = text(answer(quorate=False, why="waiting-for-all", reason=waits, veto=waits, total_votes=1), DATE, Style())
    assert "Quorum:           2 Activity blocked\n" in shown
    assert shown.splitlines()[-3:] == [
        f"This node does not stand in an election: {waits}", "",
        f"By the list of members this node is quorate, by votequorum not quorate ({waits}). The list decides who "
        "can be elected; votequorum only forbids.",
    ]


def test_without_votequorum_the_list_of_members_is_shown() -> None:
    votes = VotesStatus(counted=False, reason="quorum.provider is none")
    found = views.quorum(replace(sample.healthy(), votes=votes))
    shown = text(found, DATE, Style(provider=LIST_PROVIDER))
    assert "Quorum provider:  qluster_members\nNodes:            3\n" in shown and "Ring ID:          0.0" in shown
    assert "Expected votes:   3\n" in shown and "Quorate:          Yes" in shown
    assert shown.endswith("Votequorum counts none here: quorum.provider is none\n")


@pytest.mark.parametrize(("counts", "reason", "said"), [
    (True, "", "It counts for this node"), (False, "it is silent", "It does not count here: it is silent"),
])  # fmt: skip
def test_the_arbiter_of_the_list_is_told_of_where_votequorum_counts_nothing(
    counts: bool, reason: str, said: str
) -> None:
    device = VotingDevice(votes=1, way="memory", uid="0" * 16, counts=counts, reason=reason)
    found = replace(answer(), device=device, votequorum=views.quorum(replace(
        sample.healthy(), votes=VotesStatus(counted=False, reason="quorum.provider is none"))).votequorum)  # fmt: skip
    [*_, last] = text(found, DATE, Style()).splitlines()
    assert last == f"Of the expected votes 1 are the arbiter's (by memory). {said}"


def test_silent_node_of_the_list_is_no_member_and_not_quorate_ends_with_2() -> None:
    found = views.quorum(replace(sample.leaderless(), votes=None))
    assert len(view_of(found).members) == 2
    assert display.exit_code(view_of(found)) == (0 if found.quorate else 2)


def test_one_of_two_that_could_not_fence_the_other_says_so_in_a_section_of_its_own() -> None:
    shown = text(views.quorum(sample.pair()), DATE, Style(provider=LIST_PROVIDER))
    assert "Flags:            2Node \n" in shown and "Quorum:           2 Activity blocked\n" in shown
    _, _, section = shown.partition("Two-node information\n")
    assert section.splitlines()[:9] == [
        "--------------------",
        "Fencing:          in force",
        "Other node:       2 (10.0.0.2), heard 81.23 s ago",
        "Could go on:      Yes",
        "Claim:            FAILED, somebody must act",
        "Shots:            2 of 2",
        "Last shot:        node 2 (10.0.0.2), 40.43 s ago: NOT switched off: level 1: fence_ipmilan off: no route to "
        "the device (exit code 1)",
        "Reason:           node 2 (10.0.0.2) is silent and could not be fenced: level 1: fence_ipmilan off: no route "
        "to the device (exit code 1). No shot is left after 2, and nobody serves. Start it (its host may be off)",
        "",
    ]


def test_next_shot_is_told_of() -> None:
    shown = text(views.quorum(sample.pair(claim="waits", shots=1, next_in=4.5)), DATE, Style())
    assert "Claim:            waits for the next shot\nShots:            1 of 2, the next in 4.50 s\n" in shown


def test_forced_quorum_is_shown_with_when_by_whom_and_who_is_outside() -> None:
    shown = text(views.quorum(sample.forced()), DATE, Style())
    _, _, section = shown.partition("Forced quorum information\n")
    assert section.splitlines()[1:] == [
        "Forced:           2026-09-21T14:14:25Z on node 3 by anna",
        "Founding:         1790000067, after 1790000000",
        "Given up:         node 1 (10.0.0.1), node 2 (10.0.0.2)",
        "Outside:          10.0.0.2",
        "Not voting yet:   node 4",
    ]
    assert "Forced quorum" not in text(answer(), DATE, Style())
