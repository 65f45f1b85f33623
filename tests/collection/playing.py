"""Runs the checkout's playbooks on an inventory of its own, on addresses that nobody else uses."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
NETWORK = f"127.77.{os.getpid() % 256}"
"""Two runs of the tests on one machine do not meet."""
NODES = {f"node{number}": f"{NETWORK}.{number}" for number in (1, 2, 3)}
POOL = {"pool1": f"{NETWORK}.4"}
GROUP = f"239.19.76.{os.getpid() % 256}:7477"
COPIED = ["ansible.cfg", "deploy.yml", "reinit.yml", "galaxy.yml", ".ansible", "inventories", "meta", "node",
          "packaging", "playbooks", "plugins", "requirements", "roles"]
PLAY_TIMEOUT = 400.0
"""Seconds for one playbook on a busy machine."""


def copy_checkout(folder: Path) -> None:
    """The sources as they are now, so that nobody changes them while playbooks run."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "files"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    for name in (".venv", ".cache"):
        (folder / name).symlink_to(ROOT / name)


@dataclass
class Played:
    """One run of a playbook."""

    code: int
    output: str
    runs: dict[str, int]
    """Modules run on each host."""

    @property
    def changed(self) -> dict[str, int]:
        found = re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", self.output, re.M)
        return {host: int(number) for host, number in found}

    def text(self) -> str:
        """The output with blanks joined, because long messages are folded."""
        return re.sub(r"\s+", " ", self.output)


class Stage:
    """An inventory and a prefix below one folder."""

    nodes = NODES
    pool = POOL
    arbiters: dict[str, str] = {}  # noqa: RUF012 - replaced as a whole by who has one
    group: str | list[str] = GROUP
    where: tuple[str, ...] = ()
    """Words before every command: into which network it goes."""

    def __init__(self, folder: Path, **host_vars: dict[str, Any]) -> None:
        self.folder = folder
        self.prefix = folder / "local cluster"
        self.inventory = folder / "inventory"
        self.inventory.mkdir()
        (self.inventory / "group_vars").symlink_to(ROOT / "inventories/local/group_vars")
        self.write(**host_vars)

    def write(self, variables: dict[str, Any] | None = None, **host_vars: dict[str, Any]) -> None:
        """The inventory, with variables for all and for single hosts."""
        def hosts(group: dict[str, str]) -> dict[str, Any]:
            return {"hosts": {name: {"ansible_host": ip, **host_vars.get(name, {})} for name, ip in group.items()}}

        everything = {"node_udp_socket_group": self.group, **(variables or {})}
        groups = {"qluster_nodes": self.nodes, "qluster_poolers": self.pool, "qluster_arbiters": self.arbiters}
        tree = {"all": {"children": {name: hosts(group) for name, group in groups.items()}}}
        (self.inventory / "hosts.yml").write_text(json.dumps(tree))
        (self.folder / "variables.json").write_text(json.dumps(everything))

    def ask(self, ip: str, method: str, path: str, body: bytes | None = None) -> requests.Response:
        """What one node answers to whoever may operate it."""
        secrets = self.prefix / "secrets"
        return requests.request(
            method, f"https://{ip}:8080{path}", data=body, timeout=10, verify=str(secrets / "ca.crt"),
            headers={"Authorization": f"Bearer {(secrets / 'operate.token').read_text().strip()}"})

    def daemon(self, name: str) -> int:
        """Process of a host's daemon."""
        with open(self.prefix / name / "qluster/lock") as file:
            inode = os.fstat(file.fileno()).st_ino
        holders = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return next(int(words[4]) for words in holders if words[5].endswith(f":{inode}"))

    def wait(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.05)

    def play(self, playbook: str, *words: str, checkout: Path = ROOT) -> Played:
        """Run a playbook, and count what modules it runs where."""
        counted = self.folder / "runs.json"
        counted.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(checkout / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/collection/callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "module_runs",
            "MODULE_RUNS_FILE": str(counted),
            "QLUSTER_LOCAL_PREFIX": str(self.prefix),
        }
        done = subprocess.run(
            [*self.where, BIN / "ansible-playbook", "-i", self.inventory, "-e", f"@{self.folder}/variables.json",
             "-e", "qluster_wait_timeout=120", playbook, *words],
            cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PLAY_TIMEOUT, check=False)
        runs = json.loads(counted.read_text()) if counted.exists() else {}
        return Played(done.returncode, done.stdout, runs)
