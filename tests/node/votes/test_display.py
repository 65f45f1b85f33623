"""The text of the status, byte by byte as corosync's own tool printed it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from qluster.votes.display import Order, Style, exit_code, nodes, status, structure
from qluster.votes.information import Ring
from qluster.votes.options import DeviceOptions, Options
from votes.model import Cluster, even

NAMES = {1: "node1", 2: "node2", 3: "node3"}
COROSYNC = Style(provider="corosync_votequorum")
DATE = "Sat Jan  1 00:00:00 2000"
RECORDED = {
    one["where"]: one["stdout"]
    for one in json.loads((Path(__file__).parent / "vectors/quorumtool.json").read_text())["outputs"]
}
FFSPLIT = Options(nodes=even(2), device=DeviceOptions(votes=1))


def vote(cluster: Cluster, votes: dict[int, bool]) -> None:
    for node, cast in votes.items():
        cluster.poll(node, cast)


def alone(cluster: Cluster) -> None:
    cluster.up(1)
    cluster.register()
    vote(cluster, {1: True})


def both(cluster: Cluster) -> None:
    alone(cluster)
    cluster.up(2)
    cluster.register([2])
    vote(cluster, {1: True, 2: True})


def split_for_1(cluster: Cluster) -> None:
    both(cluster)
    cluster.split({2: 1})
    vote(cluster, {2: False, 1: True})


def split_for_2(cluster: Cluster) -> None:
    both(cluster)
    cluster.split({2: 1})
    vote(cluster, {1: False, 2: True})


def healed(cluster: Cluster) -> None:
    split_for_1(cluster)
    cluster.join(0, 1)
    vote(cluster, {1: True, 2: True})


def without(cluster: Cluster) -> None:
    healed(cluster)
    cluster.nodes[2].unregister(cluster.now)
    cluster.deliver()


def third(cluster: Cluster) -> None:
    both(cluster)
    cluster.up(3)
    cluster.register([3])
    vote(cluster, {1: True, 2: True, 3: True})


RUNS: dict[str, Callable[[Cluster], None]] = {
    "real-ffsplit-2n, only node 1 up": alone,
    "real-ffsplit-2n, both up": both,
    "real-ffsplit-2n, split 1|2": split_for_1,
    "real-ffsplit-2n, healed": healed,
    "real-ffsplit-2n, node 2 without qdevice": without,
    "real-heuristics-2n, split, node 1 fails, node 2 passes": split_for_2,
    "real-config-reload, 3 nodes": third,
}


@pytest.mark.parametrize("where", RECORDED)
def test_prints_what_corosync_printed(where: str) -> None:
    run, _, node = where.rpartition(", node ")
    cluster = Cluster(FFSPLIT, start=False)
    RUNS[run](cluster)
    assert status(cluster.view(int(node)), NAMES, DATE, COROSYNC) == RECORDED[where]


def test_every_recorded_output_is_compared() -> None:
    assert len(RECORDED) == 14
    assert {where.rpartition(", node ")[0] for where in RECORDED} == set(RUNS)


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_two_node_alone_and_together() -> None:
    cluster = Cluster(Options(nodes=even(2), two_node=True), start=False)
    cluster.up(1)
    text = lines(status(cluster.view(1), NAMES, DATE))
    assert "Quorum:           1 Activity blocked" in text
    assert "Flags:            2Node WaitForAll " in text
    assert exit_code(cluster.view(1)) == 2
    cluster.up(2)
    assert "Flags:            2Node Quorate WaitForAll " in lines(status(cluster.view(1), NAMES, DATE))
    assert exit_code(cluster.view(1)) == 0


@pytest.mark.parametrize(("options", "flags"), [
    (Options(nodes=even(4), auto_tie_breaker=True, last_man_standing=True, wait_for_all=True),
     "Quorate WaitForAll LastManStanding AutoTieBreaker "),
    (Options(nodes=even(3), allow_downscale=True), "Quorate AllowDownscale "),
    (Options(nodes=even(3), expected_votes=9), ""),
])
def test_flags_in_their_order(options: Options, flags: str) -> None:
    assert f"Flags:            {flags}" in lines(status(Cluster(options).view(1), NAMES, DATE))


def test_list_without_a_device() -> None:
    view = Cluster(Options(nodes=((1, 1), (2, 10), (3, 0)))).view(2)
    assert nodes(view, {1: "c", 2: "b", 3: "a"}) == (
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "         1          1 c\n"
        "         2         10 b (local)\n"
        "         3          0 a\n"
    )


def test_list_in_another_order_with_other_numbers_and_the_column_in_any_case() -> None:
    view = Cluster(Options(nodes=even(2))).view(2)
    assert nodes(view, {1: "b"}, Style(hexadecimal=True, device_column=True, order=Order.NAME)) == (
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes    Qdevice Name\n"
        "0x00000002          1         NR 2 (local)\n"
        "0x00000001          1         NR b\n"
    )


def test_a_device_whose_daemon_died() -> None:
    cluster = Cluster(FFSPLIT, start=False)
    both(cluster)
    cluster.wait(11)
    assert lines(nodes(cluster.view(1), NAMES))[-3:] == [
        "         1          1  NA,NV,NMW node1 (local)",
        "         2          1  NA,NV,NMW node2",
        "         0          0            Qdevice (votes 1)",
    ]


def test_ring_is_printed_as_hexadecimal_numbers() -> None:
    assert str(Ring(26, 2**40 + 13)) == "1a.1000000000d"


def test_plain_values_say_the_same() -> None:
    cluster = Cluster(FFSPLIT, start=False)
    split_for_1(cluster)
    value = structure(cluster.view(2), NAMES)
    ring = cluster.view(2).ring
    assert {key: value[key] for key in value if key not in ("nodes", "ring")} == {
        "node": 2, "quorate": False, "settled": True, "why": "too-few-votes",
        "reason": "1 of 3 expected votes are here and 2 are needed",
        "expected_votes": 3, "highest_expected": 3, "total_votes": 1, "quorum": 2, "flags": ["Qdevice"],
        "device": {"name": "Qdevice", "votes": 1, "cast": False},
    }
    assert value["ring"] == {"node": ring.node, "seq": ring.seq, "text": str(ring)}
    listed = value["nodes"]
    assert isinstance(listed, list)
    assert [(one["name"], one["state"], one["member"], one["local"]) for one in listed] == [
        ("node1", "dead", False, False), ("node2", "member", True, True),
    ]
    assert listed[1]["device"] == {
        "text": "A,NV,NMW", "registered": True, "alive": True, "cast": False, "master_wins": False,
    }
    assert json.loads(json.dumps(value)) == value
