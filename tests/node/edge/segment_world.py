"""A network segment of its own: hosts as network namespaces on a bridge, with firewalls that tests set.

A namespace lives as long as the process that holds it, so nothing is left behind when a test is killed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND_SECONDS = 20
CLONE_NEWNET = 0x40000000
HOLD = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"]
TABLE = "table netdev trial { chain in { type filter hook ingress device eth0 priority 0; policy accept; }; }"


def need_segment() -> None:
    """Skip where no segment can be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces with firewalls need root")
    for program in ("ip", "nft", "unshare", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*words: str) -> str:
    """A command that must succeed; its output."""
    ended = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    assert ended.returncode == 0, f"{' '.join(words)}: {ended.stderr.strip()}"
    return ended.stdout


class Segment:
    """So many hosts, numbered from 1; the bridge between them is host 0."""

    def __init__(self, hosts: int) -> None:
        need_segment()
        self._held: list[subprocess.Popen[str]] = []
        try:
            self._make(hosts)
        except BaseException:
            self.close()
            raise

    def ip(self, number: int, version: int = 4) -> str:
        return f"10.66.7.{number}" if version == 4 else f"fd66::{number}"

    def words(self, number: int) -> list[str]:
        """What comes before a command to run it on a host."""
        return ["nsenter", f"--net={self._place(number)}"]

    def on(self, number: int, *words: str) -> str:
        """Run a command on a host."""
        return run(*self.words(number), *words)

    def drop(self, number: int, match: str) -> None:
        """Drop what arrives at a host and matches; the words are nft's."""
        self.on(number, "nft", "add rule netdev trial in " + match + " drop")

    def heal(self, number: int) -> None:
        """Drop nothing more there."""
        self.on(number, "nft", "flush chain netdev trial in")

    @contextmanager
    def entered(self, number: int) -> Iterator[None]:
        """Sockets made meanwhile belong to this host."""
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(self._place(number), os.O_RDONLY)
        try:
            assert libc.setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            assert libc.setns(before, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            os.close(there)
            os.close(before)

    def close(self) -> None:
        for held in self._held:
            held.terminate()
            held.communicate()

    def _place(self, number: int) -> Path:
        return Path(f"/proc/{self._held[number].pid}/ns/net")

    def _make(self, hosts: int) -> None:
        for _ in range(hosts + 1):
            held = subprocess.Popen(HOLD, stdout=subprocess.PIPE, text=True)
            self._held.append(held)
            assert held.stdout is not None and held.stdout.readline() == "ready\n", "no network namespace to be had"
        self.on(0, "ip", "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        self.on(0, "ip", "link", "set", "bridge", "up")
        for number in range(1, hosts + 1):
            # One number for all: a test's sockets look the interface up by its name wherever the test is just then.
            self.on(0, "ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "index", "77",
                    "netns", str(self._held[number].pid))  # fmt: skip
            self.on(0, "ip", "link", "set", f"port{number}", "master", "bridge", "up")
            self.on(number, "ip", "link", "set", "lo", "up")
            self.on(number, "ip", "address", "add", f"{self.ip(number)}/24", "dev", "eth0")
            self.on(number, "ip", "address", "add", f"{self.ip(number, 6)}/64", "dev", "eth0", "nodad")
            self.on(number, "ip", "link", "set", "eth0", "up")
            self.on(number, "nft", TABLE)
