"""The task runner with real processes: what it runs, how it says that it ended."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge.runner_world import Host, host, order
from qluster.edge.runner import output
from qluster.tasks.bodies import Verdict
from qluster.tasks.spec import Command


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One runner for all tests that do not stop it; each has tasks with numbers of its own."""
    with host(tmp_path_factory.mktemp("runner")) as found:
        yield found


def test_a_program_runs_and_its_output_is_kept(one: Host) -> None:
    line = one.ready()
    line.say(order(1, Command(("/bin/echo", "two words", "three"))))
    began, ended = line.began(1), line.ended(1)
    assert (ended.verdict, ended.reason, ended.result.code) == (Verdict.DONE, "", 0)
    assert began.at == ended.began_at <= ended.at
    assert one.said(1) == "two words three\n"
    assert ended.result.output == (16, 0)
    assert ended.result.tail == "two words three"
    piece = output.read(str(one.directory), 1, None, "stdout", 4, 5)
    assert piece == output.Piece(b"words", 16, True, 1)
