"""Decides which fields of a task an entry of the log and the history need not hold.

Must not know what any of them means. What stands at the end of a field list as if it had not been given is left out:
who reads puts the defaults there, as every version did. Whole numbers stand in as many bytes as they need, also where
a float is read. Most tasks take a third of the bytes then.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from functools import cache

import msgspec
from msgspec import Struct

WHOLE_MAX = 2.0**53
"""Below this a float and the whole number that it is are the same."""


@cache
def _fields(kind: type[Struct]) -> tuple[list[object], tuple[object, ...]]:
    """Tag of a kind, and the defaults of its fields; where there is none stands what no field is equal to."""
    tag = kind.__struct_config__.tag
    return [] if tag is None else [tag], tuple(field.default for field in msgspec.structs.fields(kind))


def said(value: object) -> object:
    """Plain values that are encoded as ``value`` is, without what its structs say by default at their ends.

    All structs in it must be ``array_like``: on those msgspec's own ``omit_defaults`` has no effect (0.22).
    """
    if isinstance(value, tuple):
        return [said(one) for one in value] if value and isinstance(value[0], Struct) else value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < WHOLE_MAX else value
    if not isinstance(value, Struct):
        return value
    tag, defaults = _fields(type(value))
    values = msgspec.structs.astuple(value)
    count = len(values)
    while count and values[count - 1] == defaults[count - 1]:
        count -= 1
    return tag + [said(one) if isinstance(one, (tuple, float, Struct)) else one for one in values[:count]]
