"""The parameters of all databases on the command line: shown as tables, changed, and the servers restarted.

It must not decide anything: it asks the node on this host, which names the leader where that is another one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
import uuid
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import msgspec

from qluster.api.shapes import DatabaseSettingsAnswer
from qluster.cli.asking import refusal, user
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.show import table
from qluster.config import Config
from qluster.edge.client import ClientError, HttpAnswer, ask
from qluster.status import ChangeStatus, RestartStatus

"""What may not stand in the name of who wants a change."""

CHANGES_SHOWN = 5
"""Changes of the past shown to people; ``--json`` shows all that are remembered."""


def show_or_change(config: Config, chosen: Namespace) -> int:
    """What ``qluster db-config`` does; the exit code."""
    try:
        changes = _changes(chosen.parameter, chosen.reset)
        if chosen.cancel_restart and (changes or chosen.restart):
            raise ValueError("--cancel-restart stands alone.")
        if chosen.in_place and not chosen.restart:
            raise ValueError("--in-place says how the primary restarts: give --restart as well.")
    except ValueError as error:
        return _said(str(error), EXIT_USAGE)
    try:
        if changes or chosen.restart or chosen.cancel_restart:
            answer = _ask(config, *_request(changes, chosen), operate=True)
            if answer.code != 200:
                return _said(refusal(answer), EXIT_TROUBLE)
            document = answer.document()
            print(_done(document["index"], document["detail"], chosen))
            return EXIT_DONE
        answer = _ask(config, "GET", "/db-config", {}, None, operate=False)
        if answer.code != 200:
            return _said(refusal(answer), EXIT_TROUBLE)
        found = msgspec.json.decode(answer.body, type=DatabaseSettingsAnswer)
    except (ClientError, OSError, UnicodeDecodeError) as error:
        return _said(str(error), EXIT_TROUBLE)
    except msgspec.MsgspecError as error:
        said = f"the node's answer is not understood ({error}). Are program and node of one version?"
        return _said(said, EXIT_TROUBLE)
    print(answer.body.decode() if chosen.json else "\n".join(lines(found)))
    return EXIT_DONE


def _said(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _changes(parameters: list[str], reset: list[str]) -> dict[str, str | None]:
    """Name → value of the words NAME=VALUE, None for those to be reset. Raises ValueError."""
    found: dict[str, str | None] = {}
    for word in parameters:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f'"{word}" is no NAME=VALUE.')
        found[name.lower()] = value
    reset = [name.lower() for name in reset]
    both = [name for name in reset if name in found]
    if both:
        raise ValueError(f"{both[0]} is to be set and to be reset: choose one.")
    return found | dict.fromkeys(reset)


def _request(
    changes: dict[str, str | None], chosen: Namespace
) -> tuple[str, str, dict[str, str], dict[str, str | None] | None]:
    """Method, path, query and body."""
    query = {"by": user()}
    if chosen.cancel_restart:
        return "DELETE", "/db-restart", query, None
    query["primary"] = "in-place" if chosen.in_place else "switchover"
    if not changes:
        return "POST", "/db-restart", query, None
    query["restart"] = "rolling" if chosen.restart else "none"
    if chosen.cas is not None:
        query["cas"] = str(chosen.cas)
    return "POST", "/db-config", query, changes


def _ask(
    config: Config, method: str, path: str, query: dict[str, str], body: object, *, operate: bool
) -> HttpAnswer:
    file = config.api.operate_token_file if operate else config.api.read_token_file
    token = Path(file).read_text(encoding="ascii").strip()
    where = (config.ip, config.api_port)
    return asyncio.run(
        ask(where, method, path, ca_file=config.api.ca_file, token=token, query=query, body=body,
            key=uuid.uuid4().hex if operate else "")
    )  # fmt: skip


def _done(index: int, detail: dict[str, object], chosen: Namespace) -> str:
    if chosen.cancel_restart:
        return "No further server restarts." if index else "No restart was under way."
    if not index:
        return "Nothing is changed: it says so already."
    needs = detail.get("needs_restart") or []
    text = f"Changed by entry {index} of the log."
    if chosen.restart:
        return f"{text} The servers that need it restart one after the other; look with: qluster db-config"
    if isinstance(needs, list) and needs:
        return f"{text} A restart of the servers brings into force: {', '.join(needs)}. Ask for it with --restart."
    return text


# --- text -----------------------------------------------------------------------


def lines(found: DatabaseSettingsAnswer) -> list[str]:
    """The answer of GET /db-config as lines for people."""
    rows = []
    for name, each in found.parameters.items():
        waits = [f"node {node} has {one.pending[name]}" for node, one in found.nodes.items() if name in one.pending]
        other = f"config.yaml: {each.file}" if each.file is not None and each.file != each.value else ""
        rows.append((name, each.value, each.source, "; ".join([*waits, *([other] if other else [])])))
    text = [f"version {found.version}", "", *table(("parameter", "value", "from", "differs"), rows)]
    remarks = [*_restart(found.restart), *_nodes(found)]
    history = [_change(each) for each in reversed(found.history[-CHANGES_SHOWN:])]
    return text + ([""] if remarks else []) + remarks + ([""] if history else []) + history


def _restart(restart: RestartStatus | None) -> Iterator[str]:
    if restart is None:
        return
    been = ", ".join(map(str, restart.turns)) or "none yet"
    text = f"restart of entry {restart.begun}: {restart.state}, turns of nodes: {been}"
    yield text + "".join(f"; {more}" for more in (restart.waits_for, restart.reason) if more)


def _nodes(found: DatabaseSettingsAnswer) -> Iterator[str]:
    for node, each in found.nodes.items():
        if each.version != found.version:
            yield f"node {node}: it has read version {each.version}"
        if each.refused:
            yield f"node {node}: it runs with parameters of before: {each.refused}"
        for name in sorted(set(each.pending) - set(found.parameters)):
            yield f"node {node}: {name} is {each.pending[name]} until its server restarts"


def _change(change: ChangeStatus) -> str:
    values = ", ".join(f"{name}={'(reset)' if value is None else value}" for name, value in change.changes.items())
    by = f" by {change.by}" if change.by else ""
    return f"entry {change.index}{by}: {values}" + (f" ({change.reason})" if change.reason else "")
