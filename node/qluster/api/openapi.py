"""The description of the interface in OpenAPI 3.1, made from the table of operations.

This file must not hold a fact about an operation that the table does not.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from qluster import __version__
from qluster.api.access import Rights
from qluster.api.errors import ERRORS
from qluster.api.fields import REFERENCE
from qluster.api.operation import Operation
from qluster.api.operations import OPERATIONS
from qluster.api.parameters import (
    HOST_PATTERN,
    HOSTS_PATTERN,
    KEY_PATTERN,
    NAME_PATTERN,
    NUMBERS_PATTERN,
    PARAMETER_KEY,
    SETTING_KEY,
    SETTING_LENGTH_MAX,
    SETTING_TEXT,
    SETTINGS_MAX,
    TEXT_LENGTH_MAX,
    TEXT_PATTERN,
    Parameter,
)
from qluster.api.probes import LAG_PATTERN
from qluster.api.shapes import ErrorAnswer
from qluster.api.tasks import KINDS, PARTS
from qluster.api.times import SPAN_PATTERN, TIME_PATTERN
from qluster.cluster.values import VALUE_SIZE_MAX

_ABOUT = (
    "Every node answers. Readings show what this node knows; ask with `consistency=leader` for what a "
    "quorum confirms. Writes go to the leader: every other node answers 417 and names it. "
    "What load balancers ask without a token is answered to HEAD and OPTIONS as to GET."
)
_SCHEME = {Rights.READ: "read", Rights.OPERATE: "operate", Rights.DEPLOY: "deploy"}


@cache
def document() -> bytes:
    """The description as JSON."""
    return msgspec.json.encode(description())


def description() -> dict[str, Any]:
    """The description."""
    described = [each for each in OPERATIONS if not each.alias]  # they would say everything twice
    types = [each.answer for each in described if not isinstance(each.answer, str)]
    schemas, components = msgspec.json.schema_components([*types, ErrorAnswer], ref_template=REFERENCE)
    components |= {part.title: part.defined() for part in PARTS}
    *answers, error = schemas
    shown = iter(answers)
    paths: dict[str, dict[str, Any]] = {}
    for operation in described:
        content = _content(operation, None if isinstance(operation.answer, str) else next(shown))
        entry = _operation(operation, content, error)
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
        if operation.name == "is_leader":  # one stands for all that load balancers ask
            paths[operation.path]["head"] = _head(entry)
    return {
        "openapi": "3.1.0",
        "info": {"title": "QLUSTER", "version": __version__, "description": _ABOUT, "license": _LICENCE},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _security_schemes()},
    }


_LICENCE = {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"}


def _security_schemes() -> dict[str, Any]:
    text = "The token of the file `api.{}-token-file`: {}."
    return {
        "read": {"type": "http", "scheme": "bearer", "description": text.format("read", "may read")},
        "operate": {"type": "http", "scheme": "bearer", "description": text.format("operate", "may do all but deploy")},
        "deploy": {"type": "http", "scheme": "bearer", "description": text.format("deploy", "may do all")},
    }


def _operation(operation: Operation, content: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(each) for each in operation.parameters],
        "responses": {"200": {"description": "OK", "content": content}, **_errors(operation, error)},
        "security": _security(operation),
    }
    if operation.body == "settings":
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": _SETTINGS}}}
    elif operation.body == "parameters":
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": _PARAMETERS}}}
    elif operation.body == "value":
        entry["requestBody"] = {"required": False, "content": {"application/octet-stream": _VALUE}}
    elif operation.body:
        schema = KINDS[operation.body].schema()
        entry["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return entry


_VALUE: dict[str, Any] = {"schema": {"type": "string", "maxLength": VALUE_SIZE_MAX}}
_SETTINGS: dict[str, Any] = {
    "type": "object",
    "description": "Key of config.yaml with its section → new value",
    "minProperties": 1,
    "maxProperties": SETTINGS_MAX,
    "propertyNames": {"pattern": SETTING_KEY, "maxLength": 60},
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "maxLength": SETTING_LENGTH_MAX, "pattern": SETTING_TEXT},
            {"type": "integer"},
            {"type": "boolean"},
        ]
    },
    "examples": [{"cluster.node-timeout": "30s"}],
}


_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "description": "Parameter of the database → new value; null: what config.yaml says",
    "minProperties": 1,
    "maxProperties": SETTINGS_MAX,
    "propertyNames": {"pattern": PARAMETER_KEY, "maxLength": 60},
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "maxLength": SETTING_LENGTH_MAX, "pattern": SETTING_TEXT},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "null"},
        ]
    },
    "examples": [{"work_mem": "16MB", "max_connections": 200, "log_min_duration_statement": None}],
}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    return [{name: []} for rights, name in _SCHEME.items() if operation.needs and rights >= operation.needs]


def _content(operation: Operation, schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is not None:
        return {"application/json": {"schema": schema}}
    if operation.answer == "application/json":
        return {"application/json": {"schema": {"type": "object"}}}
    return {operation.answer: {}}


def _errors(operation: Operation, error: dict[str, Any]) -> dict[str, Any]:
    """One response a code; several words may share it."""
    by_code: dict[int, list[str]] = {}
    for word in (*operation.errors, "no-such-method"):
        by_code.setdefault(ERRORS[word].code, []).append(word)
    content = {"application/json": {"schema": error}}
    return {
        str(code): {"description": " or ".join(f"`{word}`" for word in words), "content": content}
        for code, words in sorted(by_code.items())
    }


def _head(entry: dict[str, Any]) -> dict[str, Any]:
    """The same without bodies."""
    responses = {code: {"description": each["description"]} for code, each in entry["responses"].items()}
    return {**entry, "operationId": entry["operationId"] + "_head", "responses": responses}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.summary,
        "schema": _parameter_schema(parameter),
    }


_PATTERNS = {
    "address": HOST_PATTERN,
    "addresses": HOSTS_PATTERN,
    "key": KEY_PATTERN,
    "lag": LAG_PATTERN,
    "name": NAME_PATTERN,
    "numbers": NUMBERS_PATTERN,
    "span": SPAN_PATTERN,
}
"""Of each kind of parameter that is text of one form."""


def _parameter_schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    match parameter.kind:
        case "integer":
            schema = {"type": "integer", "minimum": parameter.minimum, "maximum": parameter.maximum}
        case "choice":
            schema["enum"] = list(parameter.choices)
        case "several":
            one = "|".join(parameter.choices)
            schema["pattern"] = f"^({one})(,({one}))*$"
        case "time":
            schema |= {"format": "date-time", "pattern": TIME_PATTERN}
        case "text":
            schema |= {"maxLength": TEXT_LENGTH_MAX, "pattern": TEXT_PATTERN}
        case kind:
            schema["pattern"] = _PATTERNS[kind]
            schema |= {"minLength": 1} if kind == "span" else {}
    if parameter.default is not None:
        schema["default"] = int(parameter.default) if parameter.kind == "integer" else parameter.default
    return schema
