"""What the command asks the leader for, and in which words it says what became of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse

import pytest
from qluster.cli.switchover import _done, _query
from qluster.cli.words import get_parser


def chosen(*words: str) -> argparse.Namespace:
    return get_parser().parse_args(["switchover", *words])


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ([], {}),
        (["--node", "2"], {"node": "2"}),
        (["--node", "2", "--force", "--patience", "30"], {"node": "2", "patience": "30", "force": "true"}),
        (["--at", "2030-01-31T05:30:00+03:00"], {"at": "2030-01-31T05:30:00+03:00"}),
    ],
)
def test_only_what_is_said_is_asked_for(words: list[str], query: dict[str, str]) -> None:
    assert _query(chosen(*words)) == query


PHASES = {"pause": 20, "stop": 100}


@pytest.mark.parametrize(
    ("words", "detail", "text"),
    [
        (["--node", "2"], {"leader": 2, "changed": False}, "Node 2 leads already."),
        ([], {"leader": 3, "changed": True, "write_gap_ms": 250, "phases_ms": PHASES},
         "Node 3 leads now. Nobody could write for 0.25 s (pause 20 ms, stop 100 ms)."),
        ([], {"leader": 3, "changed": True}, "Node 3 leads now."),
        (["--cancel"], {"changed": True}, "What was scheduled is cancelled."),
        (["--cancel"], {"changed": False}, "Nothing was scheduled."),
        (["--node", "2", "--at", "2030-01-31T02:30:00Z"], {"leader": 2, "scheduled": True, "changed": True},
         "At 2030-01-31T02:30:00Z leadership goes to node 2. qluster status shows it; --cancel cancels it."),
    ],
)  # fmt: skip
def test_answer_is_told_in_words(words: list[str], detail: dict[str, object], text: str) -> None:
    assert _done(detail, chosen(*words)) == text
