"""Decides which part of a task's output is read.

It must not know who shows it.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._tasks import FINAL, missing

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


def lack_of(task):
    """Why a task has said nothing yet, or never will; empty where its last attempt began.

    One that is lost may have begun all the same: nobody heard of it.
    """
    if task.get("began_at") or task.get("parts"):
        return ""
    over = task["state"] in FINAL
    reason = task.get("reason") if over else task.get("why")
    begun = "is not known to have begun" if task["state"] == "lost" else "never began" if over else "has not begun"
    which = f"Attempt {task['attempts']} at task" if task.get("attempts", 0) > 1 else "Task"
    return f"{which} {task['task']} {begun}: {task['state']}" + (f", {reason}" if reason else "")


def read(client, task, size):
    """The end of both outputs, and why there is none; empty where there is one, even if it has nothing in it.

    Raises what the client raises where a node that has the output does not answer: it may when it is asked again.
    """
    found = {"stdout": "", "stderr": ""}
    try:
        for stream in found:
            found[stream] = end_of(client, task, stream, size)
    except Unanswered as failure:
        if not missing(failure):
            raise
        return {**found, "output_missing": lack_of(task) or failure.reason}
    return {**found, "output_missing": "" if any(found.values()) else lack_of(task)}


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
