"""The short way for load balancers: a connection that asks nothing but their questions never meets the HTTP server.

This file must not know what a question means, nor any other route.

A balancer sends the same bytes again and again. They are read once, by a pattern that knows the commonest form of a
request and nothing else; from then on they are known, and only the judgement is made anew each time. Whatever is
not of that form goes to the server proper, with its connection: so nothing is accepted here that is refused there.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus

from qluster.api import routes
from qluster.api.errors import REASONS
from qluster.api.routes import Probe, Reply, Request
from qluster.edge.clock import monotonic, wall

log = logging.getLogger("qluster.rest")

HEAD_SIZE_MAX = 1024
"""Bytes of a request that is read here: those of balancers have 60 to 200."""
KNOWN_MAX = 256
"""Requests that are known by their bytes: every balancer has its own few. They take 300 kB at most."""

_HEAD = re.compile(
    rb"(GET|HEAD|OPTIONS) (/[A-Za-z0-9/-]+)(?:\?([A-Za-z0-9=&-]+))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+:[\x20-\x7e]*\r\n)+)\r\n"
)
_ELSEWHERE = {
    b"authorization", b"content-length", b"expect", b"http2-settings", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
"""Headers that change how a request is read, or that must not be kept."""

Judge = Callable[[Probe], Reply]


class Answers:
    """The requests that are known, and what is said to them."""

    def __init__(self, judge: Judge, headers: Mapping[str, str]) -> None:
        self._judge = judge
        self._headers = headers
        self._known: dict[bytes, Probe] = {}
        self._heads: dict[tuple[int, str], bytes] = {}
        self._date = (0, b"")

    def answer(self, data: bytes) -> bytes | None:
        """The answer to these bytes; None when somebody else must read them."""
        probe = self._known.get(data)
        if probe is None:
            probe = _read(data)
            if probe is None:
                return None
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[data] = probe
        reply = self._judge(probe)
        body = reply.body if probe.request.method != "HEAD" else b""
        return b"%bContent-Length: %d\r\nDate: %b\r\n\r\n%b" % (
            self._head(reply), len(reply.body), self._date_now(), body,
        )  # fmt: skip

    def _head(self, reply: Reply) -> bytes:
        """Status line and those headers that are always the same for it."""
        key = (reply.code, reply.headers.get("Retry-After", ""))
        head = self._heads.get(key)
        if head is None:
            lines = [f"HTTP/1.1 {reply.code} {REASONS.get(reply.code) or HTTPStatus(reply.code).phrase}"]
            lines += [f"{name}: {value}" for name, value in {**self._headers, **reply.headers}.items()]
            head = self._heads[key] = "\r\n".join([*lines, ""]).encode("ascii")
        return head

    def _date_now(self) -> bytes:
        second = int(wall())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]


def _read(data: bytes) -> Probe | None:
    """The question in these bytes, None when they are anything else than one whole question in the usual form."""
    found = _HEAD.fullmatch(data) if len(data) <= HEAD_SIZE_MAX else None
    if found is None:
        return None
    headers = [line.lower().partition(b":") for line in found[4].split(b"\r\n")]
    names = [name for name, _, _ in headers]
    if names.count(b"host") != 1 or not _ELSEWHERE.isdisjoint(names):
        return None
    if any(name == b"connection" and value.strip() != b"keep-alive" for name, _, value in headers):
        return None
    pairs = [each.split("=") for each in (found[3] or b"").decode("ascii").split("&") if each]
    if any(len(pair) != 2 for pair in pairs):
        return None
    query = tuple((name, value) for name, value in pairs)
    return routes.probe_of(Request(found[1].decode("ascii"), found[2].decode("ascii"), query))


class Front(asyncio.Protocol):
    """A connection that has asked nothing else so far; ``fronts`` are all of these."""

    __slots__ = ("_answers", "_behind", "_fronts", "_transport", "heard_at")

    def __init__(self, answers: Answers, behind: Callable[[], asyncio.Protocol], fronts: set[Front]) -> None:
        self._answers = answers
        self._behind = behind
        self._fronts = fronts
        self._transport: asyncio.Transport | None = None
        self.heard_at = monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._fronts.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer, or let the server proper take over for good."""
        assert self._transport is not None, "data come after the connection"
        try:
            said = self._answers.answer(data)
        except Exception:
            log.exception("rest-fault probe=%s", ascii(data[:100]))
            said = None  # the server proper fails alike, and says so to the client
        if said is not None:
            self.heard_at = monotonic()
            self._transport.write(said)
            return
        self._fronts.discard(self)
        behind = self._behind()
        self._transport.set_protocol(behind)
        behind.connection_made(self._transport)
        behind.data_received(data)

    def pause_writing(self) -> None:
        """It asks without reading the answers: it is heard again when it has read them."""
        assert self._transport is not None, "open"
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has read them."""
        assert self._transport is not None, "open"
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._fronts.discard(self)

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()
