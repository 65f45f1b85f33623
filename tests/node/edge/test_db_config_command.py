"""``qluster db-config`` against a running server: tables, changes, refusals, and words that contradict each other."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from edge.rest_world import Node, running
from qluster import clients
from qluster.cli.databases import show_or_change
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.words import get_parser
from qluster.cluster.database_settings import RestartPlan
from qluster.config import Config


async def called(config: Config, *words: str) -> int:
    """In a thread, because the command has a loop of its own."""
    return await asyncio.to_thread(show_or_change, config, get_parser().parse_args(["db-config", *words]))


async def test_parameters_are_a_table_or_the_answer_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as world:
        assert await called(world.config) == EXIT_DONE
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "version 40"
        assert "max_connections  100    cluster log  config.yaml: 50" in lines
        assert "restart of entry 41: running, turns of nodes: 2, 3" in lines
        assert lines[-1] == "entry 40 by anna: max_connections=100"
        assert await called(world.config, "--json") == EXIT_DONE
        assert json.loads(capsys.readouterr().out)["version"] == 40


async def test_changes_and_restarts_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna smith")
    done = clients.Done(43, {"needs_restart": ["max_connections"]})
    node = Node(outcome=lambda event: done)
    async with running(tmp_path, node) as world:
        words = ["max_connections=200", "Search_Path=a=b", "--reset", "work_mem", "--cas", "40"]
        assert await called(world.config, *words) == EXIT_DONE
        assert "A restart of the servers brings into force: max_connections." in capsys.readouterr().out
        assert await called(world.config, "--restart", "--in-place") == EXIT_DONE
        assert await called(world.config, "--cancel-restart") == EXIT_DONE
    change, restart, cancel = node.told
    assert isinstance(change, clients.DatabaseChangeRequested) and change.key and change.restart is None
    assert change.changes == {"max_connections": "200", "search_path": "a=b", "work_mem": None}
    assert (change.cas, change.by) == (40, "anna-smith")
    assert isinstance(restart, clients.DatabaseRestartRequested)
    assert restart.plan == RestartPlan("pending", "in-place", 120.0)
    assert isinstance(cancel, clients.RestartCancelRequested)


async def test_what_the_database_refuses_is_said_in_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = clients.Refused("work_mem", "x", "wrong-value", (("work_mem", 'invalid value: "much"'),))
    async with running(tmp_path, Node(outcome=lambda event: refused)) as world:
        assert await called(world.config, "work_mem=much") == EXIT_TROUBLE
    assert 'work_mem invalid value: "much"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["work_mem"], ["=3"], ["a=1", "--reset", "a"], ["a=1", "--cancel-restart"], ["a=1", "--in-place"]]
)
async def test_words_that_make_no_sense_ask_for_nothing(words: list[str], tmp_path: Path) -> None:
    node = Node()
    async with running(tmp_path, node) as world:
        assert await called(world.config, *words) == EXIT_USAGE
    assert node.asked == []
