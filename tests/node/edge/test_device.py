"""A node's connection to its arbiter, with real sockets, TLS and commands."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from edge.arbiter_world import NODE, Peer, Seat, Served, authority_in, device, server_tls, wait_for
from edge.daemon_world import Site
from edge.daemon_world import wait_for as wait_until
from edge.qnetd_world import Authority, running
from edge.runner_world import sleepers
from msgspec import structs
from qluster.config import Device, parse
from qluster.edge.clock import monotonic
from qluster.edge.device.heuristics import Commands
from qluster.edge.hostcheck import arbiter
from qluster.qdevice.orders import Check, Checked, Happening, StopCheck
from qluster.qnet.names import Heuristics, TlsSupported
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import RingId

RING = RingId(1, 8)
REQUIRED = Settings(tls=TlsSupported.REQUIRED)


@contextlib.asynccontextmanager
async def seated(*sections: Device, cluster: str = "qlab") -> AsyncIterator[list[Seat]]:
    seats = [Seat(section, number, cluster) for number, section in enumerate(sections, 1)]
    try:
        for seat in seats:
            seat.ring(RING, 1, 2)
        yield seats
    finally:
        for seat in seats:
            await seat.close()


@contextlib.asynccontextmanager
async def served(settings: Settings | None = None, host: str = "127.0.0.1", **more: object) -> AsyncIterator[Served]:
    server = Served(settings or Settings(tls=TlsSupported.UNSUPPORTED), **more)  # type: ignore[arg-type]
    await server.start(host)
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_nodes_have_the_vote_together_and_one_of_them_alone(host: str) -> None:
    async with served(host=host) as server, seated(*2 * [device(host, server.port)]) as (one, two):
        await wait_for("both are acknowledged", lambda: one.acknowledged and two.acknowledged)
        one.ring(RingId(1, 12), 1)
        two.ring(RingId(2, 12), 2)
        await wait_for("node 1 has it alone", lambda: one.acknowledged and "refuses" in two.client.reason)
        assert not two.acknowledged
        await one.close()
        await wait_for("node 2 has it when 1 is gone", lambda: two.acknowledged)


async def test_a_node_comes_back_by_itself_when_the_arbiter_does() -> None:
    async with served() as server, seated(*2 * [device("127.0.0.1", server.port)]) as seats:
        await wait_for("both are acknowledged", lambda: all(seat.acknowledged for seat in seats))
        port = server.port
        await server.stop()
        await wait_for("both know that it is gone", lambda: not any(seat.acknowledged for seat in seats))
        await wait_for("it is told where it was looked for", lambda: f"127.0.0.1:{port}" in seats[0].fault)
        again = Served(Settings(tls=TlsSupported.UNSUPPORTED))
        await again.start(port=port)
        await wait_for("both are back", lambda: all(seat.acknowledged for seat in seats))
        await again.stop()


async def test_an_arbiter_that_accepts_and_says_nothing_is_left() -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with seated(device("127.0.0.1", port, connect_timeout="1s")) as [seat]:
        began = monotonic()
        await wait_for("it is given up", lambda: "did not take this node in within 1 s" in seat.fault)
        assert monotonic() - began < 5.0
        await wait_for("it is tried again", lambda: seat.client._attempts > 1)
    silent.close()


# --- TLS ---------------------------------------------------------------------


def with_tls(port: int, authority: Authority, name: str = "qlab", **keys: object) -> Device:
    certificate, key = authority.issue(name)
    files = {"ca_file": authority.file, "certificate_file": certificate, "key_file": key}
    return device("127.0.0.1", port, **{"tls": "required", **files, **keys})


@pytest.mark.parametrize("mode", ["on", "required"])
async def test_with_tls_both_sides_prove_themselves(tmp_path: Path, mode: str) -> None:
    authority = authority_in(tmp_path / "ca")
    async with (
        served(REQUIRED, tls=server_tls(authority)) as server,
        seated(*2 * [with_tls(server.port, authority, tls=mode)]) as seats,
    ):
        await wait_for("both are acknowledged", lambda: all(seat.acknowledged for seat in seats))
        assert all(client.tls.verified for client in server.arbiter.clients)
        assert all(seat.client.conversation is not None and seat.client.conversation.tls for seat in seats)


async def test_what_is_wrong_with_tls_is_told(tmp_path: Path) -> None:
    ours, foreign = authority_in(tmp_path / "ours"), authority_in(tmp_path / "foreign")
    certificate, key = foreign.issue("qlab")
    async with served(REQUIRED, tls=server_tls(ours)) as server:
        cases = [
            (with_tls(server.port, ours, ca_file=foreign.file), "certificate is not trusted"),
            (with_tls(server.port, ours, ca_file=tmp_path / "none"), "none does not exist. Put"),
            (with_tls(server.port, ours, ca_file=key), "cannot be used: "),
            (with_tls(server.port, ours, key_file=ours.issue("other")[1]), "cannot be used together: key values"),
            (with_tls(server.port, ours, name="another"), "Issue device.certificate-file"),
            (with_tls(server.port, ours, certificate_file=certificate, key_file=key), "Issue device.certificate-file"),
            (device("127.0.0.1", server.port, tls="on", ca_file=ours.file), "Set device.certificate-file"),
            (device("127.0.0.1", server.port), "the arbiter requires TLS, and device.tls is off"),
        ]
        for section, said in cases:
            async with seated(section) as [seat]:
                await wait_for(f"{said}, not {seat.fault!r}", lambda seat=seat, said=said: said in seat.fault)
                assert not seat.acknowledged


@pytest.mark.parametrize(("name", "days", "said"), [
    ("arb.example", 1, "name 'Qnetd Server'"), ("Qnetd Server", -1, "certificate has expired"),
])  # fmt: skip
async def test_a_wrong_certificate_of_the_arbiter_is_refused(tmp_path: Path, name: str, days: int, said: str) -> None:
    authority = authority_in(tmp_path / "ca")
    async with (
        served(REQUIRED, tls=server_tls(authority, name, days)) as server,
        seated(with_tls(server.port, authority)) as [seat],
    ):
        await wait_for(said, lambda: said in seat.fault)
        assert seat.client.fault is not None and seat.client.fault.lasting


async def test_a_handshake_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An arbiter that takes STARTTLS and then never says a word of TLS."""
    monkeypatch.setattr(Peer, "begin_tls", lambda peer, _rest: setattr(peer, "data_received", lambda _data: None))
    async with (
        served(Settings()) as server,
        seated(with_tls(server.port, authority_in(tmp_path / "ca"), connect_timeout="1s")) as [seat],
    ):
        await wait_for("it is given up", lambda: "(beginning TLS)" in seat.fault)


