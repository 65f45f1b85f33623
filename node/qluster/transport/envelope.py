"""Decides what the header of a datagram looks like and whether one can be ours at all.

It must not know keys or what a message means: everything said here is read before the seal is checked,
so nothing may be kept or allocated because of it.

All numbers are in network byte order; the whole header is authenticated by the seal, nothing of it is secret.

| offset | size | field |
|---|---|---|
| 0 | 4 | magic |
| 4 | 1 | version |
| 5 | 1 | flags |
| 6 | 2 | id of the cluster key |
| 8 | 8 | cluster tag, derived from the cluster's name |
| 16 | 8 | uid of the sender |
| 24 | 4 | boot of the sender, counts its starts |
| 28 | 8 | sequence of the datagram, per sender and boot, from 1 |
| 36 | 8 | number of the message, per sender, boot and stream, from 1 |
| 44 | 2 | index of this chunk, from 0 |
| 46 | 2 | count of chunks of the message |
| 48 | 8 | echo: the newest message of the addressee that the sender heard through the group, 0 for none |

Messages are numbered in two streams. Every node is to hear every message of the group stream, so there a
missing number is a loss. Messages of the direct stream go to one node each, so there it means nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import struct
from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

MAGIC: Final = b"QLS1"
VERSION: Final = 2

HEADER: Final = struct.Struct(">4sBBH8sQIQQHHQ")
HEADER_SIZE: Final = HEADER.size
TAG_SIZE: Final = 16
"""Authentication tag of AES-GCM at the end of every datagram."""
SEAL_SIZE: Final = HEADER_SIZE + TAG_SIZE
"""What header and tag take of a datagram."""

UNICAST: Final = 0x01
"""The datagram was addressed to one node, so it has a replay window beside that of the group's datagrams:
they reach the receiver through different sockets and may overtake each other by a whole buffer."""
DIRECT: Final = 0x02
"""The message is numbered in the direct stream, not in the group stream."""
REQUEST: Final = 0x04
"""The payload is a repair request, not a chunk of a message."""
ANNOUNCE: Final = 0x08
"""There is no payload: the message's number is the newest of the group stream, for who missed it."""
PROBE: Final = 0x10
"""The payload is a probe or the answer to one: somebody tries who hears whom."""
FLAGS_KNOWN: Final = UNICAST | DIRECT | REQUEST | ANNOUNCE | PROBE

BOOT_MAX: Final = 2**32 - 1
NUMBER_MAX: Final = 2**64 - 1


class Drop(StrEnum):
    """Why a datagram was dropped; the value is the end of its counter's name."""

    SHORT = "short"
    """Too short for header and tag: cut on its way, or not ours."""
    FOREIGN = "foreign"
    """Does not begin as our datagrams do."""
    VERSION = "version"
    """Of a version that this daemon does not speak."""
    CLUSTER = "other_cluster"
    """Carries the tag of another cluster's name."""
    ECHO = "own_echo"
    """This node's own multicast, heard again."""
    KEY = "unknown_key"
    """Sealed with a cluster key that this node does not have."""
    MALFORMED = "malformed"
    """Numbers that no sender of this version writes."""
    BOOT = "old_boot"
    """Of an earlier start of a sender that has started again since."""
    REPLAYED = "replayed"
    """Seen before, or older than the replay window reaches."""
    FORGED = "forged"
    """The seal does not fit: changed, cut, not sealed, or sealed with another key."""
    UNASKED = "unasked_probe"
    """A probe beyond what this node answers in a second."""
    TWIN = "twin"
    """Well sealed, with this node's own uid, and not sent by it: its state directory was copied."""
    REPEATED = "repeated"
    """A chunk that was there already, or of a message that was handed over already (a repair for others)."""
    OVERSIZED = "oversized"
    """Of a message larger than max-log-size allows."""


class Header(NamedTuple):
    """The fields of a header that differ between datagrams of one version."""

    flags: int
    key: int
    cluster: bytes
    uid: int
    boot: int
    sequence: int
    message: int
    chunk: int
    chunks: int
    echo: int = 0

    def encoded(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, *self)


def cluster_tag(name: str) -> bytes:
    """Eight bytes that tell clusters on one multicast group apart before any cryptography."""
    return sha256(b"qluster cluster tag\0" + name.encode()).digest()[:8]


def parse_header(datagram: bytes) -> Header | Drop:
    """Read the header of anything that came from the network, or say why it is none."""
    if len(datagram) < SEAL_SIZE:
        return Drop.SHORT
    fields = HEADER.unpack_from(datagram)
    if fields[0] != MAGIC:
        return Drop.FOREIGN
    if fields[1] != VERSION:
        return Drop.VERSION
    header = Header._make(fields[2:])
    flags, _, _, _, _, sequence, message, chunk, chunks, _ = header
    if flags & ~FLAGS_KNOWN or not sequence or not message or chunk >= chunks:
        return Drop.MALFORMED
    return header
