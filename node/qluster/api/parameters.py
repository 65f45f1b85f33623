"""Which parameters and which body a request may have, and what is wrong with those it has.

This file must not know the routes; it is told what is allowed.

Every fault is found, not the first one only, and each is named by its parameter or field.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from qluster.api.probes import LAG_SECONDS_LEAST, Lag, read_lag
from qluster.api.shapes import FieldFault
from qluster.api.times import seconds_of, span_of
from qluster.cluster.values import NAME_LENGTH_MAX

NODE_MAX = 2**31 - 1
"""Largest number a node may have: fits every integer type that a client may use."""
INDEX_MAX = 2**63 - 1
"""Largest index of the log."""
PORT_MAX = 65535
KEY_LENGTH_MAX = 64
"""Longest idempotency key: room for a UUID with a word before it; keys are kept in the log."""
SHOWN_LENGTH = 60
"""So much of a wrong value is shown to whoever sent it."""
SETTINGS_MAX = 100
"""Most settings in one change; the cluster has fewer keys than that."""
SETTING_LENGTH_MAX = 1024
"""Longest text of one setting: a list of peers fits, and the change fits into a log entry."""
SETTING_TEXT = r"^[ -~]*$"
"""One line; no setting of the cluster needs more than ASCII."""
_NOT_PLAIN = "holds a line break or another character beyond printable ASCII"
_HOST_4 = (
    r"([1-9]|[1-9][0-9]|1[0-9][0-9]|2[01][0-9]|22[0-3])"
    r"(\.([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])){3}"
)
_HOST_6 = (
    r"([23][0-9A-Fa-f]{3}|[Ff][CcDd][0-9A-Fa-f]{2})((:[0-9A-Fa-f]{1,4}){7}|"
    + "|".join(
        rf"(:[0-9A-Fa-f]{{1,4}}){{{before}}}:(:|(:[0-9A-Fa-f]{{1,4}}){{1,{6 - before}}})" for before in range(6)
    )
    + r"|(:[0-9A-Fa-f]{1,4}){6}::)"
)
"""In 2000::/3 and fc00::/7, which is where other hosts can be reached."""
HOST_PATTERN = rf"^({_HOST_4}|{_HOST_6})$"
HOSTS_PATTERN = rf"^({_HOST_4}|{_HOST_6})(,({_HOST_4}|{_HOST_6})){{0,63}}$"
"""An address that one host can have: IPv4 in its usual writing (no 0.x, no multicast or beyond), or IPv6."""
PARAMETER_KEY = r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$"
"""A parameter of the database, of an extension with its prefix; upper and lower case are the same to it."""
SETTING_KEY = r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$"

KEY_PATTERN = rf"^[A-Za-z0-9._:-]{{1,{KEY_LENGTH_MAX}}}$"

LIST_MAX = 64
"""Most members of a list in one parameter: as many as a cluster has members."""

NUMBERS_PATTERN = rf"^[1-9][0-9]{{0,8}}(,[1-9][0-9]{{0,8}}){{0,{LIST_MAX - 1}}}$"
"""Numbers of nodes, separated by commas."""

NAME_PATTERN = rf"^[A-Za-z0-9._:-]{{1,{NAME_LENGTH_MAX}}}$"

TEXT_LENGTH_MAX = 200
"""An operator's words, kept in the log and shown in one line."""
TEXT_PATTERN = rf"^[ -~\u00a0-\ud7ff]{{0,{TEXT_LENGTH_MAX}}}$"
"""One line of letters of any language, without control characters."""

