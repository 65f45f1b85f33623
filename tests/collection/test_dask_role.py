"""What the role dask makes: the unit, the keys of config.yaml, an environment from an archive."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from collection.playing import BIN
from qluster.config import parse

ROOT = Path(__file__).resolve().parents[2]
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
RENDER = """
- hosts: all
  gather_facts: false
  connection: local
  vars_files: ["{root}/roles/node/defaults/main.yml", "{root}/roles/node/vars/main.yml",
               "{root}/roles/dask/vars/main.yml"]
  vars:
    __node_interface: eth0
  tasks:
    - ansible.builtin.set_fact:
      args: "{{{{ given }}}}"
    # The playbooks see what the inventory says, and not the role's own defaults.
    - ansible.builtin.set_fact:
        config: "{{{{ lookup('ansible.builtin.template', '{root}/roles/node/templates/config.yaml.j2') }}}}"
    - ansible.builtin.include_vars: "{root}/roles/dask/defaults/main.yml"
    - ansible.builtin.copy:
        dest: "{folder}/{{{{ inventory_hostname }}}}.json"
        content: "{{{{ {{'config': config,
                   'runner': lookup('ansible.builtin.template',
                                    '{root}/roles/node/templates/qluster-runner.service.j2'),
                   'unit': lookup('ansible.builtin.template', '{root}/roles/dask/templates/qluster-dask.service.j2')}}
                   | to_json }}}}"
"""
HOSTS: dict[str, Any] = {
    "silent": {},
    "off": {"dask_enabled": False},
    "on": {"dask_enabled": True},
    "moved": {"dask_enabled": True, "dask_dir": "/srv/dask", "node_tasks_dask_port": 9000, "dask_memory": "",
              "dask_user": "computer", "dask_data_dir": "/srv/data", "dask_config_dir": "/srv/etc"},
    "old": {"dask_enabled": True, "dask_user": "qhb"},
    "process": {"dask_enabled": True, "node_service_manager": "process", "__node_manager": "process",
                "__dask_manager": "process"},
}


def play(folder: Path, text: str, hosts: dict[str, Any], **shared: object) -> str:
    """Run a playbook on hosts of this machine; what it says."""
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}", "ansible_connection": "local", **shared}}}))
    (folder / "play.yml").write_text(text)
    done = subprocess.run([BIN / "ansible-playbook", "-i", folder / "hosts.yml", folder / "play.yml"], cwd=ROOT,
                          capture_output=True, text=True, timeout=180, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Host → what is made for it."""
    folder = tmp_path_factory.mktemp("dask")
    every = {"node_ip": "192.0.2.11", "node_role": "node", "__node_manager": "systemd", "__dask_manager": "systemd"}
    hosts = {name: {"given": {**every, **given}} for name, given in HOSTS.items()}
    play(folder, RENDER.format(root=ROOT, folder=folder), hosts, node_config_dir="/etc/qluster",
         node_secrets_dir="/secrets", __node_address={"ip": "192.0.2.11", "port": 8080})
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in hosts}


def test_daemon_hears_of_dask_only_where_it_is_switched_on(written: dict[str, dict[str, Any]]) -> None:
    found = {}
    for name, one in written.items():
        tasks = parse(one["config"], name).tasks
        assert tasks is not None
        found[name] = (tasks.dask_python, tasks.dask_port)
    assert found == {"silent": (None, 8786), "off": (None, 8786),
                     "on": ("/opt/qluster-dask/current/bin/python", 8786),
                     "old": ("/opt/qluster-dask/current/bin/python", 8786),
                     "process": ("/opt/qluster-dask/current/bin/python", 8786),
                     "moved": ("/srv/dask/current/bin/python", 9000)}


def test_what_computes_is_a_user_of_its_own_with_proofs_of_its_own(written: dict[str, dict[str, Any]]) -> None:
    found, services = {}, {}
    for name, one in written.items():
        tasks = parse(one["config"], name).tasks
        assert tasks is not None
        found[name] = (tasks.dask_user, tasks.dask_dir, tasks.dask_ca_file, tasks.dask_key_file)
        services[name] = tuple(_words(one[unit], "ExecStart").partition(" --users ")[2] for unit in ("runner", "unit"))
    nothing, usual = (None, None, None, None), ("/var/lib/qluster-dask", "/etc/qluster-dask/ca.crt",
                                                "/etc/qluster-dask/dask.key")  # fmt: skip
    assert found == {"silent": nothing, "off": nothing, "on": ("qluster-dask", *usual), "old": (None, *usual),
                     "process": (None, *usual),
                     "moved": ("computer", "/srv/data", "/srv/etc/ca.crt", "/srv/etc/dask.key")}  # fmt: skip
    assert {name: services[name] for name in ("off", "on", "old", "process", "moved")} == {
        "off": ("qluster-task", "qluster-dask"), "on": ("qluster-task,qluster-dask", "qluster-dask"),
        "old": ("qluster-task", ""), "process": ("", ""), "moved": ("qluster-task,computer", "computer")}
    rights = "CAP_KILL CAP_SETGID CAP_SETUID"
    for name, lent in (("on", rights), ("moved", rights), ("old", ""), ("process", "")):
        unit = written[name]["unit"]
        assert (_words(unit, "User"), _words(unit, "NoNewPrivileges")) == ("qhb", "yes")
        assert _words(unit, "AmbientCapabilities") == _words(unit, "CapabilityBoundingSet") == lent


def _words(unit: str, key: str) -> str:
    (line,) = [line for line in unit.splitlines() if line.startswith(f"{key}=")]
    return line.partition("=")[2]


