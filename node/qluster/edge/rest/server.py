"""The HTTP server: requests come in, the answers of ``api/`` go out, over TLS.

This file must not know what a request means; who may send it is decided in ``api/access.py``.

It runs inside the daemon's loop. Whatever a client does, it may cost at most one connection
for the time-outs below, so every wait has an end and every count a limit.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

import qluster.api
from qluster.api import routes
from qluster.api.access import Rights, Tokens, rights_of
from qluster.api.errors import REASONS
from qluster.api.probes import JUDGES
from qluster.api.routes import Reply, Request, body_size_max
from qluster.config import Config
from qluster.config.addresses import place_text
from qluster.edge.clock import monotonic
from qluster.edge.rest.front import Answers, Front, Judge

log = logging.getLogger("qluster.rest")

CONNECTIONS_MAX = 512
"""Open connections: some for each node, module and dashboard; a connection holds about 60 kB."""
REQUESTS_MAX = 480
"""Requests under way: under the node's own limit, so that this one is met first."""
PROBES_MAX = 56
"""More of them for load balancers, who must hear the truth above all when we are overloaded."""
HANDSHAKE_SECONDS = 10.0
"""A TLS handshake takes three turns: more than this is no client."""
IDLE_SECONDS = 75.0
"""A connection without a request, complete or begun, is closed after it."""
LINGER_SECONDS = 1.0
"""So long the rest of a refused body is read away, so that the client gets to see the refusal."""
BODY_SECONDS = 10.0
"""For a body, of 512 KiB at most."""
ANSWER_SECONDS = 120.0
"""The node answers every request in less, a change of leader included; this is the safety net."""
SWEEP_INTERVAL = 5.0
"""Seconds between two looks for requests that are past that time."""
SEND_SECONDS = 300.0
"""For a whole snapshot, to the slowest node that can still keep up."""
STOP_SECONDS = 5.0
"""Requests under way may end within it when the daemon stops."""
CHUNK_SIZE = 256 * 1024
"""Pieces in which a snapshot is sent: small enough for the loop to do other things between two."""

SECURITY_HEADERS = {
    "Server": "qluster",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}
HEADERS_READ = (*routes.HEADERS_READ, "accept-encoding", "if-range", "range")
"""What a request may say in headers, to the routes and to this file; the token is read apart and not handed on."""
PAGES = Path(qluster.api.__file__).parent / "swagger"

