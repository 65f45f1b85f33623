"""The kinds of values that keys have: from text to value and back, with a message when it is wrong.

It knows nothing of single keys. A kind raises ValueError with what is wrong and what to do;
the reader puts the place in front. ``text`` is the inverse of ``read``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Protocol

from .document import Mapping, Scalar, Sequence, Value


class WrongItems(ValueError):
    """Several items of one section are wrong: name, line and message of each."""

    def __init__(self, items: list[tuple[str, int, str]]) -> None:
        super().__init__("; ".join(f"{name} {message}" for name, _, message in items))
        self.items = items


class Kind(Protocol):
    """A kind of value. ``label`` is what the reference page calls it."""

    @property
    def label(self) -> str: ...

    def read(self, value: Value) -> object: ...

    def text(self, value: object) -> str: ...


def scalar_text(value: Value, what: str) -> str:
    """The text of a single value, refusing lists, sections and placeholders."""
    if not isinstance(value, Scalar):
        form = "a list" if isinstance(value, Sequence) else "a section with keys of its own"
        raise ValueError(f"is {form}, but must be {what}.")
    if value.kind == "null":
        raise ValueError(f"has no value. Write {what} after the colon, or remove the line.")
    text = value.text.strip()
    if _placeholder(text):
        raise ValueError(f'"{shown(text)}" is the text of an example. Put {what} in its place.')
    return text


def shown(text: str) -> str:
    """A value as messages quote it: on one line and short."""
    flat = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return flat if len(flat) <= 60 else flat[:57] + "..."


def _placeholder(text: str) -> bool:
    # The example of the product's manual has Russian sentences where values belong.
    return (
        any("а" <= letter.lower() <= "я" for letter in text)
        or text.upper() in {"CHANGEME", "CHANGE_ME", "TODO", "FIXME"}
        or (text.startswith("<") and text.endswith(">"))
        or text.startswith("{{")
    )


def _refuse_trap(value: Value, text: str) -> None:
    """A word that YAML reads as something else must be quoted, or another reader would differ."""
    if isinstance(value, Scalar) and value.kind not in ("str", "int", "float"):
        raise ValueError(f'"{text}" is a {value.kind} to YAML. Write it in quotes: "{text}".')


@dataclass(frozen=True, slots=True)
class Text:
    """A word that matches a pattern."""

    label: str
    pattern: str
    rule: str
    """What the pattern asks for, as the end of a sentence that begins with "use"."""
    size_max: int = 63

    def read(self, value: Value) -> str:
        text = scalar_text(value, self.label)
        _refuse_trap(value, text)
        if len(text.encode()) > self.size_max:
            raise ValueError(f'"{shown(text)}" has {len(text.encode())} bytes, the limit is {self.size_max}.')
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f'"{shown(text)}" is no {self.label}: use {self.rule}.')
        return text

    def text(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def label(self) -> str:
        return " or ".join(f"`{word}`" for word in self.words)

    def read(self, value: Value) -> str:
        text = scalar_text(value, " or ".join(self.words))
        if text not in self.words:
            raise ValueError(f'"{shown(text)}" is not known. Use one of: {", ".join(self.words)}.')
        return text

    def text(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false, and no other word for it."""

    label: str = "true or false"

    def read(self, value: Value) -> bool:
        text = scalar_text(value, "true or false")
        if text not in ("true", "false"):
            raise ValueError(f'"{shown(text)}" is neither true nor false. Write one of these two words.')
        return text == "true"

    def text(self, value: object) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within limits."""

    least: int
    most: int
    unit: str = ""
    reason: str = ""
    """Why the limits are there, as a sentence for whoever meets them."""

    @property
    def label(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        return f"whole number{unit}, {self.least} to {self.most}"

    def read(self, value: Value) -> int:
        text = scalar_text(value, "a whole number")
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)", text) or len(text) > 20:
            unit = f" of {self.unit}" if self.unit else ""
            raise ValueError(f'"{shown(text)}" is no whole number{unit}. Write digits only, '
                             f"without spaces, signs, underscores or leading zeros.")
        number = int(text)
        if not self.least <= number <= self.most:
            reason = f" {self.reason}" if self.reason else ""
            raise ValueError(f"{number} is out of range. Use {self.least} to {self.most}.{reason}")
        return number

    def text(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Decimal:
    """A number with at most three digits after its point, within limits."""

    least: int
    most: int

    @property
    def label(self) -> str:
        return f"number, {self.least} to {self.most}"

    def read(self, value: Value) -> float:
        text = scalar_text(value, "a number")
        if not re.fullmatch(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,3})?", text):
            raise ValueError(f'"{shown(text)}" is no number here. Write digits, and at most three after a point, '
                             f"such as 1.5.")
        if not self.least <= Fraction(text) <= self.most:
            raise ValueError(f"{text} is out of range. Use {self.least} to {self.most}.")
        return float(text)

    def text(self, value: object) -> str:
        assert isinstance(value, float | int), value
        return f"{value:.3f}".rstrip("0").rstrip(".")


DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h)")


def duration_milliseconds(text: str) -> int:
    """Milliseconds of a text such as 30s, 1.5s or 1m30s. Raises ValueError with a message."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError(f'"{shown(text)}" has no unit. Write {shown(text)}s for seconds '
                         f"(units: ms, s, m, h).")
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'"{shown(text)}" is no duration. Write a number and a unit, such as 500ms, 30s '
                         f"or 1m.")
    total = sum((Fraction(number) * DURATION_UNITS[unit] for number, unit in parts), Fraction(0))
    if total.denominator != 1:
        raise ValueError(f'"{shown(text)}" is finer than a millisecond. Use whole milliseconds.')
    return int(total)


