"""The role of the arbiter on a host of this machine: what it installs answers, a second run changes nothing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from collection.playing import NETWORK, NODES, ROOT, Played, Stage, copy_checkout
from qluster.config import Config
from qluster.config import parse as read_node
from qluster.qnetd.config import KEYS, parse

ROLE = ROOT / "roles/qnetd"
PLAY = [
    {"name": "Make the certificates", "hosts": "localhost", "gather_facts": False, "vars_files": ["vars/cluster.yml"],
     "tasks": [{"name": "Make them", "ansible.builtin.include_tasks": "tasks/arbiter_secrets.yml"}]},
    {"name": "Bring the arbiter", "hosts": "qluster_arbiters", "gather_facts": False, "any_errors_fatal": True,
     "tasks": [{"name": "Bring it", "ansible.builtin.include_role": {"name": "qhb.qluster.qnetd"}}]},
]
REMOVE = [{"name": "Remove it", "hosts": "qluster_arbiters", "gather_facts": False, "tasks": [
    {"name": "Remove", "ansible.builtin.include_role": {"name": "qhb.qluster.qnetd", "tasks_from": "remove"}},
    {"name": "Stop the supervisor", "qhb.qluster.qluster_process": {
        "directory": "{{ qluster_process_dir }}", "socket": "{{ qluster_process_socket }}", "state": "down"}}]}]
RENDER = [{"name": "Render config.yaml", "hosts": "qluster_nodes:qluster_poolers", "gather_facts": False,
           "vars_files": ["../roles/node/defaults/main.yml", "../roles/node/vars/main.yml"],
           "tasks": [{"name": "Render it", "vars": {"__node_founder": NODES["node1"], "__node_interface": "lo"},
                      "ansible.builtin.template": {"src": "../roles/node/templates/config.yaml.j2", "mode": "0600",
                                                   "dest": "{{ rendered }}/{{ inventory_hostname }}.yaml"}}]}]
"""What the role of a node writes, without the work on a host around it."""
FULL = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="more plays: QLUSTER_FULL_TESTS=1 runs them")


class Alone(Stage):
    """The arbiter's host, and a cluster that is only named."""

    arbiters = {"arbiter1": f"{NETWORK}.8"}  # noqa: RUF012 - as in Stage

    @property
    def etc(self) -> Path:
        return self.prefix / "arbiter1/etc/qluster-qnetd"

    def run(self, *words: str, play: str = "arbiter.yml") -> Played:
        return self.play(f"playbooks/{play}", *words, checkout=self.folder / "checkout")


@pytest.fixture(scope="module")
def stage() -> Iterator[Alone]:
    folder = Path(tempfile.mkdtemp(prefix="qluster-qnetd-"))
    try:
        copy_checkout(folder / "checkout")
        for name, plays in (("arbiter.yml", PLAY), ("no_arbiter.yml", REMOVE), ("render.yml", RENDER)):
            (folder / "checkout/playbooks" / name).write_text(yaml.safe_dump(plays))
        made = Alone(folder)
        yield made
        made.run(play="no_arbiter.yml")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_arbiter_serves_with_its_certificates(stage: Alone) -> None:
    first = stage.run()
    assert first.code == 0, first.output[-6000:]
    config = parse((stage.etc / "qnetd.yaml").read_text(), "qnetd.yaml")
    assert config.tls.mode == "required" and Path(config.tls.key_file).is_file()
    modes = {"server.key": 0o600, "server.crt": 0o644, "qnetd.yaml": 0o640}
    assert {name: stat.S_IMODE((stage.etc / name).stat().st_mode) for name in modes} == modes
    assert config.memory_dir is not None and stat.S_IMODE(Path(config.memory_dir).stat().st_mode) == 0o700
    assert set(stage.run().changed.values()) == {0}
    with socket.create_connection((f"{NETWORK}.8", config.port), timeout=10):
        pass


@FULL
def test_check_mode_shows_a_change_and_makes_none_and_no_secret_is_shown(stage: Alone) -> None:
    (stage.prefix / "secrets/arbiter/server.key").unlink()
    before = (stage.etc / "qnetd.yaml").read_bytes(), (stage.etc / "server.key").read_bytes()
    shown = stage.run("--check", "--diff", "-vvv", "-e", "qnetd_limits_clients=77")
    assert shown.code == 0, shown.output[-6000:]
    assert "+  clients: 77" in shown.output and "PRIVATE KEY" not in shown.output
    assert ((stage.etc / "qnetd.yaml").read_bytes(), (stage.etc / "server.key").read_bytes()) == before


