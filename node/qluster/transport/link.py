"""Decides which datagrams leave this node and which messages come out of those that arrive.

It must not know what a message says, nor touch a socket or a clock: datagrams, times and chance are
given to it. Joins envelope, seal, window, fragments, repair, echoes, probe and pacing.

What an arriving datagram goes through, cheapest first: its header, the cluster's tag, this node's own
echo, the key's id, the sender's boot and replay window, and only then the seal. Nothing is kept of a
datagram whose seal does not fit. Each one dropped is counted by its reason.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Final, NamedTuple

from qluster.events import Address, Send
from qluster.transport.echoes import Echoes
from qluster.transport.envelope import (
    ANNOUNCE,
    DIRECT,
    PROBE,
    REQUEST,
    SEAL_SIZE,
    UNICAST,
    Drop,
    Header,
    parse_header,
)
from qluster.transport.fragments import Assembly, chunk_at, chunk_count
from qluster.transport.limits import (
    DATAGRAM_SIZE_DEFAULT,
    DATAGRAM_SIZE_MAX,
    DATAGRAM_SIZE_MIN,
    LOG_SIZE_LIMIT,
    MESSAGE_OVERHEAD,
    LinkSettings,
)
from qluster.transport.pacing import Bucket, Throttle, burst_size, charge
from qluster.transport.peer import Peer
from qluster.transport.probe import Answering
from qluster.transport.repair import Outgoing, Repairs, Request, parse_request, wants_max
from qluster.transport.seal import Key, Opener, Sealer, check_keys

__all__ = [
    "COUNTERS", "DATAGRAM_SIZE_DEFAULT", "DATAGRAM_SIZE_MAX", "DATAGRAM_SIZE_MIN", "LOG_SIZE_LIMIT",
    "MESSAGE_OVERHEAD", "SENDERS_MAX", "Link", "LinkSettings", "MessageTooLarge", "Received",
]  # fmt: skip

SENDERS_MAX: Final = 64
"""Senders remembered; more nodes than a cluster has. The one that was silent longest is forgotten first."""
PROBE_ANSWERS_MAX: Final = 64
"""Answers to probes that wait to be sent."""

COUNTERS: Final = (
    "datagrams_sent", "bytes_sent", "datagrams_received", "bytes_received",
    "messages_sent", "messages_received", "messages_queue_full", "messages_missed", "messages_evicted",
    "messages_given_up", "requests_sent", "requests_received", "repairs_unicast", "repairs_multicast",
    "repairs_unavailable", "repairs_overflow", "senders_forgotten", "announcements_sent",
    "announcements_received", "unicast_copies", "unicast_peers", "probes_answered",
    "key_sending", "key_newest", "keys_known",
    *(f"dropped_{reason.value}" for reason in Drop),
)  # fmt: skip
_DROPPED: Final = {reason: f"dropped_{reason.value}" for reason in Drop}


class MessageTooLarge(ValueError):
    """The message does not fit: cut it, or raise udp.max-log-size on all nodes."""


class Received(NamedTuple):
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
        self._count_keys(keys)
        self._chunk_size = settings.chunk_size
        self._chunks_max = settings.chunks_max
        self._wants_max = wants_max(settings.chunk_size, settings.chunks_usual)
        self._throttle = Throttle(settings.pacing_rate, now)
        self._echoes = Echoes(multicast=settings.group_size == 1)
        self._copies = settings.group_size
        """Datagrams that one chunk to the group takes."""
        self._bucket = Bucket(settings.pacing_rate, self._burst(), now)
        self._peers: OrderedDict[int, Peer] = OrderedDict()
        self._sources: dict[Address, Peer] = {}
        self._queue: deque[Outgoing] = deque()
        self._repairs = Repairs(settings.send_buffer_capacity, settings.group_size, self.counters)
        self._answering = Answering(now)
        self._answers: deque[tuple[bytes, Address | None]] = deque(maxlen=PROBE_ANSWERS_MAX)
        self._numbers = [0, 0]
        self._requests_at = inf
        """When a request to any peer may be due; may be early, never late."""

    def rekey(self, keys: Sequence[Key]) -> None:
        """Take these keys: the first seals from now on, all of them open."""
        check_keys(keys)
        self._sealer.rekey(keys[0])
        self._opener.rekey(keys)
        self._count_keys(keys)

    def _count_keys(self, keys: Sequence[Key]) -> None:
        """So that whoever changes the key sees how far each node is."""
        self.counters |= {
            "key_sending": keys[0].id, "key_newest": max(key.id for key in keys), "keys_known": len(keys),
        }  # fmt: skip

    def adjust(self, settings: LinkSettings, now: float) -> None:
        """Go on with other limits: what is under way is not touched. Sizes of datagrams stay as they are."""
        before, self.settings = self.settings, settings
        assert (before.datagram_size, before.group_size) == (settings.datagram_size, settings.group_size)
        self._wants_max = wants_max(settings.chunk_size, settings.chunks_usual)
        self._throttle.limit(settings.pacing_rate)
        self._bucket.change(self._throttle.rate, self._burst(), now)
        self._repairs.resize(settings.send_buffer_capacity)
        for peer in self._peers.values():
            peer.assembly.resize(settings.recv_buffer_capacity, settings.assembly_bytes_max)

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
        return burst * self._copies

    def _recount(self, now: float) -> None:
        """The peers that get copies are others now."""
        copied = len(self._echoes.copies_to)
        self.counters["unicast_peers"] = copied
        self._copies = self.settings.group_size + copied
        self._bucket.change(self._throttle.rate, self._burst(), now)

    # --- in ----------------------------------------------------------------

    def receive(self, datagram: bytes, source: Address, now: float) -> list[Received]:
        """Take a datagram as it came from the network; the messages that are whole with it."""
        counters = self.counters
        counters["datagrams_received"] += 1
        counters["bytes_received"] += len(datagram)
        header = parse_header(datagram)
        if isinstance(header, Drop):
            counters[_DROPPED[header]] += 1
            return []
        outcome = self._open(header, datagram, source, now)
        if outcome is None:
            return []
        if isinstance(outcome, Drop):
            counters[_DROPPED[outcome]] += 1
            return []
        counters["messages_received"] += 1
        return [Received(outcome, header.uid, source)]

    def _open(self, header: Header, datagram: bytes, source: Address, now: float) -> bytes | Drop | None:
        peer = self._peers.get(header.uid)
        refusal = self._refusal(header, peer)
        if refusal is not None:
            return refusal
        payload = self._opener.open(header, datagram)
        if payload is None:
            return Drop.FORGED
        if header.uid == self._sealer.uid:
            return Drop.TWIN
        if header.flags & PROBE and (peer is None or peer.boot != header.boot):
            return self._answer(header, payload, len(datagram), source, now)
        if peer is None or peer.boot != header.boot:
            peer = self._begin(header, source, now)
        elif peer.source != source:
            self._move(peer, source)
        self._peers.move_to_end(header.uid)
        return self._take(peer, header, payload, now)

    def _take(self, peer: Peer, header: Header, payload: bytes, now: float) -> bytes | Drop | None:
        """An authentic datagram of a node."""
        flags = header.flags
        peer.note(header, now)
        self.heard_at = now
        if not flags & UNICAST:
            self.group_heard_at = now
        elif self._echoes.echoed(peer, header.echo, now):
            self._recount(now)
        if flags & REQUEST:
            return self._repair(payload, peer, now)
        if flags & PROBE:
            # Another node's answer to who asked aloud: to this one it only says that it is heard.
            return None
        if flags & ANNOUNCE:
            self.counters["announcements_received"] += 1
            peer.announced(header.message, now)
            outcome = None
        else:
            outcome = peer.put(header, payload, now)
        if peer.assembly.ask_at < self._requests_at:
            self._requests_at = peer.request_at()
        return outcome

    def _refusal(self, header: Header, peer: Peer | None) -> Drop | None:
        """What can be said against a datagram before its seal is looked at. Changes nothing."""
        sealer = self._sealer
        if header.cluster != sealer.cluster:
            return Drop.CLUSTER
        if header.uid == sealer.uid and (header.boot, header.sequence) <= (sealer.boot, sealer.sequence):
            return Drop.ECHO
        if not self._opener.knows(header.key):
            return Drop.KEY
        if header.chunks > self._chunks_max:
            return Drop.OVERSIZED
        if peer is None or header.boot > peer.boot:
            return None
        if header.boot < peer.boot:
            return Drop.BOOT
        return None if peer.window(header).fresh(header.sequence) else Drop.REPLAYED

    def _begin(self, header: Header, source: Address, now: float) -> Peer:
        """The sender of an authentic datagram is new, or has started again: it begins anew."""
        settings, before = self.settings, self._peers.get(header.uid)
        assembly = Assembly(
            settings.recv_buffer_capacity, settings.message_limit, self._random, self.counters
        )
        assembly.resize(settings.recv_buffer_capacity, settings.assembly_bytes_max)
        peer = self._peers[header.uid] = Peer(header.boot, source, assembly)
        if before is not None:
            self._let_go(before, now)
        if len(self._peers) > SENDERS_MAX:
            self._let_go(self._peers.popitem(last=False)[1], now)
            self.counters["senders_forgotten"] += 1
        self._sources[source] = peer
        return peer

    def _let_go(self, peer: Peer, now: float) -> None:
        if self._sources.get(peer.source) is peer:
            del self._sources[peer.source]
        if self._echoes.lost(peer):
            self._recount(now)

    def _move(self, peer: Peer, source: Address) -> None:
        """A node speaks from another address now."""
        if self._sources.get(peer.source) is peer:
            del self._sources[peer.source]
        self._echoes.moved(peer, source)
        self._sources[source] = peer

    def _repair(self, payload: bytes, peer: Peer, now: float) -> Drop | None:
        request = parse_request(payload)
        if request is None:
            return Drop.MALFORMED
        self.counters["requests_received"] += 1
        if (request.uid, request.boot) == (self._sealer.uid, self._sealer.boot):
            self._echoes.asked(peer)
            lost = sum(self._repairs.ask(want, peer.source, now) for want in request.wants)
            self._throttle.lost(peer.source, lost)
        return None

    def _answer(self, header: Header, payload: bytes, size: int, source: Address, now: float) -> Drop | None:
        """Somebody tries who hears whom: answer, and keep nothing of it but that it was answered."""
        if not self._answering.fresh(header):
            return Drop.REPLAYED
        answers = self._answering.answers(header, payload, size, source, self._peers.values(), now)
        if isinstance(answers, Drop):
            return answers
        self.counters["probes_answered"] += 1
        self._answers.extend(answers)
        return None

    # --- out ---------------------------------------------------------------

    def send(self, message: bytes, to: Address | None, now: float, *, answered: bool = False) -> None:
        """Queue a message; ``to`` None is the group. ``answered``: who hears it has something to say to it.

        Who then says nothing may have missed it, and is told that there was one when nothing else follows.
        When the queue is full the oldest message to the group that has not begun gives way: the group
        hears the next one anyway, and consensus repeats what is still wanted.
        """
        count = 1
        if len(message) > self._chunk_size:
            if len(message) > self.settings.message_limit:
                raise MessageTooLarge(
                    f"a message of {len(message)} bytes exceeds {self.settings.message_limit} "
                    f"(the largest udp.max-log-size there can be, {LOG_SIZE_LIMIT}, and {MESSAGE_OVERHEAD} around it)"
                )
            count = chunk_count(len(message), self._chunk_size)
        if len(self._queue) >= self.settings.send_buffer_capacity and not self._make_room():
            return
        self._queue.append(Outgoing(message, to, count, answered))

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
        if not self._queue and now < self._idle_until():
            return []
        sends: list[Send] = []
        copies: list[Send] = []
        if now >= self._repairs.forget_at:
            self._repairs.forget_old(now)
        if self._throttle.step(now):
            self._bucket.change(self._throttle.rate, self._burst(), now)
        self._send_small(sends, now)
        self._send_repairs(sends, copies, now)
        while self._queue and not self._repairs.waiting:
            if not self._send_next(self._queue[0], sends, copies, now):
                break
        self._throttle.sent(len(sends))
        if copies:
            # All to one after all to the other: the kernel takes a row to one target at once.
            sends += sorted(copies, key=_target)
        return sends

    def _idle_until(self) -> float:
        if self._answers or self._repairs.waiting:
            return -inf
        return min(self._requests_at, self._echoes.announce_at, self._repairs.forget_at)

    @property
    def wake_at(self) -> float:
        """When :meth:`due` next has something to give; a time that has passed means now."""
        at = min(self._requests_at, self._echoes.announce_at)
        if self._answers:
            return -inf
        repair = self._repairs.peek()
        if repair is not None:
            cost = self._cost(repair.outgoing, repair.chunk, repair.to)
        elif self._queue:
            first = self._queue[0]
            cost = self._cost(first, first.chunks_sent, first.to)
        else:
            return at
        return min(at, self._bucket.ready_at(cost))

    def _send_small(self, sends: list[Send], now: float) -> None:
        """What is small and seldom: it is charged but does not wait."""
        if now >= self._requests_at:
            for uid, peer in self._peers.items():
                if now >= peer.request_at():
                    self._request(uid, peer, sends, now)
            self._requests_at = min((peer.request_at() for peer in self._peers.values()), default=inf)
        if now >= self._echoes.announce_at:
            self._announce(sends, now)
        while self._answers:
            payload, to = self._answers.popleft()
            self._bucket.spend(charge(len(payload) + SEAL_SIZE), now)
            self._seal(PROBE, (1, 0, 1), payload, to, sends)

    def _request(self, uid: int, peer: Peer, sends: list[Send], now: float) -> None:
        """Ask for what is missing."""
        wants = peer.assembly.wants(now, self._wants_max)
        if not wants:
            return
        peer.asked_at = now
        self.counters["requests_sent"] += 1
        payload = Request(uid, peer.boot, wants).encoded()
        while len(payload) > self._chunk_size and len(wants) > 1:
            # Unusually large messages: the rest is asked for again in a moment.
            wants = wants[: len(wants) // 2]
            payload = Request(uid, peer.boot, wants).encoded()
        self._bucket.spend(charge(len(payload) + SEAL_SIZE), now)
        self._seal(REQUEST | DIRECT, (1, 0, 1), payload, peer.source, sends)

    def _announce(self, sends: list[Send], now: float) -> None:
        """Tell those who may have missed the newest message that there was one."""
        if self._echoes.forget(self._peers.values(), now):
            self._recount(now)
        for to in self._echoes.announce_to(self._peers.values(), now):
            self.counters["announcements_sent"] += 1
            self._bucket.spend(charge(SEAL_SIZE), now)
            self._seal(ANNOUNCE, (self._echoes.newest, 0, 1), b"", to, sends)

    def _send_repairs(self, sends: list[Send], copies: list[Send], now: float) -> None:
        while (repair := self._repairs.peek()) is not None:
            if not self._send_chunk(repair.outgoing, repair.chunk, repair.to, sends, copies, now):
                return
            self._repairs.pop(repair)
            self.counters["repairs_multicast" if repair.to is None else "repairs_unicast"] += 1

    def _send_next(self, outgoing: Outgoing, sends: list[Send], copies: list[Send], now: float) -> bool:
        """Send the next chunk of the message at the head of the queue."""
        if not outgoing.number:
            self._numbers[outgoing.direct] += 1
            outgoing.number = self._numbers[outgoing.direct]
            if not outgoing.direct:
                self._echoes.begun(outgoing.number)
        if not self._send_chunk(outgoing, outgoing.chunks_sent, outgoing.to, sends, copies, now):
            return False
        if not outgoing.chunks_sent:
            self._repairs.remember(outgoing, now)
        outgoing.chunks_sent += 1
        outgoing.sent_at = now
        if outgoing.chunks_sent == outgoing.count:
            self._queue.popleft()
            self.counters["messages_sent"] += 1
            if outgoing.answered and self._peers and not outgoing.direct:
                self._echoes.ended(now)
        return True

    def _send_chunk(
        self,
        outgoing: Outgoing,
        chunk: int,
        to: Address | None,
        sends: list[Send],
        copies: list[Send],
        now: float,
    ) -> bool:
        """Seal a chunk if pacing lets it go."""
        if not self._bucket.take(self._cost(outgoing, chunk, to), now):
            return False
        payload = outgoing.message
        if outgoing.count > 1:
            payload = chunk_at(payload, chunk, self._chunk_size)
        place = (outgoing.number, chunk, outgoing.count)
        self._seal(DIRECT if outgoing.direct else 0, place, payload, to, sends)
        if to is None:
            for peer in self._echoes.copies_to:
                self.counters["unicast_copies"] += 1
                self._seal(0, place, payload, peer, copies)
        return True

    def _cost(self, outgoing: Outgoing, chunk: int, to: Address | None) -> int:
        size = self._chunk_size
        length = min(len(outgoing.message) - chunk * size, size) + SEAL_SIZE
        return charge(length) if to is not None else charge(length) * self._copies

    def _seal(
        self, flags: int, place: tuple[int, int, int], payload: bytes, to: Address | None, sends: list[Send]
    ) -> None:
        counters = self.counters
        if to is None:
            datagram = self._sealer.seal(flags, *place, payload)
            copies = self.settings.group_size
            counters["datagrams_sent"] += copies
            counters["bytes_sent"] += copies * len(datagram)
        else:
            peer = self._sources.get(to)
            datagram = self._sealer.seal(flags | UNICAST, *place, payload, peer.heard if peer else 0)
            counters["datagrams_sent"] += 1
            counters["bytes_sent"] += len(datagram)
        sends.append(Send(datagram, to))


def _target(send: Send) -> Address:
    assert send.to is not None, "copies go to one node each"
    return send.to
