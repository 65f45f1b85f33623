"""Runs this host's part of the Dask cluster until it is stopped: asks the node who leads, has the programs follow.

It must not know how Dask's programs are called.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE
from qluster.cli.logs import begin_log
from qluster.config import Config
from qluster.edge.client import ClientError, ask
from qluster.edge.dask import words
from qluster.edge.dask.asker import Ask, Asker, AskerGone
from qluster.edge.dask.member import Unfit, prepare, run
from qluster.edge.runner import rights

log = logging.getLogger("qluster.dask")

ASK_SECONDS = 2.0
"""The node is on this host; one that is silent so long says nothing about who leads."""


def run_dask(config: Config, users: Sequence[str] = ()) -> int:
    """Take part in the Dask cluster; the exit code. ``users``: whom its programs may become, in the words of who
    started it, which the service's user cannot change."""
    tasks = config.tasks
    if tasks is None or not tasks.dask_python:
        print("tasks.dask-python is not given, so this host has no part in a Dask cluster. Name a Python that has Dask "
              "(the role dask brings one), or stop this service.", file=sys.stderr)  # fmt: skip
        return EXIT_CONFIG
    begin_log()
    os.umask(0o077)
    directory = words.directory_of(config, tasks)
    try:
        allowed = prepare(tasks, directory, users)
    except Unfit as reason:
        log.error("dask-refused %s", reason)
        return EXIT_TROUBLE
    except OSError as error:
        log.error("dask-refused directory=%s error=%s hint=give it to the user of this service", directory, error)
        return EXIT_TROUBLE
    rights.lend()
    asker = Asker(leader_by_node(config))
    try:
        asyncio.run(run(config, tasks, directory, asker, allowed))
    except AskerGone:
        log.error("dask-asker-gone hint=somebody killed it; this service ends, to be started again")
        return EXIT_TROUBLE
    finally:
        asker.end()
    return EXIT_DONE


def leader_by_node(config: Config) -> Ask:
    """Whom the node on this host says to lead; "" when it does not say."""

    async def leader() -> str:
        try:
            token = Path(config.api.read_token_file).read_text(encoding="ascii").strip()
            answer = await ask(
                (config.ip, config.api_port), "GET", "/leader", ca_file=config.api.ca_file, token=token,
                timeout=ASK_SECONDS, follow=False,
            )  # fmt: skip
            return str(json.loads(answer.body)["ip"]) if answer.code == 200 else ""
        except (OSError, ClientError, ValueError, KeyError, TypeError) as error:
            log.debug("dask-unanswered error=%s", error)
            return ""

    return leader
