"""A client of the database that counts commits: each row is a transaction, many may be under way on one connection.

Written against the protocol itself, because each commit must cost microseconds here: the servers need the processor.
Nothing here knows what a row is for.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import struct
from functools import cache

PROTOCOL = 196608
RECEIVE_BYTES = 1 << 16
DONE = b"2\x00\x00\x00\x04" + b"C\x00\x00\x00\x0fINSERT 0 1\x00" + b"Z\x00\x00\x00\x05I"
"""What the server says to one row whose transaction it has committed."""
MANY = DONE * 4096
INSERT = "insert into ledger values ($1)"
TIMELINE = (
    "select case when pg_is_in_recovery() then '' "
    "else substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end"
)
"""On which timeline this server writes, "" while it does not."""
BEFORE_ROW = b"B" + struct.pack("!I", 29) + b"\x00row\x00" + struct.pack("!HHHI", 1, 1, 1, 8)
AFTER_ROW = struct.pack("!H", 0) + b"E" + struct.pack("!I", 9) + b"\x00" + struct.pack("!I", 0) + b"S\x00\x00\x00\x04"


class Refused(Exception):
    """The server said no, or something that was not expected."""


class Wire:
    """One connection, made and used by one thread."""

    def __init__(self, raw: socket.socket, user: str, password: str, database: str) -> None:
        self._socket = raw
        self._buffer = b""
        words = f"user\0{user}\0database\0{database}\0application_name\0ledger\0\0".encode()
        self._socket.sendall(struct.pack("!II", len(words) + 8, PROTOCOL) + words)
        self._authenticate(password)
        self._until_ready()

    def close(self) -> None:
        """Let go; also of what is under way."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def limit(self, seconds: float) -> None:
        """For everything that waits for the server from now on."""
        self._socket.settimeout(seconds)

    # --- messages --------------------------------------------------------------------

    def _fill(self) -> None:
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise Refused("the server closed the connection")
        self._buffer += data

    def _message(self) -> tuple[bytes, bytes]:
        while len(self._buffer) < 5 or len(self._buffer) < 1 + (size := struct.unpack_from("!I", self._buffer, 1)[0]):
            self._fill()
        kind, body = self._buffer[:1], self._buffer[5 : 1 + size]
        self._buffer = self._buffer[1 + size :]
        if kind == b"E":
            raise Refused(_complaint(body))
        if kind == b"N" and b"synchronous replication" in body:
            raise Refused(f"not replicated: {_complaint(body)}")
        return kind, body

    def _until_ready(self) -> list[tuple[bytes, bytes]]:
        found = []
        while True:
            kind, body = self._message()
            if kind == b"Z":
                return found
            found.append((kind, body))

    def _authenticate(self, password: str) -> None:
        first, nonce = "", ""
        proof = b""
        while True:
            kind, body = self._message()
            if kind != b"R":
                raise Refused(f"{kind!r} instead of the question for a password")
            asked = struct.unpack_from("!I", body)[0]
            if asked == 0:
                return
            if asked == 10:
                nonce = base64.b64encode(os.urandom(18)).decode()
                first = f"n=,r={nonce}"
                said = b"n,," + first.encode()
                self._say(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(said)) + said)
            elif asked == 11:
                last, proof = _prove(password, first, nonce, body[4:].decode())
                self._say(b"p", last.encode())
            elif asked == 12:
                if base64.b64decode(body[4:].removeprefix(b"v=")) != proof:
                    raise Refused("the server does not know the password itself")
            else:
                raise Refused(f"authentication {asked} is not known here")

    def _say(self, kind: bytes, body: bytes) -> None:
        self._socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    # --- what it is for -----------------------------------------------------------------

    def ask(self, query: str) -> list[tuple[str, ...]]:
        """The rows of a query, as text; null is ""."""
        self._say(b"Q", query.encode() + b"\0")
        return [_fields(body) for kind, body in self._until_ready() if kind == b"D"]

    def prepare(self) -> None:
        """Make the statement of the rows known."""
        self._socket.sendall(_framed(b"P", f"row\0{INSERT}\0".encode() + b"\0\0") + b"S\x00\x00\x00\x04")
        self._until_ready()

    def send_rows(self, first: int, count: int) -> None:
        """So many transactions of one row each."""
        self._socket.sendall(b"".join(
            BEFORE_ROW + row.to_bytes(8, "big") + AFTER_ROW for row in range(first, first + count)
        ))  # fmt: skip

    def committed(self) -> int:
        """Wait for at least one acknowledgement; how many came. Raises when something else came."""
        while True:
            count = len(self._buffer) // len(DONE)
            if count:
                whole = count * len(DONE)
                if self._buffer[:whole] != MANY[:whole]:
                    return self._one_by_one()
                self._buffer = self._buffer[whole:]
                return count
            if self._buffer and not DONE.startswith(self._buffer):
                return self._one_by_one()
            self._fill()

    def _one_by_one(self) -> int:
        """The acknowledgements before what is none; that raises when it is its turn."""
        count = 0
        while self._buffer.startswith(DONE):
            self._buffer = self._buffer[len(DONE) :]
            count += 1
        if count == 0:
            kind, body = self._message()
            if kind not in (b"N", b"S"):
                raise Refused(f"{kind!r} {body!r} in the place of an acknowledgement")
        return count


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _fields(body: bytes) -> tuple[str, ...]:
    found, place = [], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        size = struct.unpack_from("!i", body, place)[0]
        place += 4
        found.append(body[place : place + size].decode() if size >= 0 else "")
        place += max(size, 0)
    return tuple(found)


def _complaint(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return f"{fields.get(b'C', '')} {fields.get(b'M', '')}"


@cache
def _salted(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


def _prove(password: str, first: str, nonce: str, said: str) -> tuple[str, bytes]:
    """RFC 5802: the client's last message, and what the server must answer."""
    words = dict(part.split("=", 1) for part in said.split(","))
    if not words["r"].startswith(nonce):
        raise Refused("the server answered to somebody else")
    salted = _salted(password, base64.b64decode(words["s"]), int(words["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    bare = f"c=biws,r={words['r']}"
    text = f"{first},{said},{bare}".encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
    proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
    return f"{bare},p={base64.b64encode(proof).decode()}", server
