"""Decides by the definition itself whether a small history is linearizable: every order is tried.

The slow and obvious second implementation, which :mod:`histories.linearizability` must agree with.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

from histories.operations import Kind, Operation, Value


def explained(history: Sequence[Operation], value: Value = None) -> bool:
    """Whether some order of these operations on one key explains every answer."""
    if all(one.unknown for one in history):
        return True
    first_answer = min(one.ended for one in history)
    for place, one in enumerate(history):
        if one.began > first_answer:
            continue
        rest = [*history[:place], *history[place + 1 :]]
        found, after = applied(one, value)
        if found and explained(rest, after):
            return True
    return False


def applied(one: Operation, value: Value) -> tuple[bool, Value]:
    """Whether it could have been answered so on this value, and the value after it."""
    if one.kind is Kind.READ:
        return one.unknown or one.value == value, value
    if one.kind is Kind.WRITE:
        return True, one.value
    if one.kind is Kind.CAS:
        holds, after = value == one.expected, one.value
    else:
        holds, after = value is not None, None
    return one.unknown or holds == one.held, after if holds else value
