"""Decides which key seals a datagram, and whether one that came in is genuine.

It must not know what a message means, nor where the key file lies.

Every datagram is encrypted and authenticated with AES-256-GCM. The cluster key itself never seals
anything: a key for one sender and one of its starts is derived from it (HKDF-SHA256), and the nonce is
the sender's datagram sequence. GCM breaks when a nonce repeats under one key. It cannot here: a
:class:`Sealer` only counts up, over a change of keys too, and every start has a boot number of its own
that was made durable before.

The cluster key authenticates the group, not the member: whoever holds it can speak for any node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hmac
import struct
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qluster.transport.envelope import (
    BOOT_MAX,
    HEADER_SIZE,
    MAGIC,
    NUMBER_MAX,
    VERSION,
    Header,
    cluster_tag,
)

SECRET_SIZE: Final = 32
"""AES-256."""
KEY_ID_MAX: Final = 2**16 - 1
KEYS_MAX: Final = 8
"""A rotation needs two keys; more than a few lines mean that old ones were never taken out."""
CIPHERS_MAX: Final = 128
"""Derived keys kept at hand; twice the senders remembered, for a rotation in progress."""

_DERIVATION = struct.Struct(">HQI")
_NONCE = struct.Struct(">4xQ")
_STEADY = struct.Struct(">4sBBH8sQI")
_CHANGING = struct.Struct(">QQHHQ")
"""The two halves of a header: what stays the same for a sender and a kind of datagram, and what does not."""


class KeyFault(ValueError):
    """The text of a key file is wrong; the message says which line, why, and what to write. It shows no
    key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One cluster key: its id travels in every header, its secret never."""

    id: int
    secret: bytes = field(repr=False)


def parse_keys(text: str) -> list[Key]:
    """Read the lines ``ID:BASE64`` of a key file; the first is the key to send with.

    Empty lines and lines that begin with ``#`` are skipped.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key = _parse_key(line, number)
        if any(key.id == other.id for other in keys):
            raise KeyFault(f"line {number}: key id {key.id} appears twice. Give each key an id of its own.")
        if any(key.secret == other.secret for other in keys):
            raise KeyFault(f"line {number}: key {key.id} has the secret of an earlier line. Make a new one.")
        keys.append(key)
    if not keys:
        raise KeyFault("no key in it. Write a line ID:BASE64, with 32 random bytes in base64, such as 1:...")
    if len(keys) > KEYS_MAX:
        raise KeyFault(f"{len(keys)} keys in it, at most {KEYS_MAX} are allowed. Take out the old ones.")
    return keys


def _parse_key(line: str, number: int) -> Key:
    name, colon, encoded = line.partition(":")
    name = name.strip()
    if not colon or not name.isascii() or not name.isdigit():
        raise KeyFault(f"line {number}: does not begin with a number and a colon. Write ID:BASE64.")
    identifier = int(name) if len(name) <= 5 else KEY_ID_MAX + 1
    if not 1 <= identifier <= KEY_ID_MAX:
        raise KeyFault(f"line {number}: key id {name[:20]} is out of range. Use 1 to {KEY_ID_MAX}.")
    try:
        secret = b64decode(encoded.strip(), validate=True)
    except ValueError:
        raise KeyFault(f"line {number}: key {name} is no base64. Encode 32 random bytes.") from None
    if len(secret) != SECRET_SIZE:
        raise KeyFault(f"line {number}: key {name} has {len(secret)} bytes. It must have {SECRET_SIZE}.")
    if len(set(secret)) == 1:
        raise KeyFault(f"line {number}: key {name} is one byte repeated, a placeholder. Use 32 random bytes.")
    return Key(identifier, secret)


def _extracted(cluster: bytes, key: Key) -> bytes:
    """First half of HKDF-SHA256 (RFC 5869), the same for all senders: done once for each key."""
    return hmac.digest(cluster, key.secret, "sha256")


def _cipher(extracted: bytes, key: int, uid: int, boot: int) -> AESGCM:
    """Second half of it, for one start of one sender. What is not sealed with the key costs this as well."""
    purpose = b"qluster datagram 1\0" + _DERIVATION.pack(key, uid, boot)
    return AESGCM(hmac.digest(extracted, purpose + b"\x01", "sha256"))


def check_keys(keys: Sequence[Key]) -> None:
    """Assert what :func:`parse_keys` promises, for lists that came another way."""
    assert keys, "a link needs at least one key"
    assert len({key.id for key in keys}) == len(keys), "key ids must differ"
    assert all(len(key.secret) == SECRET_SIZE for key in keys), "a key has 32 bytes"


class Sealer:
    """Seals what this node sends. Owns the sequence, so that no nonce can be used twice."""

    def __init__(self, cluster_name: str, uid: int, boot: int, key: Key) -> None:
        assert 0 <= uid <= NUMBER_MAX, "uid has 64 bits"
        assert 0 <= boot <= BOOT_MAX, "boot has 32 bits"
        self.cluster = cluster_tag(cluster_name)
        self.uid = uid
        self.boot = boot
        self.sequence = 0
        self.rekey(key)

    def rekey(self, key: Key) -> None:
        """Send with this key from now on. The sequence goes on: going back to a key repeats no nonce."""
        self._key = key
        self._encrypt = _cipher(_extracted(self.cluster, key), key.id, self.uid, self.boot).encrypt
        self._steady: dict[int, bytes] = {}

    def seal(self, flags: int, message: int, chunk: int, chunks: int, payload: bytes, echo: int = 0) -> bytes:
        """The next datagram of this node."""
        assert self.sequence < NUMBER_MAX, "the sequence of datagrams is used up"
        self.sequence = sequence = self.sequence + 1
        steady = self._steady.get(flags)
        if steady is None:
            steady = self._steady[flags] = _STEADY.pack(
                MAGIC, VERSION, flags, self._key.id, self.cluster, self.uid, self.boot
            )
        header = steady + _CHANGING.pack(sequence, message, chunk, chunks, echo)
        return header + self._encrypt(_NONCE.pack(sequence), payload, header)


class Opener:
    """Opens what others sealed, with any of the keys known."""

    def __init__(self, cluster_name: str, keys: Sequence[Key]) -> None:
        self._cluster = cluster_tag(cluster_name)
        self.rekey(keys)

    def rekey(self, keys: Sequence[Key]) -> None:
        check_keys(keys)
        self._keys = {key.id: _extracted(self._cluster, key) for key in keys}
        self._ciphers: OrderedDict[tuple[int, int, int], AESGCM] = OrderedDict()

    def knows(self, key: int) -> bool:
        return key in self._keys

    def open(self, header: Header, datagram: bytes) -> bytes | None:
        """The payload, or None when the seal does not fit. Remembers a derived key only after it fitted."""
        origin = (header.key, header.uid, header.boot)
        cipher = self._ciphers.get(origin)
        known = cipher is not None
        if cipher is None:
            cipher = _cipher(self._keys[header.key], *origin)
        try:
            payload = cipher.decrypt(
                _NONCE.pack(header.sequence), datagram[HEADER_SIZE:], datagram[:HEADER_SIZE]
            )
        except InvalidTag:
            return None
        if not known:
            self._ciphers[origin] = cipher
            if len(self._ciphers) > CIPHERS_MAX:
                self._ciphers.popitem(last=False)
        return payload
