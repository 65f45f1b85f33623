"""The bytes of one write in each protocol.

Must not know sockets.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Endpoint:
    """A node's address, and the write that a client would send there."""

    node: int
    ip: str
    port: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def request(self) -> bytes:
        """The write as HTTP/1.1."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.ip}:{self.port}",
                 f"Content-Length: {len(self.body)}", *(f"{name}: {text}" for name, text in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def value(size: int) -> bytes:
    """A value that nothing can compress."""
    return Random(size).randbytes(size)


def json_put(key: str, value: str) -> bytes:
    """The body for etcd's gateway; both are base64."""
    return json.dumps({"key": key, "value": value}).encode()


def grpc_put(key: bytes, value: bytes) -> bytes:
    """etcd's PutRequest (field 1: key, field 2: value) as one frame of gRPC."""
    message = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
