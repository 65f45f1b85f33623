"""What load balancers hear while a real database hangs: at once, and the truth."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests
from edge.fault_world import Hosts, kin, obstacle, wait_for

ANSWER_SECONDS = 1.0
"""For one answer, on a machine that is busy with other tests: it takes a thousandth of that."""
READS = ("/is-replica", "/is-replica?max-lag=1GiB", "/is-synchronous", "/is-readable", "/readiness")


class Balancer:
    """Asks one node over a connection that it keeps, without a token."""

    def __init__(self, hosts: Hosts, number: int) -> None:
        self.session, self.url = hosts.session(), hosts.url(number)
        del self.session.headers["Authorization"]

    def code(self, path: str) -> int:
        """The answer, which must come at once."""
        began = time.monotonic()
        answer = self.session.get(self.url + path, timeout=5)
        assert time.monotonic() - began < ANSWER_SECONDS, path
        return answer.status_code

    def reason(self, path: str) -> str:
        """What stands in the answer."""
        return str(self.session.get(self.url + path, timeout=5).json().get("message"))

    def codes(self, *paths: str) -> list[int]:
        """Several answers."""
        return [self.code(path) for path in paths]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Hosts()
    try:
        for number in (1, 2, 3):
            made.prepare(number, cluster__synchronous="quorum")
            made.start(number)
        wait_for("a whole cluster", made.whole, 60)
        yield made
    finally:
        made.end()


def chosen(hosts: Hosts) -> tuple[int, int]:
    """The primary, and a replica that it waits for."""
    wait_for("a whole cluster", hosts.whole, 90)
    [primary] = hosts.writable()
    replica = next(number for number in (1, 2, 3) if number != primary)
    asked = Balancer(hosts, replica)
    wait_for("a replica in order", lambda: set(asked.codes(*READS)) == {200}, 30)
    return primary, replica


def test_replica_whose_postmaster_is_stopped_takes_nobody_new_and_says_so(hosts: Hosts) -> None:
    primary, replica = chosen(hosts)
    asked, postmaster = Balancer(hosts, replica), hosts.postmaster(replica)
    assert postmaster is not None
    hosts.freeze(postmaster)
    try:
        wait_for("no replica for the pool", lambda: set(asked.codes(*READS)) == {531}, 5)
        assert "the postmaster is stopped" in asked.reason("/is-replica")
        assert asked.codes("/liveness", "/is-leader") == [200, 417]
        assert Balancer(hosts, primary).codes("/is-leader", "/is-readable", "/readiness") == [200, 200, 200]
    finally:
        hosts.thaw(postmaster)
    wait_for("a replica again", lambda: set(asked.codes(*READS)) == {200}, 10)


def test_primary_whose_database_hangs_is_read_from_no_more_and_answers_all_the_while(hosts: Hosts) -> None:
    primary, replica = chosen(hosts)
    asked, postmaster = Balancer(hosts, primary), hosts.postmaster(primary)
    assert postmaster is not None and asked.codes("/is-leader", "/is-readable", "/readiness") == [200, 200, 200]
    stopped, other = [postmaster, *kin(postmaster)], Balancer(hosts, replica)
    silent: list[float] = []
    lags: list[float] = []

    def look() -> bool:
        """Once both were seen: a replica that takes the primary's place later takes nothing back."""
        if not silent and asked.codes("/is-readable", "/readiness", "/is-leader") == [531] * 3:
            silent.append(time.monotonic())
        # What it had written last is all that replicas can have: they may be read, and how far behind is not known.
        if not lags and other.codes("/is-readable?max-lag=1GiB", "/is-readable") == [531, 200]:
            lags.append(time.monotonic())
        return bool(silent and lags)

    hosts.freeze(*stopped)
    try:
        began = time.monotonic()
        wait_for("no word of it, and a lag that is not known", look, 14)
        # A look at it takes four seconds at most: then it is not known whether it can be written to.
        assert silent[0] - began < 6
        assert asked.code("/liveness") == 200
        assert asked.code("/is-replica") in (417, 531)
    finally:
        hosts.thaw(*stopped)
    wait_for("a primary again", lambda: [Balancer(hosts, number).code("/is-leader") for number in (1, 2, 3)].count(200)
             == 1 and hosts.whole(), 60)


def test_every_new_connection_gets_the_same_answer_as_one_that_is_kept(hosts: Hosts) -> None:
    primary, _ = chosen(hosts)
    kept = Balancer(hosts, primary).session
    for path in ("/is-leader", "/primary", *READS):
        new = requests.get(hosts.url(primary) + path, verify=kept.verify, timeout=5, headers={"Connection": "close"})
        assert new.status_code == kept.get(hosts.url(primary) + path, timeout=5).status_code
