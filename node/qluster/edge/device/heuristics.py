"""Runs the commands of the heuristics, all at the same time, each in a process group of its own.

It must not know what becomes of the result. The commands have the rights of the daemon's own user, an environment with
nothing in it but a path, and nothing on their input.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from qluster.config.device import words_of_command

from ..process import CommandFailed, run

log = logging.getLogger(__name__)

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
OUTPUT_MAX = 4096
"""Bytes kept of what a command says: the last line goes into the log."""
SAID_MAX = 200
"""Signs of it in a log line."""


class Commands:
    """The commands of one host, by name."""

    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = {name: words_of_command(line) for name, line in commands.items()}

    async def run(self, limit: float) -> str:
        """Run all; "" when each ended with 0, else what is wrong with the first that did not. The others are ended."""
        tasks = [asyncio.create_task(self._run(name, words, limit)) for name, words in self._commands.items()]
        try:
            for soonest in asyncio.as_completed(tasks):
                fault = await soonest
                if fault:
                    return fault
            return ""
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, words: list[str], limit: float) -> str:
        """Why one command failed, "" when it did not."""
        try:
            end = await run(words, environment=ENVIRONMENT, time_limit=limit, output_limit=OUTPUT_MAX)
        except CommandFailed as failure:
            fault = str(failure)
        else:
            if end.code == 0:
                return ""
            how = f"ended with code {end.code}" if end.code > 0 else f"was ended by signal {-end.code}"
            said = end.complaint if end.errors or end.output else "it said nothing"
            fault = f"{words[0]} {how}: {_short(said)}"
        log.warning("device-check-failed name=%s reason=%s", name, fault)
        return f"{name}: {fault}"


def _short(said: str) -> str:
    shown = "".join(sign if sign.isprintable() else " " for sign in said)
    return shown if len(shown) <= SAID_MAX else shown[: SAID_MAX - 1] + "…"
