"""What a vote of the arbiter costs: ours and corosync-qnetd, asked by the same clients, in turns within one run.

A round is a membership change of a cluster of two: both nodes say a new ring, and both get and confirm the vote for it.
*Flood*: every cluster begins its next round as soon as it has its votes, as after a break of the whole network; its
latency is mostly waiting for each other. *Steady*: rounds begin at a fixed pace, one after the other over the clusters;
its latency is what a cluster waits for its arbiter. Clients are this process, over loopback, in the clear, and confirm
what they get at once (TCP_QUICKACK): corosync-qnetd waits for that before it sends a second small message, 40 ms with
clients that do not.
``make bench-qnetd`` runs it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from qluster.qnet.messages import HEADER, Init, NodeList, Preinit, encode
from qluster.qnet.names import DecisionAlgorithm, MessageType, NodeListType, TieBreakerMode, Vote
from qluster.qnet.tlv import NodeInfo, RingId, TieBreaker

from bench import neighbours, programs
from bench.figures import percentile

NODES = (1, 2)
CLUSTERS = (1, 10, 100)
STEADY = 100
"""Rounds a second: each of a hundred clusters changes once a second, which is a bad day for all of them."""
WAIT_SECONDS = 10.0
HEARTBEAT = 120_000
CONFIRM = struct.Struct(">HIHHI")
"""A whole VOTE_INFO_REPLY: type, length, and the sequence number as its only part."""
SEQ_AT, VOTE_AT, RING_AT = 10, 18, 27
"""Where both servers have these in VOTE_INFO: sequence number, vote, and the ring's own number."""


@dataclass(frozen=True)
class Figure:
    """One measurement. Times are microseconds."""

    server: str
    load: str
    clusters: int
    votes_a_second: int
    p50: float
    p99: float
    worst: float
    cpu_each: float
    foreign_cores: float


# --- the servers ----------------------------------------------------------------------


