"""Every error word that the REST interface can answer with: code, sentence, hint.

This file must not know who found the fault; it only words it.

The word is for programs and never changes its meaning, the sentence is for people
(its places in braces are filled by whoever found the fault), the hint says what to do.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass

import msgspec

from qluster.api.shapes import ErrorAnswer, FieldFault, NodeAddress


@dataclass(frozen=True, slots=True)
class ErrorWord:
    """One row of the table."""

    word: str
    code: int
    sentence: str
    hint: str


_TABLE = (
    ErrorWord(
        "bad-parameter",
        400,
        "{method} {path} has a wrong parameter",
        "correct what `faults` lists; /openapi.json describes every parameter",
    ),
    ErrorWord(
        "bad-body",
        400,
        "the body of {method} {path} cannot be read: {reason}",
        "send one JSON object in UTF-8, and no body where none is described",
    ),
    ErrorWord(
        "no-token",
        401,
        "{method} {path} needs a token and none was sent",
        "send the header `Authorization: Bearer TOKEN`",
    ),
    ErrorWord(
        "wrong-token",
        401,
        "the token sent is not one of this node's",
        "use the token of the file `api.read-token-file` or `api.operate-token-file` of this cluster",
    ),
    ErrorWord(
        "read-only-token",
        403,
        "{method} {path} needs the token for operating, and the one sent is for reading",
        "use the token of the file `api.operate-token-file`",
    ),
    ErrorWord(
        "no-deploy-token",
        403,
        "{method} {path} needs the token for deploying",
        "use the token that `api.deploy-token-file` is about; where no file is named there, nobody may",
    ),
    ErrorWord(
        "no-such-path",
        404,
        "there is nothing at {path}",
        "/openapi.json lists every path, /swagger shows them",
    ),
    ErrorWord(
        "no-such-node",
        404,
        "{reason}",
        "GET /map lists the nodes of this cluster",
    ),
    ErrorWord(
        "no-such-key",
        404,
        "{reason}",
        "GET /kv lists the keys; with another consistency than leader a node may be a moment behind",
    ),
    ErrorWord(
        "no-such-task",
        404,
        "{reason}",
        "GET /tasks lists those that are known; with another consistency than leader a node may be a moment behind",
    ),
    ErrorWord(
        "no-such-template",
        404,
        "{reason}",
        "GET /task-templates lists them",
    ),
    ErrorWord(
        "no-such-schedule",
        404,
        "{reason}",
        "GET /task-schedules lists them",
    ),
    ErrorWord(
        "no-output",
        404,
        "{reason}",
        "qluster task show TASK, or GET /tasks/TASK in result.tail, has the end of what it said, if it said anything",
    ),
    ErrorWord(
        "no-snapshot",
        404,
        "this node has no snapshot at or after index {index}",
        "ask the leader, or ask for an older index",
    ),
    ErrorWord(
        "no-such-method",
        405,
        "{path} does not know {method}",
        "use one of the methods of the header Allow",
    ),
    ErrorWord(
        "body-too-slow",
        408,
        "the body of {method} {path} was not complete within {limit} seconds",
        "send it again, in one piece",
    ),
    ErrorWord(
        "refused",
        409,
        "{reason}",
        "look at GET /map (for a key: GET /kv), then correct `field` or wait until the cluster has changed",
    ),
    ErrorWord(
        "superseded",
        410,
        "leadership was lost before the change was committed: it did not and will not happen",
        "send it again, to the leader that GET /leader names",
    ),
    ErrorWord(
        "not-joined",
        412,
        "this node does not belong to a cluster yet{reason}",
        "wait until it has joined; GET /status says what it is waiting for",
    ),
    ErrorWord(
        "body-too-large",
        413,
        "the body of {method} {path} is larger than {limit} bytes",
        "send less at once",
    ),
    ErrorWord(
        "too-large-for-log",
        413,
        "{method} {path} does not fit into one entry of the log: {reason}",
        "make it smaller, or send several in parts, each with an Idempotency-Key of its own; `udp.max-log-size` is the "
        "largest entry",
    ),
    ErrorWord(
        "wrong-content-type",
        415,
        "the body of {method} {path} is {found}, not {wanted}",
        "send it without Content-Encoding; settings as `Content-Type: application/json`",
    ),
    ErrorWord(
        "no-such-range",
        416,
        "the range {found} lies outside the snapshot of {size} bytes",
        "fetch the snapshot anew from its first byte",
    ),
    ErrorWord(
        "not-leader",
        417,
        "{node} does not lead",
        "send it to {leader}",
    ),
    ErrorWord(
        "not-replica",
        417,
        "{node} is not what {path} asks for: {reason}",
        "GET /map shows which node is what",
    ),
    ErrorWord(
        "unconfirmed",
        420,
        "not confirmed in time: whether {method} {path} happens is not known",
        "send it again with the same Idempotency-Key: it happens at most once",
    ),
    ErrorWord(
        "wrong-value",
        422,
        "the body of {method} {path} has a wrong value",
        "correct what `faults` lists",
    ),
    ErrorWord(
        "key-reused",
        422,
        "{method} {path} came with the Idempotency-Key of another request: {reason}",
        "send each new request with a new key; the first one, sent again unchanged, is answered with its index",
    ),
    ErrorWord(
        "task-key-taken",
        422,
        "{reason}",
        "give another task another key; GET /tasks?key=KEY shows the one that has it",
    ),
    ErrorWord(
        "fault",
        500,
        "a fault of the daemon ended {method} {path}",
        "the traceback is in this node's log, at the same time",
    ),
    ErrorWord(
        "no-leader",
        530,
        "no leader is known to this node",
        "wait for an election; if none comes, GET /quorum of each node says who does not hear whom",
    ),
    ErrorWord(
        "busy",
        531,
        "the daemon cannot answer now: {reason}",
        "send it again after the seconds of the header Retry-After",
    ),
    ErrorWord(
        "output-away",
        531,
        "{reason}",
        "ask again when that node is back; once it is over qluster task show TASK, or GET /tasks/TASK in result.tail, "
        "has the end of what it said",
    ),
    ErrorWord(
        "too-many-tasks",
        531,
        "{reason}",
        "send it again when some have ended; GET /tasks/summary counts them",
    ),
    ErrorWord(
        "standby-cluster",
        531,
        "nothing is written in this cluster: it follows an installation outside",
        "write there; GET /status says where, and POST /config with an empty cluster.standby-of promotes this site",
    ),
    ErrorWord(
        "unfit",
        531,
        "{node} cannot serve {path} now: {reason}",
        "ask another node; GET /replication shows every database",
    ),
)

ERRORS: dict[str, ErrorWord] = {row.word: row for row in _TABLE}

REASONS = {
    417: "Not This Node",
    420: "Not Confirmed",
    530: "No Leader",
    531: "Busy",
}
"""Reason phrases of the codes that have none, or another one, in general use."""

RETRY_SECONDS = 1
"""What Retry-After says: an election or a full queue is over in about that time."""


def error_answer(
    word: str,
    places: dict[str, object],
    *,
    field: str | None = None,
    faults: tuple[FieldFault, ...] = (),
    leader: NodeAddress | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    """Code, JSON body and headers for an error word; ``places`` fill its sentence and hint."""
    row = ERRORS[word]
    answer = ErrorAnswer(
        error=row.word,
        message=row.sentence.format_map(places),
        hint=row.hint.format_map(places),
        field=field,
        faults=list(faults) or None,
        leader=leader,
    )
    headers = {}
    if row.code == 401:
        wrong = ', error="invalid_token"' if word == "wrong-token" else ""
        headers["WWW-Authenticate"] = f'Bearer realm="qluster"{wrong}'
    elif row.code == 403:
        headers["WWW-Authenticate"] = 'Bearer realm="qluster", error="insufficient_scope"'
    elif row.code in (530, 531):
        headers["Retry-After"] = str(RETRY_SECONDS)
    return row.code, msgspec.json.encode(answer), headers
