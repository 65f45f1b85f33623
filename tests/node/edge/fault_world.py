"""Hosts of their own for the daemons and databases of a whole cluster: network namespaces on a bridge.

Each node has a namespace with one address; the clients stand in another one, outside. A cable can be cut in
one direction, a process stopped or killed, and a ledger says which node acknowledged which row, and when.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import asyncpg
from edge.daemon_world import NODE, Site, wait_for
from edge.postgres_world import MEMORY, programs

NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
CLONE_NEWNET = 0x40000000
DB_PORT = 5432
WRITE_PAUSE = 0.005
"""Seconds between two rows: enough of them to see an overlap of milliseconds, and the disk stays quiet."""
ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def obstacle() -> str:
    """Why these tests cannot run here, "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "nft", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if programs() is None:
        return "no database programs"
    probe = f"qf{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespaces: {made.stderr.strip()}"
    try:
        for words in (["nft", "list", "tables"], [*NOBODY, "true"]):
            tried = subprocess.run(["ip", "netns", "exec", probe, *words], capture_output=True, text=True)
            if tried.returncode != 0:
                return f"{words[0]} does not work in a namespace: {tried.stderr.strip()}"
    finally:
        run("ip", "netns", "del", probe)
    return ""


def run(*words: str) -> str:
    """A command that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout


def ticks(pid: int) -> str | None:
    """State letter of a process, None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def kin(pid: int) -> list[int]:
    """Processes that a process started, and theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(entry.name), *kin(int(entry.name))]
    return found


class Hosts(Site):
    """Three hosts, their daemons and databases, and the place outside where the clients are."""

    def __init__(self, hosts: int = 3) -> None:
        root = Path(tempfile.mkdtemp(prefix="qf-", dir=MEMORY if os.access(MEMORY, os.W_OK) else "/tmp"))
        root.chmod(0o755)
        self.prefix = f"qf{os.getpid()}"
        super().__init__(root, "239.19.78.1:7500", f"10.{78 + os.getpid() % 100}.1", hosts=hosts)
        self.daemons: dict[int, subprocess.Popen[str]] = {}
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._namespaces: list[str] = []
        # One for all: a daemon can look into a process of its own user namespace only, as it must after a restart.
        self._nobody = subprocess.Popen([*NOBODY, "sleep", "infinity"])
        mine = os.readlink("/proc/self/ns/user")
        wait_for("a user namespace", lambda: os.readlink(f"/proc/{self._nobody.pid}/ns/user") != mine)
        self._build()
        self._enter(os.open(f"/run/netns/{self.outside}", os.O_RDONLY), close=True)
        self.secret("database.password", "superuser-of-the-test")
        self.secret("application.password", "application-of-the-test")

    # --- hosts and cables ----------------------------------------------------------

    @property
    def outside(self) -> str:
        """Namespace of the bridge and of the clients."""
        return f"{self.prefix}-out"

    def namespace(self, number: int) -> str:
        """Namespace of a node."""
        return f"{self.prefix}-{number}"

    def inside(self, number: int, *words: str) -> str:
        """Run a command on a host."""
        return run("ip", "netns", "exec", self.namespace(number), *words)

    def _build(self) -> None:
        out = ["ip", "-n", self.outside]
        for name in (self.outside, *map(self.namespace, self.numbers)):
            run("ip", "netns", "add", name)
            self._namespaces.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(*out, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        run(*out, "addr", "add", f"{self.net}.254/24", "dev", "br0")
        run(*out, "link", "set", "br0", "up")
        for number in self.numbers:
            host = ["ip", "-n", self.namespace(number)]
            cable = ["type", "veth", "peer", "name", "eth0", "netns", self.namespace(number)]
            run(*out, "link", "add", f"v{number}", *cable)
            run(*out, "link", "set", f"v{number}", "master", "br0", "up")
            run(*host, "addr", "add", f"{self.ip(number)}/24", "dev", "eth0")
            run(*host, "link", "set", "eth0", "up")

    def _enter(self, namespace: int, *, close: bool = False) -> None:
        done = ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET)
        error = ctypes.get_errno()
        if close:
            os.close(namespace)
        assert done == 0, os.strerror(error)

    def cut(self, number: int, *, hears: bool = False, speaks: bool = False, but: str = "") -> None:
        """Cut a host off: it hears or speaks no more where that is False; ``but`` names what passes all the same."""
        self.mend(number)
        rules = ["add table inet cut"]
        for hook, direction, passes in (("input", "iifname", hears), ("output", "oifname", speaks)):
            if not passes:
                rules.append(f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy accept; }}")
                rules += [f"add rule inet cut {hook} {but} accept"] if but else []
                rules.append(f"add rule inet cut {hook} {direction} eth0 drop")
        self.inside(number, "nft", "; ".join(rules))

    def divide(self, number: int, other: int) -> None:
        """Cut the cable between two hosts, and no other."""
        for one, from_whom in ((number, other), (other, number)):
            self.mend(one)
            drop = f"add rule inet cut input ip saddr {self.ip(from_whom)} drop"
            chain = "add chain inet cut input { type filter hook input priority 0; policy accept; }"
            self.inside(one, "nft", f"add table inet cut; {chain}; {drop}")

    def power_off(self, number: int) -> None:
        """End every process of a host at once."""
        while pids := run("ip", "netns", "pids", self.namespace(number)).split():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.daemons[number].wait(10)

    def mend(self, number: int) -> None:
        """Take every cut of a host back."""
        self.inside(number, "nft", "add table inet cut; delete table inet cut")

    # --- daemons and databases ---------------------------------------------------------

    def data(self, number: int) -> Path:
        """Data directory of a node."""
        return self.place(number) / "data"

    def prepare(self, number: int, **changes: object) -> None:
        """Write the configuration of a host with a database."""
        found = programs()
        assert found is not None
        place = self.place(number)
        (place / "run").mkdir(exist_ok=True)
        (self.root / "wal").mkdir(exist_ok=True)
        database = {
            "bin-dir": found[0], "library-dir": found[1], "data-dir": str(self.data(number)), "port": DB_PORT,
            "wal-archive-dir": str(self.root / "wal"), "socket-dir": str(place / "run"),
            "password-file": str(self.root / "database.password"), "superuser": "qluster",
            "application-user": "app", "application-password-file": str(self.root / "application.password"),
            "application-database": "app", "client-networks": [f"{self.net}.0/24"],
            "parameters": {"shared_buffers": "16MB", "max_connections": "40"},
        }
        self.configure(number, **{"database": database, **self.network(), **changes})

    def network(self) -> dict[str, object]:
        """What the configurations of all hosts say of network and timers."""
        return {
            "udp__socket__interface": "eth0", "udp__socket__loopback": False,
            "cluster__node_timeout": "3s", "cluster__heartbeat_interval": "500ms",
            "cluster__pre_voting_timeout": "500ms", "cluster__leader_voting_timeout": "500ms",
        }

    def start(self, number: int) -> subprocess.Popen[str]:
        """Start a daemon on its host."""
        with open(self.place(number) / "log", "a") as log:
            child = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(number),
                 "nsenter", f"--user=/proc/{self._nobody.pid}/ns/user", "--preserve-credentials",
                 sys.executable, "-m", "qluster", "--config", str(self.place(number) / "config.yaml")],
                env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, text=True,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.children.append(child)
        self.daemons[number] = child
        return child

    def log(self, number: int) -> str:
        """What a daemon and its database said."""
        return (self.place(number) / "log").read_text(errors="replace")

    def guard(self, number: int) -> int:
        """Process id of a node's guard."""
        for pid in kin(self.daemons[number].pid):
            if b"guard_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise AssertionError(f"node {number} has no guard")

    def postmaster(self, number: int) -> int | None:
        """Process id of a node's server, None when none runs."""
        try:
            pid = int((self.data(number) / "postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return None
        return pid if ticks(pid) not in (None, "Z") else None

    def writable(self) -> list[int]:
        """The hosts that say that a client may write to them."""
        return [number for number in self.databases if self.own(number).get("may_write")]

    @property
    def numbers(self) -> range:
        """Of all hosts."""
        return range(1, self.hosts + 1)

    @property
    def databases(self) -> range:
        """Of the hosts of one cluster with a database: others come behind them."""
        return range(1, min(self.hosts, 3) + 1)

    def own(self, number: int) -> dict[str, object]:
        """What a node says of itself."""
        return self.map(number).get("own") or {}  # type: ignore[return-value]

    def roles(self, number: int) -> list[str]:
        """Database roles as a node sees them."""
        databases = [node["database"] for node in self.map(number).get("nodes", []) if node["database"]]  # type: ignore[attr-defined]
        return sorted(one["role"] + (" streaming" if one["streaming"] else "") for one in databases)

    def timelines(self, number: int) -> set[object]:
        """Timelines of the databases as a node sees them."""
        databases = [node["database"] for node in self.map(number).get("nodes", []) if node["database"]]  # type: ignore[attr-defined]
        return {one["timeline"] for one in databases}

    def whole(self, numbers: Iterable[int] | None = None) -> bool:
        """One primary and replicas that stream, and have written WAL of its timeline: not yet when they just began."""
        wanted = ["primary"] + ["replica streaming"] * (len(self.databases) - 1)
        return all(
            self.roles(number) == wanted and len(self.timelines(number)) == 1 for number in numbers or self.databases
        )

    def guarantee(self, number: int) -> dict[str, object] | None:
        """For whom transactions wait, as a host shows it."""
        cluster = self.map(number).get("cluster") or {}
        return cluster.get("guarantee")  # type: ignore[attr-defined, no-any-return]

    def covered(self, standbys: int) -> bool:
        """All hosts say that so many replicas are waited for, and nothing else is in force beside that."""
        found = [self.guarantee(number) for number in self.daemons if self.daemons[number].poll() is None]
        return all(one is not None and len(one["standbys"]) == standbys and one["settled"] for one in found)  # type: ignore[arg-type]

    def freeze(self, *pids: int) -> None:
        """SIGSTOP."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, *pids: int) -> None:
        """SIGCONT; who was given up meanwhile has been ended."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self, *pids: int) -> None:
        """SIGKILL."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """End every process and remove every namespace, file and cable."""
        self._enter(self._home, close=True)
        for name in self._namespaces:
            for word in run("ip", "netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(word), signal.SIGKILL)
        super().end()
        self._nobody.kill()
        self._nobody.wait()
        for name in self._namespaces:
            run("ip", "netns", "del", name)
        shutil.rmtree(self.root, ignore_errors=True)


class Ledger:
    """Clients, one for each node, that write rows as fast as one may and note each acknowledgement."""

    def __init__(self, hosts: Hosts, name: str = "ledger") -> None:
        self.hosts = hosts
        self.name = name
        self.acknowledged: list[tuple[float, int, int]] = []
        """When, by which host, which row."""
        self._next = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)

    def __enter__(self) -> Ledger:
        asyncio.run(self._prepare())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    async def _prepare(self) -> None:
        writable = self.hosts.writable()
        connection = await self.connect(writable[0])
        await connection.execute(f"create table {self.name} (row bigint primary key)")
        connection.terminate()

    async def connect(self, number: int) -> asyncpg.Connection:
        """A client's connection to a host's database."""
        return await asyncio.wait_for(asyncpg.connect(
            host=self.hosts.ip(number), port=DB_PORT, user="app", password="application-of-the-test", database="app",
        ), 2)  # fmt: skip

    async def _write(self) -> None:
        await asyncio.gather(*(self._write_to(number) for number in self.hosts.databases))

    async def _write_to(self, number: int) -> None:
        connection: asyncpg.Connection | None = None
        while not self._stop.is_set():
            self._next += 1
            row = self._next
            try:
                connection = connection or await self.connect(number)
                await asyncio.wait_for(connection.execute(f"insert into {self.name} values ({row})"), 3)
                self.acknowledged.append((time.monotonic(), number, row))
                await asyncio.sleep(WRITE_PAUSE)
            except ERRORS:
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.05)
        if connection is not None:
            connection.terminate()

    # --- what it says -------------------------------------------------------------------

    def wait_for_rows(self, number: int | None = None, limit: float = 30.0) -> float:
        """Wait until a row is acknowledged from now on, by this host or by any; when it was."""
        began, seen = time.monotonic(), len(self.acknowledged)

        def news() -> list[float]:
            return [at for at, by, _ in self.acknowledged[seen:] if number in (None, by)]

        wait_for(f"a row acknowledged by {number or 'anybody'}", news, limit)
        return news()[0] - began

    def rows(self, number: int) -> set[int]:
        """The rows that a host's database has."""
        async def read() -> set[int]:
            connection = await self.connect(number)
            try:
                return {row[0] for row in await connection.fetch(f"select row from {self.name}")}
            finally:
                connection.terminate()

        return asyncio.run(read())

    def missing(self, number: int) -> list[tuple[float, int, int]]:
        """What was acknowledged and is not there."""
        there = self.rows(number)
        return [one for one in self.acknowledged if one[2] not in there]

    def last_by_others(self, number: int) -> bool:
        """Whether the newest acknowledgement is another host's."""
        return bool(self.acknowledged) and self.acknowledged[-1][1] != number

    def changes(self) -> list[tuple[float, int, float, int]]:
        """Where the acknowledging host changes: last time and host before, first time and host after.

        One for each failover; more mean that a host acknowledged after another one had begun to.
        """
        order = pairwise(sorted(self.acknowledged))
        return [(at, by, later, other) for (at, by, _), (later, other, _) in order if other != by]

    def gap(self) -> float:
        """The longest time without any acknowledgement."""
        times = [at for at, _, _ in self.acknowledged]
        return max((later - at for at, later in pairwise(times)), default=0.0)