_TEXT = re.compile(TEXT_PATTERN[1:-1])
_NAME = re.compile(NAME_PATTERN[1:-1])
_KEY = re.compile(KEY_PATTERN[1:-1])
_NUMBERS = re.compile(NUMBERS_PATTERN[1:-1])
_HOST = re.compile(HOST_PATTERN[1:-1])
_SETTING_TEXT = re.compile(SETTING_TEXT[1:-1])
_SETTING_KEY = re.compile(SETTING_KEY[1:-1])
_PARAMETER_KEY = re.compile(PARAMETER_KEY[1:-1])
_DIGITS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation: where it stands and what it may be.

    ``kind`` is one of integer, choice, address, key, name, text, time, span, lag, numbers,
    addresses, several (of ``choices``).
    """

    name: str
    where: str
    kind: str
    summary: str
    required: bool = False
    choices: tuple[str, ...] = ()
    default: str | None = None
    minimum: int = 1
    maximum: int = 0


Value = int | str | Lag | None
Values = dict[str, Value]


def read_parameters(
    allowed: Iterable[Parameter],
    path: Mapping[str, str],
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
) -> tuple[Values, list[FieldFault]]:
    """Values by parameter name (None where absent), and everything that is wrong."""
    known = {each.name: each for each in allowed}
    given, faults = _given(known, query)
    values: Values = {}
    for parameter in known.values():
        if parameter.where == "path":
            text: str | None = path[parameter.name]
        elif parameter.where == "header":
            text = headers.get(parameter.name.lower())
        else:
            text = given.get(parameter.name, parameter.default)
        if text is None:
            values[parameter.name] = None
            if parameter.required:
                faults.append(
                    FieldFault(field=parameter.name, message=f"is missing; it is {_wanted(parameter)}")
                )
            continue
        value = _value(parameter, text)
        if value is None:
            faults.append(
                FieldFault(field=parameter.name, message=f"is {shown(text)}, not {_wanted(parameter)}")
            )
        values[parameter.name] = value
    return values, faults


def read_settings(body: bytes) -> tuple[dict[str, str], list[FieldFault], str]:
    """The changes of a body, its wrong fields, or why it is no JSON object at all ("" if it is)."""
    changes, faults, unreadable = _read_object(body, _setting)
    return {key: text for key, text in changes.items() if text is not None}, faults, unreadable


def read_database_parameters(body: bytes) -> tuple[dict[str, str | None], list[FieldFault], str]:
    """The same for parameters of the database, of which null takes one away."""
    return _read_object(body, _database_parameter)


def read_json(body: bytes) -> tuple[object, str]:
    """The document, or why it is none that can be read."""
    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant), ""
    except RecursionError:
        return None, "it is nested too deeply"
    except ValueError as error:
        return None, str(error)


def _read_object(
    body: bytes, judge: Callable[[str, object], tuple[str | None, str]]
) -> tuple[dict[str, str | None], list[FieldFault], str]:
    """Key → text of each field, by ``judge``, which gives the text and what is wrong with the field."""
    document, unreadable = read_json(body)
    if unreadable:
        return {}, [], unreadable
    if not isinstance(document, dict):
        return {}, [], f"it is {json_kind(document)}, not an object of settings"
    if not document:
        return {}, [FieldFault(field="", message="names no setting; name at least one")], ""
    if len(document) > SETTINGS_MAX:
        return {}, [FieldFault(field="", message=f"has {len(document)} settings; at most {SETTINGS_MAX}")], ""
    changes: dict[str, str | None] = {}
    faults: list[FieldFault] = []
    for key, value in document.items():
        text, wrong = judge(key, value)
        if wrong:
            faults.append(
                FieldFault(
                    field=key if len(key) <= SHOWN_LENGTH else key[:SHOWN_LENGTH] + "...", message=wrong
                )
            )
        else:
            changes[key] = text
    return changes, faults, ""


def shown(text: str) -> str:
    """A wrong value as it is shown: quoted, escaped and not endless."""
    cut = text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "..."
    return ascii(cut)


def _given(
    known: Mapping[str, Parameter], query: Iterable[tuple[str, str]]
) -> tuple[dict[str, str], list[FieldFault]]:
    """The query as a map; unknown and repeated names are faults."""
    names = [name for name, each in known.items() if each.where == "query"]
    allowed = "the parameters are " + ", ".join(names) if names else "there are none here"
    given: dict[str, str] = {}
    faults = {}
    for name, text in query:
        if name not in names:
            faults[name] = f"is no parameter; {allowed}"
        elif name in given:
            faults[name] = "is given more than once"
        given[name] = text
    return given, [FieldFault(field=shown(name)[1:-1], message=text) for name, text in faults.items()]


def _value(parameter: Parameter, text: str) -> Value:
    """The text as what the parameter may be, None when it is not."""
    match parameter.kind:
        case "integer":
            number = int(text) if _DIGITS.fullmatch(text) else -1
            return number if parameter.minimum <= number <= parameter.maximum else None
        case "choice":
            return text if text in parameter.choices else None
        case "address":
            # Addresses are compared as text: IPv6 has many writings, and only its short one is kept.
            return str(ip_address(text)) if _HOST.fullmatch(text) else None
        case "key":
            return text if _KEY.fullmatch(text) else None
        case "name":
            return text if _NAME.fullmatch(text) else None
        case "time":
            return text if seconds_of(text) is not None else None
        case "span":
            return text if span_of(text) is not None else None
        case "several":
            return text if set(text.split(",")) <= set(parameter.choices) else None
        case "lag":
            return read_lag(text)
        case "text":
            return text if _TEXT.fullmatch(text) else None
        case "numbers":
            least = _NUMBERS.fullmatch(text) and all(int(one) <= NODE_MAX for one in text.split(","))
            return text if least else None
        case "addresses":
            few = text.count(",") < LIST_MAX and all(map(_HOST.fullmatch, text.split(",")))
            return ",".join(str(ip_address(one)) for one in text.split(",")) if few else None
    raise AssertionError(f"parameter {parameter.name} is of no known kind: {parameter.kind}")


def _wanted(parameter: Parameter) -> str:
    match parameter.kind:
        case "integer":
            return f"a number from {parameter.minimum} to {parameter.maximum}"
        case "choice":
            return "one of " + ", ".join(parameter.choices)
        case "several":
            return "one or more, separated by commas, of " + ", ".join(parameter.choices)
        case "span":
            return "a span of time: seconds, or with units such as 5m or 1h30m"
        case "address":
            return "the IPv4 address of one host, such as 10.0.0.4, or its IPv6 address, such as fd00::4"
        case "numbers":
            return f"numbers of at most {LIST_MAX} nodes, separated by commas, such as 1,4"
        case "addresses":
            return f"addresses of at most {LIST_MAX} hosts, separated by commas, such as 10.0.0.4,10.0.0.5"
        case "lag":
            return f"bytes such as 1048576 or 10MiB, or a time of {LAG_SECONDS_LEAST}s or more such as 30s"
        case "text":
            return f"one line of at most {TEXT_LENGTH_MAX} characters"
        case "name":
            return f"1 to {NAME_LENGTH_MAX} letters, digits and characters of . _ : -"
        case "time":
            return "a time with its zone (RFC 3339), such as 2030-01-31T02:30:00Z or 2030-01-31T05:30:00+03:00"
    return f"1 to {KEY_LENGTH_MAX} letters, digits and characters of . _ : -"


def _setting(key: str, value: object) -> tuple[str, str]:
    """The text of a setting, and what is wrong with it ("" when nothing is)."""
    if not _SETTING_KEY.fullmatch(key) or len(key) > SHOWN_LENGTH:
        return "", "is no key of config.yaml; write it with its section, such as cluster.node-timeout"
    if isinstance(value, bool):
        return ("true" if value else "false"), ""
    if isinstance(value, int):
        return str(value), ""
    if isinstance(value, str):
        if len(value) > SETTING_LENGTH_MAX:
            return "", f"has {len(value)} characters; at most {SETTING_LENGTH_MAX}"
        if not _SETTING_TEXT.fullmatch(value):
            return "", _NOT_PLAIN
        return value, ""
    wanted = "text, a whole number, true or false"
    if isinstance(value, dict):
        return "", f"is an object, not {wanted}; write {key}.NAME as one key"
    return "", f"is {json_kind(value)}, not {wanted}"


def _database_parameter(key: str, value: object) -> tuple[str | None, str]:
    """The text of a parameter (None: taken away), and what is wrong with it ("" when nothing is)."""
    if not _PARAMETER_KEY.fullmatch(key) or len(key) > SHOWN_LENGTH:
        return "", "is no name of a parameter of the database, such as work_mem; write it in lower case"
    if value is None:
        return None, ""
    if isinstance(value, bool):
        return ("on" if value else "off"), ""
    if isinstance(value, float):
        return repr(value), ""
    if isinstance(value, (str, int)) and len(text := str(value)) <= SETTING_LENGTH_MAX:
        return text, "" if _SETTING_TEXT.fullmatch(text) else _NOT_PLAIN
    if isinstance(value, (str, int)):
        return "", f"has more than {SETTING_LENGTH_MAX} characters"
    return "", f"is {json_kind(value)}, not text, a number, true, false or null"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; a key given twice would leave open which one is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} is given more than once")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def json_kind(value: object) -> str:
    """What a value of JSON is, for people."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"
