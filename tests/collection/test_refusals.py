"""What the playbooks refuse before anything has changed, and in which words."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
from collection.playing import GROUP, NODES, POOL, ROOT, Stage


def test_all_playbooks_can_be_read(tmp_path: Path) -> None:
    books = sorted(str(path) for path in ROOT.glob("playbooks/*.yml"))
    played = Stage(tmp_path).play("deploy.yml", "reinit.yml", *books, "--syntax-check")
    assert played.code == 0, played.output


def test_every_fault_of_every_host_is_told_at_once(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path, node1={"node_ip": "192.0.2.250"}, node2={"node_udp_socket_interface": "eth99"},
        node3={"node_python": "/bin/false", "node_role": "listener"})
    with socket.create_server((POOL["pool1"], 8080)):
        played = stage.play("deploy.yml", "-e", "node_cluster_founder=node9")
    text = played.text()
    assert played.code == 2 and not stage.prefix.exists()
    for said in ("node1: node_ip is 192.0.2.250, and no interface has this address",
                 "node2: node_udp_socket_interface is eth99; this host has",
                 "node3: the daemon needs Python 3.11 or newer; found: none",
                 "pool1: node_api_port is 8080, and another program listens there",
                 "node_cluster_founder is node9, which is no host of the group qluster_nodes"):
        assert said in text, f"{said} is not said:\n{played.output}"


def test_addresses_that_do_not_fit_each_other_are_told(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path, node1={"node_ip": "0:0::1"}, node2={"node_ip": "2001:db8::77"}, node3={"node_ip": "db3.example"})
    text = stage.play("deploy.yml").text()
    for said in ("node1: node_ip is 0:0::1: write it as ::1, as the daemons do",
                 "node2: node_ip is 2001:db8::77, and no interface has this address",
                 f"node2: node_ip is 2001:db8::77, and node_udp_socket_group is {GROUP}: both must",
                 "node3: node_ip is db3.example, and no interface has this address"):
        assert said in text, f"{said} is not said:\n{text}"
    assert not stage.prefix.exists()


def test_list_of_peers_must_name_every_host(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    peers = [f"{ip}:7477" for ip in NODES.values()]
    played = stage.play("deploy.yml", "-e", json.dumps({"node_udp_socket_group": peers}))
    assert played.code == 2 and not stage.prefix.exists()
    listed = f"node_udp_socket_group lists {', '.join(peers)}"
    said = f"pool1: {listed}, and not this host's node_ip, {POOL['pool1']}. List every host"
    assert said in played.text(), played.output
    assert "node1: node_udp_socket_group" not in played.text()


def test_value_that_is_not_the_same_on_all_hosts_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, node2={"node_cluster_remove_interval": "5m"})
    played = stage.play("deploy.yml")
    assert played.code == 2 and not stage.prefix.exists()
    assert "node2: these values differ from those of node1" in played.text()
    assert "node_cluster_remove_interval is 5m, there 1m" in played.text()


def test_value_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    played = Stage(tmp_path).play("deploy.yml", "-e", "node_api_port=eighty")
    assert played.code == 2 and "node_api_port" in played.text() and not (tmp_path / "local cluster").exists()


TASK = {"command": ["/bin/true"]}
EVERY = {"cron": "* * * * *", "task": {"template": "sound"}}
STORED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "template": (
        {"sound": {"task": TASK, "about": "it", "parameters": {}}, "gone": "absent"},
        {"word": "x", "nothing": {}, "list": {"task": [TASK]}, "misspelt": {"task": TASK, "parameter": {}}}),
    "schedule": (
        {"sound": {**EVERY, "missed": "all"}, "gone": "absent"},
        {"beside": {"cron": "* * * * *", "template": "sound"}, "undated": {"task": TASK},
         "other": {**EVERY, "tz": "UTC"}, "number": {**EVERY, "cron": 3}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STORED)
def test_every_template_and_schedule_that_is_written_wrongly_is_told_at_once(tmp_path: Path, kind: str) -> None:
    sound, wrong = STORED[kind]
    stage = Stage(tmp_path)
    played = stage.play("deploy.yml", "-e", json.dumps({f"qluster_task_{kind}s": {**sound, **wrong}}))
    assert played.code == 2 and not stage.prefix.exists(), played.output
    told = re.findall(rf"Action failed: The {kind} (\S+) in qluster_task_{kind}s has to be a dictionary", played.text())
    assert told == list(wrong), played.output


@pytest.mark.parametrize("playbook", ["deploy.yml", "reinit.yml", "playbooks/destroy.yml", "playbooks/rollback.yml",
                                      "playbooks/rotate_key.yml"])
def test_hosts_are_never_left_out(tmp_path: Path, playbook: str) -> None:
    words = ["-e", "qluster_reinit_confirm=local", "-e", "qluster_destroy_confirm=local"]
    played = Stage(tmp_path).play(playbook, "--limit", "node1", *words)
    assert played.code == 2 and "--limit node1 was given" in played.text() and not (tmp_path / "local cluster").exists()


@pytest.mark.parametrize(
    ("playbook", "variable"),
    [("reinit.yml", "qluster_reinit_confirm"), ("playbooks/destroy.yml", "qluster_destroy_confirm")])
def test_what_destroys_wants_the_name_of_the_cluster(tmp_path: Path, playbook: str, variable: str) -> None:
    stage = Stage(tmp_path)
    (stage.prefix / "node1/opt/qhb-data").mkdir(parents=True)
    for words in ([], ["-e", f"{variable}=another"], ["-e", f"{variable}="]):
        played = stage.play(playbook, *words)
        assert played.code == 2 and f"run it with -e {variable}=local" in played.text()
    assert (stage.prefix / "node1/opt/qhb-data").exists()


def test_reinit_refuses_hosts_that_were_never_deployed(tmp_path: Path) -> None:
    played = Stage(tmp_path).play("reinit.yml", "-e", "qluster_reinit_confirm=local")
    assert played.code == 2 and "Run deploy.yml first" in played.text()


def test_key_of_a_cluster_that_does_not_run_is_left_alone(tmp_path: Path) -> None:
    played = Stage(tmp_path).play("playbooks/rotate_key.yml")
    assert played.code == 2 and "No node of the cluster local answers" in played.text()


def test_status_refuses_where_no_cluster_was_made(tmp_path: Path) -> None:
    played = Stage(tmp_path).play("playbooks/status.yml")
    assert played.code == 2 and "no cluster was made from here" in played.text()


def test_drain_wants_a_host_of_the_cluster(tmp_path: Path) -> None:
    played = Stage(tmp_path).play("playbooks/drain.yml", "-e", "qluster_drain_host=node9")
    assert played.code == 2 and "Name the host" in played.text() and "(given: node9)" in played.text()
