"""Real daemons on hosts of their own, without databases: start, strike, ask.

Nothing here knows what a fault should lead to; the tests say that.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge.daemon_world import NODE, Site, wait_for
from faults.cables import Cables, run
from faults.disks import FaultyDisk

PORT = 8080
PROGRAM = Path(os.environ.get("QLUSTER_NODE") or NODE)
"""Another version of the daemon can be struck by the same faults."""
NODE_TIMEOUT = 1.0
ASK_SECONDS = 2.0
"""For a daemon that answers at all to say how it is."""
BACK_SECONDS = 40.0
"""For a cluster to be whole again after the last fault has gone."""
FOUND_SECONDS = 60.0
NUMBERS = itertools.count(1)
"""One for each cluster of this process."""
TIMERS: dict[str, object] = {
    "cluster__heartbeat_interval": "100ms", "cluster__node_timeout": "1s", "cluster__pre_voting_timeout": "300ms",
    "cluster__leader_voting_timeout": "300ms", "cluster__replication_retry_interval": "60ms",
    "hello_retry_interval": "200ms",
}  # fmt: skip


class Connection(http.client.HTTPSConnection):
    """HTTPS to a daemon, from inside its host."""

    def __init__(self, cluster: Cluster, number: int, limit: float) -> None:
        super().__init__(cluster.ip(number), PORT, timeout=limit, context=cluster.tls)
        self._cluster, self._number, self._limit = cluster, number, limit

    def connect(self) -> None:
        """Connect; ``http.client`` calls it when there is no connection."""
        raw = self._cluster.cables.connect(self._number, PORT, self._limit)
        try:
            self.sock = self._cluster.tls.wrap_socket(raw, server_hostname=self._cluster.ip(self._number))
        except OSError:
            raw.close()
            raise

    def ask(
        self, method: str, path: str, body: bytes = b"", *, token: str = "read", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request; any failure closes the connection and is an OSError or an HTTPException."""
        sent = {"Authorization": f"Bearer {token}-token-of-the-test"}
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        try:
            self.request(method, path, body=body or None, headers=sent)
            answer = self.getresponse()
            return answer.status, answer.headers, answer.read()
        except BaseException:
            self.close()
            raise


UNREACHED = (OSError, http.client.HTTPException)


