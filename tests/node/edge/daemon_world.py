"""Daemons as processes on loopback, without databases: what starts, what refuses, what they agree on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import trustme

NODE = Path(__file__).resolve().parents[3] / "node"
START_SECONDS = 30.0
"""For a daemon to answer or refuse: a second on a quiet machine."""


def wait_for(what: str, holds: Callable[[], object], limit: float = START_SECONDS) -> None:
    """Wait until something holds; fails with what it was."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {limit:g} s: {what}")


@contextmanager
def small_disk(path: Path, size: str, *, outlived: bool = False) -> Iterator[None]:
    """A file system of this size at a new directory; ``outlived``: by those who run there."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)],
                             capture_output=True, text=True, check=False)  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        if outlived:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        else:
            words = ["umount", str(path)]
            wait_for(f"nobody uses {path}", lambda: subprocess.run(words, capture_output=True).returncode == 0)


@dataclass
class Site:
    """A folder with everything that the daemons of a cluster share, and the daemons that were started."""

    root: Path
    group: str
    net: str
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    hosts: int = 4

    def __post_init__(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.root / "ca.crt"))
        for number in range(1, self.hosts + 1):
            place = self.place(number)
            place.mkdir()
            certificate = authority.issue_cert(self.ip(number))
            certificate.private_key_pem.write_to_path(str(place / "api.key"))
            certificate.cert_chain_pems[0].write_to_path(str(place / "api.crt"))
            (place / "api.key").chmod(0o600)
        self.secret("cluster.key", "1:" + base64.b64encode(bytes(range(32))).decode())
        self.secret("read.token", "read-token-of-the-test")
        self.secret("operate.token", "operate-token-of-the-test")

    def secret(self, name: str, text: str) -> Path:
        """A private file."""
        path = self.root / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return path

    def ip(self, number: int) -> str:
        """Address of a node."""
        return f"{self.net}.{number}"

    def place(self, number: int) -> Path:
        """Folder of a node."""
        return self.root / f"node{number}"

    def configure(self, number: int, **changes: object) -> Path:
        """Write a node's config.yaml; ``changes`` are dotted keys with ``__`` for the dot and ``_`` for ``-``."""
        place = self.place(number)
        tree: dict[str, dict[str, object] | object] = {
            "ip": self.ip(number), "api-port": 8080, "state-dir": str(place / "state"),
            "udp": {"socket": {"group": self.group, "interface": "lo", "loopback": True}},
            "cluster": {
                "name": "trial", "founder": self.ip(1), "key-file": str(self.root / "cluster.key"),
                "node-timeout": "1500ms", "heartbeat-interval": "300ms", "pre-voting-timeout": "400ms",
                "leader-voting-timeout": "400ms", "replication-retry-interval": "150ms",
            },
            "hello-retry-interval": "300ms",
            "api": {
                "certificate-file": str(place / "api.crt"), "key-file": str(place / "api.key"),
                "ca-file": str(self.root / "ca.crt"), "read-token-file": str(self.root / "read.token"),
                "operate-token-file": str(self.root / "operate.token"),
            },
        }  # fmt: skip
        for key, value in changes.items():
            words = [word.replace("_", "-") for word in key.split("__")]
            branch: dict[str, object] = tree
            for word in words[:-1]:
                branch = branch.setdefault(word, {})  # type: ignore[assignment]
            branch[words[-1]] = value
        path = place / "config.yaml"
        path.write_text(json.dumps(tree))
        return path

    def start(self, number: int) -> subprocess.Popen[str]:
        """Start a daemon."""
        child = subprocess.Popen(
            [sys.executable, "-m", "qluster", "--config", str(self.place(number) / "config.yaml")],
            env={**os.environ, "PYTHONPATH": str(NODE)}, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.children.append(child)
        return child

    def refusal(self, number: int) -> tuple[int, str]:
        """Start a daemon that must end by itself: its exit code and what it said."""
        child = self.start(number)
        said, _ = child.communicate(timeout=START_SECONDS)
        return child.returncode, said

    def map(self, number: int) -> dict[str, object]:
        """The answer of /map, {} when there is none."""
        try:
            answer = requests.get(
                f"https://{self.ip(number)}:8080/map", timeout=2, verify=str(self.root / "ca.crt"),
                headers={"Authorization": "Bearer read-token-of-the-test"},
            )  # fmt: skip
        except requests.RequestException:
            return {}
        return answer.json() if answer.status_code == 200 else {}

    def get(self, number: int, path: str) -> requests.Response:
        """A reading."""
        return requests.get(
            f"https://{self.ip(number)}:8080{path}", timeout=5, verify=str(self.root / "ca.crt"),
            headers={"Authorization": "Bearer read-token-of-the-test"},
        )  # fmt: skip

    def post(self, number: int, path: str, body: object = None) -> requests.Response:
        """A write."""
        return requests.post(
            f"https://{self.ip(number)}:8080{path}", timeout=30, verify=str(self.root / "ca.crt"), json=body,
            headers={"Authorization": "Bearer operate-token-of-the-test"},
        )  # fmt: skip

    def url(self, number: int) -> str:
        """Where a node answers."""
        return f"https://{self.ip(number)}:8080"

    def session(self) -> requests.Session:
        """Many requests over connections that are kept, with the right to operate."""
        session = requests.Session()
        session.trust_env = False  # the environment's authorities would take the place of this one
        session.verify = str(self.root / "ca.crt")
        session.headers["Authorization"] = "Bearer operate-token-of-the-test"
        return session

    def leader(self, number: int) -> int | None:
        """Who leads, as a node says."""
        found = self.map(number)
        return found["cluster"]["leader"] if found else None  # type: ignore[index]

    def end(self) -> None:
        """End everything that still runs."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.communicate()
