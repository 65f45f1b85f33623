"""Parameters of a real cluster, while a client writes: servers restart in turn, a bad value goes back."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from edge.fault_world import Hosts, Ledger, obstacle, wait_for

NUMBERS = (1, 2, 3)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts()
    try:
        for number in NUMBERS:
            made.prepare(number, cluster__synchronous="quorum")
            made.start(number)
        wait_for("a whole cluster", made.whole, 60)
        yield made
    finally:
        made.end()


def settings(hosts: Hosts, number: int = 1) -> dict[str, Any]:
    """The answer of GET /db-config."""
    answer = hosts.session().get(f"{hosts.url(number)}/db-config", timeout=5)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def change(hosts: Hosts, changes: dict[str, object], query: str = "") -> requests.Response:
    [primary] = hosts.writable()
    return hosts.post(primary, f"/db-config{query}", changes)


def ended(hosts: Hosts, begun: int) -> dict[str, Any] | None:
    """The restart, once every node says that it has ended."""
    found = [settings(hosts, number)["restart"] for number in NUMBERS]
    over = all(one is not None and one["begun"] == begun and one["state"] != "running" for one in found)
    return found[0] if over else None


def test_all_servers_restart_one_after_the_other_and_nothing_acknowledged_is_missing(hosts: Hosts) -> None:
    [before] = hosts.writable()
    with Ledger(hosts, "rolling") as ledger:
        ledger.wait_for_rows(before)
        said = change(hosts, {"max_connections": 60, "work_mem": "9MB"}, "?restart=rolling&cas=0&by=anna")
        assert said.status_code == 200 and said.json()["detail"]["needs_restart"] == ["max_connections"], said.text
        begun = said.json()["index"]
        wait_for("the end of the restart", lambda: ended(hosts, begun), 90)
        wait_for("a whole cluster", hosts.whole, 60)
        ledger.wait_for_rows()
    shown = settings(hosts)
    assert shown["restart"]["state"] == "done" and sorted(shown["restart"]["turns"]) == [1, 2, 3], shown
    assert shown["parameters"]["max_connections"] == {
        "value": "60", "source": "cluster log", "file": "40", "index": begun,
    }  # fmt: skip
    assert all(not node["pending"] and node["version"] == begun for node in shown["nodes"].values()), shown["nodes"]
    assert [change["by"] for change in shown["history"]] == ["anna"] and shown["history"][0]["at"] > 1_600_000_000
    [now] = hosts.writable()
    assert now != before and ledger.missing(now) == [] and len(ledger.changes()) == 1
    assert change(hosts, {"work_mem": "10MB"}, "?cas=0").status_code == 409


def test_value_with_which_a_server_does_not_start_is_taken_back_and_costs_no_database(hosts: Hosts) -> None:
    wait_for("a whole cluster", hosts.whole, 60)
    [before] = hosts.writable()
    wrong = change(hosts, {"work_mem": "much", "fsync": "off"})
    assert wrong.status_code == 422 and {one["field"] for one in wrong.json()["faults"]} == {"fsync"}, wrong.text
    version = settings(hosts)["version"]
    with Ledger(hosts, "refused") as ledger:
        ledger.wait_for_rows(before)
        # Memory in large pages is asked for at the start only; there is none here.
        said = change(hosts, {"huge_pages": "on", "work_mem": "11MB"}, "?restart=rolling")
        assert said.status_code == 200, said.text
        begun = said.json()["index"]
        wait_for("the end of the restart", lambda: ended(hosts, begun), 90)
        ledger.wait_for_rows(before)
    shown = settings(hosts)
    assert shown["restart"]["state"] == "failed" and "does not start with it" in shown["restart"]["reason"], shown
    assert "huge_pages" not in shown["parameters"] and shown["parameters"]["work_mem"]["value"] == "11MB"
    back = shown["history"][-1]
    assert back["changes"] == {"huge_pages": None} and back["reason"] and version < begun < shown["version"]
    assert hosts.writable() == [before] and ledger.missing(before) == [] and ledger.changes() == []
    wait_for("nothing pending", lambda: hosts.whole() and not any(
        node["pending"] or node["refused"] for node in settings(hosts, before)["nodes"].values()
    ))  # fmt: skip
