"""Decides which part of a task's output is read.

It must not know who shows it.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

PAGE = 1 << 20
"""Bytes of one answer, as the nodes have it."""
PAGES_MAX = 1024
"""A task that writes faster than it is read would never be read to its end."""


def end_of(client, task, stream, size):
    """The last ``size`` bytes of what is kept of a stream of a task, as text.

    A node keeps the beginning of an output that is too long, so that the end of what was said may not be there.
    """
    said = (task.get("result") or {}).get(f"{stream}_bytes", 0)
    near = max(0, said - size)
    return (_from(client, task, stream, near, size) or _from(client, task, stream, 0, size)).decode("utf-8", "replace")


def _from(client, task, stream, offset, size):
    """The end of what is there from an offset on."""
    end = b""
    for _page in range(PAGES_MAX):
        params = {"stream": stream, "offset": offset, "limit": PAGE}
        piece = client.ask("GET", f"/tasks/{task['task']}/output", params=params, raw=True).document
        if not piece:
            break
        offset += len(piece)
        end = (end + piece)[-size:]
    return end
