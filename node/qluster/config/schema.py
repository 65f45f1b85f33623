"""Reads a text against a table of keys: what stands where, what is missing, wrong or unknown.

It must not know which keys there are, nor open files. The daemons of node and arbiter have a table each.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from .document import ConfigErrors, Fault, Mapping, Scalar, Sequence, Value, read_document
from .key import Key
from .kinds import Items, Networks, Table, WrongItems


@dataclass(frozen=True)
class Read:
    """What a text says: a value for each key, and where keys and sections stand."""

    values: dict[str, object]
    sections: dict[str, int]
    lines: dict[str, int]


@dataclass(frozen=True)
class Schema:
    """The keys of one kind of file."""

    keys: tuple[Key, ...]
    sections: tuple[str, ...]
    optional_sections: tuple[str, ...] = ()
    page: str = "docs/reference/config.md"
    """Where people find every key."""

    @cached_property
    def by_path(self) -> dict[str, Key]:
        """Each key by its path."""
        return {key.path: key for key in self.keys}

    def read(self, text: str, name: str) -> Read:
        """The values in ``text``. Raises ConfigErrors with every fault; ``name`` is the file's for messages."""
        root, faults = read_document(text, name, self.page)
        reader = _Reader(self, faults)
        reader.collect(root, "")
        values = {key.path: reader.value(key) for key in self.keys}
        if faults:
            raise ConfigErrors(name, faults)
        return Read(values, reader.sections, {path: value.line for path, value in reader.given.items()})

    def tree(self, values: dict[str, object], sections: dict[str, int]) -> dict[str, Any]:
        """Values by path as sections within sections; optional ones only where they were given."""
        tree: dict[str, Any] = {}
        for path, value in values.items():
            section, _, word = path.rpartition(".")
            if section in self.optional_sections and section not in sections:
                continue
            place = tree
            for part in section.split(".") if section else []:
                place = place.setdefault(part, {})
            place[word] = value
        return tree


def default(key: Key) -> object:
    """The value of a key that is not given; None where it must be given or may be absent."""
    if isinstance(key.kind, Table):
        return dict(key.kind.defaults)
    if isinstance(key.kind, Networks | Items):
        return ()
    return None if key.default is None else key.kind.read(Scalar(key.default))


@dataclass
class _Reader:
    """Sorts one document."""

    schema: Schema
    faults: list[Fault]
    given: dict[str, Value] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=lambda: {"": 0})

    def collect(self, mapping: Mapping, prefix: str) -> None:
        """Sort what was written into keys and sections; refuse what is neither."""
        for word, value in mapping.items.items():
            path = f"{prefix}{word}"
            line = mapping.key_lines[word]
            if path in self.schema.sections:
                self._section(path, value, line)
            elif path in self.schema.by_path:
                self.given[path] = _at_line(value, line)
            else:
                self.faults.append(Fault(path, self._unknown(path, word), line))

    def value(self, key: Key) -> object:
        """The value of a key, or its default."""
        section = key.path.rpartition(".")[0]
        value = self.given.get(key.path)
        if value is None:
            wanted = section not in self.schema.optional_sections or section in self.sections
            if wanted and key.default is None and not key.optional:
                message = f"is missing. {key.meaning} ({key.kind.label})"
                self.faults.append(Fault(key.path, message, self.sections.get(section, 0)))
            return default(key)
        if key.optional and isinstance(value, Scalar) and not value.text:
            # A template that has nothing to say leaves an empty text.
            return None
        try:
            return key.kind.read(value)
        except WrongItems as error:
            self.faults.extend(Fault(f"{key.path}.{word}", message, line) for word, line, message in error.items)
        except ValueError as error:
            self.faults.append(Fault(key.path, str(error), value.line))
        return None

    def _section(self, path: str, value: Value, line: int) -> None:
        if isinstance(value, Mapping):
            self.sections[path] = line
            self.collect(value, path + ".")
            return
        empty = isinstance(value, Scalar) and value.kind == "null"
        if empty and path not in self.schema.optional_sections:
            return
        form = "is empty" if empty else "is a list" if isinstance(value, Sequence) else "is a single value"
        remedy = "Indent its keys below it" + (", or remove the line." if empty else ".")
        self.faults.append(Fault(path, f"{form}, but must be a section. {remedy}", line))

    def _unknown(self, path: str, word: str) -> str:
        known = [*self.schema.by_path, *self.schema.sections]
        lowered = path.lower().replace("_", "-")
        near = get_close_matches(lowered, known, n=1, cutoff=0.85)
        if not near:
            # The right word in the wrong section.
            near = [other for other in known if other.rpartition(".")[2] == lowered.rpartition(".")[2]][:1]
        near = near or get_close_matches(lowered, known, n=1, cutoff=0.7)
        near = near or get_close_matches(word.lower(), known, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]}?" if near else f"{self.schema.page} lists every key."
        return f"is not known. {hint}"


def _at_line(value: Value, line: int) -> Value:
    # A long value may begin a line below its key; people look for the key.
    if isinstance(value, Scalar):
        return Scalar(value.text, value.kind, line)
    if isinstance(value, Sequence):
        return Sequence(value.items, line)
    return Mapping(value.items, value.key_lines, line)
