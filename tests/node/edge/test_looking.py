"""Looks at a database whose connection, or whose look, breaks under them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from edge.postgres_world import World, founded, worlds
from qluster.edge.postgres import PostgresFailed
from qluster.edge.postgres.session import Session

pytestmark = pytest.mark.unprivileged

STEPS_MOST = 400
"""Turns of the event loop within which a question over the Unix socket is answered, connecting included."""


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def test_a_connection_that_is_dropped_at_any_moment_of_a_question_is_a_failure_with_a_name(world: World) -> None:
    host = await founded(world)
    session = Session(host.database.socket_dir, host.database.port, host.database.superuser)
    outcomes = {"answered": 0, "failed": 0}
    for steps in [*range(STEPS_MOST)] * 2:
        asking = asyncio.create_task(session.rows(f"SELECT {steps} AS n"))
        for _ in range(steps):
            await asyncio.sleep(0)
        session.drop()
        try:
            assert (await asking)[0]["n"] == steps
            outcomes["answered"] += 1
        except PostgresFailed:
            outcomes["failed"] += 1
    session.drop()
    assert all(outcomes.values()), outcomes


async def test_a_look_that_breaks_is_told_and_followed_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = await founded(world)
    good = await host.hand.read_facts()

    async def broken(*_: object) -> None:
        raise AttributeError("nobody thought of this")

    with monkeypatch.context() as patched:
        patched.setattr(Session, "row", broken)
        for _ in range(2):
            facts = await host.hand.read_facts()
            assert facts.server == "starting" and facts.in_recovery is None and facts.system_id == good.system_id
            assert "AttributeError: nobody thought of this" in facts.error
    assert caplog.text.count("database-look-broke") == 1
    assert (await host.hand.read_facts()).in_recovery is False
