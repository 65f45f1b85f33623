"""Reads an object of JSON by a table of its fields, and describes it by the same table.

This file must not know what is read. Every fault is found, not the first one only, and each is named by its field;
an unknown field is refused with the name that may have been meant.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Any, Protocol

from qluster.api.parameters import SHOWN_LENGTH, json_kind, shown
from qluster.api.shapes import FieldFault
from qluster.api.times import SPAN_TEXT, TIME_PATTERN, seconds_of, span_of

Faults = list[FieldFault]
Schema = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What moves the cursor of whoever reads a list of tasks."""


class Kind(Protocol):
    """A kind of value. ``read`` gives None where it has said what is wrong."""

    def read(self, value: object, place: str, faults: Faults) -> Any: ...

    def schema(self) -> Schema: ...


def wrong(faults: Faults, place: str, message: str) -> None:
    """Note a fault; a name that is a client's is cut."""
    faults.append(FieldFault(field=place if len(place) <= SHOWN_LENGTH else place[:SHOWN_LENGTH] + "...",
                             message=message))  # fmt: skip


def _quoted(value: object) -> str:
    return shown(value) if isinstance(value, str) else json_kind(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Text of at most so many characters; ``lines``: of several lines."""

    size_max: int
    lines: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    """What it must match, whole, and ``like``, which says so to people."""
    like: str = ""

    def read(self, value: object, place: str, faults: Faults) -> str | None:
        """The text."""
        if not isinstance(value, str):
            wrong(faults, place, f"is {json_kind(value)}, not text")
        elif self.choices and value not in self.choices:
            meant = _meant(value, self.choices)
            wrong(faults, place, f"is {shown(value)}, not one of {', '.join(self.choices)}{meant}")
        elif len(value) > self.size_max:
            wrong(faults, place, f"has {len(value)} characters; at most {self.size_max}")
        elif self.pattern and not re.fullmatch(self.pattern, value):
            wrong(faults, place, f"is {shown(value)}, not {self.like}")
        elif "\0" in value or (not self.lines and _CONTROL.search(value)) or _lone(value):
            wrong(faults, place, f"is {shown(value)}: no control characters are possible here")
        else:
            return value
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        free = r"[^\x00]*" if self.lines else r"[^\x00-\x1f\x7f-\x9f]*"
        return {"type": "string", "maxLength": self.size_max, "pattern": f"^{self.pattern or free}$"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number within limits, whole unless ``broken``."""

    least: float
    most: float
    broken: bool = False

    def read(self, value: object, place: str, faults: Faults) -> float | int | None:
        """The number."""
        fits = isinstance(value, (int, float) if self.broken else int) and not isinstance(value, bool)
        if isinstance(value, float) and not self.broken and value.is_integer() and abs(value) < 2**53:
            fits, value = True, int(value)
        if fits and isfinite(value) and self.least <= value <= self.most:  # type: ignore[arg-type,operator]
            return value  # type: ignore[return-value]
        kind = "a number" if self.broken else "a whole number"
        wrong(faults, place, f"is {_quoted(value)}, not {kind} from {self.least:g} to {self.most:g}")
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "number" if self.broken else "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, value: object, place: str, faults: Faults) -> bool | None:
        """It."""
        if isinstance(value, bool):
            return value
        wrong(faults, place, f"is {_quoted(value)}, not true or false")
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time: seconds, or text with units."""

    most: float
    least: float = 0.0

    def read(self, value: object, place: str, faults: Faults) -> float | None:
        """Seconds."""
        seconds: float | None = None
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value) if abs(value) < 2**53 else None
        elif isinstance(value, str):
            seconds = span_of(value) if not value.isdigit() else None  # "5" may mean minutes to whoever wrote it
        if seconds is not None and isfinite(seconds) and self.least <= seconds <= self.most:
            return seconds
        wrong(faults, place, f'is {_quoted(value)}, not a span of {self.least:g} to {self.most:.0f} seconds: write '
                             f'a number of seconds without quotes, or text with its unit, such as "5m"')  # fmt: skip
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        number = {"type": "number", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{SPAN_TEXT}$", "minLength": 2}]}


@dataclass(frozen=True, slots=True)
class Date:
    """A date with its zone."""

    def read(self, value: object, place: str, faults: Faults) -> float | None:
        """Seconds since 1970."""
        seconds = seconds_of(value) if isinstance(value, str) else None
        if seconds is not None and seconds > 0:
            return seconds
        wrong(faults, place, f"is {_quoted(value)}, not a date with its zone such as 2030-01-31T02:30:00Z or "
                             f"2030-01-31T05:30:00+03:00")  # fmt: skip
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "string", "format": "date-time", "pattern": TIME_PATTERN.replace("^[0-9]{4}", "^2[0-9]{3}")}


@dataclass(frozen=True, slots=True)
class Several:
    """A list."""

    of: Kind
    most: int
    least: int = 0

    def read(self, value: object, place: str, faults: Faults) -> tuple[Any, ...] | None:
        """All of it."""
        if not isinstance(value, list):
            wrong(faults, place, f"is {json_kind(value)}, not a list")
            return None
        if not self.least <= len(value) <= self.most:
            wrong(faults, place, f"has {len(value)} items; {self.least} to {self.most} are possible")
            return None
        return tuple(self.of.read(one, f"{place}[{at}]", faults) for at, one in enumerate(value))

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"type": "array", "items": self.of.schema(), "minItems": self.least, "maxItems": self.most}


@dataclass(frozen=True, slots=True)
class Named:
    """An object whose names the client chooses, sorted by them: equal objects are the same task."""

    pattern: str
    of: Kind
    most: int

    def read(self, value: object, place: str, faults: Faults) -> tuple[tuple[str, Any], ...] | None:
        """Name and value of each."""
        if not isinstance(value, dict):
            wrong(faults, place, f"is {json_kind(value)}, not an object")
            return None
        if len(value) > self.most:
            wrong(faults, place, f"has {len(value)} names; at most {self.most}")
            return None
        for name in value:
            if not re.fullmatch(self.pattern, name):
                wrong(faults, place, f"has the name {shown(name)}, which is none that is possible here")
        return tuple((name, self.of.read(value[name], f"{place}.{name}", faults)) for name in sorted(value))

    def schema(self) -> Schema:
        """As JSON Schema."""
        names = {"pattern": f"^({self.pattern})$"}
        return {"type": "object", "propertyNames": names, "additionalProperties": self.of.schema(),
                "maxProperties": self.most}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Either:
    """One of two forms: an object, or a short way to write it."""

    long: Kind
    short: Kind

    def read(self, value: object, place: str, faults: Faults) -> Any:
        """By the one that it is."""
        return (self.long if isinstance(value, dict) else self.short).read(value, place, faults)

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"anyOf": [self.short.schema(), self.long.schema()]}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object."""

    name: str
    kind: Kind
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """An object of these fields."""

    fields: tuple[Field, ...]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """What is said of fields that are not for it, but for its like."""
    title: str = ""
    """Its name in the description of the interface, where that has it as a part of its own."""

    def read(self, value: object, place: str, faults: Faults) -> Mapping[str, Any] | None:
        """Name and value of each field that is there."""
        if not isinstance(value, dict):
            wrong(faults, place, f"is {json_kind(value)}, not an object")
            return None
        known = {each.name: each for each in self.fields}
        found: dict[str, Any] = {}
        for name, one in value.items():
            own = known.get(name)
            if one is None:
                wrong(faults, _at(place, shown(name)[1:-1]), "is null: leave it out")
            elif own is None:
                unknown = self.elsewhere.get(name) or f"is not known{_meant(name, tuple(known))}"
                wrong(faults, _at(place, shown(name)[1:-1]), unknown)
            else:
                found[name] = own.kind.read(one, _at(place, name), faults)
        for each in self.fields:
            if each.required and each.name not in value:
                wrong(faults, _at(place, each.name), f"is missing: {each.about}")
        return found

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"$ref": REFERENCE.format(name=self.title)} if self.title else self.defined()

    def defined(self) -> Schema:
        """As a part of its own."""
        properties = {each.name: {"description": each.about, **each.kind.schema()} for each in self.fields}
        required = [each.name for each in self.fields if each.required]
        more = {"required": required} if required else {}
        return {"type": "object", "properties": properties, "additionalProperties": False, **more}


