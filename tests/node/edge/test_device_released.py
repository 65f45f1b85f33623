"""Our client and corosync's own arbiter: in the clear and with TLS, through a split, its death and return."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate
from edge.arbiter_world import Seat, authority_in, device, wait_for
from edge.qnetd_world import Authority, free_port
from edge.released_arbiter import PROGRAM
from qluster.config import Device
from qluster.edge.clock import monotonic
from qluster.qnet.tlv import RingId

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="corosync-qnetd is not here (package corosync-qnetd)")
needs_nss = pytest.mark.skipif(
    not (shutil.which("certutil") and shutil.which("pk12util")), reason="certutil is not here (package libnss3-tools)"
)
RING = RingId(1, 8)
PASSWORD = "of-the-test"


class Program:
    """corosync-qnetd on a port of loopback; ``tls`` is off, on or req."""

    def __init__(
        self, folder: Path, port: int, tls: str = "off", database: Path | None = None, host: str = "127.0.0.1",
        before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """``before``: words that run it on another host."""
        assert PROGRAM is not None
        self.tool = Path(PROGRAM).with_name("corosync-qnetd-tool")
        self.local, self.host, self.port = folder / "local.sock", host, port
        options = f"lock_file={folder / 'pid'},local_socket_file={self.local}"
        if database is not None:
            options += f",nss_db_dir={database}"
        self.child = subprocess.Popen(
            [*before, PROGRAM, "-f", "-4", "-l", host, "-p", str(port), "-s", tls, "-S", options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    async def ready(self) -> Program:
        end = monotonic() + 20.0
        while True:
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                assert self.child.poll() is None, f"corosync-qnetd ended with {self.child.returncode}"
                assert monotonic() < end, "corosync-qnetd does not listen"
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return self

    def shows(self) -> str:
        return subprocess.run([self.tool, "-p", self.local, "-lv"], check=True, capture_output=True, text=True,
                              timeout=20).stdout  # fmt: skip

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


@contextlib.asynccontextmanager
async def cluster(section: Device) -> AsyncIterator[list[Seat]]:
    seats = [Seat(section, node) for node in (1, 2)]
    try:
        for seat in seats:
            seat.ring(RING, 1, 2)
        yield seats
    finally:
        for seat in seats:
            await seat.close()


def database_of(folder: Path, authority: Authority) -> Path:
    """A database of NSS as the program wants it, with certificates of our own making."""
    database, packed, word = folder / "nss", folder / "server.p12", folder / "word"
    database.mkdir()
    word.write_text("")
    certificate, key = authority.issue("Qnetd Server")
    content = pkcs12.serialize_key_and_certificates(
        b"QNetd Cert", load_pem_private_key(key.read_bytes(), None),  # type: ignore[arg-type]
        load_pem_x509_certificate(certificate.read_bytes()), None, BestAvailableEncryption(PASSWORD.encode()),
    )  # fmt: skip
    packed.write_bytes(content)
    for words in (
        ["certutil", "-N", "-d", database, "--empty-password"],
        ["certutil", "-A", "-d", database, "-t", "CT,,", "-n", "QNet CA", "-i", authority.file],
        ["pk12util", "-i", packed, "-d", database, "-W", PASSWORD, "-k", word],
    ):
        subprocess.run(words, check=True, capture_output=True, timeout=60)
    return database


async def lives_through(folder: Path, section: Device, tls: str, database: Path | None, shown: str) -> None:
    """A split, a healing, the arbiter's death and its return."""
    program = await Program(folder, section.port, tls, database).ready()
    async with cluster(section) as (one, two):
        try:
            await wait_for("both are acknowledged", lambda: one.acknowledged and two.acknowledged)
            text = program.shows()
            assert text.count("Membership node list:\t1, 2") == 2 and text.count(shown) == 2
            one.ring(RingId(1, 12), 1)
            two.ring(RingId(2, 12), 2)
            await wait_for("node 1 has it alone", lambda: one.acknowledged and "refuses" in two.client.reason)
            one.ring(RingId(1, 16), 1, 2)
            two.ring(RingId(1, 16), 1, 2)
            await wait_for("both have it again", lambda: one.acknowledged and two.acknowledged)
        finally:
            program.kill()
        await wait_for("both know that it died", lambda: not one.acknowledged and not two.acknowledged)
        assert "lost its connection" in one.client.episode.reason
        again = Program(folder, section.port, tls, database)
        try:
            await wait_for("both are back", lambda: one.acknowledged and two.acknowledged)
        finally:
            again.kill()


async def test_the_vote_in_the_clear(tmp_path: Path) -> None:
    await lives_through(tmp_path, device("127.0.0.1", free_port()), "off", None, "TLS active:\t\tNo")


@needs_nss
async def test_the_vote_where_tls_is_required(tmp_path: Path) -> None:
    authority = authority_in(tmp_path / "ca")
    certificate, key = authority.issue("qlab")
    section = device(
        "127.0.0.1", free_port(), tls="required", ca_file=authority.file, certificate_file=certificate, key_file=key
    )
    shown = "TLS active:\t\tYes (client certificate verified)"
    await lives_through(tmp_path, section, "req", database_of(tmp_path, authority), shown)


@needs_nss
async def test_what_the_program_refuses_is_told(tmp_path: Path) -> None:
    authority, port = authority_in(tmp_path / "ca"), free_port()
    foreign, key = authority.issue("another")
    program = await Program(tmp_path, port, "req", database_of(tmp_path, authority)).ready()
    files = {"ca_file": authority.file, "certificate_file": foreign, "key_file": key}
    cases = [
        (device("127.0.0.1", port), "the arbiter requires TLS, and device.tls is off"),
        (device("127.0.0.1", port, tls="required", **files), "Issue device.certificate-file"),
    ]
    try:
        for section, said in cases:
            async with cluster(section) as (one, _):
                await wait_for(f"{said}, not {one.fault!r}", lambda one=one, said=said: said in one.fault)
    finally:
        program.kill()


async def test_nodes_that_disagree_are_told_so(tmp_path: Path) -> None:
    port = free_port()
    program = await Program(tmp_path, port).ready()
    first = Seat(device("127.0.0.1", port), 1)
    others = [
        (Seat(device("127.0.0.1", port, algorithm="lms"), 2), "device.algorithm differs"),
        (Seat(device("127.0.0.1", port, tie_breaker="highest"), 2), "device.tie-breaker differs"),
        (Seat(device("127.0.0.1", port), 1), "still has a connection of this node's number"),
    ]
    try:
        first.ring(RING, 1, 2)
        await wait_for("the first is in", lambda: first.client._connected)
        for seat, said in others:
            seat.ring(RING, 1, 2)
            await wait_for(f"{said}, not {seat.fault!r}", lambda seat=seat, said=said: said in seat.fault)
            await seat.close()
    finally:
        await first.close()
        program.kill()