def test_unit_leaves_the_host_to_the_database(written: dict[str, dict[str, Any]]) -> None:
    unit = written["on"]["unit"]
    assert "ExecStart=/usr/local/bin/qluster dask --config /etc/qluster/config.yaml --users qluster-dask\n" in unit
    assert "CPUWeight=20\n" in unit and "MemoryMax=50%\n" in unit
    assert "MemoryMax" not in written["moved"]["unit"]


def archive(path: Path, name: str, says: str) -> None:
    """An archive as the packer makes it, with next to nothing inside."""
    site = f"{name}/lib/python{MINOR}/site-packages"
    with tarfile.open(path, "w:gz") as packed:
        for module in ("dask", "distributed", "distributed/cli"):
            entry = tarfile.TarInfo(f"{site}/{module}/__init__.py")
            content = f"says = {says!r}\n".encode()
            entry.size, entry.mode = len(content), 0o644
            packed.addfile(entry, io.BytesIO(content))
        for program in ("dask_worker", "dask_scheduler"):
            entry = tarfile.TarInfo(f"{site}/distributed/cli/{program}.py")
            entry.mode = 0o644
            packed.addfile(entry)


def secrets(folder: Path) -> str:
    """What deploy.yml makes on the controller, for the host one."""
    place = folder / "secrets"
    (place / "hosts").mkdir(parents=True)
    for name in ("ca.crt", "hosts/one.crt", "hosts/one.key"):
        (place / name).write_text(f"{name} of the first\n")
    return str(place)


def test_environment_is_made_without_a_package_index_and_only_once(tmp_path: Path) -> None:
    machine = os.uname().machine
    archives, place = tmp_path / "archives", tmp_path / "opt"
    archives.mkdir()
    archive(archives / f"dask-2026.1.0-abc-{TAG}-{machine}.tar.gz", f"2026.1.0-abc-{TAG}", "old")
    given = {"dask_archives": str(archives), "dask_dir": str(place), "dask_ip": "127.0.0.1",
             "dask_service_user": "", "dask_prefix": str(tmp_path / "root"), "dask_secrets_dir": secrets(tmp_path),
             "dask_service_manager": "process", "dask_python": sys.executable}  # fmt: skip
    stages = "".join(f"    - ansible.builtin.include_role: {{name: qhb.qluster.dask, tasks_from: {stage}}}\n"
                     for stage in ("preflight", "install", "configure"))
    text = f"- hosts: all\n  gather_facts: false\n  tasks:\n{stages}"

    def said() -> str:
        code = "import distributed; print(distributed.says)"
        return subprocess.run([place / "current/bin/python", "-I", "-c", code], capture_output=True, text=True,
                              check=True).stdout.strip()  # fmt: skip

    assert "changed=0" not in play(tmp_path, text, {"one": given})
    assert said() == "old"
    assert "changed=0" in play(tmp_path, text, {"one": given}), "a second run changes nothing"
    proofs = tmp_path / "root/etc/qluster-dask"
    assert (proofs / "dask.key").read_text() == "hosts/one.key of the first\n"
    assert {path.name: path.stat().st_mode & 0o777 for path in proofs.iterdir()} == {
        "ca.crt": 0o644, "dask.crt": 0o644, "dask.key": 0o400}
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "root/var/lib").rglob("*")} == {
        "qluster-dask": 0o711, "home": 0o700}
    archive(archives / f"dask-2026.2.0-def-{TAG}-{machine}.tar.gz", f"2026.2.0-def-{TAG}", "new")
    play(tmp_path, text, {"one": given})
    assert said() == "new"


def test_service_is_run_under_a_supervisor_and_taken_away(tmp_path: Path) -> None:
    machine = os.uname().machine
    command, calls = tmp_path / "qluster", tmp_path / "calls"
    command.write_text(f"#!/bin/sh\necho \"$@\" >> {calls}\nexec sleep 60\n")
    command.chmod(0o755)
    archive(tmp_path / f"dask-2026.1.0-abc-{TAG}-{machine}.tar.gz", f"2026.1.0-abc-{TAG}", "old")
    with tempfile.TemporaryDirectory(prefix="dask-") as short:  # a socket's path has its limit
        given = {"dask_archives": str(tmp_path), "dask_dir": str(tmp_path / "opt"), "dask_ip": "127.0.0.1",
                 "dask_service_user": "", "dask_prefix": str(tmp_path / "root"),
                 "dask_secrets_dir": secrets(tmp_path), "dask_service_manager": "process",
                 "dask_python": sys.executable, "dask_command": str(command), "dask_config_file": "/etc/x.yaml",
                 "dask_process_dir": short}
        former = tmp_path / "root/qluster/tasks/dask"
        former.mkdir(parents=True)
        try:
            play(tmp_path, "- hosts: all\n  gather_facts: false\n  roles: [qhb.qluster.dask]\n", {"one": given})
            assert calls.read_text() == "dask --config /etc/x.yaml\n"
            assert not former.exists(), "what was computed as the daemon's user"
            assert list(Path(short).glob("programs/*dask*"))
            play(tmp_path, "- hosts: all\n  gather_facts: false\n  tasks:\n"
                           "    - ansible.builtin.include_role: {name: qhb.qluster.dask, tasks_from: remove}\n",
                 {"one": given})  # fmt: skip
            assert not list(Path(short).glob("programs/*dask*")) and not (tmp_path / "opt").exists()
            assert not [path for path in (tmp_path / "root").rglob("*") if "dask" in path.name]
        finally:
            play(tmp_path, "- hosts: all\n  gather_facts: false\n  tasks:\n    - qhb.qluster.qluster_process: "
                           f"{{directory: {short}, socket: {short}/supervisor.sock, state: down, stop_timeout: 5}}\n",
                 {"one": given})  # fmt: skip
