"""Short ways to write what the protocol speaks of."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.qnet.names import TieBreakerMode
from qluster.qnet.tlv import NodeInfo, RingId, TieBreaker

LOWEST = TieBreaker(TieBreakerMode.LOWEST)
HIGHEST = TieBreaker(TieBreakerMode.HIGHEST)


def naming(node_id: int) -> TieBreaker:
    return TieBreaker(TieBreakerMode.NODE_ID, node_id)


def ring(text: str) -> RingId:
    """``1.c`` as the tools print it."""
    node, _, seq = text.partition(".")
    return RingId(int(node, 16), int(seq, 16))


def nodes(*numbers: int) -> tuple[NodeInfo, ...]:
    return tuple(NodeInfo(number) for number in numbers)
