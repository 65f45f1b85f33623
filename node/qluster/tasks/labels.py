"""Decides whether labels fulfil an expression: ``disk=ssd, zone!=b, gpu, !slow, rack=1|2``.

Must not know whose labels they are. A comma is "and", a bar "one of"; a bare name is "has it", with a mark "has it
not". A node without the label fulfils ``name!=value``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

TERMS_MAX = 16
"""Terms of one expression: they are looked at for each node."""

_TERM = re.compile(r"(?P<no>!)?(?P<name>[A-Za-z0-9][\w./-]{0,62})(?:\s*(?P<op>!?=)\s*(?P<values>[\w./:|-]{1,256}))?")


class Unreadable(ValueError):
    """The expression cannot be read; the message says where."""


@lru_cache(maxsize=1024)
def read(text: str) -> tuple[tuple[str, bool, frozenset[str]], ...]:
    """Name, whether it is to hold, and the values (none: any) of each term; raises :class:`Unreadable`."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > TERMS_MAX:
        raise Unreadable(f"{len(parts)} terms, at most {TERMS_MAX} are possible")
    return tuple(_term(part) for part in parts)


def _term(part: str) -> tuple[str, bool, frozenset[str]]:
    found = _TERM.fullmatch(part)
    if found is None or (found["no"] and found["op"]):
        raise Unreadable(f"{part!r} is none of: name, !name, name=value, name!=value, name=one|other")
    values = frozenset(found["values"].split("|")) if found["values"] else frozenset()
    return found["name"], not found["no"] and found["op"] != "!=", values


def fulfil(labels: Mapping[str, str], text: str) -> str:
    """"" when they do, else the first term that they do not."""
    for name, holds, values in read(text):
        has = name in labels and (not values or labels[name] in values)
        if has != holds:
            kind = "" if holds and not values else ("=" if holds else "!=") + "|".join(sorted(values))
            return f"{'!' if not holds and not values else ''}{name}{kind if values else ''}"
    return ""
