"""Which replica is copied, and which is followed in the primary's place."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from qluster.cluster.messages import Report
from qluster.config.tags import Tags
from qluster.consensus.members import Member, Members
from qluster.database.facts import Facts
from qluster.database.failures import Failures
from qluster.database.orders import Adjust, Clone, Follow, Terms
from qluster.database.plan import UNSTREAMED_LIMIT, Wanted, next_order
from qluster.sourcing import CLONE_LAG, Steady, clone_source, followed_replica
from qluster.status import DatabaseStatus

FAR = 10 * CLONE_LAG
PRIMARY = DatabaseStatus(role="primary", state="idle", timeline=3, position=FAR)
REPLICA = DatabaseStatus(role="replica", state="idle", timeline=3, position=FAR, replayed=FAR, streaming=True)


def chosen(*replicas: DatabaseStatus | None, tags: dict[int, Tags] | None = None, dead: int = 0) -> int | None:
    """Node 1 is the primary, node 2 copies, the replicas are nodes 3, 4, ...: who is copied; None: the primary."""
    databases = {1: PRIMARY, 2: DatabaseStatus(role="absent"), **dict(enumerate(replicas, start=3))}
    members = Members(tuple(
        Member(node, node, f"10.0.0.{node}", 8080, 7400, 5432, True, tags=(tags or {}).get(node)) for node in databases
    ))  # fmt: skip

    def last(node: int) -> Report | None:
        database = databases.get(node)
        return Report(1, node, "", "", "", 1, False, database, None) if database is not None else None

    found = clone_source(members, last, frozenset(databases) - {dead}, 1, 2)
    return int(found[0].rpartition(".")[2]) if found else None


@pytest.mark.parametrize(
    "fault",
    [
        {"role": "detached"}, {"streaming": False}, {"state": "cloning"}, {"error": "x"}, {"timeline": 2},
        {"barred": "paused"}, {"position": FAR - CLONE_LAG - 1}, {"replayed": FAR - CLONE_LAG - 1}, {"position": None},
    ],
)  # fmt: skip
def test_only_a_replica_that_follows_well_is_copied(fault: dict[str, Any]) -> None:
    assert chosen(REPLICA) == 3
    assert chosen(replace(REPLICA, **fault)) is None
    assert chosen(replace(REPLICA, **fault), REPLICA) == 4


def test_without_a_living_replica_the_primary_is_copied() -> None:
    assert chosen() is None
    assert chosen(None) is None
    assert chosen(REPLICA, dead=3) is None


def test_the_one_that_is_meant_for_it_goes_first_then_the_one_with_the_least_to_do() -> None:
    busy = replace(REPLICA, senders=2)
    assert chosen(busy, REPLICA) == 4
    assert chosen(busy, REPLICA, tags={3: Tags(clone_from=True)}) == 3
    assert chosen(replace(REPLICA, position=FAR - 1), REPLICA) == 4


def test_a_copy_that_failed_is_made_from_the_primary() -> None:
    up, replica = ("10.0.0.1", 5432), ("10.0.0.3", 5432)
    wanted = Wanted(kind="follow", reign=1, upstream=up, system_id=7, source=replica)
    failures, empty = Failures(), Facts(directory="empty")
    order = next_order(empty, wanted, failures, 0.0)
    assert isinstance(order, Clone) and (order.upstream, order.source) == (up, replica)
    failures.failed(order, "the standby was promoted during online backup", 0.0, passing=True)
    assert next_order(empty, wanted, failures, 60.0) == changed(order, source=None)


def followed(named: str, tags: dict[int, Tags] | None = None, dead: int = 0, **fault: Any) -> str | None:
    """Node 1 is the primary, nodes 3 and 4 replicas, the last with a fault: whom node 2 follows."""
    databases = {1: PRIMARY, 2: REPLICA, 3: REPLICA, 4: replace(REPLICA, **fault)}
    members = Members(tuple(
        Member(node, node, f"10.0.0.{node}", 8080, 7400, 5432, True, tags=(tags or {}).get(node)) for node in databases
    ))  # fmt: skip

    def last(node: int) -> Report | None:
        return Report(1, node, "", "", "", 1, False, databases[node], None)

    found = followed_replica(members, last, frozenset(databases) - {dead}, 1, 2, named)
    return found[0] if found else None


def test_the_named_replica_is_followed_while_it_follows_the_primary() -> None:
    assert followed("10.0.0.4") == "10.0.0.4"
    assert followed("10.0.0.4", dead=4) is None
    for fault in ({"streaming": False}, {"role": "primary"}, {"role": "detached"}, {"timeline": 2}):
        assert followed("10.0.0.4", **fault) is None
        assert followed("10.0.0.3", **fault) == "10.0.0.3"


def test_neither_the_primary_nor_oneself_nor_a_stranger_is_followed_instead() -> None:
    for named in ("10.0.0.1", "10.0.0.2", "10.0.0.9"):
        assert followed(named) is None


def test_nobody_follows_in_a_ring() -> None:
    row = {4: Tags(replicate_from="10.0.0.3")}
    assert followed("10.0.0.4", row) == "10.0.0.4"
    assert followed("10.0.0.4", {**row, 3: Tags(replicate_from="10.0.0.2")}) is None
    assert followed("10.0.0.4", {**row, 3: Tags(replicate_from="10.0.0.4")}) is None


def test_a_replica_is_taken_after_a_while_and_left_at_once() -> None:
    steady, up = Steady(), ("10.0.0.4", 5432)
    assert steady.step(up, 5.0, 2.0) is None
    assert steady.step(up, 6.9, 2.0) is None
    assert steady.step(up, 7.0, 2.0) == up
    assert steady.step(None, 7.1, 2.0) is None
    assert steady.step(up, 7.2, 2.0) is None


def test_a_replica_is_followed_only_by_one_that_needs_nothing_else() -> None:
    up, via, terms = ("10.0.0.1", 5432), ("10.0.0.3", 5432), Terms(name="node2")
    wanted = Wanted(kind="follow", reign=1, upstream=up, system_id=7, via=via, terms=terms)
    plain = changed(wanted, via=None)
    here = Facts(
        directory="initialised", system_id=7, server="running", in_recovery=True, standby=True, terms=terms,
        upstream="10.0.0.1:5432", receiver="streaming",
    )  # fmt: skip
    there = changed(here, upstream="10.0.0.3:5432")

    def order(facts: Facts, wanted: Wanted) -> object:
        return next_order(facts, wanted, Failures(), 0.0)

    assert order(changed(here, upstream=None, receiver="none"), wanted) == Follow(up, terms)
    assert order(changed(here, terms=None), wanted) == Adjust(terms)
    assert order(here, wanted) == Follow(up, terms, via)
    assert order(there, wanted) is None
    assert order(changed(there, terms=None), wanted) == Adjust(terms)
    assert order(there, plain) == Follow(up, terms)
    assert order(changed(there, receiver="waiting", unstreamed=UNSTREAMED_LIMIT + 1), wanted) == Follow(up, terms)
    failures = Failures()
    failures.failed(Follow(up, terms, via), "it is left alone", 0.0, passing=True)
    assert next_order(changed(here, terms=None), wanted, failures, 0.0) == Adjust(terms), "nothing waits for it"
