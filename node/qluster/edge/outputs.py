"""Brings the output of a task from the host that ran it, which may be this one.

It must not know what a task is: it is told by the node where the output is. The host that has it reads its own files
(``runner/output.py``); every other one asks that host by its REST interface.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from qluster.api import routes
from qluster.api.parameters import Values
from qluster.api.routes import BYTES, Reply, Request
from qluster.config import Config
from qluster.edge import client
from qluster.edge.clock import monotonic
from qluster.edge.runner import output, place
from qluster.looking import OutputPlace

LOOK_INTERVAL = 0.2
"""Seconds between two looks for more: a look costs one thread and two system calls."""

ANSWER_SECONDS = 10.0
"""What another host gets beyond the time that it may wait for more."""

Find = Callable[[int], OutputPlace | str]
"""Where the output of a task is; as text why it is nowhere."""


class Outputs:
    """The output of tasks, for clients of this node."""

    def __init__(self, config: Config, find: Find) -> None:
        self._config = config
        self._find = find
        given = config.tasks.dir if config.tasks is not None else None
        self._directory = place.tasks_dir(given, config.state_dir)

    async def answer(self, request: Request, values: Values) -> Reply:
        """Bytes from the offset on; where none are there yet, after waiting for them as long as was asked for."""
        task, given, deadline = _number(values, "task"), _number(values, "fence"), monotonic() + _number(values, "wait")
        while True:
            at = self._find(task) if not given else OutputPlace(0, given, own=True, over=False)
            if isinstance(at, str):
                return routes.error(request, "no-such-task", reason=at)
            if at.parts:
                listed = ", ".join(map(str, at.parts))
                return routes.error(request, "no-output", reason=f"task {task} runs in parts: see tasks {listed}")
            if at.missing:
                return routes.error(request, "no-output", reason=at.missing)
            if at.fence and not at.own:
                return await self._from(request, values, at, max(0.0, deadline - monotonic()))
            said = await self._own(request, values, task, at)
            if said is not None and (said.code != 200 or said.body or said.headers["X-Qluster-Over"] == "true"):
                return said
            if monotonic() >= deadline:
                return said or _piece(b"", _number(values, "offset"), over=at.over, at=at)
            await asyncio.sleep(min(LOOK_INTERVAL, max(0.0, deadline - monotonic())))

    async def _own(self, request: Request, values: Values, task: int, at: OutputPlace) -> Reply | None:
        """What this host has; None: nothing yet."""
        if not at.fence:
            return None
        stream: output.Stream = "stderr" if values["stream"] == "stderr" else "stdout"
        offset = _number(values, "offset")
        try:
            found = await asyncio.to_thread(
                output.read, self._directory, task, at.fence, stream, offset, _number(values, "limit"))  # fmt: skip
        except output.NoOutput as nothing:
            awaited = not at.over and not _number(values, "fence")
            return None if awaited else routes.error(request, "no-output", reason=str(nothing))
        except OSError as fault:
            return routes.error(request, "no-output", reason=f"the output of task {task} cannot be read: {fault}")
        end = offset + len(found.data)
        return _piece(found.data, end, over=found.over and end >= found.size, at=at)

    async def _from(self, request: Request, values: Values, at: OutputPlace, wait: float) -> Reply:
        """What another host has."""
        query = {name: str(values[name]) for name in ("stream", "offset", "limit")}
        query |= {"wait": str(int(wait)), "fence": str(at.fence)}
        try:
            token = Path(self._config.api.read_token_file).read_text(encoding="ascii").strip()
            found = await client.ask(
                at.address, "GET", f"/tasks/{_number(values, 'task')}/output", ca_file=self._config.api.ca_file,
                token=token, query=query, timeout=wait + ANSWER_SECONDS, follow=False,
            )  # fmt: skip
        except (client.ClientError, OSError, UnicodeDecodeError) as fault:
            reason = f"node {at.node}, which has the output, does not answer: {fault}"
            return routes.error(request, "output-away", reason=reason)
        if found.code == 404 and not at.over:
            return _piece(b"", _number(values, "offset"), over=False, at=at)
        named = ("content-type", *(name for name in found.headers if name.startswith("x-qluster-")))
        headers = {name.title(): found.headers[name] for name in named if name in found.headers}
        return Reply(found.code, found.body, {**headers, "X-Qluster-Node": str(at.node)})


def _piece(data: bytes, end: int, *, over: bool, at: OutputPlace) -> Reply:
    return Reply(200, data, {
        "Content-Type": BYTES, "X-Qluster-Offset": str(end - len(data)), "X-Qluster-Next": str(end),
        "X-Qluster-Over": "true" if over else "false", "X-Qluster-Fence": str(at.fence), "X-Qluster-Node": str(at.node),
    })  # fmt: skip


def _number(values: Values, name: str) -> int:
    value = values[name]
    return value if isinstance(value, int) else 0
