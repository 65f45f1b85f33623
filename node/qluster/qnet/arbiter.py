"""The arbiter: bytes and time of many clients go in, what is to be done comes out.

Must not know sockets, TLS or the clock.

Whoever drives it gives each connection a number of its own, calls one of the methods for each thing that happens,
performs what ``take`` returns in that order, and calls ``tick`` when ``wake_at`` has come. Bytes that have arrived are
to be given before a ``tick``: after a pause of the host everybody seems silent. It decides for each cluster by itself;
nothing that a client of one cluster sends is seen by another.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Mapping

from qluster.qnet.answering import AGAIN, PEER, Answering, Key
from qluster.qnet.client import Client, Cluster
from qluster.qnet.deadlines import Deadlines
from qluster.qnet.framing import Frame, Framer, Skipped
from qluster.qnet.memories import Memories
from qluster.qnet.messages import MalformedMessage
from qluster.qnet.names import ErrorCode
from qluster.qnet.output import Effect, Output, Word, named
from qluster.qnet.own import decode_any
from qluster.qnet.settings import SILENCE_BEFORE_INIT, Settings


class Arbiter:
    """One server with all its clients."""

    def __init__(self, settings: Settings, memories: Memories | None = None) -> None:
        """Without ``memories`` it has none, and says so to whoever would use them."""
        self.settings = settings
        self._clients: dict[int, Client] = {}
        self._out = Output(settings)
        self._deadlines: Deadlines[Key] = Deadlines()
        self._answering = Answering(settings, self._out, self._deadlines, memories)

    # in

    def connected(self, connection: int, address: str, now: float) -> None:
        """A client connected."""
        assert connection not in self._clients, f"connection {connection} is in use"
        if self.settings.clients_max and len(self._clients) >= self.settings.clients_max:
            stranger = next((one for one in self._clients.values() if one.cluster is None), None)
            if stranger is None:
                client = Client(connection, address, Framer(self.settings.request_size_max))
                self._out.happened(Word.TURNED_AWAY, client, clients=len(self._clients))
                self._out.close(connection, f"{len(self._clients)} clients are connected, no more may be")
                return
            # Whoever means to join does so at once: those who do not must not keep a cluster out.
            self._out.doom(stranger, "it has not joined a cluster, and its place is needed")
            self._drop_doomed(now)
        self._clients[connection] = Client(connection, address, Framer(self.settings.request_size_max))
        if self.settings.dead_peer_detection:
            self._deadlines.set((connection, PEER), now + SILENCE_BEFORE_INIT)

    def received(self, connection: int, data: bytes, now: float) -> None:
        """These bytes came. With TLS, those that it protected."""
        client = self._clients.get(connection)
        if client is None:
            return
        if client.tls.waiting:
            self._out.doom(client, "bytes in clear after STARTTLS")
        elif (frame := client.framer.only(data)) is not None:  # as a rule
            self._answering.heard(client, now)
            self._handle(client, frame, now)
        else:
            client.framer.feed(data)
            self._read(client, now)
        if self._out.doomed:
            self._drop_doomed(now)

    def closed(self, connection: int, now: float) -> None:
        """The client is gone. Unknown ones are those that were closed from here."""
        client = self._clients.get(connection)
        if client is not None:
            self._forget(client, now, "closed by the client")
            self._drop_doomed(now)

    def tls_started(self, connection: int, peer_common_name: str | None) -> None:
        """The handshake is over. The name is the one that the client's certificate speaks for; None without one."""
        client = self._clients.get(connection)
        if client is not None:
            assert client.tls.waiting, f"connection {connection} asked for no TLS"
            client.tls.waiting, client.tls.started = False, True
            client.tls.name, client.tls.verified = peer_common_name, False

    def blocked(self, connection: int) -> None:
        """What was sent to this client is not yet on its way. From here on a limited number of messages waits."""
        if connection in self._clients:
            self._clients[connection].blocked = True

    def unblocked(self, connection: int) -> None:
        """It is now."""
        if connection in self._clients:
            self._out.release(self._clients[connection])

    def tick(self, now: float) -> None:
        """So late it is."""
        while (key := self._deadlines.pop(now)) is not None:
            connection, kind = key
            client = self._clients[connection]
            if kind == AGAIN:
                self._answering.look_again(client, now)
            else:
                self._out.doom(client, f"silent for {self._answering.patience(client):g} s")
            self._drop_doomed(now)

    def forget(self, label: str) -> int:
        """Forget all memories of a cluster, named as it is shown; how many there were, -1 while it is connected."""
        return self._answering.forget(label)

    def stop(self) -> None:
        """The server ends: everybody is disconnected, and nothing is decided any more."""
        for connection in self._clients:
            self._out.close(connection, "the server stops")
            self._deadlines.clear((connection, PEER))
            self._deadlines.clear((connection, AGAIN))
        self._clients.clear()
        self._answering.clusters.clear()

    # out

    def take(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        return self._out.take()

    @property
    def wake_at(self) -> float:
        """When ``tick`` has something to do; infinity while there is nothing."""
        at = self._deadlines.next()
        return float("inf") if at is None else at

    def sleeps_until(self, at: float) -> bool:
        """Whether ``tick`` has surely nothing to do before: cheaper than ``wake_at``."""
        return self._deadlines.none_before(at)

    # look

    @property
    def clusters(self) -> Mapping[bytes, Cluster]:
        """The clusters, in the order of their first client."""
        return self._answering.clusters

    @property
    def memories(self) -> Memories | None:
        """What is remembered; None where nothing is."""
        return self._answering.memories

    @property
    def clients(self) -> Iterable[Client]:
        """Everybody who is connected."""
        return self._clients.values()

    # inside

    def _read(self, client: Client, now: float) -> None:
        doomed, framer, heard = self._out.doomed, client.framer, False
        while client not in doomed and not client.tls.waiting:
            frame = framer.next()
            if frame is None:
                return
            if isinstance(frame, Skipped):
                self._out.refuse(client, None, frame.error, f"{named(frame.kind)} of {frame.size} bytes")
                continue
            if not heard:
                heard = True
                self._answering.heard(client, now)
            self._handle(client, frame, now)

    def _handle(self, client: Client, frame: Frame, now: float) -> None:
        kind, body = frame
        try:
            message = decode_any(kind, body)
        except MalformedMessage as error:
            self._out.refuse(client, error.seq, ErrorCode.ERROR_DECODING_MSG, str(error))
        else:
            self._answering.handle(client, message, body, now)

    def _drop_doomed(self, now: float) -> None:
        """Closing one client may decide something that overflows another: until nobody is left."""
        while self._out.doomed:
            client = next(iter(self._out.doomed))
            reason = self._out.doomed[client]
            if client.cluster is None:
                self._out.happened(Word.DROPPED, client, why=reason)
            self._out.close(client.connection, reason)
            self._forget(client, now, reason)

    def _forget(self, client: Client, now: float, reason: str) -> None:
        self._out.doomed.pop(client, None)
        del self._clients[client.connection]
        self._deadlines.clear((client.connection, PEER))
        self._deadlines.clear((client.connection, AGAIN))
        if client.cluster is not None:
            self._out.happened(Word.LEFT, client, why=reason)
            self._answering.leave(client)
