"""What an operation of the REST interface is: one row of the table, and what rows of a kind have in common.

This file must not know which operations there are (``operations.py``).

An operation either shows something (``view``), judges (``judge``), or asks the node for something (``event``),
or is carried out by the edge (``file``: a snapshot, a page).
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qluster import clients
from qluster.api import probes, shapes
from qluster.api.access import Rights
from qluster.api.fields import Faults
from qluster.api.parameters import KEY_LENGTH_MAX, NODE_MAX, Parameter, Values
from qluster.status import Status

View = Callable[[Status], object]
Ask = Callable[[int, str, Values, Any], clients.ClientRequest]
"""Ticket, idempotency key, parameters, and the body: settings, bytes of a value, what was read, or nothing."""
Read = Callable[[object, Values], tuple[Any, Faults]]
"""What a document of JSON says, and what is wrong with it."""
Shape = Callable[[clients.Done], object]
"""The answer's JSON from an outcome."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    name: str
    method: str
    path: str
    summary: str
    needs: Rights
    answer: Any
    """Type of the answer's JSON; a string is a media type of an answer that is no JSON."""
    errors: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    view: View | None = None
    event: Ask | None = None
    judge: probes.Judge | None = None
    """What says yes or no, for an operation whose status code is the answer."""
    alias: bool = False
    """Another product's name of an operation."""
    file: str = ""
    body: str = ""
    """What the body is: nothing, an object of "settings" or of "parameters", the bytes of a "value", or a document
    that ``read`` reads: "tasks", a "template", a "schedule"."""
    read: Read | None = None
    more: Callable[[Any], Rights] | None = None
    """The rights that are needed for this body, where that differs."""
    shape: Shape | None = None
    """For an event whose answer is not just its outcome."""


def node_number(where: str, summary: str) -> Parameter:
    return Parameter("node", where, "integer", summary, required=True, maximum=NODE_MAX)


CONSISTENCY = Parameter(
    "consistency",
    "query",
    "choice",
    "leader: confirmed by a quorum; lease: by the leader's lease; local: as known to this node",
    choices=("local", "lease", "leader"),
    default="local",
)
KEY = Parameter(
    "Idempotency-Key",
    "header",
    "key",
    f"Up to {KEY_LENGTH_MAX} characters; a write sent again with the same key happens once",
)
PATH_NODE = node_number("path", "Number of the node")
READ = ("bad-parameter", "bad-body", "no-token", "wrong-token", "fault", "busy")
JOINED = (*READ, "not-joined", "not-leader", "no-leader")
WRITE = (*JOINED, "read-only-token", "refused", "no-such-node", "superseded", "unconfirmed", "key-reused")
OPEN = ("bad-parameter", "bad-body", "fault", "busy")


def probe(route: probes.Route) -> Operation:
    """A question of load balancers: needs no token, and any method but its own is refused as everywhere."""
    name = "lag" if route.alias else "max-lag"
    limit = Parameter(name, "query", "lag", "At most so far behind the primary, in bytes (10MiB) or seconds (5s)")
    return Operation(
        route.path.strip("/").replace("-", "_"),
        "GET",
        route.path,
        route.summary,
        Rights.NONE,
        route.answer,
        (*OPEN, *route.errors),
        (limit,) if route.lag else (),
        judge=route.judge,
        alias=route.alias,
    )


def shown(
    path: str, summary: str, answer: Any, view: View, *, parameters: tuple[Parameter, ...] = (CONSISTENCY,)
) -> Operation:
    """A reading of the cluster: needs the token for reading, and a node that has joined."""
    name = path.strip("/").replace("-", "_")
    return Operation(name, "GET", path, summary, Rights.READ, answer, JOINED, parameters, view=view)


def change(name: str, method: str, path: str, summary: str, event: Ask, *parameters: Parameter) -> Operation:
    """A write: needs the token for operating, and the leader."""
    return Operation(
        name,
        method,
        path,
        summary,
        Rights.OPERATE,
        shapes.DoneAnswer,
        WRITE,
        (*parameters, KEY),
        event=event,
    )


def stored(
    name: str, method: str, path: str, summary: str, event: Ask, *parameters: Parameter, **others: Any
) -> Operation:
    """An operation of the key-value store."""
    writes = method != "GET"
    errors = (*WRITE, "no-such-key", "body-too-large", "body-too-slow", "wrong-content-type") if writes else JOINED
    return Operation(
        name,
        method,
        path,
        summary,
        Rights.OPERATE if writes else Rights.READ,
        others.pop("answer", shapes.DoneAnswer),
        (*(word for word in errors if word != "no-such-node"), *others.pop("errors", ())),
        (*parameters, KEY if writes else CONSISTENCY),
        event=event,
        **others,
    )


def number(values: Values, name: str) -> int:
    value = values[name]
    assert isinstance(value, int), f"{name} was checked to be a number"
    return value


def optional_number(values: Values, name: str) -> int | None:
    return None if values[name] is None else number(values, name)


def text(values: Values, name: str) -> str:
    value = values[name]
    assert isinstance(value, str), f"{name} was checked to be text"
    return value
