"""The file that says which numbers of rings, and how many expected votes, this node must not fall behind.

It must not know when it is written; ``store.py`` does. A version before it leaves the file alone.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from zlib import crc32

import msgspec

from qluster.events import SaveRing

from .files import replace_file
from .trouble import LogDamaged

_FILE = "ring.json"
NOTHING = SaveRing(0, 0)
"""What a node knows that was never in a ring."""


class _Checked(msgspec.Struct, frozen=True):
    ring: msgspec.Raw
    crc32: int


class _Contents(msgspec.Struct, frozen=True):
    seq: int
    expected: int


def write(directory: str, save: SaveRing) -> None:
    """Replace the file durably."""
    body = msgspec.json.encode(_Contents(save.seq, save.expected))
    replace_file(os.path.join(directory, _FILE), [msgspec.json.encode(_Checked(msgspec.Raw(body), crc32(body))), b"\n"])


def read(directory: str) -> SaveRing:
    """Read the file. Raises LogDamaged when it is not what was written."""
    path = os.path.join(directory, _FILE)
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return NOTHING
    try:
        checked = msgspec.json.decode(text, type=_Checked)
        body = bytes(checked.ring)
        if crc32(body) != checked.crc32:
            raise LogDamaged(path, 0, "the checksum of the ring's number is wrong")
        contents = msgspec.json.decode(body, type=_Contents)
    except msgspec.MsgspecError as error:
        raise LogDamaged(path, 0, f"the ring's number is not readable ({error})") from None
    return SaveRing(contents.seq, contents.expected)
