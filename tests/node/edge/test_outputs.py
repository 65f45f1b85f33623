"""The output of a task, from the host that has it and by way of another one."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from edge.rest_world import READ, Node, World, free_port, running
from msgspec.structs import replace
from qluster.api.access import Rights
from qluster.api.parameters import read_parameters
from qluster.api.routes import Reply, Request, find
from qluster.config import Config
from qluster.config.structure import Tasks
from qluster.edge.outputs import Outputs
from qluster.looking import OutputPlace


def asked(outputs: Outputs, path: str, **query: object) -> asyncio.Task[Reply]:
    request = Request("GET", path, tuple((name, str(value)) for name, value in query.items()), rights=Rights.READ)
    found = find("GET", path)
    assert found is not None
    values, faults = read_parameters(found[0].parameters, found[1], request.query, {})
    assert faults == []
    return asyncio.ensure_future(outputs.answer(request, values))


def ran(config: Config, text: bytes, *, over: bool = True) -> Path:
    assert config.tasks is not None and config.tasks.dir is not None
    run = Path(config.tasks.dir) / "runs" / "7-40"
    run.mkdir(parents=True, exist_ok=True)
    (run / "stdout").write_bytes(text)
    if over:
        (run / "ended").touch()
    return run


def word(reply: Reply) -> str:
    return str(json.loads(reply.body)["error"])


def configured(world: World, folder: str) -> Config:
    return replace(world.config, tasks=Tasks(dir=str(world.folder / folder)))


HERE = OutputPlace(1, 40, own=True, over=False)


async def test_bytes_of_any_kind_in_parts(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        config = configured(world, "tasks")
        outputs = Outputs(config, lambda task: HERE)
        ran(config, b"a\x00\xff\nb")
        first = await asked(outputs, "/tasks/7/output", limit=3)
        assert (first.body, first.headers["X-Qluster-Next"], first.headers["X-Qluster-Over"]) == (
            b"a\x00\xff", "3", "false")  # fmt: skip
        rest = await asked(outputs, "/tasks/7/output", offset=3)
        assert (rest.body, rest.headers["X-Qluster-Over"], rest.headers["X-Qluster-Fence"]) == (b"\nb", "true", "40")


async def test_who_waits_is_answered_when_there_is_more(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        config = configured(world, "tasks")
        outputs = Outputs(config, lambda task: HERE)
        waiting = asked(outputs, "/tasks/7/output", wait=20)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        run = ran(config, b"now", over=False)
        reply = await asyncio.wait_for(waiting, 5)
        assert (reply.body, reply.headers["X-Qluster-Over"]) == (b"now", "false")
        waiting = asked(outputs, "/tasks/7/output", wait=20, offset=3)
        await asyncio.sleep(0.1)
        (run / "ended").touch()
        reply = await asyncio.wait_for(waiting, 5)
        assert (reply.body, reply.headers["X-Qluster-Over"]) == (b"", "true")


async def test_another_host_brings_it(tmp_path: Path) -> None:
    class Far(Node):
        async def handle(self, request: Request) -> Reply:
            self.asked.append(request)
            found = find("GET", request.path)
            assert found is not None
            values, faults = read_parameters(found[0].parameters, found[1], request.query, {})
            assert faults == [] and request.rights == Rights.READ
            return await far.answer(request, values)

    async with running(tmp_path, Far()) as world:
        config = configured(world, "far")
        far = Outputs(config, lambda task: pytest.fail("it is told which attempt is meant"))
        there = OutputPlace(2, 40, own=False, over=False, address=world.address)
        outputs = Outputs(configured(world, "near"), lambda task: there)
        early = await asked(outputs, "/tasks/7/output")
        assert (early.code, early.body, early.headers["X-Qluster-Over"]) == (200, b"", "false")
        ran(config, b"x\x00y" * 1000)
        reply = await asked(outputs, "/tasks/7/output", offset=1)
        assert (reply.code, reply.body, reply.headers["X-Qluster-Next"]) == (200, (b"x\x00y" * 1000)[1:], "3000")
        assert (reply.headers["X-Qluster-Node"], reply.headers["X-Qluster-Over"]) == ("2", "true")
        assert READ not in str(world.node.asked[-1])


async def test_what_cannot_be_brought_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        config = configured(world, "tasks")
        away = OutputPlace(2, 40, own=False, over=True, address=("127.0.0.1", free_port()))
        reply = await asked(Outputs(config, lambda task: away), "/tasks/7/output")
        assert (reply.code, word(reply)) == (531, "output-away")
        assert "node 2, which has the output, does not answer" in json.loads(reply.body)["message"]
        reply = await asked(Outputs(config, lambda task: "there is no task 7"), "/tasks/7/output")
        assert word(reply) == "no-such-task"
        gone = OutputPlace(1, 40, own=True, over=True)
        assert word(await asked(Outputs(config, lambda task: gone), "/tasks/7/output")) == "no-output"
        parts = OutputPlace(0, 0, own=True, over=False, parts=(8, 9))
        reply = await asked(Outputs(config, lambda task: parts), "/tasks/7/output")
        assert "see tasks 8, 9" in json.loads(reply.body)["message"]
        never = OutputPlace(0, 0, own=True, over=True, missing="task 7 never began: cancelled, anna cancelled it")
        reply = await asked(Outputs(config, lambda task: never), "/tasks/7/output", wait=9)
        assert (reply.code, word(reply)) == (404, "no-output")
        assert json.loads(reply.body)["message"] == never.missing
        waits = OutputPlace(0, 0, own=True, over=False)
        reply = await asked(Outputs(config, lambda task: waits), "/tasks/7/output")
        assert (reply.code, reply.body, reply.headers["X-Qluster-Over"]) == (200, b"", "false")
