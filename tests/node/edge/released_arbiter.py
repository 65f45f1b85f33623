"""A real corosync-qnetd and our arbiter side by side: both are told the same, and must answer the same."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qluster.qnet.display import listing
from qluster.qnet.messages import HEADER, EchoRequest, Message, VoteInfo, decode, encode
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import Settings
from qluster.qnetd.tool import ask
from qnet.recorded import frames
from qnet.stage import Stage

PROGRAM = os.environ.get("QLUSTER_COROSYNC_QNETD") or shutil.which("corosync-qnetd", path="/usr/bin:/usr/sbin:/bin")
"""The package corosync-qnetd, or one unpacked elsewhere: then LD_LIBRARY_PATH must lead to its libraries."""
ANSWER_SECONDS = 20.0
MARK = 1_000_000_000
"""Numbers of the echoes that tell when everything else has been answered."""


class Released:
    """The program, listening on loopback in the clear."""

    def __init__(self, directory: Path) -> None:
        assert PROGRAM is not None
        self.tool = Path(PROGRAM).with_name("corosync-qnetd-tool")
        self.local = directory / "local.sock"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        files = f"lock_file={directory / 'pid'},local_socket_file={self.local}"
        self.child = subprocess.Popen(
            [PROGRAM, "-f", "-4", "-l", "127.0.0.1", "-p", str(self.port), "-s", "off", "-S", files],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def connect(self) -> socket.socket:
        end = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
            except ConnectionRefusedError:
                assert self.child.poll() is None, f"corosync-qnetd ended with {self.child.returncode}"
                assert time.monotonic() < end, "corosync-qnetd does not listen"
                time.sleep(0.02)

    def shows(self, arguments: str) -> str:
        done = subprocess.run(
            [self.tool, "-p", self.local, *arguments.split()], check=True, capture_output=True, text=True, timeout=20
        )
        return done.stdout

    def wait_for(self, clients: int) -> None:
        """Until it has seen that the others left."""
        end = time.monotonic() + ANSWER_SECONDS
        while f"Connected clients:\t\t{clients}\n" not in ask(str(self.local), "status \n"):
            assert time.monotonic() < end, f"corosync-qnetd does not come down to {clients} clients"


@contextmanager
def released(directory: Path) -> Iterator[Released]:
    """The program runs for as long as this lasts."""
    server = Released(directory)
    try:
        server.connect().close()
        yield server
    finally:
        server.child.kill()
        server.child.wait()


class Both:
    """One cluster's clients, each connected to both."""

    def __init__(self, server: Released) -> None:
        self.server = server
        self.stage = Stage(Settings(tls=TlsSupported.UNSUPPORTED, clients_max=0, dead_peer_detection=False))
        self.sockets: dict[str, socket.socket] = {}
        self.said: list[object] = []
        self.told: dict[str, VoteInfo] = {}
        """The votes of the last decision that was told, as far as nobody confirmed them."""
        self._mark = MARK

    def connect(self, name: str) -> None:
        self.said.append(f"{name} connects")
        self.sockets[name] = self.server.connect()
        address, port = self.sockets[name].getsockname()
        self.stage.connect(name, f"{address}:{port}")

    def leave(self, name: str) -> None:
        self.said.append(f"{name} leaves")
        self.sockets.pop(name).close()
        self.told.pop(name, None)
        self.stage.close(name)
        self.server.wait_for(len(self.sockets))
        self.compare()

    def say(self, name: str, *messages: Message | bytes) -> None:
        for message in messages:
            self.said.append((name, message))
            data = message if isinstance(message, bytes) else encode(message)
            self.sockets[name].sendall(data)
            self.stage.give(name, data)
        self.compare(name)

    def compare(self, first: str | None = None) -> None:
        """What each client got since the last time, up to the echo that it asks for now."""
        names = sorted(self.sockets, key=lambda name: (name != first, name))
        former, self.told = self.told, {}
        for name in [*names, *names]:
            self._mark += 1
            echo = encode(EchoRequest(seq=self._mark))
            self.sockets[name].sendall(echo)
            self.stage.give(name, echo)
            theirs, ours = self._read(name), self.stage.take(name)
            assert ours == theirs, f"{name} is answered otherwise\n" + "\n".join(map(str, self.said))
            for message in theirs:
                if isinstance(message, VoteInfo):
                    self.told[name] = message
        self.told = self.told or former

    def compare_tools(self) -> None:
        """Both show the same."""
        for arguments in ("-l", "-lv"):
            assert listing(self.stage.arbiter, verbose="v" in arguments) == self.server.shows(arguments)

    def __enter__(self) -> Both:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.sockets.values():
            one.close()
        self.server.wait_for(0)

    def _read(self, name: str) -> list[Message]:
        messages: list[Message] = []
        while not messages or messages[-1].seq != self._mark:
            head = self._take(name, HEADER.size)
            [frame] = frames(head + self._take(name, HEADER.unpack(head)[1]))
            messages.append(decode(*frame))
        return messages

    def _take(self, name: str, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sockets[name].recv(size - len(data))
            # It waits for this before it sends a second small message: 40 ms otherwise, a thousand times.
            self.sockets[name].setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            assert more, f"corosync-qnetd closed {name}\n" + "\n".join(map(str, self.said))
            data += more
        return data
