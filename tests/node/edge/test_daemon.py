"""The daemon as an operator meets it: it starts, or says in one message why not and deletes nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from edge.daemon_world import Site, wait_for
from qluster.edge.disk import Disk
from qluster.events import Entry, Identity, Save, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote, Snapshot

SITES = count(1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    number = next(SITES)
    made = Site(tmp_path, f"239.19.77.{number}:{7600 + number}", f"127.0.{20 + number}")
    yield made
    made.end()


def test_three_daemons_found_agree_and_stop(site: Site) -> None:
    children = []
    for number in (1, 2, 3):
        site.configure(number)
        children.append(site.start(number))
    wait_for("three voters everywhere", lambda: all(
        (site.map(number).get("cluster") or {}).get("voters") == 3 for number in (1, 2, 3)))  # type: ignore[attr-defined]
    leader = site.leader(1)
    leads = next(number for number in (1, 2, 3) if site.map(number)["own"]["node"] == leader)  # type: ignore[index]
    answer = site.post(leads, "/config", {"cluster.heartbeat-interval": "250ms"})
    assert answer.status_code == 200, answer.text
    wait_for("the setting on every node", lambda: all(
        site.map(number)["settings"]["cluster.heartbeat-interval"] == "250ms" for number in (1, 2, 3)))  # type: ignore[index]
    other = leads % 3 + 1
    assert site.post(other, "/config", {"cluster.heartbeat-interval": "300ms"}).status_code == 417
    children[leads - 1].send_signal(signal.SIGTERM)
    assert children[leads - 1].wait(20) == 0
    wait_for("another leader", lambda: site.leader(other) not in (None, leader))


def test_leader_that_is_killed_is_replaced(site: Site) -> None:
    for number in (1, 2, 3):
        site.configure(number)
        site.start(number)
    wait_for("three voters", lambda: (site.map(2).get("cluster") or {}).get("voters") == 3)  # type: ignore[attr-defined]
    first = site.leader(2)
    leads = next(number for number in (1, 2, 3) if site.map(number)["own"]["node"] == first)  # type: ignore[index]
    site.children[leads - 1].kill()
    wait_for("another leader", lambda: site.leader(leads % 3 + 1) not in (None, first))
    site.start(leads)
    wait_for("the killed node follows", lambda: site.leader(leads) not in (None, first))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"udp__socket__interface": "nosuch0"}, "nosuch0 is not on this host"),
        ({"udp__socket__group": "10.1.2.3:7400"}, "udp.socket.group"),
        ({"cluster__heartbeat_interval": "1400ms"}, "heartbeat-interval"),
        ({"cluster__node_timout": "2s"}, "node-timeout"),
        ({"cluster__node_timeout": 30}, "node-timeout"),
        ({"udp__socket__pacing_rate": "fast"}, "udp.socket.pacing-rate"),
        ({"ip": "10.255.255.254"}, "10.255.255.254"),
        ({"cluster__key_file": "/nonexistent/cluster.key"}, "/nonexistent/cluster.key"),
    ],
    ids=["interface", "group", "heartbeat", "misspelt key", "bare number", "text for a number", "address", "key file"],
)
def test_wrong_configuration_is_refused_with_the_key(site: Site, changes: dict[str, object], said: str) -> None:
    site.configure(1, **changes)
    code, output = site.refusal(1)
    assert code != 0
    assert said in output
    assert "Traceback" not in output
    assert not (site.place(1) / "state").exists()


def test_taken_port_is_named(site: Site) -> None:
    site.configure(1)
    with socket.create_server((site.ip(1), 8080)):
        code, output = site.refusal(1)
    assert code != 0
    assert "8080" in output and "Traceback" not in output


def test_node_with_another_node_timeout_is_refused_by_the_cluster(site: Site) -> None:
    site.configure(1)
    site.start(1)
    wait_for("a leader", lambda: site.leader(1) == 1)
    site.configure(2, cluster__node_timeout="3s")
    code, output = site.refusal(2)
    assert code != 0
    assert "cluster.node-timeout is 3s here and 1500ms in the cluster" in output.replace("1.5s", "1500ms")
    assert len(site.map(1)["nodes"]) == 1  # type: ignore[arg-type]


def test_member_whose_file_was_changed_alone_is_refused_at_its_start(site: Site) -> None:
    for number in (1, 2):
        site.configure(number)
        site.start(number)
    wait_for("two voters", lambda: (site.map(1).get("cluster") or {}).get("voters") == 2)  # type: ignore[attr-defined]
    site.children[1].send_signal(signal.SIGTERM)
    assert site.children[1].wait(20) == 0
    site.configure(2, cluster__node_timeout="3s")
    code, output = site.refusal(2)
    assert code != 0
    assert "cluster.node-timeout is 3s here" in output


def test_state_of_another_cluster_is_refused(site: Site) -> None:
    site.configure(1)
    child = site.start(1)
    wait_for("a leader", lambda: site.leader(1) == 1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    site.configure(1, cluster__name="another")
    code, output = site.refusal(1)
    assert code != 0
    assert "trial" in output and "Traceback" not in output


def test_second_daemon_on_the_same_state_is_refused(site: Site) -> None:
    site.configure(1)
    site.start(1)
    wait_for("a leader", lambda: site.leader(1) == 1)
    code, output = site.refusal(1)
    assert code != 0 and "Traceback" not in output
    assert site.leader(1) == 1


def test_node_whose_log_is_damaged_puts_it_away_whole_and_joins_as_another(site: Site) -> None:
    for number in (1, 2, 3):
        site.configure(number)
        site.start(number)
    wait_for("three voters", lambda: (site.map(2).get("cluster") or {}).get("voters") == 3)  # type: ignore[attr-defined]
    leads = next(number for number in (1, 2, 3) if site.map(number)["own"]["node"] == site.leader(2))  # type: ignore[index]
    for number in range(20):
        assert site.post(leads, "/config", {"cluster.heartbeat-interval": f"{300 + number}ms"}).status_code == 200
    struck = leads % 3 + 1
    before = site.map(struck)["own"]["node"]  # type: ignore[index]
    site.children[struck - 1].kill()
    site.children[struck - 1].wait()
    log = max((site.place(struck) / "state/current/log").iterdir())
    content = bytearray(log.read_bytes())
    content[len(content.rstrip(b"\0")) // 2] ^= 0xFF
    log.write_bytes(content)
    child = site.start(struck)
    wait_for("three voters, the old one gone", lambda: (
        (site.map(leads).get("cluster") or {}).get("voters") == 3  # type: ignore[attr-defined]
        and site.map(struck).get("own", {}).get("node") not in (None, before)  # type: ignore[attr-defined]
        and before not in [node["node"] for node in site.map(leads)["nodes"]]))  # type: ignore[attr-defined]
    kept = site.place(struck) / "state/old.1"
    assert (kept / "log" / log.name).read_bytes() == bytes(content), "nothing is repaired by guessing"
    assert "damaged at byte" in (kept / "reason").read_text()
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=20)
    assert f"{log.name}: damaged at byte" in said and "joins-anew" in said and "Traceback" not in said


def test_foreign_data_directory_is_left_alone(site: Site) -> None:
    data = site.place(1) / "data"
    data.mkdir(mode=0o700)
    (data / "thesis.odt").write_text("years of work")
    secret = site.secret("database.password", "a-password-of-the-test")
    site.configure(1, database={
        "bin-dir": os.path.dirname(os.path.realpath("/bin/true")), "data-dir": str(data), "port": 5999,
        "wal-archive-dir": "", "socket-dir": str(site.place(1)), "password-file": str(secret),
        "application-user": "application", "application-password-file": str(secret),
        "application-database": "application",
    })  # fmt: skip
    code, output = site.refusal(1)
    assert code != 0 and "Traceback" not in output
    assert (data / "thesis.odt").read_text() == "years of work"


@pytest.mark.parametrize(
    "saves",
    [
        [SaveEntries((Entry(1, 1, "members", b"nonsense"),))],
        [SaveSnapshot(Snapshot(9, 1, b"\x94\x90\xc3\x00\x00", b"nonsense"), reset=True)],
    ],
    ids=["members", "snapshot"],
)
def test_sound_log_with_content_of_another_version_is_refused_with_what_to_do(site: Site, saves: list[Save]) -> None:
    site.configure(1)
    state = site.place(1) / "state"
    disk = Disk(str(state), "trial")
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 7, 1)), SaveVote(1, None), *saves])
    disk.close()
    code, output = site.refusal(1)
    assert code != 0
    assert "set-aside" in output and str(state) in output
    assert "Traceback" not in output
    assert (state / "current").exists(), "nothing was deleted"


def test_node_far_behind_fetches_a_snapshot_while_the_cluster_writes_on(site: Site) -> None:
    for number in (1, 2, 3):
        site.configure(number)
        site.start(number)
    wait_for("three voters", lambda: (site.map(2).get("cluster") or {}).get("voters") == 3)  # type: ignore[attr-defined]
    leads = next(number for number in (1, 2, 3) if site.map(number)["own"]["node"] == site.leader(2))  # type: ignore[index]
    late = leads % 3 + 1
    site.children[late - 1].kill()
    site.children[late - 1].wait()
    with site.session() as session:

        def write(first: int, count: int) -> None:
            for number in range(first, first + count):
                answer = session.put(f"{site.url(leads)}/kv/key{number % 20}", data=os.urandom(60_000), timeout=10,
                                     headers={"Content-Type": "application/octet-stream"})
                assert answer.status_code == 200, answer.text

        write(0, 480)
        child = site.start(late)
        write(480, 120)
        wait_for("the late node has everything", lambda: (
            (site.map(late).get("cluster") or {}).get("applied_index", 0)  # type: ignore[attr-defined]
            == site.map(leads)["cluster"]["applied_index"]))  # type: ignore[index]
        value = session.get(f"{site.url(leads)}/kv/key7", params={"consistency": "leader"}, timeout=10).content
        assert session.get(f"{site.url(late)}/kv/key7", timeout=10).content == value
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=20)
    assert " installs snapshot=" in said and "snapshot-failed" not in said and "Traceback" not in said
    assert said.count(" installs snapshot=") <= 3, "it is not outrun for ever"
