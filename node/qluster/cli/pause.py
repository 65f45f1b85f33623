"""Pauses the cluster and ends the pause, through the node on this host.

It must not decide anything: it asks, says what was answered, and asks again while that can help.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.config import Config
from qluster.edge.client import ClientError, HttpAnswer, ask

PATIENCE = 30.0
"""Seconds for which it is asked again while the cluster elects or is busy: several elections."""
ASK_SECONDS = 15.0
"""More than a node takes to say that a write is not confirmed."""
RETRY_PAUSE = 0.5
PASSING = (417, 420, 530, 531)
"""Codes after which the same request may succeed; with its key it happens once."""


def pause(config: Config, reason: str) -> int:
    """Have all databases left alone; the exit code."""
    return _ask(config, "/pause", {"reason": reason} if reason else {}, _paused)


def resume(config: Config, abandon: int | None) -> int:
    """End the pause; the exit code."""
    return _ask(config, "/resume", {} if abandon is None else {"abandon": str(abandon)}, _resumed)


def _paused(detail: dict[str, object]) -> str:
    if not detail.get("changed"):
        return "The cluster was paused already."
    return "Paused: no database is started, stopped, promoted, copied or pointed elsewhere until `qluster resume`."


def _resumed(detail: dict[str, object]) -> str:
    waits_for = detail.get("waits_for")
    waiting = f" Nobody takes over from node {waits_for} before it is heard: see `qluster status`."
    return ("Resumed." if detail.get("changed") else "The cluster was not paused.") + (waiting if waits_for else "")


def _ask(config: Config, path: str, query: dict[str, str], said: Callable[[dict[str, object]], str]) -> int:
    try:
        token = Path(config.api.operate_token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return _trouble(f"api.operate-token-file: {config.api.operate_token_file} cannot be read ({error}). "
                        f"Run this as the user of the service.")
    try:
        answer = _asked(config, token, path, query)
        document = answer.document()
        if answer.code != 200:
            hint = document.get("hint", "")
            return _trouble(f"the cluster answers {answer.code}: {document['message']}. {hint}".strip())
        print(said(document["detail"]))
    except ClientError as error:
        return _trouble(str(error))
    except (KeyError, TypeError, AttributeError):
        return _trouble("the node's answer is not understood. Are program and node of one version?")
    return EXIT_DONE


def _asked(config: Config, token: str, path: str, query: dict[str, str]) -> HttpAnswer:
    key, until = uuid.uuid4().hex, time.monotonic() + PATIENCE
    while True:
        answer = asyncio.run(ask((config.ip, config.api_port), "POST", path, ca_file=config.api.ca_file,
                                 token=token, query=query, key=key, timeout=ASK_SECONDS))
        if answer.code not in PASSING or time.monotonic() >= until:
            return answer
        time.sleep(RETRY_PAUSE)


def _trouble(line: str) -> int:
    print(line, file=sys.stderr)
    return EXIT_TROUBLE
