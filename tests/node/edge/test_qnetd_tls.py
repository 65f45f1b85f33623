"""The arbiter's daemon with TLS: who gets in with which certificate, and that nobody gets around it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge.qnetd_world import Authority, Client, Running, run_program, running, until, write_config
from qluster.qnet.messages import (
    EchoReply,
    EchoRequest,
    InitReply,
    Preinit,
    PreinitReply,
    ServerError,
    StartTls,
    encode,
)
from qluster.qnet.names import ErrorCode, TlsSupported, Vote

PEERS = {"heartbeat-minimum": "100ms"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("authority")))


def keys(authority: Authority, mode: str = "required", **more: Any) -> dict[str, Any]:
    certificate, key = authority.issue("Qnetd Server")
    files = {"certificate-file": str(certificate), "key-file": str(key), "ca-file": str(authority.file)}
    return {"mode": mode, **files, "handshake-timeout": "1s", **more}


@pytest.fixture(scope="module")
def daemon(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Path(tmp_path_factory.mktemp("qnetd")), tls=keys(authority), peers=PEERS) as arbiter:
        yield arbiter


def enter(daemon: Running, authority: Authority, own: tuple[Path, Path] | None, version: str = "TLSv1_3") -> Client:
    client = Client(daemon)
    assert client.preinit() == PreinitReply(seq=1, tls_supported=TlsSupported.REQUIRED, tls_client_cert_required=True)
    client.start_tls(authority, own, version)
    return client


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_certificate_of_the_cluster_opens(daemon: Running, authority: Authority, version: str) -> None:
    client = enter(daemon, authority, authority.issue("qlab"), version)
    assert isinstance(client.join(), InitReply)
    client.configure(1, 2)
    client.see("1.c", 1)
    # A tie that nobody disputes is nobody's majority: one of two without the other has the tie-breaker's vote.
    assert client.vote() is Vote.ACK
    [cluster] = daemon.json()["clusters"]
    assert (cluster["nodes"][0]["tls"], cluster["nodes"][0]["certificate_verified"]) == (True, True)
    assert "TLS active:\t\tYes (client certificate verified)\n" in daemon.tool("-lv").stdout
    client.close()
    until(lambda: daemon.json()["connected_clients"] == 0, "it is gone")


def test_name_in_the_certificate_is_its_dns_name_where_it_has_one(daemon: Running, authority: Authority) -> None:
    client = enter(daemon, authority, authority.issue("another", dns="qlab"))
    assert isinstance(client.join(), InitReply)
    client.close()
    client = enter(daemon, authority, authority.issue("qlab", dns="another"))
    client.say(EchoRequest(seq=1))
    assert client.closed()
    daemon.logged("client-dropped", "its certificate is for 'another', its cluster is 'qlab'")


def test_certificate_of_another_cluster_does_not(daemon: Running, authority: Authority) -> None:
    client = enter(daemon, authority, authority.issue("foreign"))
    client.say(EchoRequest(seq=1))
    assert client.closed()
    daemon.logged("client-dropped", "its certificate is for 'foreign', its cluster is 'qlab'")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("none", "peer did not return a certificate"),
        ("expired", "certificate has expired"),
        ("stranger", "certificate is refused"),
    ],
)
def test_certificate_that_is_not_trusted_ends_the_handshake(
    daemon: Running, authority: Authority, tmp_path: Path, version: str, which: str, why: str
) -> None:
    own = {
        "none": lambda: None,
        "expired": lambda: authority.issue("qlab", days=-1),
        "stranger": lambda: Authority(tmp_path, "stranger").issue("qlab"),
    }[which]()
    try:
        client = enter(daemon, authority, own, version)
        assert client.closed()
    except (ssl.SSLError, ConnectionError):
        pass
    daemon.logged("tls-failed", why)


def test_in_clear_nothing_is_served(daemon: Running) -> None:
    client = Client(daemon)
    client.preinit()
    reply = client.join()
    assert isinstance(reply, ServerError) and reply.reply_error_code == ErrorCode.TLS_REQUIRED
    client.close()


def test_handshake_that_does_not_go_on_ends_the_connection(daemon: Running) -> None:
    client = Client(daemon)
    client.preinit()
    client.say(StartTls(seq=2))
    assert client.closed()
    daemon.logged("tls-failed", "TLS has not begun after 1 s")


def test_bytes_in_clear_after_starttls_end_the_connection(daemon: Running) -> None:
    client = Client(daemon)
    client.preinit()
    client.say(StartTls(seq=2), EchoRequest(seq=3))
    assert client.closed()
    daemon.logged("tls-failed", "why=\"")


def test_handshake_may_come_in_the_same_packet_as_starttls(daemon: Running, authority: Authority) -> None:
    certificate, key = authority.issue("qlab")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(authority.file)
    made.load_cert_chain(certificate, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = made.wrap_bio(incoming, outgoing, server_hostname="Qnetd Server")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client = Client(daemon)
    hello = outgoing.read()
    said = encode(Preinit(seq=1, cluster_name=b"qlab")) + encode(StartTls(seq=2)) + hello
    client.say(said[:-40])
    assert isinstance(client.hear(), PreinitReply)
    client.say(said[-40:])
    while True:
        incoming.write(client.stream.recv(65536))
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            continue
        break
    client.say(outgoing.read())
    client.close()


def test_renewed_certificate_is_used_after_a_reload(authority: Authority, tmp_path: Path) -> None:
    files = keys(authority)
    certificate = Path(files["certificate-file"])
    with running(tmp_path, tls=files, peers=PEERS) as arbiter:
        first = enter(arbiter, authority, authority.issue("qlab"))
        before = first.stream.getpeercert(True)  # type: ignore[attr-defined]
        good = certificate.read_bytes()
        certificate.write_bytes(b"nothing")
        arbiter.child.send_signal(signal.SIGHUP)
        arbiter.logged("reload-refused", str(certificate))
        certificate.write_bytes(good)
        authority.issue("Qnetd Server")
        arbiter.child.send_signal(signal.SIGHUP)
        arbiter.logged("reloaded certificate=")
        second = enter(arbiter, authority, authority.issue("qlab"))
        assert second.stream.getpeercert(True) != before  # type: ignore[attr-defined]
        first.join()
        first.say(EchoRequest(seq=9))
        assert first.hear() == EchoReply(seq=9)


@pytest.mark.parametrize("behind", ["-----BEGIN CERTIFICATE-----\nMIIB\n", "-----BEGIN CERTIFICATE-----\n"])
def test_file_that_is_cut_short_behind_a_certificate_is_found_by_the_check(
    authority: Authority, tmp_path: Path, behind: str
) -> None:
    files = keys(authority)
    short = tmp_path / "ca.crt"
    short.write_text(authority.file.read_text() + behind)
    file = write_config(tmp_path, 5403, {"tls": files | {"ca-file": str(short)}})
    checked = run_program("--config", str(file), "--check-config")
    assert checked.returncode == 1 and str(short) in checked.stderr and "bring it anew" in checked.stderr


def test_text_around_a_certificate_is_no_fault(authority: Authority, tmp_path: Path) -> None:
    """corosync-qnetd-certutil writes some in front of its own."""
    around = tmp_path / "ca.crt"
    around.write_text(f"Certificate:\n  Data:\n{authority.file.read_text()}\nthat was it\n")
    file = write_config(tmp_path, 5403, {"tls": keys(authority) | {"ca-file": str(around)}})
    said = run_program("--config", str(file), "--check-config").stderr.splitlines()
    assert [line.rsplit(". ", 1)[1] for line in said] == 2 * ["Renew it before."]


def test_certificate_near_its_end_is_told(daemon: Running) -> None:
    daemon.logged("WARNING", "certificate tls.certificate-file:", "Renew it before.")


def test_no_key_is_in_the_log(daemon: Running) -> None:
    assert "PRIVATE" not in daemon.log() and "Traceback" not in daemon.log()