Handler = Callable[[Request], Awaitable[Reply]]
SnapshotProvider = Callable[[int], Awaitable[bytes | None]]
"""Given an index: the newest snapshot with at least this index, None when there is none."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-")


class RestUnavailable(Exception):
    """The server cannot start or reload: the message says what is wrong, where, and what to do."""


class RestServer:
    """The REST interface of this node, on ``ip:api-port``."""

    def __init__(self, config: Config, handler: Handler, snapshot: SnapshotProvider, judge: Judge) -> None:
        """``judge`` answers what ``handler`` would, for load balancers alone: at once."""
        self._config = config
        self._handler = handler
        self._snapshot = snapshot
        self._tokens: Tokens | None = None
        self._context: ssl.SSLContext | None = None
        self._runner: web.ServerRunner | None = None
        self._answers = Answers(judge, SECURITY_HEADERS)
        self._fronts: set[Front] = set()
        self._under_way: dict[asyncio.Task[object], float] = {}
        """Requests under way, and since when."""
        self._overdue: set[asyncio.Task[object]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen. Raises :class:`RestUnavailable`."""
        assert self._runner is None, "start once"
        self._tokens = _tokens(self._config)
        self._context = _context(self._config)
        server = _Server(self._serve)
        runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        try:
            await _Site(runner, self._config, self._context, lambda: self._connected(server)).start()
        except OSError as error:
            await runner.cleanup()
            raise RestUnavailable(_why_not_listening(self._config, error)) from error
        self._runner = runner
        self._sweep_later()
        log.info("rest-listens ip=%s port=%d", self._config.ip, self._config.api_port)

    def reload(self) -> None:
        """Read certificate, key and tokens anew; open connections stay.

        Raises :class:`RestUnavailable` and then goes on with those it had.
        """
        assert self._context is not None, "started before"
        tokens = _tokens(self._config)
        _context(self._config)  # refuses a pair that does not fit before the context in use is touched
        self._context.load_cert_chain(self._config.api.certificate_file, self._config.api.key_file)
        self._tokens = tokens
        log.info("rest-reloads certificate=%s", self._config.api.certificate_file)

    async def stop(self) -> None:
        """Refuse new connections, let requests under way end, close. May be called twice."""
        runner, self._runner = self._runner, None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if runner is not None:
            for front in list(self._fronts):
                front.close()
            await runner.cleanup()
            log.info("rest-stops port=%d", self._config.api_port)

    def _connected(self, server: _Server) -> asyncio.Protocol:
        """Who reads a new connection."""
        if len(server.connections) + len(self._fronts) >= CONNECTIONS_MAX:
            log.warning("rest-full connections=%d", CONNECTIONS_MAX)
            return _Full()
        return Front(self._answers, server, self._fronts)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, whatever it is: top of the loop."""
        started = monotonic()
        asked = Request(request.method, request.path)
        limit = REQUESTS_MAX + (PROBES_MAX if request.path in JUDGES else 0)
        task = asyncio.current_task()
        assert task is not None, "a request is served by a task"
        self._under_way[task] = started
        try:
            if len(self._under_way) > limit:
                return _response(routes.error(asked, "busy", reason=f"{limit} requests are under way"))
            asked = await self._read(request)
            return await self._answer(request, asked)
        except _Refusal as refusal:
            return _response(refusal.reply, close=True)
        except ConnectionError as error:
            log.debug("rest-client-left path=%s error=%s", ascii(request.path), error)
            raise
        except Exception:
            log.exception("rest-fault method=%s path=%s", ascii(request.method), ascii(request.path))
            return _response(routes.error(asked, "fault"))
        finally:
            del self._under_way[task]
            level = logging.DEBUG if _frequent(request) else logging.INFO
            if log.isEnabledFor(level):
                log.log(
                    level,
                    "rest-request method=%s path=%s from=%s seconds=%.2f",
                    ascii(request.method),
                    ascii(request.path),
                    request.remote,
                    monotonic() - started,
                )

    async def _read(self, request: web.BaseRequest) -> Request:
        assert self._tokens is not None, "started before"
        given = request.headers
        rights = rights_of(given.get(hdrs.AUTHORIZATION), self._tokens)
        headers = {name: given[name] for name in HEADERS_READ if name in given}
        query = tuple(request.query.items()) if request.query_string else ()
        body = await _body(request) if request.can_read_body else b""
        return Request(request.method, request.path, query, headers, body, rights)

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._end_overdue)

    def _end_overdue(self) -> None:
        """One look at all requests now and then costs less than a timer for each."""
        limit = monotonic() - ANSWER_SECONDS
        for task, since in self._under_way.items():
            if since < limit and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        self._overdue &= self._under_way.keys()
        idle = monotonic() - IDLE_SECONDS
        for front in [front for front in self._fronts if front.heard_at < idle]:
            front.close()
        self._sweep_later()

    async def _answer(self, request: web.BaseRequest, asked: Request) -> web.StreamResponse:
        try:
            reply = await self._handler(asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task not in self._overdue:
                raise
            task.uncancel()
            log.error("rest-no-answer method=%s path=%s", asked.method, ascii(asked.path))
            reply = _no_answer(asked)
        if reply.file == "snapshot":
            return await self._send_snapshot(request, asked, reply)
        if reply.file:
            return await _page(request, reply)
        return _response(reply)

    async def _send_snapshot(
        self, request: web.BaseRequest, asked: Request, reply: Reply
    ) -> web.StreamResponse:
        snapshot = await self._snapshot(reply.index)
        if snapshot is None:
            return _response(routes.error(asked, "no-snapshot", index=reply.index))
        # In a thread: the sum of many megabytes takes longer than a heartbeat may.
        tag = f'"{(await asyncio.to_thread(hashlib.sha256, snapshot)).hexdigest()}"'
        first = _first_byte(asked, tag)
        if first and first >= len(snapshot):
            found = asked.headers["range"]
            refusal = _response(routes.error(asked, "no-such-range", found=found, size=len(snapshot)))
            refusal.headers["Content-Range"] = f"bytes */{len(snapshot)}"
            return refusal
        response = web.StreamResponse(status=206 if first else 200, headers=_headers(reply))
        response.headers.update({"ETag": tag, "Accept-Ranges": "bytes"})
        if first:
            last = len(snapshot) - 1
            response.headers["Content-Range"] = f"bytes {first}-{last}/{len(snapshot)}"
        response.content_length = len(snapshot) - first
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async with asyncio.timeout(SEND_SECONDS):
                for start in range(first, len(snapshot), CHUNK_SIZE):
                    await response.write(snapshot[start : start + CHUNK_SIZE])
                await response.write_eof()
        except TimeoutError:
            raise ConnectionError(f"the snapshot was not taken within {SEND_SECONDS:.0f} seconds") from None
        return response


class _Refusal(Exception):
    """A request that ends before the handler sees it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.code)
        self.reply = reply


