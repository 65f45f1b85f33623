"""When a client's request is answered."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.clients import Busy, Done, Superseded, Unconfirmed
from qluster.events import Answer, Entry
from qluster.requests import CONFIRM_TIMEOUT, REQUESTS_MAX, Requests


def test_commit_of_the_same_term_is_done() -> None:
    requests = Requests()
    requests.proposed(1, (5, 2), 0.0, {"node": 3})
    assert requests.take(0.0) == []
    requests.committed(Entry(5, 2, "command", b""))
    assert requests.take(0.0) == [Answer(1, Done(5, {"node": 3}))]


def test_commit_of_another_term_supersedes() -> None:
    requests = Requests()
    requests.proposed(1, (5, 2), 0.0, {})
    requests.committed(Entry(5, 3, "noop", b""))
    assert requests.take(0.0) == [Answer(1, Superseded())]


def test_silence_leaves_the_outcome_unknown() -> None:
    requests = Requests()
    requests.proposed(1, (5, 2), 0.0, {})
    assert requests.wake_at == CONFIRM_TIMEOUT
    assert requests.take(CONFIRM_TIMEOUT) == [Answer(1, Unconfirmed())]


def test_snapshot_over_a_pending_entry_leaves_it_unknown() -> None:
    requests = Requests()
    requests.proposed(1, (5, 2), 0.0, {})
    requests.replaced(9)
    assert requests.take(0.0) == [Answer(1, Unconfirmed())]


def test_stopping_answers_everybody() -> None:
    requests = Requests()
    requests.proposed(1, (5, 2), 0.0, {})
    requests.reading(2, 0.0, Done)
    requests.watch(3, 9.0, lambda: None)
    requests.stop("stopping")
    assert requests.take(0.0) == [Answer(1, Unconfirmed()), Answer(3, Unconfirmed()), Answer(2, Busy("stopping"))]


def test_watched_request_is_answered_when_it_comes_true() -> None:
    requests = Requests()
    outcomes = [None, Done(7)]
    requests.watch(3, 9.0, lambda: outcomes.pop(0))
    assert requests.take(0.0) == []
    assert requests.take(0.1) == [Answer(3, Done(7))]


def test_number_of_waiting_requests_is_bounded() -> None:
    requests = Requests()
    for ticket in range(REQUESTS_MAX):
        assert not requests.full
        requests.reading(ticket, 0.0, Done)
    assert requests.full