@contextmanager
def serving(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """One of the two: its process and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    child = subprocess.Popen(
        ours(folder, port) if name == "qluster" else theirs(folder, port),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not listens(port):
            assert child.poll() is None and time.monotonic() < end, f"{name} does not listen"
            time.sleep(0.05)
        yield child.pid, port
    finally:
        child.kill()
        child.wait()


def ours(folder: Path, port: int) -> list[str]:
    config = {"port": port, "address": "127.0.0.1", "socket-file": f"{folder}/q.sock", "tls": {"mode": "off"}}
    (folder / "qnetd.yaml").write_text(json.dumps(config))
    return [sys.executable, "-m", "qluster.qnetd", "--config", f"{folder}/qnetd.yaml", "--allow-root"]


def theirs(folder: Path, port: int) -> list[str]:
    files = f"lock_file={folder}/pid,local_socket_file={folder}/c.sock,listen_backlog=1000"
    return ["corosync-qnetd", "-f", "-4", "-l", "127.0.0.1", "-p", str(port), "-s", "off", "-S", files]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the clients ----------------------------------------------------------------------


def membership(node: int) -> tuple[bytes, int, int]:
    """The message that says a ring, and where its sequence number and the ring's are in it."""
    seq, ring = 0x5E5E5E5E, 0x51515151_51515151
    nodes = tuple(NodeInfo(one) for one in NODES)
    text = encode(NodeList(seq=seq, node_list_type=NodeListType.MEMBERSHIP, ring_id=RingId(1, ring), nodes=nodes))
    return text, text.index(seq.to_bytes(4, "big")), text.index(ring.to_bytes(8, "big"))


class Node:
    """One node's connection."""

    def __init__(self, cluster: Cluster, node: int, port: int) -> None:
        self.cluster = cluster
        self.stream = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._text, self._seq_at, self._ring_at = membership(node)
        self._seq = 10
        self._unread = b""
        config = tuple(NodeInfo(one) for one in NODES)
        self.stream.sendall(
            encode(Preinit(seq=1, cluster_name=cluster.name.encode()))
            + encode(
                Init(seq=2, supported_messages=tuple(MessageType), supported_options=tuple(range(24)), node_id=node,
                     decision_algorithm=DecisionAlgorithm.FFSPLIT, heartbeat_interval=HEARTBEAT,
                     tie_breaker=TieBreaker(TieBreakerMode.LOWEST), ring_id=RingId(1, 1))
            )
            + encode(NodeList(seq=3, node_list_type=NodeListType.INITIAL_CONFIG, nodes=config))
        )  # fmt: skip

    def say(self, ring: int) -> None:
        """This node is on a new ring now."""
        self._seq += 1
        text = bytearray(self._text)
        struct.pack_into(">I", text, self._seq_at, self._seq)
        struct.pack_into(">Q", text, self._ring_at, ring)
        self.stream.send(text)

    def read(self) -> None:
        """Take what came; confirm votes."""
        data = self._unread + self.stream.recv(65536)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        at = 0
        while len(data) >= at + HEADER.size:
            kind, length = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if len(data) < end:
                break
            if kind == MessageType.VOTE_INFO:
                [seq] = struct.unpack_from(">I", data, at + SEQ_AT)
                [ring] = struct.unpack_from(">Q", data, at + RING_AT)
                self.stream.send(CONFIRM.pack(MessageType.VOTE_INFO_REPLY, 8, 0, 4, seq))
                self.cluster.voted(data[at + VOTE_AT], ring)
            at = end
        self._unread = data[at:]


class Cluster:
    """Two nodes that change their ring together."""

    def __init__(self, number: int, port: int) -> None:
        self.name = f"cluster{number}"
        self.nodes = [Node(self, node, port) for node in NODES]
        self.ring = 1
        self.missing = 0
        self.began = 0.0
        self.took: list[float] = []

    def begin(self) -> None:
        """A round."""
        self.ring += 4
        self.missing = len(NODES)
        for node in self.nodes[:-1]:
            node.say(self.ring)
        self.began = time.perf_counter()
        self.nodes[-1].say(self.ring)

    def voted(self, vote: int, ring: int) -> None:
        """One of its nodes has a vote."""
        if vote == Vote.ACK and ring == self.ring and self.missing:
            self.missing -= 1
            if not self.missing:
                self.took.append(time.perf_counter() - self.began)


class Crowd:
    """All clusters, driven by one loop."""

    def __init__(self, count: int, port: int) -> None:
        self.clusters = [Cluster(number, port) for number in range(count)]
        self._selector = selectors.DefaultSelector()
        for cluster in self.clusters:
            for node in cluster.nodes:
                self._selector.register(node.stream, selectors.EVENT_READ, node)

    def flood(self, seconds: float) -> float:
        """Rounds without a pause; how long it took."""
        began = time.perf_counter()
        for cluster in self.clusters:
            cluster.begin()
        while (now := time.perf_counter()) < began + seconds:
            for cluster in self._look(0.1):
                if not cluster.missing:
                    cluster.begin()
        self._finish()
        return now - began

    def steady(self, seconds: float, pace: float) -> float:
        """Rounds at this pace; how long it took."""
        began = time.perf_counter()
        started = 0
        while (now := time.perf_counter()) < began + seconds:
            due = began + started / pace
            if now >= due:
                cluster = self.clusters[started % len(self.clusters)]
                if not cluster.missing:
                    cluster.begin()
                started += 1
            else:
                self._look(due - now)
        self._finish()
        return now - began

    def _look(self, seconds: float) -> set[Cluster]:
        spoken = set()
        for key, _ in self._selector.select(max(0.0, seconds)):
            node: Node = key.data
            node.read()
            spoken.add(node.cluster)
        return spoken

    def _finish(self) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while any(cluster.missing for cluster in self.clusters):
            assert time.monotonic() < end, "a vote did not come"
            self._look(0.1)

    def taken(self) -> list[float]:
        """Seconds of every round since the last call."""
        took = sorted(one for cluster in self.clusters for one in cluster.took)
        for cluster in self.clusters:
            cluster.took.clear()
        return took

    def close(self) -> None:
        for cluster in self.clusters:
            for node in cluster.nodes:
                node.stream.close()
        self._selector.close()


# --- the run --------------------------------------------------------------------------


def measure(server: str, clusters: int, seconds: float, folder: Path) -> list[Figure]:
    """Both loads."""
    figures = []
    with serving(server, folder) as (pid, port):
        crowd = Crowd(clusters, port)
        crowd.flood(0.3)
        crowd.taken()
        for load in ("flood", "steady"):
            watch, before = neighbours.Watch(), cpu_seconds(pid)
            lasted = crowd.flood(seconds) if load == "flood" else crowd.steady(seconds, STEADY)
            used, took = cpu_seconds(pid) - before, crowd.taken()
            votes = len(took) * len(NODES)
            p50, p99, worst = (round(percentile(took, share) * 1e6, 1) for share in (0.5, 0.99, 1.0))
            foreign = max(0.0, watch.foreign_cores() - used / lasted)
            figures.append(
                Figure(server, load, clusters, round(votes / lasted), p50, p99, worst,
                       round(used / votes * 1e6, 1), round(foreign, 2))
            )  # fmt: skip
        crowd.close()
    return figures


def run(rounds: int, seconds: float) -> list[Figure]:
    """Every number of clusters, both servers in turns."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for clusters in CLUSTERS:
                for server in ("qluster", "corosync")[:: 1 if number % 2 else -1]:
                    figures += measure(server, clusters, seconds, Path(folder))
                    print(f"round {number + 1}: {server}, {clusters} clusters", file=sys.stderr, flush=True)
    return figures


HEAD = (
    "| load | clusters | | votes/s | p50 | p99 | worst | CPU for a vote |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(figures: list[Figure]) -> list[str]:
    """Medians of the rounds: both, and ours as a multiple of theirs."""
    lines = [HEAD]
    for load in ("flood", "steady"):
        for clusters in CLUSTERS:
            both = []
            for server in ("qluster", "corosync"):
                found = [one for one in figures if (one.server, one.load, one.clusters) == (server, load, clusters)]
                if not found:
                    break
                both.append([
                    median(getattr(one, name) for one in found)
                    for name in ("votes_a_second", "p50", "p99", "worst", "cpu_each")
                ])  # fmt: skip
                rate, *times = both[-1]
                cells = " | ".join(f"{time:,.0f} µs" for time in times)
                lines.append(f"| {load} | {clusters} | {server} | {rate:,.0f} | {cells} |")
            if len(both) == 2:
                ratios = " | ".join(f"× {one / other:.2f}" if other else "" for one, other in zip(*both, strict=True))
                lines.append(f"| | | ratio | {ratios} |")
    return lines


def main(words: list[str]) -> int:
    """Measure, print, keep."""
    parser = ArgumentParser(prog="bench-qnetd", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of everything")
    parser.add_argument("--realtime", action="store_true", help="run everything before all else on this machine")
    parser.add_argument("--results", type=Path, default=programs.CACHE / "results" / "qnetd.json")
    chosen = parser.parse_args(words)
    if shutil.which("corosync-qnetd") is None:
        print("cannot be measured here: corosync-qnetd is not installed (package corosync-qnetd)", file=sys.stderr)
        return 2
    if chosen.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # whatever is started inherits it
    neighbours.wait_until_calm(10.0)
    figures = run(chosen.rounds, chosen.seconds)
    print("\n".join(table(figures)))
    chosen.results.parent.mkdir(parents=True, exist_ok=True)
    chosen.results.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    print(f"results: {chosen.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
