"""What the role node makes of `node_fence`: each host's file has how the others are fenced, and where secrets lie."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from collection.playing import BIN, ROOT
from qluster.config import Config, parse

ROLE = Path(__file__).resolve().parents[2] / "roles/node"
INVENTORY = """
qluster_nodes:
  hosts:
    db1:
      node_fence:
        action: off
        delay: 3s
        levels:
          - {agent: fence_ipmilan, parameters: {ip: 192.0.2.111, lanplus: true}, secrets: {password: db1-bmc},
             time-limit: 20s}
          - - {agent: fence_apc, parameters: {plug: 1}, secrets: {password: pdu}}
            - {agent: fence_apc, parameters: {plug: 2}, secrets: {password: pdu}}
      __node_address: {ip: 10.0.0.1, port: 8080}
    db2:
      node_fence: {levels: [{agent: fence_dummy}]}
      __node_address: {ip: 10.0.0.2, port: 8080}
    db3:
      __node_address: {ip: 10.0.0.3, port: 8080}
qluster_poolers:
  hosts:
    pool1:
      listens: true
      __node_address: {ip: 10.0.0.4, port: 8080}
all:
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    __node_interface: eth0
    __node_found: {founder: ""}
"""
PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  vars_files: ["{role}/defaults/main.yml", "{role}/vars/main.yml"]
  tasks:
    - ansible.builtin.set_fact:
        node_ip: "{{{{ __node_address.ip }}}}"
        node_role: "{{{{ listens | default(false) | ternary('listener', 'node') }}}}"
        node_udp_socket_group: "239.19.76.1:7400"
    - ansible.builtin.copy:
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        content: "{{{{ {{'text': lookup('ansible.builtin.template', '{role}/templates/config.yaml.j2'),
                   'files': __node_fence_files}} | to_json }}}}"
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Host → text of its config.yaml, and files with secrets."""
    folder = tmp_path_factory.mktemp("fencing")
    (folder / "hosts.yml").write_text(INVENTORY)
    (folder / "play.yml").write_text(PLAY.format(role=ROLE, folder=folder))
    variables = json.dumps({"node_config_dir": "/etc/qluster", "node_secrets_dir": "/secrets"})
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", folder / "hosts.yml", "-e", variables, folder / "play.yml"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def config(written: dict[str, dict[str, Any]], host: str) -> Config:
    return parse(written[host]["text"], host)


def test_each_host_knows_how_the_others_are_fenced(written: dict[str, dict[str, Any]]) -> None:
    named = {host: sorted(section.hosts) if (section := config(written, host).fencing) else [] for host in written}
    assert named == {"db1": ["10.0.0.2"], "db2": ["10.0.0.1"], "db3": ["10.0.0.1", "10.0.0.2"], "pool1": []}


def test_what_the_inventory_says_arrives(written: dict[str, dict[str, Any]]) -> None:
    section = config(written, "db3").fencing
    assert section is not None and (section.attempts, section.when_failed) == (2, "lease")
    host = section.hosts["10.0.0.1"]
    assert (host.action, host.delay, [len(level) for level in host.levels]) == ("off", 3.0, [1, 2])
    first = host.levels[0][0]
    assert first.parameters == {"ip": "192.0.2.111", "lanplus": "true"} and first.time_limit == 20.0
    assert first.secrets == {"password": "/etc/qluster/fence-db1-bmc.secret"}


def test_secrets_are_files_that_only_the_service_reads(written: dict[str, dict[str, Any]]) -> None:
    assert written["db3"]["files"] == [
        {"path": f"/etc/qluster/fence-{name}.secret", "src": f"/secrets/fencing/{name}", "mode": "0600", "secret": True}
        for name in ("db1-bmc", "pdu")
    ]
    assert written["db1"]["files"] == [] and written["pool1"]["files"] == []


BRING = """
- hosts: db3
  gather_facts: false
  connection: local
  vars_files: ["{role}/defaults/main.yml", "{role}/vars/main.yml"]
  vars:
    node_role: node
    __node_manager: "{{{{ manager }}}}"
    __node_found: {{package_manager: apt}}
  tasks:
    - ansible.builtin.debug: {{msg: "agents {{{{ __node_fence_agents | join(' ') }}}}"}}
    - ansible.builtin.include_tasks: "{role}/tasks/fencing.yml"
"""


@pytest.mark.parametrize(
    ("there", "manager", "words", "said"),
    [
        (("fence_apc", "fence_dummy", "fence_ipmilan"), "systemd", (), "ok=4    changed=0"),
        (("fence_apc", "fence_dummy"), "systemd", ("--check",), "ok=4    changed=1"),
        (("fence_apc",), "process", (), "of other hosts names fence_dummy, fence_ipmilan, not found in"),
    ],
    ids=["all there", "packages are to be installed", "without packages"],
)
def test_agents_that_are_needed_are_brought(
    tmp_path: Path, there: tuple[str, ...], manager: str, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "play.yml").write_text(BRING.format(role=ROLE, folder=tmp_path))
    (tmp_path / "bin").mkdir()
    for name in there:
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    places = [f"{tmp_path}/bin", f"{tmp_path}/none"]
    variables = json.dumps({"manager": manager, "node_release_dir": f"{tmp_path}/opt", "__node_fence_places": places})
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", tmp_path / "hosts.yml", "-e", variables, tmp_path / "play.yml", *words],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert "agents fence_apc fence_dummy fence_ipmilan" in done.stdout
    assert said in " ".join(done.stdout.split("\n")).replace("\\n", " "), done.stdout
    assert (done.returncode == 0) is (manager == "systemd"), done.stdout
