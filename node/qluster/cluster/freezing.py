"""Decides how the state becomes the bytes of a snapshot: those of ``state.encode``, piece by piece.

Must not know when one is taken, nor how long a piece may take.

A state may have some 60 MB: 32 of tasks that are over, 16 of values, keys of requests. Packed in one go that stops a
node for 50 ms and more, most of it for memory that the kernel must find. So what is large is copied as references
when the snapshot begins (its values never change), and packed in pieces while the log goes on. The rest is small, and
is packed at once.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw, Struct

from qluster.cluster.state import State
from qluster.cluster.values import Values
from qluster.tasks.board import Board

PIECE_SIZE = 1 << 19
"""Bytes of a piece, at least: about a millisecond, and half of one more where memory is new."""

ITEMS = 64
"""Items of a large mapping that are packed together: of the store's values some may have 60 KB."""

LARGE = frozenset({"keys", "fingerprints", "of", "history", "batches"})
"""Fields that hold many values, none of which ever changes."""

OPENED = (Board, Values)
"""Structs that hold large fields."""

_encoder = msgspec.msgpack.Encoder()


class Freezing:
    """A snapshot in the making: of the state as it is now, whatever becomes of it meanwhile."""

    def __init__(self, state: State, live: Mapping[int, Raw]) -> None:
        """``live``: the tasks that are not over, packed; they are the only large part whose values change."""
        self.index = state.applied
        self._pieces = _pieces([*_parts(state, live)])
        self._buffer = BytesIO()

    def step(self) -> bytes | None:
        """One piece more; the whole when that was the last one."""
        size = 0
        while size < PIECE_SIZE:
            piece = next(self._pieces, None)
            if piece is None:
                return self._buffer.getvalue()  # without a copy: it has just these bytes
            size += self._buffer.write(piece)
        return None


def _parts(struct: Struct, live: Mapping[int, Raw]) -> Iterator[bytes | Mapping[Any, Any]]:
    """Bytes, and copies of what is large."""
    fields = struct.__struct_fields__
    yield _head(len(fields))
    for name in fields:
        value = getattr(struct, name)
        yield _encoder.encode(name)
        if isinstance(value, OPENED):
            yield from _parts(value, live)
        elif name == "live":
            yield live
        else:
            yield value.copy() if name in LARGE else _encoder.encode(value)


def _pieces(parts: list[bytes | Mapping[Any, Any]]) -> Iterator[bytes]:
    parts.reverse()
    while parts:
        part = parts.pop()  # what is packed is let go
        if isinstance(part, bytes):
            yield part
            continue
        yield _head(len(part))
        items = iter(part.items())
        while some := dict(islice(items, ITEMS)):
            yield _encoder.encode(some)[len(_head(len(some))) :]


def _head(count: int) -> bytes:
    """What stands before so many pairs of MessagePack, in the fewest bytes, as the encoder writes it."""
    if count < 1 << 4:
        return bytes([0x80 | count])
    return b"\xde" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdf" + count.to_bytes(4, "big")
