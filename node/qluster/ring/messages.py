"""What nodes tell each other to agree on a ring, and, within one, of their votes.

Must not know how a message travels, nor what follows from it. Every message carries ``cluster``, the number of the
founding, and ``node``, the sender's number, as those of ``cluster/messages.py`` do.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from qluster.votes.information import Change, NodeInformation
from qluster.votes.options import NODE_MAX, NODES_MAX

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NodeNumber = Annotated[int, Meta(ge=1, le=NODE_MAX)]
Nodes = Annotated[tuple[NodeNumber, ...], Meta(max_length=NODES_MAX)]
RingNumber = tuple[Annotated[int, Meta(ge=0, le=NODE_MAX)], Count]

SEQ_MAX = 2**62
"""Of the rings that a node makes: a million a second do not reach it in a thousand centuries."""


class MalformedMessage(ValueError):
    """The bytes are no message of this version."""


class Beat(Struct, frozen=True, tag="beat", array_like=True):
    """A node is there: said at regular times, and at once when something of it changes."""

    cluster: Number
    node: NodeNumber
    boot: Count
    number: Count
    """Of this beat, since the sender's start: a late one is told from the newest."""
    seq: Count
    """The highest number of a ring that it knows of."""
    ring: RingNumber
    """In force there; 0.0 before there is one."""
    accepted: RingNumber
    """The last one that it has agreed to, durably."""
    hears: Nodes = ()
    """Whom it hears, itself among them; () and no ``wants``: the members of ``ring``, and it wants no others."""
    wants: Nodes = ()
    """With whom it would be in a ring."""
    leaves: bool = False
    """It stops now."""


class Proposal(Struct, frozen=True, tag="ring", array_like=True):
    """The lowest of these nodes asks the others to be in a ring with it."""

    cluster: Number
    node: NodeNumber
    ring: RingNumber
    members: Nodes


class Telling(Struct, frozen=True, tag="votes", array_like=True):
    """A node tells the members of its ring about votes."""

    cluster: Number
    node: NodeNumber
    information: NodeInformation | None = None
    change: Change | None = None


Message = Beat | Proposal | Telling

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode(text: bytes) -> Message:
    """The message in these bytes; raises :class:`MalformedMessage`."""
    try:
        message = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(str(error)) from error
    fault = _fault(message)
    if fault:
        raise MalformedMessage(fault)
    return message


def _fault(message: Message) -> str:
    """What no node says of itself, "" when there is nothing."""
    match message:
        case Beat():
            lists = [("hears", message.hears), ("wants", message.wants)]
            for what, nodes in lists:
                if nodes and (message.node not in nodes or not _ordered(nodes)):
                    return f"node {message.node} {what} {nodes}, not itself and others in their order"
            if bool(message.hears) != bool(message.wants):
                return f"node {message.node} hears {message.hears} and wants {message.wants}"
        case Proposal():
            if not message.members or not _ordered(message.members) or message.node != message.members[0]:
                return f"node {message.node} proposes a ring of {message.members}, not its own in their order"
            if message.ring[0] != message.node or not message.ring[1]:
                return f"node {message.node} proposes ring {message.ring}"
        case Telling():
            return _fault_of_telling(message)
    return ""


def _fault_of_telling(message: Telling) -> str:
    told = [one for one in (message.information, message.change) if one is not None]
    if len(told) != 1:
        return f"node {message.node} tells {len(told)} things about votes"
    if message.information is not None and message.information.node != message.node:
        return f"node {message.node} tells of node {message.information.node}"
    return told[0].fault()


def _ordered(nodes: tuple[int, ...]) -> bool:
    return all(one < after for one, after in pairwise(nodes))
