"""What an object holds, down to plain values, so that two moments of it can be compared.

Must not know what it looks at. What cannot be looked into (ciphers) counts by being the same object.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from random import Random

PLAIN = (int, float, str, bytes, bool, type(None), Enum, type)


def picture(value: object, leave_out: frozenset[str] = frozenset(), seen: frozenset[int] = frozenset()) -> object:
    """The value as nested tuples; attributes named in ``leave_out`` do not count."""
    if isinstance(value, PLAIN):
        return value
    if id(value) in seen:
        return "above"
    seen |= {id(value)}
    if isinstance(value, Random):
        return hash(value.getstate())
    if isinstance(value, Mapping):
        return tuple(
            (picture(key, leave_out, seen), picture(one, leave_out, seen)) for key, one in value.items()
        )
    if isinstance(value, list | tuple | deque):
        return tuple(picture(one, leave_out, seen) for one in value)
    if isinstance(value, set | frozenset):
        return tuple(sorted((picture(one, leave_out, seen) for one in value), key=repr))
    names = attributes(value)
    if not names:
        return type(value).__name__, id(value)
    return type(value).__name__, tuple(
        (name, picture(getattr(value, name), leave_out, seen)) for name in names if name not in leave_out
    )


def attributes(value: object) -> list[str]:
    """Names of everything that an instance holds."""
    if callable(value) or type(value).__module__.startswith("cryptography"):
        return []
    names = [name for each in type(value).__mro__ for name in _slots(each)]
    return [name for name in [*names, *getattr(value, "__dict__", {})] if hasattr(value, name)]


def _slots(owner: type) -> tuple[str, ...]:
    slots = owner.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
