"""The file that says who this node is, and how often it has started.

It must not know when it is written; ``store.py`` does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from zlib import crc32

import msgspec

from qluster.events import Identity

from .files import replace_file
from .trouble import LogDamaged, StateRefused

FORMAT = 2
"""Format of the whole state directory. A newer program may read an older one, never the reverse.

A start says the newest here before it writes anything else: 2 allows segments of format 2 in the log."""
_FILE = "node.json"


class NodeFile(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of node.json."""

    format: int = FORMAT
    uid: str
    """Hexadecimal: JSON numbers lose digits in other programs."""
    boot: int
    name: str = ""
    """Name of the cluster that this state is of."""
    sequence: int = 0
    """A group of the log that was durable when this was written: a shorter log has lost something."""
    cluster: int | None = None
    node: int | None = None

    @property
    def number(self) -> int:
        return int(self.uid, 16)

    @property
    def identity(self) -> Identity | None:
        if self.cluster is None or self.node is None:
            return None
        return Identity(self.number, self.cluster, self.node)


class _Checked(msgspec.Struct, frozen=True):
    node: msgspec.Raw
    crc32: int


class _Format(msgspec.Struct, frozen=True):
    format: int


def write(directory: str, contents: NodeFile) -> None:
    """Replace the file durably."""
    body = msgspec.json.encode(contents)
    text = msgspec.json.encode(_Checked(msgspec.Raw(body), crc32(body)))
    replace_file(os.path.join(directory, _FILE), [text + b"\n"])


def read(directory: str) -> NodeFile:
    """Read the file. Raises LogDamaged, or StateRefused when a newer program wrote it."""
    path = os.path.join(directory, _FILE)
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise LogDamaged(path, 0, "the node's identity is missing") from None
    try:
        checked = msgspec.json.decode(text, type=_Checked)
        body = bytes(checked.node)
        if crc32(body) != checked.crc32:
            raise LogDamaged(path, 0, "the checksum of the node's identity is wrong")
        found = msgspec.json.decode(body, type=_Format).format
        if found > FORMAT:
            raise StateRefused(f"{path}: has format {found}, this program knows {FORMAT}. Install the "
                               f"version that wrote it, or a newer one.")
        contents = msgspec.json.decode(body, type=NodeFile)
        contents.number  # noqa: B018  (raises ValueError when it is no number)
        return contents
    except (msgspec.MsgspecError, ValueError) as error:
        raise LogDamaged(path, 0, f"the node's identity is not readable ({error})") from None
