"""What the role node makes of `node_tasks_*`: the section of config.yaml, and the runner's unit."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from collection.playing import BIN
from qluster.config import parse

ROLE = Path(__file__).resolve().parents[2] / "roles/node"
CURRENT = "/opt/qluster/current"
UNIT = "/etc/systemd/system/qluster-runner.service"
INVENTORY: dict[str, Any] = {
    "plain": {},
    "loaded": {
        "node_tasks_slots": 8, "node_tasks_resources": {"gpu": 2}, "node_tasks_labels": {"disk": "ssd"},
        "node_tasks_dir": "/var/lib/tasks", "node_tasks_commands": ["/opt/site/bin/", "/usr/bin/true"],
        "node_tasks_users": ["loader", "backup"], "node_tasks_sql_roles": ["The Role"], "node_tasks_shell": True,
        "node_tasks_output_total": 99, "node_tasks_user": "worker", "node_tasks_program_roles": ["dumper"],
        "node_tasks_processes": 50, "changed": [UNIT],
    },
    "rooted": {"node_tasks_users": ["root"]},
    "own": {"node_tasks_user": "qhb"},
    "process": {"__node_manager": "process"},
    "none": {"node_tasks_enabled": False, "changed": [UNIT]},
    "configured": {"changed": ["/etc/qluster/config.yaml"]},
    "switched": {"changed": [CURRENT]},
    "upgraded": {"found": "old"},
}  # fmt: skip
PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  vars_files: ["{role}/defaults/main.yml", "{role}/vars/main.yml"]
  vars:
    __node_interface: eth0
    __node_release: new
    __node_configured: {{restart_for: "{{{{ changed | default([]) }}}}"}}
  tasks:
    - ansible.builtin.set_fact:
      args: "{{{{ given }}}}"
    - ansible.builtin.copy:
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        content: "{{{{ {{'config': lookup('ansible.builtin.template', '{role}/templates/config.yaml.j2'),
                   'unit': lookup('ansible.builtin.template', '{role}/templates/qluster-runner.service.j2'),
                   'restart': __node_restart, 'runner': __node_runner_restart,
                   'absent': __node_runner_absent}} | to_json }}}}"
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Host → what the role makes for it."""
    folder = tmp_path_factory.mktemp("tasks")
    shared = {"node_config_dir": "/etc/qluster", "node_secrets_dir": "/secrets",
              "ansible_python_interpreter": "{{ ansible_playbook_python }}",
              "__node_manager": "systemd", "__node_address": {"ip": "192.0.2.11", "port": 8080},
              "__node_found": {"founder": "", "release": "{{ found | default('new') }}"}}
    every = {"node_ip": "192.0.2.11", "node_role": "node"}
    hosts = {name: {"given": {**every, **given}} for name, given in INVENTORY.items()}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
    (folder / "play.yml").write_text(PLAY.format(role=ROLE, folder=folder))
    done = subprocess.run([BIN / "ansible-playbook", "-i", folder / "hosts.yml", folder / "play.yml"],
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_daemon_reads_what_the_inventory_says(written: dict[str, dict[str, Any]]) -> None:
    assert parse(written["none"]["config"], "none").tasks is None
    plain = parse(written["plain"]["config"], "plain").tasks
    assert plain is not None and plain.slots == 4 and not plain.shell and plain.dir is None
    assert not plain.commands and not plain.users and not plain.sql_roles, "nothing but templates"
    loaded = parse(written["loaded"]["config"], "loaded").tasks
    assert loaded is not None
    assert (loaded.slots, loaded.amounts, dict(loaded.labels)) == (8, {"gpu": 2}, {"disk": "ssd"})
    assert list(loaded.commands) == ["/opt/site/bin/", "/usr/bin/true"] and list(loaded.users) == ["loader", "backup"]
    assert list(loaded.sql_roles) == ["The Role"] and loaded.shell and loaded.dir == "/var/lib/tasks"
    assert loaded.output_total == 99


def test_runner_is_restarted_only_for_its_own_changes(written: dict[str, dict[str, Any]]) -> None:
    """Its restart ends what runs; daemon and runner have their own reasons."""
    found = {host: (one["restart"], one["runner"]) for host, one in written.items()}
    assert found == {"plain": (False, False), "loaded": (False, True), "none": (False, False),
                     "configured": (True, False), "switched": (True, True), "upgraded": (True, True),
                     "rooted": (False, False), "own": (False, False), "process": (False, False)}


def test_programs_are_a_user_of_their_own_where_the_service_allows(written: dict[str, dict[str, Any]]) -> None:
    tasks = {host: parse(one["config"], host).tasks for host, one in written.items() if host != "none"}
    found = {host: (one.user, one.work_dir) for host, one in tasks.items() if one is not None}
    assert found["plain"] == found["rooted"] == ("qluster-task", "/var/lib/qluster-task")
    assert found["loaded"] == ("worker", "/var/lib/worker") and found["own"] == found["process"] == (None, None)
    loaded = tasks["loaded"]
    assert loaded is not None and loaded.program_roles == ("dumper",) and loaded.processes == 50


def _settings(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_unit_lends_what_it_takes_to_become_the_users_of_tasks_and_no_more(written: dict[str, dict[str, Any]]) -> None:
    units = {host: _settings(one["unit"]) for host, one in written.items()}
    rights = "CAP_CHOWN CAP_KILL CAP_SETGID CAP_SETUID"
    command = "/usr/local/bin/qluster runner --config /etc/qluster/config.yaml"
    for host, users in (("plain", "qluster-task"), ("loaded", "worker,loader,backup")):
        unit = units[host]
        assert unit["User"] == "qhb" and unit["Delegate"] == "yes" and unit["Before"] == "qluster.service"
        assert unit["ExecStart"] == f"{command} --users {users}"
        assert unit["NoNewPrivileges"] == "yes"
        assert unit["RestrictRealtime"] == "yes", "nothing in it asks for a real-time class, and no program gets one"
        assert not [key for key in unit if key.startswith(("CPUScheduling", "LimitRTPRIO", "Nice"))]
        assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == rights
    assert units["plain"]["RequiresMountsFor"] == "/qluster /var/lib/qluster-task"
    assert units["own"]["ExecStart"] == command and units["own"]["RequiresMountsFor"] == "/qluster"
    assert units["own"]["AmbientCapabilities"] == units["own"]["CapabilityBoundingSet"] == ""


def test_a_task_that_may_be_root_is_a_whole_one(written: dict[str, dict[str, Any]]) -> None:
    unit = _settings(written["rooted"]["unit"])
    assert unit["ExecStart"].endswith("--users qluster-task,root")
    for implied in ("NoNewPrivileges", "CapabilityBoundingSet", "Restrict", "Protect", "SystemCall", "Lock"):
        assert not [key for key in unit if key.startswith(implied)], f"{implied} keeps something from root"


def test_the_file_for_sudo_of_former_versions_goes(written: dict[str, dict[str, Any]]) -> None:
    assert {tuple(one["absent"]) for one in written.values()} == {("/etc/sudoers.d/qluster-tasks",)}
