"""Decides which datagrams leave this node and which messages come out of those that arrive.

It must not know what a message says, nor touch a socket or a clock: datagrams, times and chance are
given to it. Joins envelope, seal, window, fragments, repair and pacing.

What an arriving datagram goes through, cheapest first: its header, the cluster's tag, this node's own
echo, the key's id, the sender's boot and replay window, and only then the seal. Nothing is kept of a
datagram whose seal does not fit. Each one dropped is counted by its reason.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Final

from qluster.events import Address, Send
from qluster.transport.envelope import DIRECT, REQUEST, SEAL_SIZE, UNICAST, Drop, Header, parse_header
from qluster.transport.fragments import Assembly, chunk_at, chunk_count
from qluster.transport.pacing import Bucket, Throttle, burst_size, charge
from qluster.transport.peer import Peer
from qluster.transport.repair import Outgoing, Repairs, Request, parse_request, wants_max
from qluster.transport.seal import Key, Opener, Sealer, check_keys

MESSAGE_OVERHEAD: Final = 4096
"""What a message may hold beside one entry of max-log-size: fields of the entry and of the message
around it."""
LOG_SIZE_LIMIT: Final = 1024 * 1024
"""Largest max-log-size: beyond it the bit mask of missing chunks no longer fits the smallest datagram."""
DATAGRAM_SIZE_DEFAULT: Final = 1472
"""An Ethernet frame of 1500 without the headers of IPv4 and UDP."""
DATAGRAM_SIZE_MIN: Final = 548
"""What every IPv4 link carries: 576 without the headers."""
DATAGRAM_SIZE_MAX: Final = 65507
"""The largest UDP datagram over IPv4."""
SENDERS_MAX: Final = 64
"""Senders remembered; more nodes than a cluster has. The one that was silent longest is forgotten first."""

COUNTERS: Final = (
    "datagrams_sent", "bytes_sent", "datagrams_received", "bytes_received",
    "messages_sent", "messages_received", "messages_queue_full", "messages_missed", "messages_evicted",
    "messages_given_up", "requests_sent", "requests_received", "repairs_unicast", "repairs_multicast",
    "repairs_unavailable", "repairs_overflow", "senders_forgotten",
    *(f"dropped_{reason.value}" for reason in Drop),
)  # fmt: skip


class MessageTooLarge(ValueError):
    """The message does not fit: cut it, or raise udp.max-log-size on all nodes."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Limits of a link; names as in config.yaml, sizes in bytes, the rate in bytes per second."""

    max_log_size: int = 64000
    send_buffer_capacity: int = 256
    recv_buffer_capacity: int = 256
    pacing_rate: int = 268435456
    recv_buffer_size: int = 1048576
    datagram_size: int = DATAGRAM_SIZE_DEFAULT
    group_size: int = 1
    """Datagrams that one sending to the group takes: 1 for multicast, else the number of unicast peers."""

    def __post_init__(self) -> None:
        assert 1 <= self.max_log_size <= LOG_SIZE_LIMIT, f"max_log_size {self.max_log_size}"
        assert self.send_buffer_capacity >= 1, f"send_buffer_capacity {self.send_buffer_capacity}"
        assert self.recv_buffer_capacity >= 2, f"recv_buffer_capacity {self.recv_buffer_capacity}"
        assert self.pacing_rate >= 1, f"pacing_rate {self.pacing_rate}"
        size = self.datagram_size
        assert DATAGRAM_SIZE_MIN <= size <= DATAGRAM_SIZE_MAX, f"datagram_size {size}"
        assert self.group_size >= 1, f"group_size {self.group_size}"

    @property
    def message_size_max(self) -> int:
        return self.max_log_size + MESSAGE_OVERHEAD

    @property
    def chunk_size(self) -> int:
        return self.datagram_size - SEAL_SIZE

    @property
    def chunks_max(self) -> int:
        """Chunks of a message that came from a sender with the smallest datagrams."""
        return chunk_count(self.message_size_max, DATAGRAM_SIZE_MIN - SEAL_SIZE)


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came in whole, from the node with this uid at this address."""

    message: bytes
    uid: int
    source: Address


class Link:
    """Messages in, sealed datagrams out, and the other way round."""

    def __init__(
        self,
        cluster_name: str,
        uid: int,
        boot: int,
        keys: Sequence[Key],
        settings: LinkSettings,
        random: Random,
        now: float,
    ) -> None:
        check_keys(keys)
        self.settings = settings
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.heard_at = -inf
        """When another node was last heard at all."""
        self.group_heard_at = now
        """When a datagram to the group last came from another node, or since when this one waits for the first."""
        self._random = random
        self._sealer = Sealer(cluster_name, uid, boot, keys[0])
        self._opener = Opener(cluster_name, keys)
        self._chunks_max = settings.chunks_max
        self._wants_max = wants_max(settings.chunk_size, settings.chunks_max)
        self._throttle = Throttle(settings.pacing_rate, now)
        self._bucket = Bucket(settings.pacing_rate, self._burst(), now)
        self._peers: OrderedDict[int, Peer] = OrderedDict()
        self._queue: deque[Outgoing] = deque()
        self._repairs = Repairs(settings.send_buffer_capacity, settings.group_size, self.counters)
        self._numbers = [0, 0]

    def rekey(self, keys: Sequence[Key]) -> None:
        """Take these keys: the first seals from now on, all of them open."""
        check_keys(keys)
        self._sealer.rekey(keys[0])
        self._opener.rekey(keys)

    def deaf(self, now: float, limit: float) -> bool:
        """Others are heard, but for so long nothing came through the group: this node may have fallen out of it.

        A switch that missed this host's membership report does that, and its own datagrams still reach all.
        """
        return now - self.heard_at < limit <= now - self.group_heard_at

    @property
    def rate(self) -> float:
        """Bytes per second that may go now: pacing-rate, or less while a receiver cannot keep up."""
        return self._throttle.rate

    @property
    def queued(self) -> int:
        """Messages that wait to be sent, or are being sent."""
        return len(self._queue)

    @property
    def senders(self) -> int:
        """Other nodes heard lately enough to be remembered."""
        return len(self._peers)

    def _burst(self) -> int:
        settings = self.settings
        burst = burst_size(self._throttle.rate, settings.datagram_size, settings.recv_buffer_size)
        # A copy to each peer leaves at once, but each goes to another receiver's buffer.
        return burst * settings.group_size

    # --- in ----------------------------------------------------------------

    def receive(self, datagram: bytes, source: Address, now: float) -> list[Received]:
        """Take a datagram as it came from the network; the messages that are whole with it."""
        self.counters["datagrams_received"] += 1
        self.counters["bytes_received"] += len(datagram)
        header = parse_header(datagram)
        outcome = header if isinstance(header, Drop) else self._open(header, datagram, source, now)
        if isinstance(outcome, Drop):
            self.counters["dropped_" + outcome.value] += 1
        elif outcome is not None and not isinstance(header, Drop):
            self.counters["messages_received"] += 1
            return [Received(outcome, header.uid, source)]
        return []

    def _open(self, header: Header, datagram: bytes, source: Address, now: float) -> bytes | Drop | None:
        refusal = self._refusal(header)
        if refusal is not None:
            return refusal
        payload = self._opener.open(header, datagram)
        if payload is None:
            return Drop.FORGED
        if header.uid == self._sealer.uid:
            return Drop.TWIN
        peer = self._known(header, source)
        peer.window(header).mark(header.sequence)
        self.heard_at = now
        if not header.flags & UNICAST:
            self.group_heard_at = now
        if header.flags & REQUEST:
            return self._repair(payload, source, now)
        return peer.put(header, payload, now)

    def _refusal(self, header: Header) -> Drop | None:
        """What can be said against a datagram before its seal is looked at. Changes nothing."""
        if header.cluster != self._sealer.cluster:
            return Drop.CLUSTER
        if header.uid == self._sealer.uid and (header.boot, header.sequence) <= (
            self._sealer.boot,
            self._sealer.sequence,
        ):
            return Drop.ECHO
        if not self._opener.knows(header.key):
            return Drop.KEY
        if header.chunks > self._chunks_max:
            return Drop.OVERSIZED
        peer = self._peers.get(header.uid)
        if peer is None or header.boot > peer.boot:
            return None
        if header.boot < peer.boot:
            return Drop.BOOT
        return None if peer.window(header).fresh(header.sequence) else Drop.REPLAYED

    def _known(self, header: Header, source: Address) -> Peer:
        """The sender of an authentic datagram; one that has started again begins anew."""
        peer = self._peers.get(header.uid)
        if peer is None or peer.boot != header.boot:
            settings = self.settings
            assembly = Assembly(
                settings.recv_buffer_capacity, settings.message_size_max, self._random, self.counters
            )
            peer = self._peers[header.uid] = Peer(header.boot, source, assembly)
            if len(self._peers) > SENDERS_MAX:
                self._peers.popitem(last=False)
                self.counters["senders_forgotten"] += 1
        self._peers.move_to_end(header.uid)
        peer.source = source
        return peer

    def _repair(self, payload: bytes, source: Address, now: float) -> Drop | None:
        request = parse_request(payload)
        if request is None:
            return Drop.MALFORMED
        self.counters["requests_received"] += 1
        if (request.uid, request.boot) == (self._sealer.uid, self._sealer.boot):
            lost = sum(self._repairs.ask(want, source, now) for want in request.wants)
            self._throttle.lost(source, lost)
        return None

    # --- out ---------------------------------------------------------------

    def send(self, message: bytes, to: Address | None, now: float) -> None:
        """Queue a message; ``to`` None is the group.

        When the queue is full the oldest message to the group that has not begun gives way: the group
        hears the next one anyway, and consensus repeats what is still wanted.
        """
        if len(message) > self.settings.message_size_max:
            raise MessageTooLarge(
                f"a message of {len(message)} bytes exceeds {self.settings.message_size_max} "
                f"(udp.max-log-size {self.settings.max_log_size} and {MESSAGE_OVERHEAD} around it)"
            )
        if len(self._queue) >= self.settings.send_buffer_capacity and not self._make_room():
            return
        self._queue.append(Outgoing(message, to, chunk_count(len(message), self.settings.chunk_size)))

    def _make_room(self) -> bool:
        self.counters["messages_queue_full"] += 1
        unsent = [position for position, one in enumerate(self._queue) if not one.chunks_sent]
        for position in unsent:
            if not self._queue[position].direct:
                del self._queue[position]
                return True
        if unsent:
            del self._queue[unsent[0]]
        return bool(unsent)

    def due(self, now: float) -> list[Send]:
        """The datagrams that may go now: requests first, then repairs, then what is new."""
        sends: list[Send] = []
        self._repairs.forget_old(now)
        if self._throttle.step(now):
            self._bucket.change(self._throttle.rate, self._burst(), now)
        for uid, peer in self._peers.items():
            if now >= peer.request_at():
                self._request(uid, peer, sends, now)
        while (repair := self._repairs.peek()) is not None:
            if not self._send_chunk(repair.outgoing, repair.chunk, repair.to, sends, now):
                return sends
            self._repairs.pop(repair)
            self.counters["repairs_multicast" if repair.to is None else "repairs_unicast"] += 1
        while self._queue:
            if not self._send_next(self._queue[0], sends, now):
                return sends
        return sends

    @property
    def wake_at(self) -> float:
        """When :meth:`due` next has something to give; a time that has passed means now."""
        at = min((peer.request_at() for peer in self._peers.values()), default=inf)
        repair = self._repairs.peek()
        if repair is not None:
            cost = self._cost(repair.outgoing, repair.chunk, repair.to)
        elif self._queue:
            cost = self._cost(self._queue[0], self._queue[0].chunks_sent, self._queue[0].to)
        else:
            return at
        return min(at, self._bucket.ready_at(cost))

    def _request(self, uid: int, peer: Peer, sends: list[Send], now: float) -> None:
        """Ask for what is missing. Requests are small and few: they are charged but do not wait."""
        wants = peer.assembly.wants(now, self._wants_max)
        if not wants:
            return
        peer.asked_at = now
        self.counters["requests_sent"] += 1
        payload = Request(uid, peer.boot, wants).encoded()
        self._bucket.spend(charge(len(payload) + SEAL_SIZE), now)
        self._seal(REQUEST | DIRECT, (1, 0, 1), payload, peer.source, sends)

    def _send_next(self, outgoing: Outgoing, sends: list[Send], now: float) -> bool:
        """Send the next chunk of the message at the head of the queue."""
        if not outgoing.number:
            self._numbers[outgoing.direct] += 1
            outgoing.number = self._numbers[outgoing.direct]
        if not self._send_chunk(outgoing, outgoing.chunks_sent, outgoing.to, sends, now):
            return False
        if not outgoing.chunks_sent:
            self._repairs.remember(outgoing)
        outgoing.chunks_sent += 1
        outgoing.sent_at = now
        if outgoing.chunks_sent == outgoing.count:
            self._queue.popleft()
            self.counters["messages_sent"] += 1
        return True

    def _send_chunk(
        self, outgoing: Outgoing, chunk: int, to: Address | None, sends: list[Send], now: float
    ) -> bool:
        """Seal a chunk if pacing lets it go."""
        if not self._bucket.take(self._cost(outgoing, chunk, to), now):
            return False
        payload = chunk_at(outgoing.message, chunk, self.settings.chunk_size)
        place = (outgoing.number, chunk, outgoing.count)
        self._seal(DIRECT if outgoing.direct else 0, place, payload, to, sends)
        return True

    def _cost(self, outgoing: Outgoing, chunk: int, to: Address | None) -> int:
        size = self.settings.chunk_size
        length = min(len(outgoing.message) - chunk * size, size) + SEAL_SIZE
        return charge(length) * (self.settings.group_size if to is None else 1)

    def _seal(
        self, flags: int, place: tuple[int, int, int], payload: bytes, to: Address | None, sends: list[Send]
    ) -> None:
        datagram = self._sealer.seal(flags if to is None else flags | UNICAST, *place, payload)
        copies = self.settings.group_size if to is None else 1
        self._throttle.sent(1)
        self.counters["datagrams_sent"] += copies
        self.counters["bytes_sent"] += copies * len(datagram)
        sends.append(Send(datagram, to))