class _Server(web.Server):
    """aiohttp's server with our limits on a connection."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(
            handler,
            access_log=None,
            logger=_http_log(),
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,  # a small body may not become a large one
        )


class _Full(asyncio.Protocol):
    """A connection too many: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class _Site(web.BaseSite):
    """One listening socket, with a limit on the handshake that aiohttp's own sites lack."""

    def __init__(
        self,
        runner: web.ServerRunner,
        config: Config,
        context: ssl.SSLContext,
        connected: Callable[[], asyncio.Protocol],
    ) -> None:
        super().__init__(runner, ssl_context=context)
        self._config = config
        self._connected = connected

    @property
    def name(self) -> str:
        return f"https://{place_text(self._config.ip, self._config.api_port)}"

    async def start(self) -> None:
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self._connected,
            self._config.ip,
            self._config.api_port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            backlog=self._backlog,
            reuse_address=True,
        )


class _OneLine(logging.Filter):
    """Whoever speaks no HTTP to us costs one line of log, not a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "rest-malformed error=%s", (ascii(str(error))[:200],)
            record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return True


def _http_log() -> logging.Logger:
    inner = logging.getLogger("qluster.rest.http")
    if not inner.filters:
        inner.addFilter(_OneLine())
    return inner


def _frequent(request: web.BaseRequest) -> bool:
    """A line for each reading, and each write of a client's own data, would drown those that matter."""
    return request.method in ("GET", "HEAD") or request.path.startswith("/kv/")


async def _body(request: web.BaseRequest) -> bytes:
    """The body, within its limits of size and time; raises :class:`_Refusal`."""
    asked = Request(request.method, request.path)
    limit = body_size_max(request.method, request.path)
    if (request.content_length or 0) > limit:
        raise _too_large(asked, limit)
    if request.content.is_eof():
        # It came with the head, as small ones do: there is nothing to wait for.
        whole = request.content.read_nowait()
        if len(whole) > limit:
            raise _too_large(asked, limit)
        return whole
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise _too_large(asked, limit)
    except TimeoutError:
        raise _Refusal(routes.error(asked, "body-too-slow", limit=int(BODY_SECONDS))) from None
    return bytes(body)


def _too_large(asked: Request, limit: int) -> _Refusal:
    return _Refusal(routes.error(asked, "body-too-large", limit=limit))


def _no_answer(asked: Request) -> Reply:
    """A reading can be repeated at once; what became of a write is not known."""
    if asked.method in ("GET", "HEAD"):
        return routes.error(asked, "busy", reason=f"no answer within {ANSWER_SECONDS:.0f} seconds")
    return routes.error(asked, "unconfirmed")