@dataclass(frozen=True, slots=True)
class Variants:
    """An object of one of several forms, each known by the one field that it is named for."""

    forms: tuple[tuple[str, Object], ...]
    what: str
    """What the field is about, before the names that were given."""
    title: str

    def read(self, value: object, place: str, faults: Faults) -> Mapping[str, Any] | None:
        """Name and value of each field that is there."""
        if not isinstance(value, dict):
            wrong(faults, place, f"is {json_kind(value)}, not an object")
            return None
        names = [name for name, _ in self.forms]
        given = [name for name in names if name in value]
        if len(given) == 1:
            return dict(self.forms)[given[0]].read(value, place, faults)
        found, at = (" and ".join(given), given[1]) if given else ("nothing", names[0])
        wrong(faults, _at(place, at), f"{self.what} {found}: use one of {', '.join(names)}")
        known = tuple({one.name for _, form in self.forms for one in form.fields})
        for name in value:
            if name not in known:
                wrong(faults, _at(place, shown(name)[1:-1]), f"is not known{_meant(name, known)}")
        return None

    def schema(self) -> Schema:
        """As JSON Schema."""
        return {"$ref": REFERENCE.format(name=self.title)}

    def defined(self) -> Schema:
        """As a part of its own."""
        return {"oneOf": [form.schema() for _, form in self.forms]}


def variants(forms: Mapping[str, tuple[Field, ...]], what: str, title: str) -> Variants:
    """Objects that say of the others' fields where they belong."""
    others = {
        name: {one.name: f"does not go with {name}" for other, fields in forms.items() if other != name
               for one in fields if one not in forms[name]} for name in forms
    }  # fmt: skip
    return Variants(tuple((name, Object(fields, others[name])) for name, fields in forms.items()), what, title)


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _meant(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name[:SHOWN_LENGTH], known, 1, 0.6)
    return f"; {near[0]} is" if near else f"; known are {', '.join(known)}"


def _lone(text: str) -> bool:
    """It holds half of a character, which no encoding knows."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)