async def test_our_own_daemon_gives_the_vote_with_tls_required(tmp_path: Path) -> None:
    authority = authority_in(tmp_path / "ca")
    certificate, key = authority.issue("Qnetd Server")
    files = {"certificate-file": str(certificate), "key-file": str(key), "ca-file": str(authority.file)}
    with running(tmp_path, tls={"mode": "required", **files}) as daemon:
        async with seated(*2 * [with_tls(daemon.port, authority)]) as (one, two):
            await wait_for("both are acknowledged", lambda: one.acknowledged and two.acknowledged)
            one.ring(RingId(1, 12), 1)
            two.ring(RingId(2, 12), 2)
            await wait_for("node 1 has it alone", lambda: one.acknowledged and "refuses" in two.client.reason)
            daemon.child.kill()
            await wait_for("both know that it died", lambda: not one.acknowledged and not two.client.known)
    assert "lost its connection" in one.client.episode.reason


# --- heuristics --------------------------------------------------------------


async def outcome(limit: float = 10.0, **commands: str) -> str:
    return await Commands(commands).run(limit)


async def test_commands_pass_when_all_do_and_run_at_the_same_time() -> None:
    began = time.monotonic()
    assert await outcome(**{f"n{number}": "/bin/sleep 0.3" for number in range(8)}) == ""
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/bin/false", "bad: /bin/false ended with code 1: it said nothing"),
        ("/no/such/program", "bad: /no/such/program cannot be started: No such file or directory"),
        ("/etc/passwd", "cannot be started: Permission denied"),
        ("/bin/sh -c 'kill -9 $$'", "was ended by signal 9"),
        ("/bin/sh -c 'echo one; echo two >&2; exit 3'", "ended with code 3: two"),
        ("/bin/sh -c 'yes | head -c 1000000; exit 3'", "ended with code 3: y; y; y"),
    ],
)
async def test_a_command_that_fails_is_told_in_one_line(
    command: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fault = await outcome(good="/bin/true", bad=command)
    assert said in fault and len(fault) < 400 and "\n" not in fault
    assert "device-check-failed name=bad" in caplog.text


async def test_who_hangs_is_killed_with_all_that_he_started() -> None:
    nap = f"600.{os.getpid()}"
    assert "did not end within 0.5 seconds: killed" in await outcome(0.5, hangs=f"/bin/sh -c 'sleep {nap} & wait'")
    await wait_for("nothing is left", lambda: not sleepers(nap))


async def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    began = time.monotonic()
    assert (await outcome(30.0, slow="/bin/sleep 20", bad="/bin/false")).startswith("bad:")
    assert time.monotonic() - began < 10.0


async def test_commands_get_no_environment_and_no_shell(tmp_path: Path) -> None:
    script = tmp_path / "look"
    script.write_text(f'#!/bin/sh\nenv > {tmp_path}/env\necho "$@" > {tmp_path}/words\n')
    script.chmod(0o755)
    assert await outcome(look=f"{script} $HOME \"a  b\" * ';'") == ""
    assert (tmp_path / "words").read_text() == "$HOME a  b * ;\n"
    assert {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()} <= {"PATH", "LANG", "PWD", "_"}


async def test_checks_are_begun_told_and_stopped_by_number() -> None:
    told: list[Happening] = []
    section = device("127.0.0.1", 1, heuristics="{mode: on, exec: {slow: /bin/sleep 5}}")
    seat = Seat(section, 1)
    seat.hand._tell = told.append
    seat.hand.perform([Check(1, 30.0), StopCheck(1), Check(2, 0.3)])
    await wait_for("the second is told", lambda: told)
    assert told == [Checked(2, "slow: /bin/sleep did not end within 0.3 seconds: killed")]
    await seat.close()


async def test_the_arbiter_prefers_the_half_that_passes(tmp_path: Path) -> None:
    sign = tmp_path / "well"
    sign.touch()
    commands = f"{{mode: on, interval: 2s, timeout: 1s, exec: {{one: /bin/true, two: /usr/bin/test -e {sign}}}}}"
    async with served() as server:
        sick = device("127.0.0.1", server.port, heuristics=commands)
        async with seated(sick, device("127.0.0.1", server.port)) as (one, two):
            await wait_for("both are acknowledged", lambda: one.acknowledged and two.acknowledged)
            assert one.client.checks.result is Heuristics.PASS
            sign.unlink()
            await wait_for("it fails at its next turn", lambda: one.client.checks.result is Heuristics.FAIL)
            one.ring(RingId(1, 12), 1)
            two.ring(RingId(2, 12), 2)
            await wait_for("the other half has the vote", lambda: two.acknowledged and not one.acknowledged)


# --- the host ----------------------------------------------------------------


def test_what_the_host_lacks_is_found_before_it_is_needed(tmp_path: Path) -> None:
    authority = authority_in(tmp_path / "ca")
    plain = parse(NODE, "test")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")

    def found(section: Device) -> list[str]:
        return list(arbiter.findings(structs.replace(plain, device=section), starting=False))

    assert found(with_tls(1, authority, name="qluster")) == []
    [wrong] = found(with_tls(1, authority, name="qlab"))
    assert "is issued for qlab, and arbiters want the cluster's name qluster" in wrong
    [missing] = found(with_tls(1, authority, ca_file=tmp_path / "none"))
    assert "none does not exist" in missing
    commands = f"{{mode: sync, exec: {{a: /bin/true, b: /no/such -x, c: {script}}}}}"
    absent, closed = found(device("127.0.0.1", 1, heuristics=commands))
    assert "exec.b: /no/such does not exist" in absent and "cannot be executed" in closed
    starting = structs.replace(plain, device=with_tls(1, authority, ca_file=tmp_path / "none"))
    assert list(arbiter.findings(starting, starting=True)) == []


# --- the daemon --------------------------------------------------------------


def test_a_daemon_with_an_arbiter_shows_it_and_does_without(tmp_path: Path) -> None:
    site = Site(tmp_path, "239.19.78.201:7801", "127.0.61", hosts=1)
    site.configure(1, device__host="127.0.61.9", device__tls="off")
    child = site.start(1)
    try:
        wait_until("it leads alone", lambda: site.leader(1) is not None)
        status = site.get(1, "/status").json()["own"]["device"]
        assert (status["host"], status["port"], status["counts"]) == ("127.0.61.9", 5403, False)
        assert status["state"] and status["reason"]
        assert "qluster_arbiter_connected 0.0" in site.get(1, "/metrics").text
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    finally:
        site.end()
