"""From the text of config.yaml to a Config, or to all that is wrong with it at once.

It must not open files: the text and the name to show come as arguments.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec

from . import rules
from .document import ConfigErrors, Fault, Mapping, Scalar, Sequence, Value, read_document
from .keys import BY_PATH, KEYS, OPTIONAL_SECTIONS, SECTIONS, Key
from .kinds import Networks, Table, WrongItems
from .structure import Config


def parse(text: str, name: str) -> Config:
    """The configuration in ``text``; ``name`` is the file's name for messages.

    Raises ConfigErrors with every fault.
    """
    root, faults = read_document(text, name)
    given: dict[str, Value] = {}
    sections: dict[str, int] = {"": 0}
    _collect(root, "", given, sections, faults)
    values = {key.path: _read(key, given, sections, faults) for key in KEYS}
    if faults:
        raise ConfigErrors(name, faults)
    config = build(values, sections)
    lines = {path: value.line for path, value in given.items()}
    between = [Fault(fault.key, fault.message, lines.get(fault.key, 0)) for fault in rules.faults(config)]
    if between:
        raise ConfigErrors(name, between)
    return config


def build(values: dict[str, object], sections: dict[str, int]) -> Config:
    """The Config of values by path; optional sections only where they were given."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        section, _, word = path.rpartition(".")
        if section in OPTIONAL_SECTIONS and section not in sections:
            continue
        place = tree
        for part in section.split(".") if section else []:
            place = place.setdefault(part, {})
        place[word] = value
    return msgspec.convert(tree, Config)


def _collect(
    mapping: Mapping, prefix: str, given: dict[str, Value], sections: dict[str, int], faults: list[Fault]
) -> None:
    """Sort what was written into keys and sections; refuse what is neither."""
    for word, value in mapping.items.items():
        path = f"{prefix}{word}"
        line = mapping.key_lines[word]
        if path in SECTIONS:
            _collect_section(path, value, line, given, sections, faults)
        elif path in BY_PATH:
            given[path] = _at_line(value, line)
        else:
            faults.append(Fault(path, _unknown_message(path, word), line))


def _collect_section(
    path: str, value: Value, line: int, given: dict[str, Value], sections: dict[str, int], faults: list[Fault]
) -> None:
    if isinstance(value, Mapping):
        sections[path] = line
        _collect(value, path + ".", given, sections, faults)
        return
    empty = isinstance(value, Scalar) and value.kind == "null"
    if empty and path not in OPTIONAL_SECTIONS:
        return
    form = "is empty" if empty else "is a list" if isinstance(value, Sequence) else "is a single value"
    remedy = "Indent its keys below it" + (", or remove the line." if empty else ".")
    faults.append(Fault(path, f"{form}, but must be a section. {remedy}", line))


def _at_line(value: Value, line: int) -> Value:
    # A long value may begin a line below its key; people look for the key.
    if isinstance(value, Scalar):
        return Scalar(value.text, value.kind, line)
    if isinstance(value, Sequence):
        return Sequence(value.items, line)
    return Mapping(value.items, value.key_lines, line)


def _unknown_message(path: str, word: str) -> str:
    known = list(BY_PATH) + list(SECTIONS)
    lowered = path.lower().replace("_", "-")
    near = get_close_matches(lowered, known, n=1, cutoff=0.85)
    if not near:
        # The right word in the wrong section.
        near = [other for other in known if other.rpartition(".")[2] == lowered.rpartition(".")[2]][:1]
    near = near or get_close_matches(lowered, known, n=1, cutoff=0.7)
    near = near or get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else "docs/reference/config.md lists every key."
    return f"is not known. {hint}"


def _read(key: Key, given: dict[str, Value], sections: dict[str, int], faults: list[Fault]) -> object:
    section = key.path.rpartition(".")[0]
    value = given.get(key.path)
    if value is None:
        wanted = section not in OPTIONAL_SECTIONS or section in sections
        if wanted and key.default is None and not key.optional:
            message = f"is missing. {key.meaning} ({key.kind.label})"
            faults.append(Fault(key.path, message, sections.get(section, 0)))
        return default(key)
    if key.optional and isinstance(value, Scalar) and not value.text:
        # A template that has nothing to say leaves an empty text.
        return None
    try:
        return key.kind.read(value)
    except WrongItems as error:
        faults.extend(Fault(f"{key.path}.{word}", message, line) for word, line, message in error.items)
    except ValueError as error:
        faults.append(Fault(key.path, str(error), value.line))
    return None


def default(key: Key) -> object:
    """The value of a key that is not given; None where it must be given or may be absent."""
    if isinstance(key.kind, Table):
        return dict(key.kind.defaults)
    if isinstance(key.kind, Networks):
        return ()
    return None if key.default is None else key.kind.read(Scalar(key.default))
