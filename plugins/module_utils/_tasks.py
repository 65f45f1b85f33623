"""Decides when two ways to write a task mean the same, and what is said of a task that is over or is waited for.

It must not know which module asks.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import time

from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

FINAL = ("succeeded", "failed", "cancelled", "expired", "lost")
"""Nothing follows these, as the nodes have it."""

UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")

BY = {"type": "str", "default": "ansible"}
"""The option that says who wants it."""

TARGET = {"role": "any", "nodes": [], "where": "", "least_lag": False, "each": False, "pack": False, "fail": False}
RETRY = {"attempts": 0, "delay": 10.0, "factor": 2.0, "delay_max": 3600.0}
LIMITS = {"memory": 0, "cpu": 0.0, "processes": 0, "output": 16 << 20}
TASK = {
    "name": "", "priority": 5, "slots": 1, "resources": {}, "time_limit": 3600.0, "once": False, "overlap": False,
    "moved": "stop", "group": "", "group_limit": 1, "target": TARGET, "retry": RETRY, "limits": LIMITS,
    "environment": {}, "directory": "", "user": "", "database": "postgres", "role": "", "variables": {},
    "arguments": [], "parameters": {}, "key": "", "needs": [],
}
"""What a field of a task is where nobody says it, as the nodes have it: they leave that out when they show one."""

SPANS = ("time_limit", "delay", "delay_max")

POLL_FIRST = 0.2
"""Seconds between the first looks at a task; each later pause is longer, up to what was asked for."""


class Refusal(Exception):
    """It cannot become so; the text says why and what to do."""


def seconds(value):
    """A span of time as seconds, where it is one; else the value itself, for the cluster to refuse."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            return float(text)
        if text and SPAN.sub("", text) == "":
            return sum(float(number) * UNIT_SECONDS[unit] for number, unit in SPAN.findall(text))
    return value


def plain(given, fields=None):
    """A task as it is sent: without what was not given, spans as seconds, texts where text is wanted."""
    found = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, dict):
            texts = name in ("parameters", "environment", "variables")
            value = {key: as_text(one) for key, one in value.items()} if texts else plain(value)
        elif name in SPANS:
            value = seconds(value)
        elif name in ("command", "arguments") and isinstance(value, list):
            value = [as_text(one) for one in value]
        elif name in ("needs", "nodes") and isinstance(value, list):
            value = [as_number(one) for one in value]
        found[name] = value
    return found if fields is None else {name: value for name, value in found.items() if name in fields}


def as_text(value):
    """A number in a playbook is a word of a command all the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def as_number(value):
    """A template of a playbook makes text of numbers."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else value


def canonical(task, defaults=None):
    """A task in the one form in which two are compared: what is as by default is left out."""
    defaults = TASK if defaults is None else defaults
    found = {}
    for name, value in task.items():
        default = defaults.get(name)
        if isinstance(default, dict) and default and isinstance(value, dict):
            value, default = canonical(value, default), {}
        if name in SPANS:
            value = seconds(value)
        if value is None or (name in defaults and value == default):
            continue
        found[name] = value
    return found


def missing(failure):
    """Whether the cluster said that there is no such thing."""
    return failure.code == 404


def vain(failure):
    """What is said when the cluster did not do what it was asked for."""
    return f"The cluster refuses it: {failure}" if failure.refused else f"The cluster was asked in vain: {failure}"


def look(client, path):
    """What the leader says of one thing, None where there is none."""
    try:
        return client.ask("GET", path, params={"consistency": "leader"}).document
    except Unanswered as failure:
        if missing(failure):
            return None
        raise


def show(client, number):
    """One task. Raises Refusal where nobody knows it."""
    found = look(client, f"/tasks/{int(number)}")
    if found is None:
        raise Refusal(f"There is no task {number}, or it is forgotten. qluster_task_info lists those that there are.")
    return found


def wait_for(ask, done, timeout, delay):
    """Ask until it is done or so many seconds have passed; the last answer, and whether it is done.

    A cluster that gives no answer for a moment, as in a failover, is asked again.
    """
    deadline = time.monotonic() + timeout
    pause = min(POLL_FIRST, delay)
    last = None
    while True:
        try:
            found = ask()
            if done(found):
                return found, True
            last = found
        except Unanswered as failure:
            if failure.refused or (last is None and time.monotonic() >= deadline):
                raise
        left = deadline - time.monotonic()
        if left <= 0:
            return last, False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, delay)


def over(task):
    """Nothing follows any more."""
    return task["state"] in FINAL


def line(task):
    """A task for people."""
    name = f" ({task['name']})" if task.get("name") else ""
    node = f" on node {task['node']}" if task.get("node") else ""
    why = task.get("why") or task.get("reason")
    return f"task {task['task']}{name} is {task['state']}{node}" + (f": {why}" if why else "")
