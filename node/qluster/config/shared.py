"""Which values are one for the whole cluster, how two nodes' values differ, and how they change.

It knows nothing of the log that keeps such changes, nor of who asks for one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from . import rules
from .document import ConfigErrors, Fault, Scalar
from .key import Change
from .keys import BY_PATH, KEYS, OPTIONAL_SECTIONS
from .parse import build
from .structure import Config

SILENT = ("quorum.", "cluster.task-history")
"""Beginnings of keys that nobody says while they are at their default."""

CHANGES_NAME = "settings"
"""What messages name as the place of a change that comes in no file."""


def value_at(config: Config, path: str) -> object:
    """The value of a key; None where its section is absent."""
    value: Any = config
    for word in path.split("."):
        if value is None:
            return None
        value = getattr(value, word.replace("-", "_"))
    return value


def shared(config: Config, *, whole: bool = False) -> dict[str, str]:
    """Every value that must be the same on all nodes, as text by key.

    Of ``SILENT`` only those that are not the default, unless ``whole``: a version without these keys is of the same
    mind, and most clusters never say them.
    """
    texts = {
        key.path: key.kind.text(value_at(config, key.path))
        for key in KEYS
        if key.change is not Change.HOST
    }
    return texts if whole else {path: text for path, text in texts.items() if silent_default(path) != text}


def silent_default(path: str) -> str | None:
    """What a key is where nobody says it, for those that are then not said; None for all others."""
    return BY_PATH[path].default if path in BY_PATH and path.startswith(SILENT) else None


def digest(values: dict[str, str]) -> str:
    """A short text that is the same for the same values."""
    lines = "".join(f"{key}={values[key]}\n" for key in sorted(values))
    return sha256(lines.encode()).hexdigest()[:16]


def shared_digest(config: Config) -> str:
    """The digest of this node's shared values; nodes with the same one are in sync."""
    return digest(shared(config))


def differences(mine: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """One sentence for each shared value that differs."""
    sentences = []
    for key in sorted(mine.keys() | theirs.keys()):
        here, there = mine.get(key), theirs.get(key)
        if here == there:
            continue
        if here is None or there is None:
            place = "here" if here is None else "in the cluster"
            sentences.append(f"{key} is not known {place}: bring all nodes to the same version.")
            continue
        sentences.append(f"{key} is {here or 'not set'} here and {there or 'not set'} in the cluster: "
                         f"make them equal in config.yaml and start this node again.")
    return sentences


def changeable() -> tuple[str, ...]:
    """The keys that ``with_changes`` accepts."""
    return tuple(key.path for key in KEYS if key.change is Change.LIVE)


def needs_restart(keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` whose change takes effect only at a node's next start."""
    return [path for path in keys if path in BY_PATH and BY_PATH[path].change is not Change.LIVE]


def with_changes(config: Config, changes: dict[str, str]) -> Config:
    """``config`` with replicated settings changed, under the same checks as the file.

    Raises ConfigErrors with every fault.
    """
    faults: list[Fault] = []
    values = {key.path: value_at(config, key.path) for key in KEYS}
    for path, text in changes.items():
        try:
            values[path] = _changed(path, text)
        except ValueError as error:
            faults.append(Fault(path, str(error)))
    if faults:
        raise ConfigErrors(CHANGES_NAME, faults)
    present = {section: 0 for section in OPTIONAL_SECTIONS if value_at(config, section) is not None}
    changed = build({path: msgspec.to_builtins(value) for path, value in values.items()}, present)
    between = rules.faults(changed)
    if between:
        raise ConfigErrors(CHANGES_NAME, between)
    return changed


def _changed(path: str, text: str) -> object:
    key = BY_PATH.get(path)
    if key is None:
        raise ValueError(f"is not known. Use one of: {', '.join(changeable())}.")
    if key.change is Change.HOST:
        raise ValueError("belongs to one host. Change it in that host's config.yaml.")
    if key.change is Change.CLUSTER:
        raise ValueError("is fixed while the cluster lives. A list of peers changes host by host, in config.yaml.")
    return key.kind.read(Scalar(text))
