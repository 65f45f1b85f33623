"""The HTTP client: snapshots for the daemon, questions for the command line.

This file must not know what an answer means; it brings it, or says why it could not.
Only the cluster's own authority is trusted, and a token goes to no host without its certificate.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any


@contextmanager
def _without_the_hosts_authorities() -> Iterator[None]:
    """Keep OpenSSL from reading this host's bundle of authorities meanwhile.

    aiohttp makes a context of its own when it is imported, and reads the bundle into it: 70 ms, and 2 MiB of memory
    for as long as the process lives. Nobody here uses it: each context of ours trusts the cluster's authority alone.
    """
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before


with _without_the_hosts_authorities():
    import aiohttp

log = logging.getLogger("qluster.client")

CONNECT_SECONDS = 5.0
"""A host in the same network answers in milliseconds; one that is gone does not answer at all."""
ANSWER_SECONDS = 30.0
"""Longer than the node takes to say that a write is not confirmed."""
READ_SECONDS = 10.0
"""A snapshot that stands still for so long is fetched on from where it stopped."""
ATTEMPTS_MAX = 5
"""Of one snapshot that bring nothing; the node then asks again with the newest one."""
ATTEMPT_PAUSE = 0.2
PROGRESS_SIZE = 64 * 1024
"""An attempt that brings so much does not count: a line that breaks often still gets there in the end."""
ANSWER_SIZE_MAX = 16 * 1024 * 1024
"""The answer for a cluster of a hundred nodes has a hundredth of that."""
SNAPSHOT_SIZE_MAX = 256 * 1024 * 1024
"""The state is settings, members and tasks; it is held in memory whole."""

Address = tuple[str, int]


class ClientError(Exception):
    """No answer, or none that can be used: the message says what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; header names are in lower case."""

    code: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> Any:
        """The JSON document of the body. Raises :class:`ClientError`."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ClientError(f"the answer {self.code} is no JSON: is this the port of qluster?") from error


def base_url(address: Address) -> str:
    """The URL of a node's interface."""
    host, port = address
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


async def ask(
    address: Address,
    method: str,
    path: str,
    *,
    ca_file: str,
    token: str = "",
    query: Mapping[str, str] | None = None,
    body: object = None,
    key: str = "",
    timeout: float = ANSWER_SECONDS,
    follow: bool = True,
) -> HttpAnswer:
    """One request, sent on once to the leader that a 417 names. Raises :class:`ClientError`.

    From synchronous code: ``asyncio.run(ask(...))``.
    """
    headers = _headers(token)
    if key:
        headers["Idempotency-Key"] = key
    sent = {"headers": headers, "params": query, "json": body}
    async with _session(ca_file, aiohttp.ClientTimeout(total=timeout, connect=CONNECT_SECONDS)) as session:
        answer = await _asked(session, address, method, path, sent)
        leader = _leader(answer) if follow and answer.code == 417 else None
        if leader is not None and leader != address:
            answer = await _asked(session, leader, method, path, sent)
    return answer


async def fetch_snapshot(address: Address, token: str, ca_file: str, index: int = 1) -> bytes:
    """The snapshot of a node, at least of ``index``, whole and unharmed. Raises :class:`ClientError`."""
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    partial = _Partial()
    attempts, failure = 0, ""
    async with _session(ca_file, timeout) as session:
        while attempts < ATTEMPTS_MAX:
            began, tag = len(partial.data), partial.tag
            try:
                await _fetch(session, address, token, index, partial)
                # In a thread: the sum of many megabytes takes longer than a heartbeat may.
                return await asyncio.to_thread(partial.checked)
            except (aiohttp.ClientError, TimeoutError, OSError, _Torn) as error:
                failure = _reason(error)
            goes_on = partial.tag == tag or not tag
            attempts = 0 if goes_on and len(partial.data) >= began + PROGRESS_SIZE else attempts + 1
            at = len(partial.data)
            log.info("snapshot-breaks from=%s at=%d attempts=%d error=%s", base_url(address), at, attempts, failure)
            await asyncio.sleep(ATTEMPT_PAUSE)
    raise ClientError(
        f"the snapshot of {base_url(address)} did not arrive: {ATTEMPTS_MAX} attempts in a row brought nothing, "
        f"the last one because of: {failure}"
    )


@dataclass(slots=True)
class _Partial:
    """What has arrived of a snapshot, and of which one."""

    tag: str = ""
    data: bytearray = field(default_factory=bytearray)

    def checked(self) -> bytes:
        data = bytes(self.data)
        if self.tag != f'"{hashlib.sha256(data).hexdigest()}"':
            self.data.clear()
            raise _Torn("what arrived is not what was sent")
        return data


class _Torn(Exception):
    """The snapshot that arrived is not the one that was sent."""


async def _fetch(
    session: aiohttp.ClientSession, address: Address, token: str, index: int, partial: _Partial
) -> None:
    headers = _headers(token)
    if partial.data:
        headers |= {"Range": f"bytes={len(partial.data)}-", "If-Range": partial.tag}
    url = f"{base_url(address)}/snapshot"
    async with session.get(url, headers=headers, params={"index": index}, allow_redirects=False) as response:
        if response.status == 416:
            partial.data.clear()
            raise _Torn("what arrived is longer than what is offered now")
        if response.status not in (200, 206):
            raise _refused(address, response.status, await response.content.read(ANSWER_SIZE_MAX))
        if response.status == 200:
            partial.data.clear()
            partial.tag = response.headers.get("ETag", "")
        async for piece in response.content.iter_any():
            partial.data += piece
            if len(partial.data) > SNAPSHOT_SIZE_MAX:
                raise ClientError(f"the snapshot of {base_url(address)} exceeds {SNAPSHOT_SIZE_MAX} bytes")


def _refused(address: Address, code: int, body: bytes) -> ClientError:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = "without a reason"
    return ClientError(f"{base_url(address)} refuses its snapshot with {code}: {message}")


async def _asked(
    session: aiohttp.ClientSession, address: Address, method: str, path: str, sent: Mapping[str, Any]
) -> HttpAnswer:
    url = base_url(address) + path
    try:
        async with session.request(method, url, allow_redirects=False, **sent) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > ANSWER_SIZE_MAX:
                    raise ClientError(f"{method} {url} answers with more than {ANSWER_SIZE_MAX} bytes")
            headers = {name.lower(): text for name, text in response.headers.items()}
            return HttpAnswer(response.status, bytes(body), headers)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ClientError(f"no answer to {method} {url}: {_reason(error)}") from error


@asynccontextmanager
async def _session(ca_file: str, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientSession]:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ClientError(
            f"the certificate authority {ca_file} cannot be used: {error}. Name the cluster's."
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        yield session


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _leader(answer: HttpAnswer) -> Address | None:
    """The leader that a 417 names."""
    try:
        leader = answer.document()["leader"]
        return str(leader["ip"]), int(leader["api_port"])
    except (ClientError, KeyError, TypeError, ValueError):
        return None


def _reason(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = error.certificate_error
            return f"its certificate is not of this cluster ({why}); is ca_file the cluster's?"
        case TimeoutError():
            return "no answer in time; is the host up and the port open?"
        case aiohttp.ClientConnectorError():
            return f"{error.os_error.strerror or error.os_error}; does the daemon run there?"
    return str(error) or type(error).__name__