def duration_text(seconds: float) -> str:
    """A duration as text, in the largest unit that needs no fraction."""
    milliseconds = round(seconds * 1000)
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % DURATION_UNITS[unit] == 0:
            return f"{milliseconds // DURATION_UNITS[unit]}{unit}"
    return f"{milliseconds}ms"


@dataclass(frozen=True, slots=True)
class Duration:
    """A time span with a unit, within limits (given as text)."""

    least: str
    most: str

    @property
    def label(self) -> str:
        return f"duration, {self.least} to {self.most}"

    def read(self, value: Value) -> float:
        text = scalar_text(value, "a duration such as 30s")
        milliseconds = duration_milliseconds(text)
        if not duration_milliseconds(self.least) <= milliseconds <= duration_milliseconds(self.most):
            raise ValueError(f"{text} is out of range. Use {self.least} to {self.most}.")
        return milliseconds / 1000

    def text(self, value: object) -> str:
        assert isinstance(value, float | int), value
        return duration_text(value)


@dataclass(frozen=True, slots=True)
class Path:
    """An absolute path."""

    label: str = "absolute path"
    empty: bool = False
    """Whether it may be left empty."""
    size_max: int = 1024
    size_reason: str = ""

    def read(self, value: Value) -> str:
        if self.empty and isinstance(value, Scalar) and value.text == "":
            return ""
        text = scalar_text(value, "an absolute path")
        _refuse_trap(value, text)
        if not text.startswith("/"):
            raise ValueError(f'"{shown(text)}" is no absolute path. Let it begin with a slash.')
        if not text.isprintable():
            raise ValueError(f'"{shown(text)}" has characters that cannot be printed.')
        if ".." in text.split("/"):
            raise ValueError(f'"{shown(text)}" goes through "..". Write the path itself.')
        if len(text.encode()) > self.size_max:
            raise ValueError(f'"{shown(text)}" has {len(text.encode())} bytes, the limit is '
                             f"{self.size_max}. {self.size_reason}".strip())
        return re.sub(r"/+", "/", text).rstrip("/") or "/"

    def text(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Networks:
    """A list of networks as address/bits."""

    label: str = "list of networks (address/bits)"
    count_max: int = 64

    def read(self, value: Value) -> tuple[str, ...]:
        if not isinstance(value, Sequence):
            raise ValueError("is no list. Write [192.0.2.0/24], or one network a line with a dash.")
        if len(value.items) > self.count_max:
            raise ValueError(f"lists {len(value.items)} networks, the limit is {self.count_max}. Join some.")
        return tuple(str(self._network(scalar_text(item, "a network"))) for item in value.items)

    @staticmethod
    def _network(text: str) -> IPv4Network | IPv6Network:
        if "/" not in text:
            raise ValueError(f'"{shown(text)}" has no size. Write {shown(text)}/32 for one host.')
        try:
            return ip_network(text)
        except ValueError as error:
            raise ValueError(f'"{shown(text)}" is no network ({error}). Write it as 192.0.2.0/24.') from None

    def text(self, value: object) -> str:
        assert isinstance(value, tuple), value
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class Items:
    """Texts of one kind, as a list."""

    label: str
    pattern: str
    rule: str
    count_max: int = 256

    def read(self, value: Value) -> tuple[str, ...]:
        if not isinstance(value, Sequence):
            raise ValueError("is no list. Write one `- item` a line below it.")
        if len(value.items) > self.count_max:
            raise ValueError(f"has {len(value.items)} items, the limit is {self.count_max}.")
        found: list[str] = []
        for item in value.items:
            text = scalar_text(item, "a list item")
            if not re.fullmatch(self.pattern, text):
                raise ValueError(f'"{shown(text)}" cannot stand here: use {self.rule}.')
            found.append(text)
        return tuple(found)

    def text(self, value: object) -> str:
        assert isinstance(value, tuple), value
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class Table:
    """Names with texts, such as parameters of the database."""

    label: str
    name_pattern: str
    name_rule: str
    value_pattern: str
    value_rule: str
    names: tuple[str, ...] = ()
    """The only names there are; empty: any that matches the pattern."""
    defaults: dict[str, str] = field(default_factory=dict)
    count_max: int = 256

    def read(self, value: Value) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValueError("is no section. Write one `name: value` a line below it.")
        if len(value.items) > self.count_max:
            raise ValueError(f"has {len(value.items)} names, the limit is {self.count_max}.")
        found = dict(self.defaults)
        wrong: list[tuple[str, int, str]] = []
        for name, item in value.items.items():
            try:
                found[name] = self._item(name, item)
            except ValueError as error:
                wrong.append((shown(name), value.key_lines.get(name, value.line), str(error)))
        if wrong:
            raise WrongItems(wrong)
        return found

    def _item(self, name: str, item: Value) -> str:
        if self.names and name not in self.names:
            raise ValueError(f'"{shown(name)}" is not known here. Use {", ".join(self.names)}.')
        if not re.fullmatch(self.name_pattern, name):
            raise ValueError(f'"{shown(name)}" is no name here: use {self.name_rule}.')
        text = scalar_text(item, "a value")
        if not re.fullmatch(self.value_pattern, text):
            raise ValueError(f'"{shown(text)}" cannot stand here: use {self.value_rule}.')
        return text

    def text(self, value: object) -> str:
        assert isinstance(value, dict), value
        return ",".join(f"{name}={value[name]}" for name in sorted(value))
