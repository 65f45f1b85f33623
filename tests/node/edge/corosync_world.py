"""A cluster of real corosync with corosync-qdevice, in network namespaces, whose arbiter is ours.

Each host sees directories of its own where those programs have theirs fixed, so nothing outside is touched.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
from edge.qnetd_world import Running, environment, write_config
from edge.segment_world import Segment

NODES = (1, 2)
ARBITER = 3
PORT = 5403
SECONDS = 40.0
"""For what takes a few heartbeats of a second and a half."""
WHERE = "/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("corosync", "corosync-qdevice", "corosync-quorumtool", "corosync-qnetd-certutil", "certutil")

CONFIG = """\
totem {{
  version: 2
  cluster_name: qlab
  config_version: 7
  transport: udpu
  token: 1000
}}
system {{
  sched_rr: no
  move_to_root_cgroup: no
}}
logging {{
  to_stderr: yes
  to_syslog: no
}}
nodelist {{
  node {{
    ring0_addr: {one}
    nodeid: 1
  }}
  node {{
    ring0_addr: {two}
    nodeid: 2
  }}
}}
quorum {{
  provider: corosync_votequorum
  device {{
    model: net
    timeout: 2000
    sync_timeout: 4000
    {votes}
    net {{
      host: {arbiter}
      tls: {tls}
      algorithm: {algorithm}
      tie_breaker: lowest
    }}
  }}
}}
"""
PLACES = {"etc": "/etc/corosync", "lib": "/var/lib/corosync", "run": "/run"}


def lacking() -> str:
    """Why there can be no such cluster here, "" when there can."""
    if os.geteuid() != 0:
        return "corosync in network namespaces needs root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=WHERE) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Corosync:
    """Two nodes and the arbiter's host."""

    def __init__(self, folder: Path, algorithm: str, tls: str = "required") -> None:
        self.folder, self.algorithm, self.tls = folder, algorithm, tls
        self.segment = Segment(3)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        for host in (*NODES, ARBITER):
            for name in PLACES:
                (self.place(host) / name).mkdir(parents=True)
            for name in ("etc/qnetd", "run/corosync-qdevice", "run/lock"):
                (self.place(host) / name).mkdir(parents=True)
        for node in NODES:
            self._write_config(node)

    def place(self, host: int) -> Path:
        return self.folder / f"host{host}"

    # programs on hosts

    def words(self, host: int) -> list[str]:
        """What comes before a command: the host's network, and its own directories in the fixed places."""
        mounts = [f"mount --bind {self.place(host) / name} {there}" for name, there in PLACES.items()]
        made = " && ".join(["mount --make-rprivate /", "mkdir -p /var/lib/corosync /etc/corosync", *mounts])
        return [*self.segment.words(host), "unshare", "--mount", "sh", "-c", f'{made} && exec "$@"', "sh"]

    def start(self, host: int, *words: str) -> None:
        name = Path(words[0]).name
        with (self.place(host) / f"{name}.log").open("ab") as log:
            self.children[f"{name} {host}"] = subprocess.Popen(
                [*self.words(host), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PATH": WHERE},
            )  # fmt: skip

    def say(self, host: int, *words: str) -> str:
        """What a program says; it may fail."""
        done = subprocess.run(
            [*self.words(host), *words], capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "PATH": WHERE},
        )  # fmt: skip
        return done.stdout + done.stderr

    def kill(self, host: int, *names: str) -> None:
        for name in names:
            child = self.children.pop(f"{name} {host}")
            child.send_signal(signal.SIGKILL)
            child.wait()

    def start_node(self, node: int) -> None:
        self.start(node, "corosync", "-f")
        self.until(lambda: "Quorate:" in self.quorum(node), f"corosync of node {node} answers")
        self.start(node, "corosync-qdevice", "-f")

    def start_arbiter(self, **more: Any) -> Running:
        """Ours, on its host."""
        here = self.place(ARBITER)
        tls = {"mode": self.tls, **self.files} if self.tls != "off" else {"mode": "off"}
        file = write_config(here, PORT, {"tls": tls, **more})
        python = environment()["PYTHONPATH"]
        with (here / "log").open("wb") as log:
            child = subprocess.Popen(
                [*self.segment.words(ARBITER), "env", f"PYTHONPATH={python}", sys.executable,
                 "-m", "qluster.qnetd", "--config", str(file), "--allow-root"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.children["arbiter"] = child
        daemon = Running(here, PORT, child)
        self.until(lambda: "serves address=" in daemon.log() or child.poll() is not None, "the arbiter serves")
        assert child.poll() is None, daemon.log()
        return daemon

    def kill_arbiter(self) -> None:
        child = self.children.pop("arbiter")
        child.kill()
        child.wait()

    # what they show

    def quorum(self, node: int) -> str:
        return self.say(node, "corosync-quorumtool", "-s")

    def quorate(self, node: int) -> bool:
        return "Quorate:          Yes" in self.quorum(node)

    def has_device_vote(self, node: int) -> bool:
        """Whether it is quorate with the vote of the device, as corosync's own tool shows it."""
        shown = self.quorum(node)
        own = next((line for line in shown.splitlines() if line.endswith("(local)")), "")
        return "A,V," in own and "Quorate:          Yes" in shown

    def together(self) -> bool:
        """Whether both nodes see each other and have that vote."""
        return all(self.has_device_vote(node) and "Nodes:            2" in self.quorum(node) for node in NODES)

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, f"not in {SECONDS:g} s: {what}\n{self.evidence()}"
            time.sleep(0.1)

    def evidence(self) -> str:
        texts = [f"--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in self.folder.glob("host*/*log")]
        return "\n".join([*texts, *(self.quorum(node) for node in NODES)])

    # what happens to them

    def part(self) -> None:
        """The nodes do not hear each other; both hear the arbiter."""
        for node in NODES:
            self.segment.drop(node, f"ip saddr {self.segment.ip(3 - node)}")

    def heal(self) -> None:
        for node in NODES:
            self.segment.heal(node)

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.wait()
        self.segment.close()

    # certificates, made by corosync's own tools

    @property
    def files(self) -> dict[str, str]:
        """What they made, as PEM for our arbiter."""
        folder = self.place(ARBITER)
        return {f"{name}-file": str(folder / f"{name}.pem") for name in ("certificate", "key", "ca")}

    def make_certificates(self) -> None:
        made = "/etc/corosync/qnetd/nssdb"
        arbiter, one, two = self.place(ARBITER) / "etc", self.place(1) / "etc", self.place(2) / "etc"
        self.say(ARBITER, "corosync-qnetd-certutil", "-i", "-G")
        (arbiter / "qnetd/nssdb/qnetd-cacert.crt").rename(arbiter / "ca.crt")
        for etc in (one, two):
            shutil.copy(arbiter / "ca.crt", etc / "ca.crt")
        self.say(1, "corosync-qdevice-net-certutil", "-i", "-c", "/etc/corosync/ca.crt")
        self.say(1, "corosync-qdevice-net-certutil", "-r", "-n", "qlab")
        net = "qdevice/net/nssdb"
        shutil.copy(one / net / "qdevice-net-node.crq", arbiter)
        self.say(ARBITER, "corosync-qnetd-certutil", "-s", "-c", "/etc/corosync/qdevice-net-node.crq", "-n", "qlab")
        shutil.copy(arbiter / "qnetd/nssdb/cluster-qlab.crt", one)
        self.say(1, "corosync-qdevice-net-certutil", "-M", "-c", "/etc/corosync/cluster-qlab.crt")
        shutil.copy(one / net / "qdevice-net-node.p12", two)
        self.say(2, "corosync-qdevice-net-certutil", "-i", "-c", "/etc/corosync/ca.crt")
        self.say(2, "corosync-qdevice-net-certutil", "-m", "-c", "/etc/corosync/qdevice-net-node.p12")
        self.say(ARBITER, "pk12util", "-d", made, "-o", "/etc/corosync/server.p12", "-W", "", "-n", "QNetd Cert",
                 "-k", f"{made}/pwdfile.txt")  # fmt: skip
        key, certificate, _ = load_key_and_certificates((arbiter / "server.p12").read_bytes(), b"")
        assert key is not None and certificate is not None
        here = self.place(ARBITER)
        (here / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (here / "key.pem").touch(mode=0o600)
        (here / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        shutil.copy(arbiter / "ca.crt", here / "ca.pem")

    def take_certificates(self, made: Corosync) -> None:
        """Those that were made on the hosts of another."""
        for host in (*NODES, ARBITER):
            here, there = self.place(host), made.place(host)
            for name in ("etc/qdevice", "etc/qnetd"):
                if (there / name).exists():
                    shutil.copytree(there / name, here / name, dirs_exist_ok=True)
            for file in there.glob("*.pem"):
                shutil.copy(file, here)

    def _write_config(self, node: int) -> None:
        ip = self.segment.ip
        # ffsplit wants its votes said; with lms they are one less than the nodes have.
        votes = "votes: 1" if self.algorithm == "ffsplit" else ""
        text = CONFIG.format(one=ip(1), two=ip(2), arbiter=ip(ARBITER), algorithm=self.algorithm, tls=self.tls,
                             votes=votes)  # fmt: skip
        (self.place(node) / "etc/corosync.conf").write_text(text)
