"""Turns YAML text into a tree of scalars that know their line.

It knows nothing of which keys exist.

YAML's own idea of values is not used: ``on`` would be true, ``12:30`` would be 750 and ``1_000``
would be 1000. A scalar keeps its text, and what YAML would have made of it only serves messages.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field

import yaml

TEXT_SIZE_MAX = 256 * 1024
"""A configuration has about 60 keys; a larger text is another file given by mistake."""

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigErrors(Exception):
    """The configuration has faults; ``faults`` lists every one of them."""

    def __init__(self, name: str, faults: list[Fault]) -> None:
        self.name = name
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__(name, faults)

    def lines(self) -> list[str]:
        """One line for each fault, with the place in front."""
        return [fault.sentence(self.name) for fault in self.faults]

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: at which key, and what is wrong and what to do."""

    key: str
    message: str
    line: int = 0
    """Line in the text, from 1; 0 where the fault has no line."""

    def sentence(self, name: str) -> str:
        place = f"{name}:{self.line}" if self.line else name
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value as it is written."""

    text: str
    kind: str = "str"
    """What YAML would take it for: str, bool, int, float, null, timestamp, ..."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of values."""

    items: tuple[Value, ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with values, in the order of the text."""

    items: dict[str, Value] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    line: int = 0


Value = Scalar | Sequence | Mapping


def read_document(text: str, name: str, page: str = "docs/reference/config.md") -> tuple[Mapping, list[Fault]]:
    """The tree of a text, and the faults of its form (duplicate keys, odd keys).

    Raises ConfigErrors where no tree can be made at all.
    """
    if len(text) > TEXT_SIZE_MAX:
        raise ConfigErrors(name, [Fault("", f"has {len(text)} characters; a configuration has at most "
                                            f"{TEXT_SIZE_MAX}. Is this the right file?")])
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigErrors(name, [Fault("", _syntax_message(error), mark.line + 1 if mark else 0)]) from None
    except yaml.YAMLError as error:
        message = f"is no YAML text ({str(error).splitlines()[0]}). Write plain UTF-8 text."
        raise ConfigErrors(name, [Fault("", message)]) from None
    except RecursionError:
        message = "is nested far too deeply. A configuration has at most three levels."
        raise ConfigErrors(name, [Fault("", message)]) from None
    if root is None:
        raise ConfigErrors(name, [Fault("", f"is empty. {page} has an example.")])
    if not isinstance(root, yaml.MappingNode):
        raise ConfigErrors(name, [Fault("", "is no list of `key: value` lines.", root.start_mark.line + 1)])
    reader = _Reader()
    return reader.mapping(root, "", 0), reader.faults


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(part for part in (error.context, error.problem) if part)
    return f"cannot be read as YAML ({problem}). Check the indentation, the colons and the quotes here."


DEPTH_MAX = 8
"""No key lies deeper than three levels; the rest is room for a clear message about what is too deep."""


class _Reader:
    """Makes the tree, and gathers the faults of its form."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._met: set[int] = set()

    def _value(self, node: yaml.Node, path: str, depth: int) -> Value:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.CollectionNode):
            return Scalar(str(node.value), node.tag.rsplit(":", 1)[-1], line)
        fault = self._fault(node, depth)
        if fault:
            self.faults.append(Fault(path, fault, line))
            return Scalar("", "null", line)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        return Sequence(tuple(self._value(item, path, depth + 1) for item in node.value), line)

    def _fault(self, node: yaml.Node, depth: int) -> str:
        if depth > DEPTH_MAX:
            return "is nested too deeply. No key lies deeper than three levels."
        if id(node) in self._met:
            # A few lines of lists that name each other would stand for more values than fit into memory.
            return "is named again by an alias. Write the list or the section out where it is needed."
        self._met.add(id(node))
        return ""

    def mapping(self, node: yaml.MappingNode, path: str, depth: int) -> Mapping:
        """The keys of a section with their values."""
        found = Mapping(line=node.start_mark.line + 1)
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(path, "a key must be a single word.", line))
                continue
            key = str(key_node.value)
            here = f"{path}.{key}" if path else key
            if key in found.items:
                first = found.key_lines[key]
                self.faults.append(Fault(here, f"stands twice (first in line {first}). Keep one of them.", line))
                continue
            found.key_lines[key] = line
            found.items[key] = self._value(value_node, here, depth + 1)
        return found
