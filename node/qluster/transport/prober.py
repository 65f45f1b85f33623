"""Decides what is sent to find out who hears whom, and keeps count of what comes back.

It must not know sockets, nor what is to be said about the counts: that is ``diagnosis.py``. Every node answers
probes; where no daemon runs this answers in its place, so that both sides may run it before there is a cluster.

A round is one probe to the group and one to each host that is known. A probe to the group is answered by
unicast and aloud, so that one round tries all four ways between this host and each other.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from qluster.events import Address, Send
from qluster.transport.envelope import PROBE, SEAL_SIZE, UNICAST, Drop, Header, parse_header
from qluster.transport.probe import Answering, Ask, Heard, Reply, ask_of_size, parse_probe
from qluster.transport.seal import Key, Opener, Sealer

ROUND_INTERVAL: Final = 0.125
"""Seconds between rounds: probes of ten hosts at once stay below what a node answers in a second."""
HOSTS_MAX: Final = 64
"""Hosts that are tried; more nodes than a cluster has."""
ANSWERS_WAITING_MAX: Final = 256
BOOT: Final = 1
"""A run of its own has a random uid, so its datagrams need no count of starts."""


class Asked(NamedTuple):
    """A probe that was sent; ``to`` None: to the group. ``aloud``: to be answered to the group as well."""

    to: str | None
    size: int
    aloud: bool
    at: float


@dataclass
class Host:
    """What is known of the ways to and from another host; numbers are those of this host's probes."""

    address: Address
    heard: set[int] = field(default_factory=set)
    """Probes that it says it heard."""
    answers_unicast: set[int] = field(default_factory=set)
    """Probes whose answer came by unicast."""
    answers_group: set[int] = field(default_factory=set)
    """Probes whose answer came through the group."""
    hears_group: bool = False
    """Whether any probe to the group reached it."""
    round_trips: list[float] = field(default_factory=list)
    first_at: float = inf
    last_at: float = -inf
    hears: tuple[Heard, ...] = ()
    """What it hears of others, as it said last."""


class Prober:
    """One run from one host."""

    def __init__(
        self,
        cluster_name: str,
        uid: int,
        keys: Sequence[Key],
        ip: str,
        group: Address | None,
        others: Iterable[Address],
        sizes: Sequence[int],
        *,
        answers: bool,
        now: float,
    ) -> None:
        """``sizes`` of datagrams to try, ascending; ``answers``: nobody else answers for this host."""
        assert sizes and list(sizes) == sorted(sizes), "sizes ascend"
        self.ip = ip
        self.asked: dict[int, Asked] = {}
        self.hosts: dict[str, Host] = {}
        self.foreign = 0
        """Datagrams that were not sealed with a key of this cluster."""
        self._sealer = Sealer(cluster_name, uid, BOOT, keys[0])
        self._opener = Opener(cluster_name, keys)
        self._token = uid >> 2
        self._group = group
        self._sizes = sizes
        self._answers = answers
        self._answering = Answering(now)
        self._waiting: deque[Send] = deque(maxlen=ANSWERS_WAITING_MAX)
        self._rounds = 0
        self._last_round = inf
        self.wake_at = now
        for address in others:
            self._host(address)

    def stop(self, now: float) -> None:
        """No more rounds; what is on its way is still taken."""
        self._last_round = now

    def due(self, now: float) -> list[Send]:
        """Answers, and a round when it is time for one."""
        sends = list(self._waiting)
        self._waiting.clear()
        if now < self.wake_at:
            return sends
        self.wake_at = now + ROUND_INTERVAL
        if now >= self._last_round:
            self.wake_at = inf
            return sends
        # Every other round is of the smallest size: losses are counted by these.
        size = self._sizes[(self._rounds // 2) % len(self._sizes)] if self._rounds % 2 else self._sizes[0]
        self._rounds += 1
        if self._group is not None:
            sends.append(self._probe(None, size, now))
        return sends + [self._probe(host, size, now) for host in self.hosts.values()]

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Take what came: count an answer to this run, answer another's probe."""
        header = parse_header(datagram)
        if isinstance(header, Drop) or not self._ours(header):
            self.foreign += 1
            return
        if header.uid == self._sealer.uid:
            return
        payload = self._opener.open(header, datagram)
        if payload is None:
            self.foreign += 1
        elif header.flags & PROBE and source[0] != self.ip:
            self._take(header, payload, len(datagram), source, now)

    def _ours(self, header: Header) -> bool:
        return header.cluster == self._sealer.cluster and self._opener.knows(header.key)

    def _take(self, header: Header, payload: bytes, size: int, source: Address, now: float) -> None:
        said = parse_probe(payload)
        if isinstance(said, Reply) and said.token == self._token:
            self._count(said, not header.flags & UNICAST, source, now)
            return
        if isinstance(said, Ask):
            self._host(source)
        if said is not None and self._answers and self._answering.fresh(header):
            answers = self._answering.answers(header, payload, size, source, (), now)
            if not isinstance(answers, Drop):
                self._waiting += [Send(self._sealed(answer, to), to) for answer, to in answers]

    def _count(self, reply: Reply, grouped: bool, source: Address, now: float) -> None:
        asked, host = self.asked.get(reply.number), self._host(source)
        if asked is None or host is None or reply.grouped != (asked.to is None):
            return
        host.first_at, host.last_at = min(host.first_at, asked.at), now
        host.heard.add(reply.number)
        host.hears_group |= reply.grouped
        host.hears = reply.hears
        if grouped:
            host.answers_group.add(reply.number)
            return
        host.answers_unicast.add(reply.number)
        if asked.to is not None:
            host.round_trips.append(now - asked.at)
        for one in reply.hears:
            self._host((one.host, one.port))

    def _host(self, address: Address) -> Host | None:
        """Another host; a new one is tried from now on."""
        ip, port = address
        if ip == self.ip:
            return None
        host = self.hosts.get(ip)
        if host is None and len(self.hosts) < HOSTS_MAX:
            # Who asks beside a running daemon does so from another port; the daemon has the group's.
            host = self.hosts[ip] = Host((ip, self._group[1] if self._group else port))
        return host

    def _probe(self, host: Host | None, size: int, now: float) -> Send:
        """A probe to a host, or to the group. Whose other ways are not known to be open is asked to answer aloud."""
        aloud = self._group is not None and (host is None or not (host.hears_group and host.answers_unicast))
        number, to = len(self.asked), host.address if host else None
        self.asked[number] = Asked(to[0] if to else None, size, aloud, now)
        return Send(self._sealed(ask_of_size(self._token, number, aloud, size - SEAL_SIZE), to), to)

    def _sealed(self, payload: bytes, to: Address | None) -> bytes:
        return self._sealer.seal(PROBE if to is None else PROBE | UNICAST, 1, 0, 1, payload)
