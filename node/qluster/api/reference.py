"""The reference pages of the interface, made from the table of operations and that of errors.

This file must not hold a fact about an operation or an error that the tables do not.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable

from qluster.api.access import Rights
from qluster.api.errors import ERRORS, RETRY_SECONDS
from qluster.api.fields import Either, Field, Kind, Object, Variants
from qluster.api.operation import Operation
from qluster.api.operations import OPERATIONS
from qluster.api.parameters import NODE_MAX, PORT_MAX, Parameter
from qluster.api.tasks import KINDS
from qluster.cluster.values import VALUE_SIZE_MAX

_TOKEN = {Rights.NONE: "none", Rights.READ: "read", Rights.OPERATE: "operate", Rights.DEPLOY: "deploy"}

_BODIES = {
    "tasks": 'a task, or `{"tasks": [...]}` with up to 1000 of them',
    "template": "a template",
    "schedule": "a schedule",
}

_REST_HEAD = """\
# The REST interface

Made from the table in `node/qluster/api/operations.py`; do not edit.

Every node answers on `https://ip:api-port`, and each node shows the same as a page at `/swagger`.
Certificates are issued by the cluster's own authority.

- **Tokens.** `Authorization: Bearer TOKEN`. The token for reading may read, the one for operating may do all but write
  templates of tasks and schedules of tasks without a template, and the one for deploying may do all.
- **Readings** show what the node that is asked knows.
  `consistency=leader` asks for what a quorum confirms, `consistency=lease` for what the leader knows under its lease.
- **Writes** go to the leader. Every other node answers 417 and names it.
- **Idempotency-Key.** A write that is sent again with the same key happens once. Use it to repeat after a 420.
  With a key of another request it does not happen: 422 `key-reused`.
- **Errors** have the same shape everywhere, see [errors](errors.md).
- Durations are seconds, rounded to hundredths; positions and lags are bytes.
  `..._text` is the same position as PostgreSQL writes it.
"""

_ERRORS_HEAD = """\
# Error words

Made from the table in `node/qluster/api/errors.py`; do not edit.

Every error is a JSON object: `error` (the word, for programs), `message` (what is wrong), `hint` (what to do).
Where it applies there are also `field`, `faults` (each with `field` and `message`)
and `leader` (`node`, `ip`, `api_port`, `db_port`).
"""


def rest_page() -> str:
    """docs/reference/rest.md"""
    rows = [
        f"| [`{each.method} {each.path}`](#{_anchor(each)}) | {_TOKEN[each.needs]} | {each.summary} |"
        for each in OPERATIONS
    ]
    table = "\n".join(["| request | token | purpose |", "|---|---|---|", *rows])
    return "\n".join([_REST_HEAD, table, "", *(_section(each) for each in OPERATIONS)])


def errors_page() -> str:
    """docs/reference/errors.md"""
    rows = [
        f"| `{each.word}` | {each.code} | {_cell(each.sentence)} | {_cell(each.hint)} |"
        for each in sorted(ERRORS.values(), key=lambda row: (row.code, row.word))
    ]
    retry = f"530 and 531 come with `Retry-After: {RETRY_SECONDS}`, 405 with `Allow`, 401 with `WWW-Authenticate`."
    table = "\n".join(["| word | code | what is wrong | what to do |", "|---|---|---|---|", *rows])
    return "\n".join([_ERRORS_HEAD, table, "", retry, ""])


def _anchor(operation: Operation) -> str:
    kept = (letter for letter in operation.path if letter.isalnum() or letter in "-_")
    return f"{operation.method.lower()}-{''.join(kept)}"


def _section(operation: Operation) -> str:
    codes: dict[int, list[str]] = {}
    for word in operation.errors:
        codes.setdefault(ERRORS[word].code, []).append(f"`{word}`")
    errors = "; ".join(f"{code} {', '.join(words)}" for code, words in sorted(codes.items()))
    lines = [f"## {operation.method} {operation.path}", "", f"{operation.summary}.", ""]
    lines += [f"- Token: {_TOKEN[operation.needs]}"]
    lines += [f"- {_parameter(each)}" for each in operation.parameters]
    if operation.body == "value":
        lines += [f"- Body: the value, up to {VALUE_SIZE_MAX} bytes"]
    if operation.body == "settings":
        lines += ['- Body: an object of settings, such as `{"cluster.node-timeout": "30s"}`']
    if operation.body == "parameters":
        lines += ['- Body: an object of parameters, such as `{"work_mem": "16MB", "max_connections": 200}`']
    if operation.body in KINDS:
        lines += [f"- Body: {_BODIES[operation.body]}"]
        lines += [f"  {line}" for line in _fields(KINDS[operation.body])]
    lines += [f"- Answer: {_answer(operation)}", f"- Errors: {errors}", ""]
    return "\n".join(lines)


def _fields(kind: Kind) -> list[str]:
    """The fields of an object, those of its parts below them."""
    match kind:
        case Either(_, short):
            return _fields(short)
        case Variants(forms):
            alone = {name for name, _ in forms}
            every = {field.name: field for _, form in forms for field in form.fields}
            return [
                line
                for field in every.values()
                for line in _field(field, _only(field, forms), required=field.required and field.name not in alone)
            ]
        case Object(fields):
            return [line for field in fields for line in _field(field, "", required=field.required)]
    return []


def _field(field: Field, only: str, *, required: bool) -> list[str]:
    lines = [f"- `{field.name}`{' (required)' if required else ''}: {field.about}{only}"]
    return lines + [f"  {line}" for line in _fields(field.kind)]


def _only(field: Field, forms: tuple[tuple[str, Object], ...]) -> str:
    """Where it goes, when not everywhere."""
    has = [name for name, form in forms if field in form.fields]
    if len(has) == len(forms) or has == [field.name]:
        return ""
    return f" (with {', '.join(has)})" if len(has) < len(forms) - 1 else " (not with " + ", ".join(
        name for name, _ in forms if name not in has) + ")"  # fmt: skip


def _answer(operation: Operation) -> str:
    if isinstance(operation.answer, str):
        return f"`{operation.answer}`"
    fields: Iterable[str] = getattr(operation.answer, "__struct_fields__", ())
    named = ", ".join(f"`{each}`" for each in fields)
    return f"an object of {named}" if named else "an object, text by key"


def _parameter(parameter: Parameter) -> str:
    more = ["required"] if parameter.required else []
    if parameter.choices:
        more.append("one of " + ", ".join(parameter.choices))
    if parameter.default is not None:
        more.append(f"default {parameter.default}")
    if parameter.kind == "integer" and parameter.maximum in (NODE_MAX, PORT_MAX):
        more.append(f"1 to {parameter.maximum}")
    return f"`{parameter.name}` ({'; '.join([parameter.where, *more])}): {parameter.summary}"


def _cell(text: str) -> str:
    """``{places}`` in italics, as what stands for something else."""
    return text.replace("{", "*").replace("}", "*").replace("|", "\\|")