class Cluster(Site):
    """The daemons of one cluster, their hosts and their disks."""

    def __init__(self, name: str, count: int = 3, *, relayed: bool = False, on_memory: bool = False) -> None:
        root = Path(tempfile.mkdtemp(prefix=f"faults-{name}-", dir="/dev/shm" if on_memory else None))
        number = next(NUMBERS)
        super().__init__(root, "239.19.90.1:7500", f"10.{number % 250}.9", hosts=count)
        self.cables = Cables(f"fh{os.getpid()}.{number}", self.net, count, relayed)
        self.daemons: dict[int, subprocess.Popen[str]] = {}
        self.disks: dict[int, FaultyDisk] = {}
        self.frozen: set[int] = set()
        self.tls = ssl.create_default_context(cafile=str(root / "ca.crt"))
        self._mounted: list[Path] = []
        self._lines: dict[int, int] = {}
        try:
            self.cables.build()
        except BaseException:
            self.end()
            raise

    @property
    def numbers(self) -> list[int]:
        """The hosts, from 1."""
        return list(self.cables.numbers)

    # --- hosts ---------------------------------------------------------------------

    def prepare(self, number: int, *, disk: bool = False, space: int = 0, **changes: object) -> None:
        """Configure a host; its state lies on a disk that can be made to fail, or on one of so many bytes."""
        state = self.place(number) / "state"
        if disk and number not in self.disks:
            self.disks[number] = FaultyDisk(self.place(number) / "disk")
        if disk:
            state = self.place(number) / "disk/state"
        if space:
            small = self.place(number) / "small"
            small.mkdir()
            run("mount", "-t", "tmpfs", "-o", f"size={space}", "qluster-faults", str(small))
            self._mounted.append(small)
            state = small / "state"
        self.configure(number, **{
            **TIMERS, "state_dir": str(state), "udp__socket__interface": "eth0", "udp__socket__loopback": False,
            **changes,
        })  # fmt: skip

    def start(self, number: int) -> subprocess.Popen[str]:
        """Start a daemon on its host."""
        with open(self.place(number) / "log", "a") as log:
            child = subprocess.Popen(
                ["ip", "netns", "exec", self.cables.namespace(number), *self.command(number)],
                env={**os.environ, "PYTHONPATH": str(PROGRAM)}, stdin=subprocess.DEVNULL, text=True,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.children.append(child)
        self.daemons[number] = child
        return child

    def command(self, number: int, *words: str) -> list[str]:
        """The program with a host's configuration."""
        return [sys.executable, "-m", "qluster", *words, "--config", str(self.place(number) / "config.yaml")]

    def qluster(self, number: int, *words: str) -> str:
        """Run a command of the program as the operator of a host does."""
        return run("env", f"PYTHONPATH={PROGRAM}", *self.command(number, *words))

    def found(self, numbers: Iterable[int] | None = None, **options: Any) -> None:
        """Configure and start hosts, and wait until all are voters."""
        chosen = list(numbers or self.numbers)
        for number in chosen:
            self.prepare(number, **options)
            self.start(number)
        self.wait_whole(chosen, FOUND_SECONDS)

    def kill(self, number: int) -> None:
        """SIGKILL, and wait for the end."""
        self.daemons[number].kill()
        self.daemons[number].wait()
        self.frozen.discard(number)

    def terminate(self, number: int) -> int:
        """SIGTERM; the exit code."""
        self.daemons[number].send_signal(signal.SIGTERM)
        return self.daemons[number].wait(20)

    def freeze(self, number: int) -> None:
        """SIGSTOP."""
        self.daemons[number].send_signal(signal.SIGSTOP)
        self.frozen.add(number)

    def thaw(self, number: int) -> None:
        """SIGCONT."""
        self.daemons[number].send_signal(signal.SIGCONT)
        self.frozen.discard(number)

    def runs(self, number: int) -> bool:
        """Whether the daemon's process is there."""
        return number in self.daemons and self.daemons[number].poll() is None

    def wait_ended(self, number: int, limit: float = 20.0) -> int:
        """Wait until a daemon has ended by itself; its exit code."""
        return self.daemons[number].wait(limit)

    def log(self, number: int) -> str:
        """What the daemon said, all of its lives together."""
        return (self.place(number) / "log").read_text(errors="replace")

    def said(self, number: int, words: str) -> bool:
        """Whether it said this since ``listen``."""
        return words in self.log(number)[self._lines.get(number, 0) :]

    def listen(self, number: int) -> None:
        """Forget what it said until now."""
        self._lines[number] = len(self.log(number))

    # --- asking ----------------------------------------------------------------------

    def connect(self, number: int, limit: float = ASK_SECONDS) -> Connection:
        """A connection, not yet made."""
        return Connection(self, number, limit)

    def ask(
        self, number: int, method: str, path: str, body: bytes = b"", *, limit: float = ASK_SECONDS, **headers: str
    ) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = self.connect(number, limit)
        try:
            status, _, found = connection.ask(method, path, body, **headers)
            return status, found
        finally:
            connection.close()

    def map(self, number: int) -> dict[str, Any]:
        """What a node says of itself and all others, {} when it says nothing."""
        if not self.runs(number) or number in self.frozen:
            return {}
        try:
            status, body = self.ask(number, "GET", "/map")
        except UNREACHED:
            return {}
        return json.loads(body) if status == 200 else {}

    def own(self, number: int) -> dict[str, Any]:
        """What a node says of itself."""
        return self.map(number).get("own") or {}

    def leading(self) -> list[int]:
        """The hosts whose node says that it leads."""
        return [number for number in self.numbers if self.own(number).get("consensus_role") == "leader"]

    def leader_host(self, among: Iterable[int] | None = None, limit: float = BACK_SECONDS) -> int:
        """The host that leads and holds its lease, once there is one."""
        chosen = list(among or self.numbers)
        found: list[int] = []

        def led() -> bool:
            found[:] = [one for one in chosen if (self.own(one).get("lease_left") or 0) > 0]
            return len(found) == 1 and self.own(found[0]).get("consensus_role") == "leader"

        wait_for(f"one leader among {chosen}", led, limit)
        return found[0]

    def write(self, number: int, key: str, value: str, limit: float = 10.0) -> int:
        """Put a value; the status code, 0 when nothing came back. A leader that was just elected is asked again."""
        end = time.monotonic() + limit
        while True:
            try:
                status, said = self.ask(number, "PUT", f"/kv/{key}", value.encode(), limit=limit, token="operate",
                                        Content_Type="application/octet-stream")  # fmt: skip
            except UNREACHED:
                return 0
            if status != 531 or b"just been elected" not in said or time.monotonic() > end:
                return status
            time.sleep(0.1)

    def read(self, number: int, key: str, consistency: str = "local") -> str | None:
        """A value; None when there is none or no answer."""
        try:
            status, body = self.ask(number, "GET", f"/kv/{key}?consistency={consistency}")
        except UNREACHED:
            return None
        return body.decode() if status == 200 else None

    def wait_whole(self, numbers: Iterable[int] | None = None, limit: float = BACK_SECONDS) -> None:
        """Wait until all say the same: one leader, all voters, everything applied."""
        chosen = list(numbers or self.numbers)
        seen: list[tuple[object, ...]] = []

        def whole() -> bool:
            seen.clear()
            for number in chosen:
                found = self.map(number).get("cluster") or {}
                words = ("voters", "leader", "term", "commit_index", "applied_index")
                seen.append(tuple(found.get(word) for word in words))
            first = seen[0]
            return first[0] == len(chosen) and first[1] is not None and first[3] == first[4] and len(set(seen)) == 1

        try:
            wait_for("a whole cluster", whole, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}") from None

    def recover(self, limit: float = BACK_SECONDS) -> None:
        """Take every fault back, start whoever has ended as a service manager does, and wait until all is whole."""
        self.cables.heal()
        for disk in self.disks.values():
            disk.behave()
        for number in list(self.frozen):
            self.thaw(number)
        end = time.monotonic() + limit
        while True:
            for number in self.numbers:
                if not self.runs(number):
                    self.start(number)
            try:
                self.wait_whole(limit=2.0)
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise

    # --- end ---------------------------------------------------------------------------

    def end(self) -> None:
        """End every process and remove every namespace, mount and file."""
        for disk in self.disks.values():
            disk.behave()
        super().end()
        for disk in self.disks.values():
            disk.remove()
        for place in self._mounted:
            run("umount", str(place))
        self.cables.remove()
        shutil.rmtree(self.root, ignore_errors=True)


def eventually_writes(cluster: Cluster, hosts: Iterable[int], key: str, value: str, limit: float = 20.0) -> float:
    """Write through whoever of these leads, until it is acknowledged; the seconds it took."""
    began = time.monotonic()
    chosen = list(hosts)
    wait_for(
        f"an acknowledged write through one of {chosen}",
        lambda: any(cluster.write(number, key, value, 3.0) == 200 for number in chosen), limit,
    )  # fmt: skip
    return time.monotonic() - began