def _headers(reply: Reply) -> dict[str, str]:
    return {**SECURITY_HEADERS, **reply.headers}


def _response(reply: Reply, *, close: bool = False) -> web.Response:
    response = web.Response(
        status=reply.code, reason=REASONS.get(reply.code), body=reply.body, headers=_headers(reply)
    )
    if close:
        response.force_close()
    return response


def _first_byte(asked: Request, tag: str) -> int:
    """Where to go on sending; 0 where no range, or a range of another snapshot, was asked for."""
    found = _RANGE.fullmatch(asked.headers.get("range", "").strip())
    if found is None or asked.headers.get("if-range", tag) != tag:
        return 0
    return int(found[1])


async def _page(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    """A file of Swagger UI; what is kept compressed is unpacked for clients without gzip."""
    path = PAGES / reply.file.removeprefix("swagger/")
    headers = {**_headers(reply), **PAGE_HEADERS}
    packed = path.with_name(path.name + ".gz")
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
    if path.exists() or "gzip" in accepted:
        return web.FileResponse(path, headers=headers)
    body = await asyncio.to_thread(lambda: gzip.decompress(packed.read_bytes()))
    return web.Response(body=body, headers=headers)


def _context(config: Config) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    files = config.api
    try:
        context.load_cert_chain(files.certificate_file, files.key_file)
    except ssl.SSLError as error:
        raise RestUnavailable(
            f"api.certificate-file {files.certificate_file} and api.key-file {files.key_file} are no pair: "
            f"{error.reason or error}. Make both anew."
        ) from error
    except OSError as error:
        raise RestUnavailable(
            f"api.certificate-file {files.certificate_file} or api.key-file {files.key_file} cannot be read: "
            f"{error.strerror}. The daemon's user needs to read both."
        ) from error
    return context


def _tokens(config: Config) -> Tokens:
    read = _token("api.read-token-file", config.api.read_token_file)
    operate = _token("api.operate-token-file", config.api.operate_token_file)
    if read == operate:
        raise RestUnavailable(
            f"api.read-token-file {config.api.read_token_file} and api.operate-token-file "
            f"{config.api.operate_token_file} hold the same token: every reader could operate. Make one anew."
        )
    return Tokens(read, operate, _deploying(config, (read, operate)))


def _deploying(config: Config, others: tuple[str, str]) -> str:
    """The SHA-256 of the token for deploying, "" where there is none."""
    file = config.api.deploy_token_file
    if file is None:
        return ""
    found = _token("api.deploy-token-file", file)
    if found in others:
        raise RestUnavailable(f"api.deploy-token-file {file} holds another right's token. Make it anew.")
    given = found.removeprefix("sha256:")
    if given == found:
        return hashlib.sha256(found.encode()).hexdigest()
    if not _DIGEST.fullmatch(given):
        raise RestUnavailable(
            f"api.deploy-token-file {file} holds sha256: without the 64 digits of a sum. Write what "
            f"`printf %s TOKEN | sha256sum` prints.")  # fmt: skip
    return given


def _token(key: str, path: str) -> str:
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise RestUnavailable(f"{key} {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RestUnavailable(f"{key} {path} holds other than ASCII letters. Make it anew.") from error
    if not token or any(letter.isspace() for letter in token):
        raise RestUnavailable(f"{key} {path} must hold one token in one line. Make it anew.")
    return token


def _why_not_listening(config: Config, error: OSError) -> str:
    place = place_text(config.ip, config.api_port)
    if error.errno == errno.EADDRINUSE:
        return f"ip:api-port {place} is in use by another program. Stop it, or use another api-port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"ip {config.ip} is no address of this host. Correct ip."
    if error.errno == errno.EACCES:
        return f"api-port {config.api_port} needs privileges. Use one above 1023."
    return f"cannot listen on ip:api-port {place}: {error.strerror or error}."


__all__ = ["Handler", "RestServer", "RestUnavailable", "Rights", "SnapshotProvider"]
