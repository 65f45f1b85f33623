"""What an operator says of one database, and what the leader makes of it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec import defstruct, msgpack
from msgspec.structs import replace
from qluster.cluster.commands import Guarantee, Reign
from qluster.cluster.messages import Hello, MalformedMessage, Report, decode, encode
from qluster.cluster.state import State
from qluster.config.tags import Tags
from qluster.consensus.members import MalformedMembers, Member, Members
from qluster.database.facts import Facts, Replica
from qluster.database.orders import Terms
from qluster.leading import Change, Leading, Scene, best_successor, databases_of, waited_for
from qluster.status import DatabaseStatus

REPLICA = DatabaseStatus(role="replica", state="idle", timeline=1, position=500, replayed=500, streaming=True)


def member(node: int, tags: Tags | None = None) -> Member:
    return Member(node, node, f"10.0.0.{node}", 8080, 7400, 5432, True, tags=tags)


def scene(tags: dict[int, Tags] | None = None, **database: Any) -> Scene:
    """Node 1 reigns; nodes 2 to 4 follow. ``database``: how node 4's is."""
    members = Members(tuple(member(node, (tags or {}).get(node)) for node in (1, 2, 3, 4)))
    databases = {2: REPLICA, 3: REPLICA, 4: replace(REPLICA, **database)}
    reports = {node: Report(1, node, "", "", "", 1, False, one, None) for node, one in databases.items()}
    alone = Guarantee(1, 1, (), 0)
    state = State(reigns=[Reign(1, 1, 3, 1, 0, 7)], name="x", guarantees=(alone,))
    return Scene(
        now=10.0, me=1, cluster=1, term=3, state=state, members=members, settled=members,
        alive=frozenset({1, 2, 3, 4}), own=None, intact=True, system_id=7, awaits_founding=True, node_timeout=1.0,
        retry=0.1, mode="quorum", strict=False, maximum_lag=0, end=lambda node, since: None, wal_rate=0.0,
        report=reports.get,
    )  # fmt: skip


def guaranteed(seen: Scene) -> tuple[int, ...]:
    """For whom the primary waits when all replicas stream."""
    replicas = tuple(Replica(f"node{node}", "streaming", 500) for node in (2, 3, 4))
    facts = Facts(server="running", in_recovery=False, replicas=replicas, position=500, terms=Terms())
    proposed = Leading(3, 0.0).guarantee(facts, seen)
    assert proposed is not None
    return proposed.body.guarantees[-1].standbys  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tags", "may_lead", "waited"),
    [
        (Tags(), True, True),
        (Tags(no_failover=True), False, False),
        (Tags(no_sync=True), True, False),
        (Tags(replicate_from="10.0.0.2"), True, False),
        (Tags(no_load_balance=True, clone_from=True, priority=7), True, True),
    ],
)
def test_who_may_take_over_and_who_is_waited_for(tags: Tags, may_lead: bool, waited: bool) -> None:
    seen = scene({4: tags})
    assert (4 in databases_of(seen)) is may_lead
    assert (4 in waited_for(seen)) is waited
    assert (4 in guaranteed(seen)) is waited
    assert {2, 3} <= set(guaranteed(seen))


def test_a_replica_that_could_not_take_over_at_once_is_not_waited_for() -> None:
    seen = scene(barred="its replay is paused", position=900)
    assert 4 not in guaranteed(seen)
    assert 4 in databases_of(seen), "its answer is asked for all the same"
    assert best_successor(seen, seen.members) == 2
    assert best_successor(scene(position=900), seen.members) == 4


def test_a_replica_whose_node_is_silent_or_whose_database_hangs_is_not_waited_for_though_its_stream_stands() -> None:
    assert 4 in guaranteed(scene())
    assert 4 not in guaranteed(scene(role="stopped"))
    silent = dataclasses.replace(scene(), alive=frozenset({1, 2, 3}))
    assert 4 not in guaranteed(silent)


def test_a_tagged_primary_is_still_one_of_the_databases_that_make_a_majority() -> None:
    assert databases_of(scene({1: Tags(no_failover=True)})) == {1, 2, 3, 4}


def test_leadership_is_never_laid_on_a_node_that_must_not_have_it() -> None:
    assert best_successor(scene(), scene().members) == 2
    tagged = scene({2: Tags(no_failover=True), 4: Tags(priority=1)})
    assert best_successor(tagged, tagged.members) == 4
    nobody = scene({node: Tags(no_failover=True) for node in (2, 3, 4)})
    assert best_successor(nobody, nobody.members) is None


def test_a_database_in_trouble_takes_over_where_nobody_else_does_and_it_waits_for_the_lost_primary() -> None:
    waits = {"error": "the database at 10.0.0.1:5432 is not the primary yet", "position": 900}
    assert best_successor(scene(role="replica", **waits), scene().members) == 2
    assert best_successor(scene(role="detached", **waits), scene().members) == 2
    alone = {node: Tags(no_failover=True) for node in (2, 3)}
    assert best_successor(scene(alone, role="replica", **waits), scene(alone).members) is None
    assert best_successor(scene(alone, role="detached", system_id=7, **waits), scene(alone).members) == 4
    assert best_successor(scene(alone, role="detached", system_id=8, **waits), scene(alone).members) is None


def test_who_goes_for_want_of_room_goes_where_there_is_some() -> None:
    none = scene(position=900, room_bytes=0)
    assert best_successor(none, none.members, room=101) == 2
    seen = scene(position=900, room_bytes=100)
    assert best_successor(seen, seen.members) == 4
    assert best_successor(seen, seen.members, room=101) == 2, "of nodes 2 and 3 it is not known"


def test_tags_reach_the_membership_by_the_hello_of_a_node_that_comes_back() -> None:
    seen, leading = scene(), Leading(3, 0.0)
    hello = Hello(1, 4, 4, "10.0.0.4", 7400, 8080, 5432, "node", False, "", {}, Tags(priority=9))
    leading.hello(decode(encode(hello)))  # type: ignore[arg-type]
    changes = [duty for duty in leading.step(seen, handing_over=True) if isinstance(duty, Change)]
    assert [one.members.get(4).tags for one in changes] == [Tags(priority=9)]  # type: ignore[union-attr]


def test_tags_of_nobody_are_refused() -> None:
    hello = Hello(1, 4, 4, "10.0.0.4", 7400, 8080, 5432, "node", False, "", {}, Tags(priority=9))
    with pytest.raises(MalformedMessage):
        decode(encode(replace(hello, tags=Tags(priority=101))))
    with pytest.raises(MalformedMembers):
        Members.decode(Members((member(1, Tags(replicate_from="x" * 46)),)).encode())


def test_versions_with_and_without_tags_read_each_other() -> None:
    before = ["node", "uid", "ip", "api_port", "udp_port", "db_port", "voter", "role", "pool"]
    old = defstruct("Old", [(name, Any) for name in before], array_like=True)
    mine = member(1, Tags(no_sync=True))
    (theirs,), *_ = msgpack.decode(Members((mine,)).encode(), type=tuple[tuple[old, ...], Any, Any, Any])  # type: ignore[valid-type]
    assert [getattr(theirs, name) for name in before] == [getattr(mine, name) for name in before]
    assert Members.decode(msgpack.encode(([theirs], True, 0, 0))).get(1) == replace(mine, tags=None)
