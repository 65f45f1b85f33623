"""Writes what Ansible, and a person with ssh, must know to reach the hosts of a lab.

Must not know the roles: it names the hosts, their groups, and what only the lab can know.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hostlab.errors import LabError
from hostlab.host import remove_tree
from hostlab.packages import PackageFiles
from hostlab.plan import ARBITERS, INTERFACE, NETWORK, NODES, POOLERS, Plan
from hostlab.shell import run

# Only a folder with this file was made by the lab; no other is ever removed.
MARK = ".made-by-the-lab"
GROUP_ORDER = (NODES, POOLERS, ARBITERS)


def make_keys(plan: Plan) -> None:
    """One key to enter all hosts, and one key for each host to be known by; made anew for each lab."""
    plan.ssh_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    _key(plan.ssh_dir / "key", f"controller of {plan.name}")
    known = []
    for host in plan.hosts:
        key = plan.ssh_dir / f"{host.name}-ssh_host_ed25519_key"
        _key(key, host.name)
        kind, public, _ = key.with_suffix(".pub").read_text().split(" ", 2)
        known.append(f"{host.name},{host.address} {kind} {public}\n")
    (plan.ssh_dir / "known_hosts").write_text("".join(known))
    plan.ssh_config.write_text(_ssh_config(plan))


def _key(file: Path, comment: str) -> None:
    if not file.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)])


def _ssh_config(plan: Plan) -> str:
    options = {
        "User": "root",
        "IdentityFile": plan.ssh_dir / "key",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": plan.ssh_dir / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "3",
        "ServerAliveInterval": "5",  # a paused or cut host must not hang its caller for ever
        "ServerAliveCountMax": "3",
        "ControlMaster": "auto",
        "ControlPersist": "60",
        "ControlPath": plan.ssh_dir / "%C",
    }
    names = "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in plan.hosts)
    return names + "Host *\n" + "".join(f"    {name} {value}\n" for name, value in options.items())


def claim_inventory(plan: Plan) -> None:
    """LabError when the folder belongs to somebody else."""
    folder = plan.inventory_dir
    if folder.exists() and not (folder / MARK).exists():
        raise LabError(f"{folder} was not made by the lab; move it away, or set QLUSTER_LAB_INVENTORY")


def write_inventory(plan: Plan, package_files: PackageFiles) -> None:
    """The inventory folder, in the shape of inventories/example."""
    folder = plan.inventory_dir
    (folder / "group_vars" / "all").mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(f"{plan.name}\n")
    _replace(folder / "hosts.yml", "".join(_hosts(plan)))
    _replace(folder / "group_vars/all/lab.yml", _variables(plan, package_files))


def remove_inventory(plan: Plan, folder: Path) -> None:
    """Remove the folder if the lab made it, whatever the playbooks put beside it."""
    if (folder / MARK).exists():
        remove_tree(folder)


def _replace(file: Path, text: str) -> None:
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(text)
    os.replace(fresh, file)


def _hosts(plan: Plan) -> Iterable[str]:
    yield "# Written by lab/lab.py up; lab/lab.py down removes it.\n---\nall:\n  children:\n"
    for group in GROUP_ORDER:
        yield f"    {group}:\n      hosts:\n"
        for host in plan.hosts:
            if host.group == group:
                yield f"        {host.name}:\n          ansible_host: {host.address}\n"


def _variables(plan: Plan, package_files: PackageFiles) -> str:
    return f"""\
# Written by lab/lab.py up; lab/lab.py down removes it.
---
ansible_user: root
ansible_python_interpreter: /usr/bin/python3
ansible_ssh_private_key_file: {plan.ssh_dir / "key"}
# All else about ssh, known hosts above all, stays in the lab's own folder.
ansible_ssh_common_args: -F {plan.ssh_config}
ansible_control_path: "{plan.ssh_dir}/%%C"

qluster_name: lab
# Ansible reads every file of an inventory folder as an inventory, but none in a hidden folder.
qluster_secrets_dir: "{{{{ inventory_dir }}}}/.secrets"
# The hosts have no package source: closed networks are like that.
database_package_files: {package_files.database}
pooler_package_files: {package_files.pool}
node_udp_socket_interface: {INTERFACE}
database_client_networks: [{NETWORK}]

# Short enough to watch a failover, long enough for five hosts on one busy machine.
node_cluster_node_timeout: 3s
node_cluster_heartbeat_interval: 600ms
node_cluster_pre_voting_timeout: 700ms
node_cluster_leader_voting_timeout: 700ms
node_cluster_replication_retry_interval: 300ms
node_hello_retry_interval: 500ms
"""
