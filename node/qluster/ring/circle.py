"""Decides with whom a node would be in a ring: those that hear each other, every one every other.

Must not know time, messages or rings. Where not everybody hears everybody, the lowest nodes choose first, so that all
choose alike; whom a node hears and who has chosen others, it leaves to them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Nodes = frozenset[int]


class Sight(NamedTuple):
    """What a node last said of whom it hears, and with whom it would be."""

    hears: Nodes
    wants: Nodes


def circle(me: int, hears: Nodes, others: Mapping[int, Sight]) -> Nodes:
    """With whom node ``me`` would be, itself among them; ``others`` are those that it hears."""
    seen = {node: sight.hears for node, sight in others.items()} | {me: hears}
    linked = {node for node in others if me in seen[node] and node in hears}
    rest = {me} | {node for node in linked if not _has_chosen_others(me, node, others[node].wants, linked)}
    while True:
        chosen = _from_the_lowest(rest, seen)
        if me in chosen:
            return frozenset(chosen)
        rest -= chosen


def _has_chosen_others(me: int, node: int, wants: Nodes, linked: set[int]) -> bool:
    """Whether it has chosen somebody with whom this node cannot be, and so not this node."""
    return me not in wants and any(other != node and other not in linked for other in wants)


def _from_the_lowest(nodes: set[int], hears: Mapping[int, Nodes]) -> set[int]:
    """The lowest, and each further one that hears all of those before it and is heard by them."""
    chosen: set[int] = set()
    for node in sorted(nodes):
        if chosen <= hears[node] and all(node in hears[one] for one in chosen):
            chosen.add(node)
    return chosen
