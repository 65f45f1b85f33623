"""`qluster check-network` on hosts with firewalls: what it prints, what it says, how it ends."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import wait_for
from edge.segment_cluster import Found, SegmentCluster
from edge.segment_world import Segment

GROUP = "239.19.77.31"
MULTICAST = f"ip daddr {GROUP}"


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    made = Segment(3)
    yield made
    made.close()


@pytest.fixture
def cluster(segment: Segment, tmp_path: Path) -> Iterator[SegmentCluster]:
    made = SegmentCluster(tmp_path, segment, f"{GROUP}:7431")
    yield made
    made.end()
    for number in (1, 2, 3):
        segment.heal(number)


def said(found: Found) -> str:
    findings = found["findings"]
    assert isinstance(findings, list)
    return "\n".join(findings)


def heard(found: Found) -> dict[tuple[int, int], bool]:
    """(speaker, listener) → whether it hears it, by the last numbers of their addresses."""
    pairs = found["group"]
    assert isinstance(pairs, list)

    def number(ip: str) -> int:
        return int(ip.rpartition(".")[2])

    return {(number(pair["speaker"]), number(pair["listener"])): pair["heard"] for pair in pairs}


def test_hosts_without_daemons_find_that_all_is_well(cluster: SegmentCluster) -> None:
    found = cluster.tried(1, 2, 3)
    for number, one in found.items():
        assert one["code"] == 0, one
        assert one["findings"] == []
        assert heard(one) == {(a, b): True for a in (1, 2, 3) for b in (1, 2, 3) if a != b}, number
        entries = one["hosts"]
        assert isinstance(entries, list)
        assert [entry["datagram_size"] for entry in entries] == [1472, 1472]
        assert all(0 < entry["round_trip"] < 0.2 for entry in entries)


def test_host_that_hears_no_multicast_is_named_with_the_remedy(cluster: SegmentCluster) -> None:
    cluster.segment.drop(2, MULTICAST)
    found = cluster.tried(1, 2, 3)
    for one in found.values():
        assert one["code"] == 1
        assert "10.66.7.2 hears nobody through the group, others hear it: IGMP is filtered" in said(one)
        assert heard(one) == {(1, 2): False, (3, 2): False, (2, 1): True, (2, 3): True, (1, 3): True, (3, 1): True}


def test_network_without_multicast_and_peers_named_by_hand(cluster: SegmentCluster) -> None:
    for number in (1, 2, 3):
        cluster.segment.drop(number, MULTICAST)
    alone = cluster.tried(1)[1]
    assert alone["code"] == 1
    assert "Nobody answers" in said(alone)
    others = [cluster.command(number, "check-network", "--seconds", "5") for number in (2, 3)]
    named = cluster.command(1, "check-network", "--seconds", "2", "--host", "10.66.7.2", "--host", "10.66.7.3")
    text, _ = named.communicate(timeout=60)
    for other in others:
        other.communicate(timeout=60)
    assert named.returncode == 1
    assert "Nobody hears anybody through the group, while unicast works" in text, text


def test_smaller_frames_on_the_way_are_found(cluster: SegmentCluster) -> None:
    cluster.segment.drop(3, "meta length > 1400 ether type ip")
    one = cluster.tried(1, 2, 3)[1]
    assert "packets of 1500 bytes do not pass, those of 1400 do: set the MTU of this host's" in said(one)
    assert "10.66.7.1 to 10.66.7.2" not in said(one)


def test_running_daemons_answer_for_their_hosts(cluster: SegmentCluster) -> None:
    cluster.run_daemons()

    def all_answer() -> bool:
        one = cluster.tried(1, seconds=1)[1]
        return one["code"] == 0 and len(heard(one)) == 6

    wait_for("three daemons answer", all_answer)
    cluster.segment.drop(3, MULTICAST)

    def told() -> bool:
        # What the daemons heard of each other just before the cut still counts for a while.
        one = cluster.tried(1, seconds=4)[1]
        return one["code"] == 1 and "10.66.7.3 hears nobody through the group, others hear it" in said(one)

    wait_for("the cut is told", told)


def test_other_key_is_told_from_silence(cluster: SegmentCluster) -> None:
    other = cluster.command(2, "check-network", "--seconds", "5")
    wrong = Path(cluster.root / "wrong.key")
    wrong.write_text("1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=" + "\n")
    wrong.chmod(0o600)
    cluster.configure(1, cluster__key_file=str(wrong))
    one = cluster.tried(1)[1]
    other.communicate(timeout=60)
    assert one["code"] == 1
    assert "not sealed with this cluster's name and key" in said(one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--seconds", "0"], '"0" is no number from 1 to 3600', id="no-time"),
        pytest.param(["--seconds", "1", "--host", "db1"], '--host "db1" is no address', id="name"),
    ],
)
def test_what_cannot_be_tried_is_refused(cluster: SegmentCluster, words: list[str], said: str) -> None:
    child = cluster.command(1, "check-network", *words)
    text, _ = child.communicate(timeout=60)
    assert child.returncode in (1, 2)
    assert said in text
