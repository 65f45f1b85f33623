"""For whom a real server waits: what it was told counts from when it obeys, not from when that was written."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from edge.postgres_world import World, founded, worlds
from qluster.database.orders import Adjust
from qluster.edge.postgres import PostgresFailed

pytestmark = pytest.mark.unprivileged


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async for made in worlds():
        yield made


async def test_server_that_reads_no_configuration_is_not_said_to_wait(world: World) -> None:
    primary = await founded(world)
    alone, guarded = primary.terms, replace(primary.terms, standbys=("node2",), needed=1)
    file = primary.data / "postgresql.conf"
    good = file.read_text()
    file.write_text(f"{good}\nthis is no setting\n")
    with pytest.raises(PostgresFailed, match=r"postgresql\.conf.*syntax error"):
        await primary.hand.perform(Adjust(guarded, 1))
    facts = await primary.hand.read_facts()
    [shown] = await primary.sql("SELECT current_setting('synchronous_standby_names') AS names")
    assert shown["names"] == "" and facts.terms not in (alone, guarded), "nobody is waited for, whatever is written"
    file.write_text(good)
    await primary.hand.perform(Adjust(guarded, 1))
    facts = await primary.hand.read_facts()
    [shown] = await primary.sql("SELECT current_setting('synchronous_standby_names') AS names")
    assert (facts.terms, shown["names"]) == (guarded, guarded.synchronous)
