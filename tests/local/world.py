"""A real cluster on this machine, made by the README's commands, and the faults to strike it with.

Its addresses are not those of ``make deploy``, so that a person's cluster is left alone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import requests

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
NODES = {"node1": "127.0.3.1", "node2": "127.0.3.2", "node3": "127.0.3.3"}
POOL = {"pool1": "127.0.3.4"}
GROUP = "239.19.76.33:7433"
TEMPLATES = {
    "greet": {"task": {"command": ["/bin/sh", "-c", "echo hello $0 from $QLUSTER_NODE", "{whom}"]},
              "parameters": {"whom": {"pattern": "[a-z]+"}}},
    "attend": {"task": {"command": ["/bin/sleep", "600"], "target": {"role": "leader"}, "moved": "restart"}},
}  # fmt: skip
SCHEDULES = {"yearly": {"cron": "0 0 1 1 *", "task": {"template": "greet", "parameters": {"whom": "year"}}}}
API_PORT = 8080
POOL_PORT = 6432


def wait_for(what: str, holds: Callable[[], object], limit: float = 60.0) -> float:
    """Wait until something holds; the seconds it took. Fails with what it was."""
    began = time.monotonic()
    while time.monotonic() < began + limit:
        if holds():
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"not within {limit:g} s: {what}")


@dataclass
class Local:
    """The cluster below ``prefix``."""

    prefix: Path
    inventory: Path
    founding_output: str = ""
    """What the first deployment printed, at its most talkative."""

    @classmethod
    def make(cls, folder: Path) -> Local:
        """An inventory like inventories/local, with other addresses."""
        inventory = folder / "inventory"
        inventory.mkdir()
        (inventory / "group_vars").symlink_to(ROOT / "inventories/local/group_vars")
        hosts = {
            "qluster_nodes": {"hosts": {name: {"ansible_host": ip} for name, ip in NODES.items()}},
            "qluster_poolers": {"hosts": {name: {"ansible_host": ip} for name, ip in POOL.items()}},
        }
        (inventory / "hosts.yml").write_text(
            json.dumps({"all": {"children": hosts, "vars": {
                "node_udp_socket_group": GROUP, "qluster_task_templates": TEMPLATES,
                "qluster_task_schedules": SCHEDULES}}})
        )
        return cls(folder / "local", inventory)

    # --- commands -------------------------------------------------------------------

    def command(
        self, *words: str, limit: float = 300.0, verbosity: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the project on this cluster."""
        environment = {
            **os.environ,
            "QLUSTER_LOCAL_PREFIX": str(self.prefix),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_VERBOSITY": str(verbosity),
        }
        return subprocess.run(
            words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=limit, check=False,
        )

    def make_target(self, target: str, verbosity: int = 0) -> str:
        """``make TARGET`` on this cluster; its output. Fails when it does."""
        done = self.command("make", target, f"LOCAL={self.inventory}", verbosity=verbosity)
        assert done.returncode == 0, f"make {target} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def play(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook of the checkout."""
        return self.command(str(BIN / "ansible-playbook"), "-i", str(self.inventory), name, *words)

    def judge(self, expect: dict[str, object], timeout: int = 0) -> dict[str, object]:
        """What the module qluster_status says; ``failed`` is in it when expectations are unmet."""
        arguments = {
            "nodes": [f"https://{ip}:{API_PORT}" for ip in NODES.values()],
            "ca_file": str(self.prefix / "secrets/ca.crt"),
            "token_file": str(self.prefix / "secrets/read.token"),
            "expect": expect,
        }
        if timeout:
            arguments["wait"] = {"timeout": timeout, "delay": 0.2}
        done = self.command(
            str(BIN / "ansible"), "-i", str(self.inventory), "localhost", "-c", "local", "-o",
            "-e", f"ansible_python_interpreter={BIN / 'python'}",
            "-m", "qhb.qluster.qluster_status", "-a", json.dumps(arguments),
        )
        found = re.search(r"=> (\{.*\})\s*$", done.stdout, re.S)
        assert found, done.stdout
        return {"failed": done.returncode != 0, **json.loads(found.group(1))}

    def module(self, name: str, options: dict[str, object], *, check: bool = False) -> dict[str, object]:
        """Run a module that may operate, on the controller; its result. Fails when it does."""
        arguments = {
            "nodes": [f"https://{ip}:{API_PORT}" for ip in NODES.values()],
            "ca_file": str(self.prefix / "secrets/ca.crt"),
            "token_file": str(self.prefix / "secrets/operate.token"), **options,
        }  # fmt: skip
        done = self.command(
            str(BIN / "ansible"), "-i", str(self.inventory), "localhost", "-c", "local", "-o",
            *(["--check"] if check else []), "-e", f"ansible_python_interpreter={BIN / 'python'}",
            "-m", f"qhb.qluster.{name}", "-a", json.dumps(arguments),
        )  # fmt: skip
        found = re.search(r"=> (\{.*\})\s*$", done.stdout, re.S)
        assert found and done.returncode == 0, done.stdout
        result: dict[str, object] = json.loads(found.group(1))
        return result

    # --- what it says ------------------------------------------------------------------

    def token(self, name: str) -> str:
        """A token of the cluster."""
        return (self.prefix / f"secrets/{name}.token").read_text().strip()

    def get(self, ip: str, path: str) -> requests.Response | None:
        """One answer of a node; None when it does not answer."""
        try:
            return requests.get(
                f"https://{ip}:{API_PORT}{path}", timeout=2, verify=str(self.prefix / "secrets/ca.crt"),
                headers={"Authorization": f"Bearer {self.token('read')}"},
            )
        except requests.RequestException:
            return None

    def leader(self) -> str | None:
        """Name of the host that answers 200 on /is-leader; fails when two do."""
        leaders = []
        for name, ip in NODES.items():
            answer = self.get(ip, "/is-leader")
            if answer is not None and answer.status_code == 200:
                leaders.append(name)
        assert len(leaders) <= 1, f"{leaders} both say that they lead"
        return leaders[0] if leaders else None

    def leading(self) -> str:
        """The same, once somebody does."""
        found: list[str | None] = [None]

        def known() -> bool:
            found[0] = self.leader()
            return found[0] is not None

        wait_for("somebody leads", known)
        return str(found[0])

    def roles(self, ip: str) -> list[str]:
        """Database roles of all nodes, with "streaming" where a replica does, as one node sees them."""
        answer = self.get(ip, "/map")
        if answer is None or answer.status_code != 200:
            return []
        databases = [node["database"] for node in answer.json()["nodes"] if node["database"]]
        return sorted(one["role"] + (" streaming" if one["streaming"] else "") for one in databases)

    def whole(self) -> bool:
        """One primary and two replicas that stream, as every node sees it."""
        wanted = ["primary", "replica streaming", "replica streaming"]
        return all(self.roles(ip) == wanted for ip in NODES.values())

    # --- clients -------------------------------------------------------------------------

    def sql(
        self, statement: str, host: str = POOL["pool1"], port: int = POOL_PORT, database: str = "application"
    ) -> list[object]:
        """Run a statement through the pool; the first column of its rows."""
        return asyncio.run(self._sql(statement, host, port, database))

    async def _sql(self, statement: str, host: str, port: int, database: str) -> list[object]:
        password = (self.prefix / "secrets/application.password").read_text().strip()
        connection = await asyncio.wait_for(
            asyncpg.connect(
                host=host, port=port, user="application", password=password, database=database,
                statement_cache_size=0,
            ),
            5,
        )
        try:
            return [row[0] for row in await asyncio.wait_for(connection.fetch(statement), 5)]
        finally:
            connection.terminate()

    def writes(self, value: int) -> bool:
        """Write a row through the pool; True when it was acknowledged."""
        try:
            return self.sql(f"insert into ledger values ({value}) returning value") == [value]
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    # --- faults ----------------------------------------------------------------------------

    def postmaster(self, name: str) -> int:
        """Process id of a node's database."""
        pid_file = next((self.prefix / name).rglob("postmaster.pid"))
        return int(pid_file.read_text().splitlines()[0])

    def daemon(self, name: str) -> int:
        """Process id of a node's daemon, found by its configuration file."""
        wanted = str(self.prefix / name)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--config" not in words or b"runner" in words:
                continue
            if any(word.startswith(wanted.encode() + b"/") for word in words):
                return int(entry.name)
        raise AssertionError(f"no daemon of {name} runs")

    def processes(self) -> list[str]:
        """Command lines of all processes that belong to this cluster."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if str(self.prefix).encode() in words and int(entry.name) != os.getpid():
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def kill(self, *pids: int) -> None:
        """kill -9."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
