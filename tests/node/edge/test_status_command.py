"""``qluster status`` against a running server: tables, JSON, and what it says when there is no answer."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from api import sample_status as sample
from edge.rest_world import Node, running
from qluster.cli.exits import EXIT_DONE, EXIT_LEADERLESS, EXIT_TROUBLE
from qluster.cli.show import show_status
from qluster.config import Config


async def shown(config: Config, as_json: bool = False) -> int:
    """In a thread, because the command has a loop of its own."""
    return await asyncio.to_thread(show_status, config, as_json)


async def test_status_is_a_table_or_the_answer_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as world:
        assert await shown(world.config) == EXIT_DONE
        assert capsys.readouterr().out.startswith("cluster   main, founding 1, led by node 1, term 3\n")
        assert await shown(world.config, as_json=True) == EXIT_DONE
        assert json.loads(capsys.readouterr().out)["cluster"]["leader"] == 1


async def test_missing_leader_is_an_exit_code(tmp_path: Path) -> None:
    async with running(tmp_path, Node(status=sample.leaderless())) as world:
        assert await shown(world.config) == EXIT_LEADERLESS


async def test_refusal_of_the_node_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as world:
        (tmp_path / "read.token").write_text("a-token-that-is-not-known\n")
        assert await shown(world.config) == EXIT_TROUBLE
    assert capsys.readouterr().err.startswith("the node answers 401: the token sent is not one of this node's")


async def test_node_that_does_not_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(tmp_path) as world:
        config = world.config
    assert await shown(config) == EXIT_TROUBLE
    text = capsys.readouterr().err
    assert f"https://{config.ip}:{config.api_port}/status" in text and "does the daemon run there?" in text
    (tmp_path / "read.token").unlink()
    assert await shown(config) == EXIT_TROUBLE
    assert "Run this as the user of the service" in capsys.readouterr().err