@FULL
def test_arbiters_that_contradict_each_other_are_refused(stage: Alone) -> None:
    given = json.dumps({"qluster_arbiter_imported": {"ca_file": "/none", "pkcs12_file": "/none"}})
    both = stage.run("-e", given)
    assert both.code != 0 and "A cluster asks one" in both.text()


@FULL
def test_wrong_value_is_refused_before_anything_is_put_in_place(stage: Alone) -> None:
    before = (stage.etc / "qnetd.yaml").read_bytes()
    for variable, words in (("qnetd_peers_heartbeat_minimum=10m", "nothing was put in place"),
                            ("qnetd_tls_mode=perhaps", "value of qnetd_tls_mode must be one of"),
                            ("qnetd_ip=arbiter.example", "nodes look no names up")):
        refused = stage.run("-e", variable)
        assert refused.code != 0 and words in refused.text(), refused.output[-3000:]
    assert (stage.etc / "qnetd.yaml").read_bytes() == before


@FULL
def test_removal_leaves_nothing(stage: Alone) -> None:
    assert stage.run(play="no_arbiter.yml").code == 0
    rest = [path for path in (stage.prefix / "arbiter1").rglob("*") if "qnetd" in path.name]
    assert rest == []


def rendered(stage: Alone, folder: Path, **variables: Any) -> dict[str, Config]:
    """config.yaml of every host, as the daemon reads it."""
    played = stage.run("-e", json.dumps({"rendered": str(folder), **variables}), play="render.yml")
    assert played.code == 0, played.output[-3000:]
    return {file.stem: read_node(file.read_text(), file.name) for file in folder.glob("*.yaml")}


def test_nodes_ask_the_arbiter_of_the_inventory_and_the_pool_does_not(stage: Alone, tmp_path: Path) -> None:
    found = rendered(stage, tmp_path, node_device_heuristics_mode="on", node_device_heuristics_interval="1m",
                     node_device_heuristics_exec={"gateway": "/bin/true -q"}, node_device_tie_breaker=2,
                     node_device_watchdog_timeout="1m", node_device_algorithm="lms")
    device = found["node1"].device
    assert found["pool1"].device is None and device is not None and found["node3"].device is not None
    assert (device.host, device.port, device.tls, device.algorithm) == (f"{NETWORK}.8", 5403, "required", "lms")
    assert device.heuristics is not None and device.heuristics.mode == "on" and str(device.tie_breaker) == "2"
    assert device.certificate_file == str(stage.prefix / "node1/etc/qluster/device.crt")


@FULL
def test_nodes_ask_nobody_when_the_arbiter_is_left_out(stage: Alone, tmp_path: Path) -> None:
    assert all(config.device is None for config in rendered(stage, tmp_path, qluster_arbiter=False).values())


@FULL
def test_nodes_ask_an_arbiter_of_others_in_clear_when_they_are_told_to(stage: Alone, tmp_path: Path) -> None:
    found = rendered(stage, tmp_path, node_device_host="192.0.2.99", node_device_port=5404, node_device_tls=False)
    device = found["node2"].device
    assert device is not None and (device.host, device.port, device.tls) == ("192.0.2.99", 5404, "off")
    assert device.certificate_file is None and device.heuristics is None


def render(**changes: Any) -> str:
    """The template as Ansible would render it, from the role's defaults."""
    values = {**yaml.safe_load((ROLE / "defaults/main.yml").read_text()), "qnetd_config_dir": "/etc/qluster-qnetd",
              "qnetd_socket_file": "/run/qluster-qnetd/qnetd.sock", "qnetd_memory_dir": "/var/lib/qluster-qnetd",
              "__qnetd_tls_mode": "required", **changes}
    world = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    world.filters.update(to_json=json.dumps, bool=bool)
    return world.from_string((ROLE / "templates/qnetd.yaml.j2").read_text()).render(values)


def test_defaults_of_the_role_are_those_of_the_daemon() -> None:
    assert parse(render(qnetd_memory_dir=""), "role") == parse("{}", "daemon")


def test_every_key_of_the_daemon_has_its_variable() -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    text = render(qnetd_socket_group="wheel")
    for key in KEYS:
        document: Any = yaml.safe_load(text)
        for word in key.path.split("."):
            document = document[word]
        if not key.path.startswith("tls.") or not key.path.endswith("-file"):
            assert "qnetd_" + key.path.replace(".", "_").replace("-", "_") in defaults, key.path


@pytest.mark.parametrize("mode", ["off", "on", "required"])
def test_every_mode_of_tls_is_rendered_as_a_word(mode: str) -> None:
    assert parse(render(__qnetd_tls_mode=mode), "role").tls.mode == mode
