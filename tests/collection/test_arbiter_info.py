"""What the module makes of the tool's answers: waits for nobody, believes only an arbiter."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.qhb.qluster.plugins.modules.qluster_arbiter_info import PAUSE, Unclear, ask

SILENT = (3, "", "qluster-qnetd-tool: the arbiter does not answer at /s (Connection refused).")
GOOD = (0, '{"address": "*:5403", "clusters": []}', "")


class Host:
    """A tool with prepared answers, the last of them for ever, and a clock that goes with the pauses."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.now = 0.0

    def run(self, command: list[str]) -> tuple[int, str, str]:
        assert command == ["/t", "--json"]
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, timeout: float) -> Any:
        return ask(self.run, ["/t", "--json"], timeout, lambda: self.now, self.pause)


def test_one_that_starts_is_waited_for() -> None:
    host = Host(SILENT, SILENT, GOOD)
    assert host.ask(5.0) == {"address": "*:5403", "clusters": []} and host.now == pytest.approx(2 * PAUSE)


def test_one_that_does_not_come_is_given_up_in_time() -> None:
    host = Host(SILENT)
    with pytest.raises(Unclear, match=r"does not answer at /s.*waited for 1 s.*journalctl"):
        host.ask(1.0)
    assert 1.0 <= host.now <= 1.0 + PAUSE
    once = Host(SILENT)
    with pytest.raises(Unclear):
        once.ask(0.0)
    assert once.asked == 1


@pytest.mark.parametrize(("answer", "words"), [
    ((4, "", "refused"), "ended with 4: refused"),
    ((1, "usage", ""), "ended with 1: usage"),
    ((0, "QNetd address: *:5403", ""), "no JSON"),
    ((0, "[]", ""), "not what an arbiter says"),
    ((0, "{}", ""), "not what an arbiter says"),
])
def test_anything_else_is_refused_at_once(answer: tuple[int, str, str], words: str) -> None:
    host = Host(answer, GOOD)
    with pytest.raises(Unclear, match=words):
        host.ask(5.0)
    assert host.asked == 1
