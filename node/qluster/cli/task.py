"""Submits tasks, shows them, waits for them.

It must not decide anything: it asks the node on this host, or the leader that it names, and prints what that answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qluster.cli.asking import PASSING, Away, Unanswered, Unknown, refusal, user, word_of
from qluster.cli.exits import EXIT_DONE, EXIT_ENDED_ILL, EXIT_FORGOTTEN, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.show import table
from qluster.cli.task_bodies import Wrong, described, scheduled
from qluster.cli.task_output import FINAL, OUTPUT_WAIT, Output
from qluster.config import Config
from qluster.edge.client import ClientError, HttpAnswer, ask

ASK_SECONDS = 20.0
"""A write is confirmed within ten seconds, or the leader says that it is not."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks whether a task is over."""

PATIENCE = 120.0
"""Seconds without any answer after which waiting ends: an election and the start of a daemon take less."""

TAIL_LINES = 5
"""Of the end of what a task said that went wrong; `qluster task show` has more."""

NOT_FOUND, SERVER = 404, 500
NOT_YET = (412, 417, 420)
"""A node that has just begun, that does not lead, that could not have it confirmed."""


def run_task(config: Config, chosen: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    commands: dict[str, Callable[[Config, argparse.Namespace], int]] = {
        "submit": _submit, "list": _list, "show": _show, "output": _output, "cancel": _cancel,
        "wait": lambda config, chosen: _wait(config, chosen.task, chosen.seconds), "templates": _stored,
        "schedules": _stored, "schedule": _schedule, "unschedule": _unschedule, "summary": _summary, "drain": _drain,
    }  # fmt: skip
    try:
        return commands[chosen.task_command](config, chosen)
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        return EXIT_USAGE
    except (Unanswered, ClientError) as reason:
        print(reason, file=sys.stderr)
        return EXIT_TROUBLE


def _asked(config: Config, method: str, path: str, query: dict[str, Any] | None = None, body: object = None,
           seconds: float = ASK_SECONDS) -> HttpAnswer:  # fmt: skip
    """The answer of code 200; raises :class:`Unanswered` for any other."""
    file = config.api.read_token_file if method == "GET" else config.api.operate_token_file
    try:
        token = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unanswered(f"{file} cannot be read ({error}). Run this as the user of the service.") from None
    given = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
    key = "" if method == "GET" else uuid.uuid4().hex
    answer = asyncio.run(ask((config.ip, config.api_port), method, path, ca_file=config.api.ca_file, token=token,
                             query=given, body=body, key=key, timeout=seconds))  # fmt: skip
    if answer.code != 200:
        away = answer.code in NOT_YET or answer.code >= SERVER
        kind = Unknown if answer.code == NOT_FOUND else Away if away else Unanswered
        raise kind(refusal(answer), word_of(answer))
    return answer


# --- submit -------------------------------------------------------------------------


def _submit(config: Config, chosen: argparse.Namespace) -> int:
    body = described(chosen)
    check = "true" if chosen.check else None
    answer = _asked(config, "POST", "/tasks", {"by": user(), "check": check}, body)
    document = answer.document()
    if chosen.json:
        print(answer.body.decode())
    if chosen.check:
        for placement in document["placements"] if not chosen.json else ():
            print("\n".join(_placed(placement)))
        return EXIT_DONE
    if document["tasks"] is None:
        print(f"entry {document['index']} of the log has taken it on already, and which tasks it made is remembered no "
              f"more: `qluster task list` shows those that are known. Nothing was submitted again.", file=sys.stderr)
        return EXIT_FORGOTTEN
    if not chosen.json:
        print("\n".join(map(str, document["tasks"])), flush=True)
    return _wait(config, document["tasks"], chosen.seconds, made=True) if chosen.wait else EXIT_DONE


def _placed(placement: dict[str, Any]) -> list[str]:
    nodes = ", ".join(map(str, placement["nodes"]))
    said = [f"it would run on {'nodes' if len(placement['nodes']) > 1 else 'node'} {nodes}" if nodes
            else "no node can run it now"]  # fmt: skip
    return said + [f"  node {node} {reason}" for node, reason in placement["reasons"].items() if reason]


# --- wait and output ----------------------------------------------------------------


def _wait(config: Config, tasks: list[int], seconds: int | None, *, made: bool = False) -> int:
    """Until all are over; a node or a leader that is away for a while is waited for as well. ``made``: there were such
    tasks, so that one which nobody knows is over."""
    until = time.monotonic() + seconds if seconds is not None else None
    well, known = True, True
    for task in tasks:
        try:
            shown = _over(config, task, until)
        except Unknown as reason:
            print(f"task {task} is known no more: it is over and forgotten (cluster.task-history), or a forced quorum "
                  f"has lost it" if made else reason, file=sys.stderr)
            known = False
            continue
        if shown is None:
            print(f"task {task} is not over after {seconds} s", file=sys.stderr)
            return EXIT_TROUBLE
        well = well and shown["state"] == "succeeded"
        print("\n".join(_ended(task, shown)), file=sys.stderr)
    return EXIT_ENDED_ILL if not well else EXIT_DONE if known else EXIT_FORGOTTEN


def _ended(task: int, shown: dict[str, Any]) -> list[str]:
    """How a task ended, and where that was ill the end of what it said."""
    first = f"task {task} {shown['state']}" + (f": {shown['reason']}" if shown["reason"] else "")
    tail = (shown["result"] or {}).get("tail", "").splitlines() if shown["state"] != "succeeded" else []
    return [first, *(f"  {line}" for line in tail[-TAIL_LINES:])]


def _over(config: Config, task: int, until: float | None) -> dict[str, Any] | None:
    heard = time.monotonic()
    while True:
        try:
            # Of the leader: the node on this host may not have heard yet of what was just confirmed.
            shown: dict[str, Any] = _asked(config, "GET", f"/tasks/{task}", {"consistency": "lease"}).document()
            heard = time.monotonic()
            if shown["state"] in FINAL:
                return shown
        except PASSING:
            if time.monotonic() > min(heard + PATIENCE, until if until is not None else heard + PATIENCE):
                raise
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(LOOK_INTERVAL)


def _output(config: Config, chosen: argparse.Namespace) -> int:
    def asked(path: str, query: dict[str, Any]) -> HttpAnswer:
        return _asked(config, "GET", path, query, seconds=OUTPUT_WAIT + ASK_SECONDS)

    output = Output(asked, chosen.task, "stderr" if chosen.stderr else "stdout", LOOK_INTERVAL, PATIENCE)
    return output.follow() if chosen.follow else output.once()


# --- what there is ------------------------------------------------------------------


def _list(config: Config, chosen: argparse.Namespace) -> int:
    query = {name: getattr(chosen, name) for name in ("state", "name", "template", "schedule", "node", "key",
                                                        "before", "limit")}  # fmt: skip
    answer = _asked(config, "GET", "/tasks", query)
    if chosen.json:
        print(answer.body.decode())
        return EXIT_DONE
    document = answer.document()
    print("\n".join(listed(document["tasks"])))
    if document["next"] is not None:
        print(f"… and older ones: --before {document['next']}", file=sys.stderr)
    return EXIT_DONE


def listed(tasks: list[dict[str, Any]]) -> list[str]:
    """Tasks as a table."""
    rows = [
        (str(one["task"]), one["name"] or "-", one["state"], str(one["node"] or "-"), str(one["attempts"]), one["by"],
         one["submitted_at"][:19] + "Z", one["reason"]) for one in tasks
    ]  # fmt: skip
    return table(("task", "name", "state", "node", "claims", "by", "submitted", "reason"), rows)


def _show(config: Config, chosen: argparse.Namespace) -> int:
    answer = _asked(config, "GET", f"/tasks/{chosen.task}", {"consistency": "local"})
    print(answer.body.decode() if chosen.json else "\n".join(whole(answer.document())))
    return EXIT_DONE


def whole(task: dict[str, Any]) -> list[str]:
    """One task as lines."""
    result = task["result"] or {}
    ended = (f"signal {result['signal']}" if result.get("signal") else
             f"code {result['code']}" if result.get("code") is not None else "no exit code")  # fmt: skip
    facts = {
        "task": f"{task['task']} {task['name']}".strip(), "state": task["state"], "why": task["why"],
        "node": task["node"], "by": task["by"], "key": task["key"], "schedule": task["schedule"],
        "waits for": ", ".join(map(str, task["waits_for"])), "parts": ", ".join(map(str, task["parts"])),
        "spec": json.dumps(task["spec"], ensure_ascii=False),
        "result": f"{ended}, {_used(result)}" if result and task["began_at"] else "",
    }  # fmt: skip
    found = [f"{name:<9} {value}" for name, value in facts.items() if value not in (None, "")]
    rows = [(one["at"], one["state"], str(one["node"] or "-"), one["reason"]) for one in task["trail"]]
    return [*found, "", *table(("at", "state", "node", "reason"), rows),
            *(["", *result["tail"].splitlines()] if result.get("tail") else [])]  # fmt: skip


def _used(result: dict[str, Any]) -> str:
    """What an attempt took."""
    memory = f", {result['memory_bytes'] / (1 << 20):.1f} MiB" if result["memory_bytes"] else ""
    return (f"{result['seconds']:.1f} s, {result['cpu_seconds']:.2f} s of processor{memory}, said "
            f"{result['stdout_bytes']} + {result['stderr_bytes']} B")  # fmt: skip


def _cancel(config: Config, chosen: argparse.Namespace) -> int:
    query = {"reason": chosen.reason, "by": user()}
    found = _asked(config, "DELETE", f"/tasks/{chosen.task}", query).document()
    if not found["changed"] and not found["cancelling"]:
        print(f"task {chosen.task} is over already: {found['state']}")
    else:
        print(f"task {chosen.task} is {'being cancelled' if found['cancelling'] else 'cancelled'}")
    return EXIT_DONE


def _stored(config: Config, chosen: argparse.Namespace) -> int:
    kind = chosen.task_command
    answer = _asked(config, "GET", f"/task-{kind}" + (f"/{quote(chosen.name, safe='')}" if chosen.name else ""))
    document = answer.document()
    if chosen.json or chosen.name:
        print(answer.body.decode() if chosen.json else json.dumps(document, indent=2, ensure_ascii=False))
    elif kind == "templates":
        rows = [(one["name"], ", ".join(one["parameters"]) or "-", one["about"]) for one in document[kind]]
        print("\n".join(table(("template", "parameters", "about"), rows)))
    else:
        dates = [(one["name"], one["cron"], one["zone"], one["next"] or "-", one["last"] or "-",
                  str(one["last_task"] or "-"), one["silent"] or one["skipped"]) for one in document[kind]]  # fmt: skip
        print("\n".join(table(("schedule", "cron", "zone", "next", "last", "task", "skipped"), dates)))
    return EXIT_DONE


def _schedule(config: Config, chosen: argparse.Namespace) -> int:
    path = _path_of(chosen.schedule)
    _asked(config, "PUT", path, {"by": user()}, scheduled(chosen))
    found = _asked(config, "GET", path, {"consistency": "lease"}).document()
    comes = f"comes next at {found['next']}" if found["next"] else "does not come: it is disabled"
    print(f"schedule {chosen.schedule} is kept, and {comes}")
    return EXIT_DONE


def _unschedule(config: Config, chosen: argparse.Namespace) -> int:
    _asked(config, "DELETE", _path_of(chosen.schedule), {"by": user()})
    print(f"schedule {chosen.schedule} is removed; tasks that it made stay")
    return EXIT_DONE


def _path_of(schedule: str) -> str:
    return f"/task-schedules/{quote(schedule, safe='')}"


def _summary(config: Config, chosen: argparse.Namespace) -> int:
    answer = _asked(config, "GET", "/tasks/summary", {"consistency": "lease"})
    if chosen.json:
        print(answer.body.decode())
        return EXIT_DONE
    document = answer.document()
    for what in ("states", "ended"):
        counted = ", ".join(f"{count} {state}" for state, count in document[what].items())
        print(f"{'now' if what == 'states' else 'ended':<6} {counted or 'none'}")
    rows = [(str(one["node"]), one["role"] or "-", f"{one['used']}/{one['slots'] if one['slots'] is not None else '?'}",
             str(one["running"]), "drained" if one["drained"] else "ready" if one["ready"] else "no", one["fault"])
            for one in document["nodes"]]  # fmt: skip
    print("\n".join(["", *table(("node", "role", "slots", "tasks", "takes", "fault"), rows)]))
    return EXIT_DONE


def _drain(config: Config, chosen: argparse.Namespace) -> int:
    query = {"by": user()} | ({} if chosen.end else {"patience": chosen.patience})
    _asked(config, "DELETE" if chosen.end else "POST", f"/nodes/{chosen.node}/drain", query)
    print(f"node {chosen.node} {'gets tasks again' if chosen.end else 'gets no new tasks'}")
    return EXIT_DONE
