"""The running server does what its own description says: cases made by schemathesis from /openapi.json."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from api import test_golden as golden
from edge.rest_world import DEPLOY, Node, running
from qluster import clients
from qluster.api import openapi
from qluster.cluster.values import Values
from qluster.tasks import asking

SETTINGS = Path(__file__).with_name("schemathesis.toml")
CASES = 15
"""Cases an operation and phase: about ten seconds in all. More: run it with a larger number."""


ANSWERS: dict[type, clients.Done] = {
    asking.Submit: clients.Done(57, {"tasks": [17], "known": []}),
    asking.Cancel: clients.Done(58, {"task": 17, "state": "running", "changed": True}),
    asking.WriteTemplate: clients.Done(43),
    asking.WriteSchedule: clients.Done(43),
    asking.Drain: clients.Done(43),
    asking.ListTasks: clients.Done(57, {"tasks": [golden.TASK], "next": None}),
    asking.ShowTask: golden.TASK_SHOWN,
    asking.ListTemplates: clients.Done(57, {"templates": {"dump": golden.TEMPLATE}}),
    asking.ListSchedules: clients.Done(57, {"schedules": {"nightly": golden.FIRED}}),
    asking.Overview: golden.SUMMARY,
}
"""Tasks come and go by the node, not by the routes: here each question has one answer."""


class Members:
    """Remembers who was removed, so that what was deleted stays deleted."""

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.names: set[tuple[str, str]] = set()
        self.store = Values()
        self.index = 43

    def outcome(self, event: clients.ClientRequest) -> clients.Outcome:
        match event:
            case clients.ValueWriteRequested():
                self.index += 1
                return self.store.write(event.name, event.value, event.cas, self.index) or clients.Done(self.index)
            case clients.ValueReadRequested():
                found = self.store.of.get(event.name)
                absent = clients.Refused("key", f"there is no key {event.name}", "no-such-key")
                return absent if found is None else clients.ValueFound(found.value, found.index)
            case clients.FailoverShown():
                return golden.FAILOVER
            case clients.ValuesListRequested():
                return clients.Done(self.index, {"keys": [], "more": False})
            case clients.NodeRemoveRequested(node=node) if node not in self.gone:
                self.gone.add(node)
            case (
                clients.NodeRemoveRequested(node=node)
                | clients.NodePromoteRequested(node=node)
                | clients.NodeDownRequested(node=node)
                | clients.LeaderChangeRequested(node=node)
            ) if node in self.gone:
                return clients.Refused("node", f"there is no node {node}", "no-such-node")
            case clients.TaskRequested() | clients.TaskLooked():
                return self._of_tasks(event.what)
        return clients.Done(43)

    def _of_tasks(self, what: asking.Change | asking.Look) -> clients.Outcome:
        match what:
            case asking.WriteTemplate(_, name, one) | asking.WriteSchedule(_, name, one):
                kind = "template" if isinstance(what, asking.WriteTemplate) else "schedule"
                (self.names.discard if one is not None else self.names.add)((kind, name))
            case asking.ListTemplates(name) | asking.ListSchedules(name) if name:
                kind = "template" if isinstance(what, asking.ListTemplates) else "schedule"
                if (kind, name) in self.names:
                    return clients.Refused("name", f"there is no {kind} {name}", f"no-such-{kind}")
        return ANSWERS[type(what)]


@pytest.mark.timeout(260)
async def test_server_keeps_to_its_description(tmp_path: Path) -> None:
    async with running(tmp_path, Node(outcome=Members().outcome, snapshot=b"snapshot" * 100)) as world:
        url = f"https://{world.config.ip}:{world.config.api_port}/openapi.json"
        arguments = ["--config-file", str(SETTINGS), "run", url, "--tls-verify", world.ca_file]
        arguments += ["-H", f"Authorization: Bearer {DEPLOY}", "-n", str(CASES), "--seed", "1", "--no-color"]
        program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, *arguments, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(240):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, said.decode()
    described = sum(len(methods) for methods in openapi.description()["paths"].values())
    asked_once = 1  # the description itself, which schemathesis reads and leaves out of what it tries
    assert f"Tested: {described - asked_once}" in said.decode(), said.decode()
    assert len(world.node.asked) > 300
