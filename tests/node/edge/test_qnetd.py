"""The arbiter's daemon over real sockets: what it serves, whom it refuses, and that others do not notice."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.qnetd_world import Client, Running, free_port, pair, run_program, running, until, write_config
from msgspec.structs import replace
from qluster.qnet.messages import (
    AskForVote,
    EchoReply,
    EchoRequest,
    InitReply,
    Message,
    NodeList,
    PreinitReply,
    ServerError,
    VoteInfo,
    encode,
    frame,
)
from qluster.qnet.names import DecisionAlgorithm, ErrorCode, NodeListType, Vote
from qluster.qnetd.daemon import _listening
from qluster.qnetd.sockets import Listener, Sockets
from qnet.shorthand import HIGHEST, LOWEST, nodes
from qnet.stage import init


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Path(tmp_path_factory.mktemp("qnetd")), peers={"heartbeat-minimum": "100ms"}) as arbiter:
        yield arbiter


@pytest.fixture
def good(daemon: Running) -> Iterator[list[Client]]:
    """A cluster that must notice nothing of what others do: at the end it is still served."""
    clients = pair(daemon, "good")
    yield clients
    clients[0].see("1.c", 1)
    clients[1].see("2.c", 2)
    assert {clients[1].vote(), clients[0].vote()} == {Vote.ACK, Vote.NACK}
    for one in clients:
        one.close()
    until(lambda: "good" not in daemon.tool("-l").stdout, "the good cluster is gone")


def test_half_of_a_divided_cluster_has_the_vote_and_the_other_not(daemon: Running) -> None:
    one, two = pair(daemon)
    one.see("1.c", 1)
    two.see("2.c", 2)
    assert two.vote() is Vote.NACK and one.vote() is Vote.ACK
    one.close()
    assert two.vote() is Vote.ACK
    two.close()


def test_both_families_of_addresses_are_served(daemon: Running) -> None:
    for host, shown in (("127.0.0.1", "::ffff:127.0.0.1:"), ("::1", "::1:")):
        client = Client(daemon, cluster="families", host=host)
        client.preinit()
        client.join()
        assert f"Client address:\t\t{shown}{client.stream.getsockname()[1]}\n" in daemon.tool("-l").stdout
        client.close()
        until(lambda: "families" not in daemon.tool("-l").stdout, "it is gone")


def test_message_that_is_too_long_is_refused_and_dropped_unread(daemon: Running, good: list[Client]) -> None:
    client = Client(daemon, cluster="long")
    client.preinit()
    client.say(frame(10, bytes(40_000)), EchoRequest(seq=5))
    assert client.hear() == ServerError(seq=None, reply_error_code=ErrorCode.MESSAGE_TOO_LONG)
    assert client.hear() == ServerError(seq=5, reply_error_code=ErrorCode.INIT_REQUIRED)
    daemon.logged("message-refused", "MESSAGE_TOO_LONG", "40006 bytes")
    client.close()


def test_message_before_its_time_is_refused(daemon: Running, good: list[Client]) -> None:
    client = Client(daemon)
    client.say(init(1, 1, "1.8", 1, LOWEST, 8000))
    reply = client.hear()
    assert isinstance(reply, InitReply) and reply.reply_error_code == ErrorCode.PREINIT_REQUIRED
    assert isinstance(client.preinit(), PreinitReply)
    client.close()


DISAGREEING: dict[ErrorCode, Message] = {
    ErrorCode.DUPLICATE_NODE_ID: init(7, 1),
    ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES: init(7, 2, algorithm=DecisionAlgorithm.LMS),
    ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES: init(7, 2, tie_breaker=HIGHEST),
    ErrorCode.UNSUPPORTED_DECISION_ALGORITHM: init(7, 2, algorithm=9),
    ErrorCode.INVALID_HEARTBEAT_INTERVAL: init(7, 2, heartbeat=99),
    ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION: replace(init(7, 2), node_id=None),
}
"""What a second node of a cluster may not say to join it."""


def test_node_that_does_not_fit_its_cluster_is_told_why_and_logged_and_may_try_again(
    daemon: Running, good: list[Client]
) -> None:
    member, other = Client(daemon, cluster="bad"), Client(daemon, node=2, cluster="bad")
    for one in (member, other):
        one.preinit()
    member.join()
    for error, message in DISAGREEING.items():
        other.say(message)
        reply = other.hear()
        assert isinstance(reply, InitReply) and reply.reply_error_code == error, error.name
    port = f":{other.stream.getsockname()[1]} "
    told = [line for line in daemon.log().splitlines() if "message-refused" in line and port in line]
    assert len(told) == len(DISAGREEING)
    for error, line in zip(DISAGREEING, told, strict=True):
        assert f"error={error.name} " in line and "INIT of node" in line
    joined = other.join()
    assert isinstance(joined, InitReply) and joined.reply_error_code == ErrorCode.NO_ERROR
    for one in (member, other):
        one.close()


IN_CLUSTER: dict[str, tuple[Message | bytes, ErrorCode]] = {
    "a list without its sender": (
        NodeList(seq=8, node_list_type=NodeListType.INITIAL_CONFIG, nodes=nodes(1, 2)),
        ErrorCode.INVALID_CONFIG_NODE_LIST),
    "a membership without a ring": (
        NodeList(seq=8, node_list_type=NodeListType.MEMBERSHIP, nodes=nodes(3)),
        ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION),
    "a second INIT": (init(8, 3), ErrorCode.DUPLICATE_NODE_ID),
    "what only a server says": (VoteInfo(seq=8, vote=Vote.ACK), ErrorCode.UNEXPECTED_MESSAGE),
    "an option that ends too late": (frame(10, b"\0\0\0\4\0\0\0\x08\0\x12\0\x09x"), ErrorCode.ERROR_DECODING_MSG),
    "no option": (frame(12, b""), ErrorCode.ERROR_DECODING_MSG),
    "an unknown type": (frame(77, b"x"), ErrorCode.UNSUPPORTED_MESSAGE),
    "a question that ffsplit does not know": (AskForVote(seq=8), ErrorCode.UNSUPPORTED_DECISION_ALGORITHM_MESSAGE),
}  # fmt: skip


@pytest.mark.parametrize("bad", IN_CLUSTER)
def test_what_makes_no_sense_is_refused_by_its_number_and_the_connection_stays(
    daemon: Running, good: list[Client], bad: str
) -> None:
    message, error = IN_CLUSTER[bad]
    client = Client(daemon, node=3, cluster=bad)
    client.preinit()
    client.join()
    client.say(message, EchoRequest(seq=9))
    reply = client.hear()
    assert reply.reply_error_code == error  # type: ignore[attr-defined]
    assert client.hear() == EchoReply(seq=9)
    daemon.logged("message-refused", bad, error.name)
    client.close()


def test_bytes_in_any_pieces_are_the_same_messages(daemon: Running) -> None:
    client = Client(daemon, cluster="pieces")
    client.preinit()
    client.join()
    said = encode(EchoRequest(seq=1)) + encode(EchoRequest(seq=2))
    for start in range(0, len(said), 3):
        client.say(said[start : start + 3])
    assert [client.hear(), client.hear()] == [EchoReply(seq=1), EchoReply(seq=2)]
    client.close()


def test_nonsense_ends_nothing_but_itself(daemon: Running, good: list[Client]) -> None:
    client = Client(daemon)
    client.say(b"GET / HTTP/1.1\r\nHost: arbiter\r\n\r\n" + os.urandom(100_000))
    client.close()


def test_silent_client_is_disconnected(daemon: Running, good: list[Client]) -> None:
    client = Client(daemon, cluster="silent")
    client.preinit()
    client.join(heartbeat=100)
    assert client.closed()
    daemon.logged("client-left", "cluster=silent", "silent for 0.15 s")
    client.close()


def test_client_that_does_not_read_is_disconnected(daemon: Running, good: list[Client]) -> None:
    client = Client(daemon, cluster="deaf")
    client.preinit()
    client.join()
    big = frame(8, bytes([0, 0, 0, 4, 0, 0, 0, 1]) + b"\x40\x00\x70\x00" + bytes(0x7000))
    with pytest.raises(ConnectionError):
        for _ in range(2000):
            client.say(big)
    daemon.logged("client-left", "cluster=deaf", "messages wait for it, no more may")
    client.close()


def test_client_that_breaks_off_is_gone(daemon: Running) -> None:
    one, two = pair(daemon, "broken")
    one.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.see("1.c", 1)
    two.see("2.c", 2)
    one.close()
    until(lambda: two.vote() is Vote.ACK, "who is left has the vote")
    two.close()


def test_pause_of_the_host_makes_nobody_silent_who_spoke(daemon: Running) -> None:
    client = Client(daemon, cluster="paused")
    client.preinit()
    client.join(heartbeat=400)
    daemon.child.send_signal(signal.SIGSTOP)
    try:
        client.say(EchoRequest(seq=1))
        time.sleep(0.8)
        client.say(EchoRequest(seq=2))
    finally:
        daemon.child.send_signal(signal.SIGCONT)
    assert [client.hear(), client.hear()] == [EchoReply(seq=1), EchoReply(seq=2)]
    client.close()


def test_one_client_too_many_is_closed_at_once(tmp_path: Path) -> None:
    with running(tmp_path, limits={"clients": 2}) as arbiter:
        clients = pair(arbiter)
        third = Client(arbiter)
        assert third.closed()
        arbiter.logged("client-turned-away", "clients=2")
        clients[0].close()
        until(lambda: arbiter.json()["connected_clients"] == 1, "one is gone")
        assert isinstance(Client(arbiter, 1).preinit(), PreinitReply)


def test_restart_forgets_clients_and_serves_them_anew(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, port) as arbiter:
        clients = pair(arbiter)
        assert arbiter.stop() == 0
        assert all(one.closed() for one in clients) and not arbiter.socket.exists()
        assert arbiter.log().splitlines()[-1].endswith("qluster.qnetd stopped")
    with running(tmp_path, port) as arbiter:
        pair(arbiter)
        arbiter.child.kill()
        arbiter.child.wait()
        assert arbiter.socket.exists()
    with running(tmp_path, port) as arbiter:
        pair(arbiter)


def test_service_manager_hears_of_it(tmp_path: Path) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(20)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    heard = []
    with manager, running(tmp_path, env=env) as arbiter:
        heard.append(manager.recv(4096).decode())
        while not heard[-1].endswith("WATCHDOG=1"):
            heard.append(manager.recv(4096).decode())
        arbiter.stop()
        while "STOPPING" not in heard[-1]:
            heard.append(manager.recv(4096).decode())
    assert heard[0] == "READY=1\nSTATUS=0 clients of 0 clusters"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "any"])
def test_small_messages_go_at_once(address: str) -> None:
    taken: list[socket.socket] = []
    sockets, listening = Sockets(), _listening(address, 0)
    listener = Listener(sockets, listening, 1, lambda one, _: taken.append(one))
    with socket.create_connection(("::1" if address == "::1" else "127.0.0.1", listening.getsockname()[1])):
        sockets.look()
        # Otherwise the second of two small messages waits for the client to confirm the first: 40 ms.
        assert taken[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    taken[0].close()
    listener.close()
    sockets.close()


def test_socket_of_the_tool_is_for_its_owner_alone(daemon: Running) -> None:
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600


def test_second_daemon_is_refused(daemon: Running, tmp_path: Path) -> None:
    file = write_config(tmp_path, daemon.port, {})
    done = run_program("--config", str(file), "--allow-root")
    assert done.returncode == 1 and f"port: {daemon.port} is taken" in done.stderr
    file = write_config(tmp_path, free_port(), {"socket-file": str(daemon.socket)})
    done = run_program("--config", str(file), "--allow-root")
    assert done.returncode == 1 and f"another arbiter answers at {daemon.socket}" in done.stderr
    assert daemon.tool("-s").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    done = run_program("--config", str(write_config(tmp_path, free_port(), {})))
    assert done.returncode == 1 and "needs no rights of root" in done.stderr


def test_nobody_there_is_said(tmp_path: Path) -> None:
    done = run_program("tool", "-s", "-p", f"{tmp_path}/none.sock")
    assert done.returncode == 3 and "No such file or directory" in done.stderr and done.stdout == ""
    assert isinstance(done, subprocess.CompletedProcess)
