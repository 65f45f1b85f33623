"""The arbiter's daemon as a process of its own, its certificates, and clients that speak to it over real sockets."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from qluster.qnet.messages import HEADER, Message, NodeList, Preinit, StartTls, VoteInfo, VoteInfoReply, decode, encode
from qluster.qnet.names import DecisionAlgorithm, NodeListType, Vote
from qnet.recorded import frames
from qnet.shorthand import LOWEST, nodes, ring
from qnet.stage import init

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 20.0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not in {SECONDS:g} s: {what}"
        time.sleep(0.01)


class Authority:
    """Issues certificates."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder, self.name = folder, name
        self.key, self.certificate = self._make("QNet CA", None)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, days: int = 1, dns: str = "") -> tuple[Path, Path]:
        """Certificate and key for a name; with days below zero it has expired."""
        key, certificate = self._make(name, self, days, dns)
        stem = f"{self.name}-{name}-{days}-{dns}".replace(" ", "")
        files = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].touch(mode=0o600)
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    @staticmethod
    def _make(
        name: str, by: Authority | None, days: int = 1, dns: str = ""
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if by is None else by.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
        )
        # As corosync's own tool makes them: leaves have no extensions at all.
        if by is None:
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        if dns:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        return key, made.sign(key if by is None else by.key, hashes.SHA256())


@dataclass
class Running:
    """The daemon, for as long as it runs."""

    folder: Path
    port: int
    child: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "q.sock"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def logged(self, *words: str) -> None:
        """Wait for a line with all of these."""
        until(
            lambda: any(all(word in line for word in words) for line in self.log().splitlines()),
            f"a line with {words} in\n{self.log()}",
        )

    def tool(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_program("tool", "-p", str(self.socket), *words)

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.tool("--json").stdout)
        return found

    def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(SECONDS)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "node"), **more}


def run_program(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qluster.qnetd", *words],
        env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def write_config(folder: Path, port: int, more: dict[str, Any]) -> Path:
    file = folder / "qnetd.yaml"
    text = {"port": port, "socket-file": str(folder / "q.sock"), "tls": {"mode": "off"}, **more}
    file.write_text(json.dumps(text))
    return file


@contextmanager
def running(folder: Path, port: int = 0, env: dict[str, str] | None = None, **more: Any) -> Iterator[Running]:
    """The daemon runs with these keys."""
    port = port or free_port()
    file = write_config(folder, port, more)
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "qluster.qnetd", "--config", str(file), "--allow-root"],
            env=environment(**(env or {})), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    daemon = Running(folder, port, child)
    try:
        until(lambda: child.poll() is not None or "serves address=" in daemon.log(), "the daemon serves")
        assert child.poll() is None, daemon.log()
        yield daemon
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


class Client:
    """A node's connection."""

    def __init__(self, daemon: Running, node: int = 1, cluster: str = "qlab", host: str = "127.0.0.1") -> None:
        self.node, self.cluster = node, cluster
        self.seq = 0
        self.stream: socket.socket = socket.create_connection((host, daemon.port), timeout=SECONDS)

    def say(self, *messages: Message | bytes) -> None:
        self.stream.sendall(b"".join(one if isinstance(one, bytes) else encode(one) for one in messages))

    def next(self) -> int:
        self.seq += 1
        return self.seq

    def hear(self) -> Message:
        head = self._take(HEADER.size)
        [frame] = frames(head + self._take(HEADER.unpack(head)[1]))
        return decode(*frame)

    def closed(self) -> bool:
        """Whether the arbiter ends the connection; what it still says is read away."""
        try:
            while self.stream.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            return True
        return True

    def preinit(self) -> Message:
        self.say(Preinit(seq=self.next(), cluster_name=self.cluster.encode()))
        return self.hear()

    def start_tls(self, authority: Authority, own: tuple[Path, Path] | None, version: str = "TLSv1_3") -> None:
        self.say(StartTls(seq=self.next()))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.minimum_version = made.maximum_version = ssl.TLSVersion[version]
        made.load_verify_locations(authority.file)
        if own is not None:
            made.load_cert_chain(*own)
        self.stream = made.wrap_socket(self.stream, server_hostname="Qnetd Server")

    def join(
        self, at: str = "1.8", algorithm: DecisionAlgorithm = DecisionAlgorithm.FFSPLIT, heartbeat: int = 60_000
    ) -> Message:
        self.say(init(self.next(), self.node, at, algorithm, LOWEST, heartbeat))
        return self.hear()

    def configure(self, *numbers: int) -> None:
        self.say(NodeList(seq=self.next(), node_list_type=NodeListType.INITIAL_CONFIG, nodes=nodes(*numbers)))
        self.hear()

    def see(self, at: str, *numbers: int) -> None:
        self.say(
            NodeList(
                seq=self.next(), node_list_type=NodeListType.MEMBERSHIP, ring_id=ring(at), nodes=nodes(*numbers)
            )
        )

    def vote(self) -> Vote:
        """The next vote, confirmed."""
        while True:
            message = self.hear()
            if isinstance(message, VoteInfo):
                self.say(VoteInfoReply(seq=message.seq))
                assert message.vote is not None
                return message.vote

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.stream.recv(size - len(data))
            assert more, "the arbiter closed the connection"
            data += more
        return data

    def close(self) -> None:
        self.stream.close()


def pair(daemon: Running, cluster: str = "qlab") -> list[Client]:
    """Two nodes of a cluster that see each other and have the vote."""
    clients = [Client(daemon, node, cluster) for node in (1, 2)]
    for one in clients:
        one.preinit()
        one.join()
        one.configure(1, 2)
        one.see("1.8", 1, 2)
    assert [one.vote() for one in clients] == [Vote.ACK, Vote.ACK]
    return clients
