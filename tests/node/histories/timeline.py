"""Decides how a part of a history is shown to people: one line an operation, with a bar where it lay in time.

Must not know why the part is shown.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

from histories.operations import Operation, Value

BAR_WIDTH = 48
LINES_MAX = 40
"""More nobody reads; the last ones are those that show it."""


def timeline(part: Sequence[Operation], initial: Value = None) -> str:
    """The operations in the order of their beginnings."""
    ordered = sorted(part, key=lambda one: (one.began, one.ended))
    shown = ordered[-LINES_MAX:]
    if not shown:
        return ""
    moments = [one.began for one in shown] + [one.ended for one in shown if not one.unknown]
    first, last = min(moments), max(moments)
    scale = (BAR_WIDTH - 1) / (last - first) if last > first else 0.0
    client_width = max(len(one.client) for one in shown)
    text_width = max(len(str(one)) for one in shown)
    was = "absent" if initial is None else repr(initial)
    lines = [f"key {shown[0].key!r}, {was} at first, from {first:.6f} to {last:.6f}: no order explains this"]
    if len(shown) < len(ordered):
        lines.append(f"({len(ordered) - len(shown)} operations before these)")
    for one in shown:
        begin = int((one.began - first) * scale)
        end = BAR_WIDTH if one.unknown else int((one.ended - first) * scale)
        bar = " " * begin + "├" + "─" * max(0, end - begin - 1) + ("┄" if one.unknown else "┤")
        lines.append(f"{one.client:<{client_width}}  {one!s:<{text_width}}  {bar}")
    return "\n".join(lines)
