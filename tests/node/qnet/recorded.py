"""What was recorded of corosync's daemons, as the tests read it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from qluster.qnet.framing import Frame, Framer, Skipped
from qluster.qnet.messages import KINDS

VECTORS = Path(__file__).parent / "vectors"
ANY_SIZE = 2**20


@cache
def load(name: str) -> dict[str, Any]:
    """One file of vectors, its messages as bytes."""
    content: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    content["messages"] = [_bytes(text) for text in content["messages"]]
    return content


def _bytes(text: str) -> bytes:
    """Hex; ``00*5`` at its end stands for five such bytes."""
    first, _, repeated = text.partition(" ")
    tail = b""
    if repeated:
        byte, _, times = repeated.partition("*")
        tail = bytes.fromhex(byte) * int(times)
    return bytes.fromhex(first) + tail


def frames(data: bytes, known: Collection[int] = KINDS) -> list[Frame | Skipped]:
    """The messages in these bytes."""
    framer = Framer(ANY_SIZE, known)
    framer.feed(data)
    return list(iter(framer.next, None))
