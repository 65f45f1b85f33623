"""Decides what a snapshot looks like on its way from one node to another.

Must not know how it travels. It names its founding: at the address of a leader of one cluster the founder of
the next may answer by now, with the same certificates, and its state must never be taken for this cluster's.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec

from qluster.events import Snapshot


class WrongParcel(ValueError):
    """These bytes are no snapshot of this cluster; the message says what they are."""


class _Parcel(msgspec.Struct, frozen=True, array_like=True):
    cluster: int
    index: int
    term: int
    members: bytes
    state: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Parcel)


def pack(cluster: int, snapshot: Snapshot) -> bytes:
    """The bytes that are sent."""
    return _encoder.encode(_Parcel(cluster, snapshot.index, snapshot.term, snapshot.members, snapshot.state))


def unpack(data: bytes, cluster: int, index: int) -> Snapshot:
    """The snapshot of this founding, at least of this index. Raises :class:`WrongParcel`."""
    try:
        parcel = _decoder.decode(data)
    except msgspec.MsgspecError as fault:
        raise WrongParcel(f"what was fetched is no snapshot: {fault}") from fault
    if parcel.cluster != cluster:
        raise WrongParcel(f"what was fetched is a snapshot of founding {parcel.cluster}, not of {cluster}")
    if parcel.index < index or parcel.term < 1:
        raise WrongParcel(f"what was fetched is of entry {parcel.term}/{parcel.index}, wanted was {index} or later")
    return Snapshot(parcel.index, parcel.term, parcel.members, parcel.state)
