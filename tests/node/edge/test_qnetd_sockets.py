"""The arbiter's own handling of sockets: what the kernel does not take at once, who comes, and errors of ours."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest
from qluster.qnetd import sockets as module
from qluster.qnetd.connection import Connection
from qluster.qnetd.sockets import Listener, Sockets

MUCH = bytes(range(256)) * 16_384
"""More than the kernel takes of a client that does not read."""


class Desk:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.fault: Exception | None = None
        self.read = b""

    def opened(self, connection: Connection, address: str) -> int:
        return 1

    def received(self, number: int, data: bytes) -> None:
        self.read += data
        if self.fault is not None:
            raise self.fault

    def secured(self, number: int, peer: str | None) -> None:
        self.told.append("secured")

    def insecure(self, number: int, why: str) -> None:
        self.told.append("insecure")

    def held_up(self, number: int, whether: bool) -> None:
        self.told.append(whether)

    def finished(self, number: int) -> None:
        self.told.append("finished")

    def ended(self, number: int) -> None:
        self.told.append("ended")


class Ends:
    """Both ends of one connection."""

    def __init__(self) -> None:
        self.sockets, self.desk = Sockets(), Desk()
        taken, self.client = socket.socketpair()
        taken.setblocking(False)
        self.client.settimeout(20)
        self.connection = Connection(self.desk, self.sockets, taken, "somewhere", 1.0)

    def look(self) -> None:
        self.sockets.look()

    def hear(self, size: int) -> bytes:
        """The client reads, and the daemon looks as long as there is something to look for."""
        heard = b""
        while len(heard) < size and (data := self.client.recv(65536)):
            heard += data
            self.look()
        return heard


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.connection.abort()
    made.client.close()
    made.sockets.close()


async def test_what_the_kernel_does_not_take_follows_in_order(ends: Ends) -> None:
    assert ends.connection.send(MUCH) and not ends.connection.send(b"and")
    ends.connection.flush()
    assert ends.desk.told == [True]
    assert ends.connection.send(b" more")
    ends.connection.flush()
    assert ends.hear(len(MUCH) + 8) == MUCH + b"and more"
    assert ends.desk.told[-1] is False and set(ends.desk.told[:-1]) == {True}
    ends.client.sendall(b"heard")
    ends.look()
    assert ends.desk.read == b"heard"


async def test_last_words_arrive_before_the_end(ends: Ends) -> None:
    ends.connection.send(MUCH)
    ends.connection.close()
    ends.client.sendall(b"not read any more")
    ends.look()
    assert "ended" not in ends.desk.told
    assert ends.hear(len(MUCH)) == MUCH
    assert ends.desk.told[-1:] == ["ended"] and ends.desk.read == b""


async def test_who_does_not_read_the_last_words_is_cut_off(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qluster.qnetd.connection.LINGER_SECONDS", 0.01)
    ends.connection.send(MUCH)
    ends.connection.close()
    async with asyncio.timeout(20):
        while "ended" not in ends.desk.told:
            await asyncio.sleep(0.01)


async def test_client_that_breaks_while_something_waits_for_it_is_over_once(ends: Ends) -> None:
    ends.connection.send(MUCH)
    ends.connection.flush()
    ends.client.close()
    for _ in range(3):
        ends.look()
    ends.connection.send(b"too late")
    ends.connection.flush()
    assert ends.desk.told.count("ended") == 1


async def test_end_of_what_a_client_says_is_told(ends: Ends) -> None:
    ends.client.sendall(b"bye")
    ends.client.shutdown(socket.SHUT_WR)
    ends.look()
    ends.look()
    assert ends.desk.read == b"bye" and ends.desk.told == ["finished"]


async def test_error_of_ours_ends_its_own_connection_and_is_logged(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    ends.desk.fault = ValueError("planted")
    ends.client.sendall(b"x")
    ends.look()
    assert ends.desk.told == ["ended"] and ends.client.recv(1) == b""
    assert "connection-ended" in caplog.text and "planted" in caplog.text


class Poor:
    """A listening socket of a host that has no descriptor left, once."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.faults = [ConnectionAbortedError(), OSError(errno.EMFILE, "Too many open files")]

    def accept(self) -> object:
        if self.faults:
            raise self.faults.pop(0)
        return self.listening.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self.listening, name)


async def test_host_without_descriptors_takes_clients_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ACCEPT_PAUSE", 0.05)
    sockets, taken, poor = Sockets(), [], Poor()
    listener = Listener(sockets, poor, 8, lambda one, address: taken.append((one, address)))  # type: ignore[arg-type]
    with socket.create_connection(poor.listening.getsockname()) as client:
        assert [sockets.look() for _ in range(3)] == [True, False, False], "nobody is looked for while it rests"
        assert "clients-not-taken why=Too many open files" in caplog.text and not taken
        async with asyncio.timeout(20):
            while not taken:
                await asyncio.sleep(0.01)
                sockets.look()
        assert taken[0][1] == "{}:{}".format(*client.getsockname())
    taken[0][0].close()
    listener.close()
    sockets.close()
