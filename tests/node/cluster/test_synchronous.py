"""Whose answers prove what, and that no step of a change of the guarantees leaves a window."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from random import Random

import pytest
from msgspec.structs import replace
from qluster.cluster import synchronous
from qluster.cluster.commands import Guarantee
from qluster.cluster.messages import PositionReply
from qluster.cluster.synchronous import (
    RELOAD_SECONDS,
    Scene,
    Standby,
    Synchrony,
    needed_of,
    node_named,
    shortfall,
    shown_is_safe,
    standby_name,
    waits_for,
)
from qluster.config import Synchronous

REIGNS = {1: 1, 2: 1, 3: 2}
PATIENCE = 2.0


def answers(*nodes: int, served: dict[int, int] | None = None) -> dict[int, PositionReply]:
    """Final positions of these nodes."""
    return {
        node: PositionReply(77, node, 9, 5, 1, 100, True, "", (served or {}).get(node, 0)) for node in nodes
    }


def test_nothing_is_asked_where_nothing_is_guaranteed() -> None:
    assert shortfall((), answers(3), REIGNS) == ""


@pytest.mark.parametrize(
    ("standbys", "needed", "able", "proven"),
    [
        ((2,), 1, (2,), True),
        ((2, 3), 1, (2,), False),
        ((2, 3), 1, (2, 3), True),
        ((2, 3), 2, (3,), True),
        ((2, 3, 4), 2, (3,), False),
        ((2, 3, 4), 2, (3, 4), True),
        ((2, 3, 4), 1, (3, 4), False),
        ((2, 3, 4, 5), 2, (2, 3), False),
        ((2, 3, 4, 5), 2, (2, 3, 5), True),
        ((2, 3), 1, (2, 7), False),
        ((), 0, (2, 3, 4), False),
    ],
)  # fmt: skip
def test_so_many_answer_that_one_of_them_confirmed(
    standbys: tuple[int, ...], needed: int, able: tuple[int, ...], proven: bool
) -> None:
    found = shortfall((Guarantee(1, 1, standbys, needed),), answers(*able), REIGNS)
    assert (found == "") is proven, found
    # By brute force: whoever confirmed, one of those who answered is among them.
    confirmed = [set(one) for one in itertools.combinations(standbys, needed)] if needed else [set()]
    assert all(one & set(able) for one in confirmed) is proven


def test_sentence_names_who_is_missing() -> None:
    found = shortfall((Guarantee(2, 1, (2, 3), 1),), answers(3), REIGNS)
    assert found == (
        "only node 1 has all that it acknowledged in reign 2, or 2 of nodes 2, 3 together, of which 1 can take over"
    )
    alone = shortfall((Guarantee(2, 1, (), 0),), answers(2, 3), REIGNS)
    assert alone == "only node 1 has all that it acknowledged in reign 2"


def test_directory_in_which_the_primary_served_has_all_also_under_a_new_number() -> None:
    guarantees = (Guarantee(1, 1, (2, 3), 1),)
    assert shortfall(guarantees, answers(1, served={1: 1}), REIGNS) == ""
    assert shortfall(guarantees, answers(1, served={1: 2}), REIGNS) == ""
    assert shortfall(guarantees, answers(8, served={8: 2}), REIGNS) == ""
    # Copied since: it may be behind the one that it was copied from.
    assert shortfall(guarantees, answers(1), REIGNS)
    # It served, but in another's reign, or before the guarantee.
    assert shortfall(guarantees, answers(2, served={2: 3}), REIGNS)
    assert shortfall((Guarantee(2, 1, (2, 3), 1),), answers(1, served={1: 1}), REIGNS)


def test_every_guarantee_in_the_log_must_be_met() -> None:
    both = (Guarantee(1, 1, (2, 3), 1), Guarantee(1, 1, (4,), 1))
    assert shortfall(both, answers(2, 3), REIGNS)
    assert shortfall(both, answers(4), REIGNS)
    assert shortfall(both, answers(2, 3, 4), REIGNS) == ""


def test_last_primary_alone_is_enough_whatever_was_guaranteed_before_it() -> None:
    guarantees = (Guarantee(1, 1, (2, 3), 1), Guarantee(3, 2, (3,), 1))
    assert shortfall(guarantees, answers(2, served={2: 3}), REIGNS) == ""
    assert shortfall(guarantees, answers(1, served={1: 2}), REIGNS), "it knows nothing of the later reign"


@pytest.mark.parametrize(
    ("reach", "proven"),
    [
        ((4, 500), True),
        ((4, 499), False),
        ((5, 900), False),
        ((3, 900), True),
        (None, False),
    ],
)  # fmt: skip
def test_who_stands_in_the_wal_of_a_reign_has_all_that_was_acknowledged_before_it(
    reach: tuple[int, int] | None, proven: bool
) -> None:
    """Five databases lose two: the last primary, and one that was being rewound."""
    reigns, begun = {2: 5, 3: 3, 4: 1}, {1: (1, 0), 2: (2, 300), 3: (3, 400), 4: (4, 500)}
    guarantees = (
        Guarantee(2, 5, (1, 2, 3, 4), 2), Guarantee(3, 3, (1, 2, 4, 5), 2),
        Guarantee(4, 1, (2, 3, 4, 5), 2), Guarantee(4, 1, (2, 4, 5), 2),
    )  # fmt: skip
    assert (shortfall(guarantees, answers(2, 4, 5), reigns, reach, begun) == "") is proven
    assert shortfall(guarantees, answers(2, 5), reigns, reach, begun), "what was acknowledged in it still counts"


def test_guarantee_of_a_row_of_reigns_holds_in_each_of_them() -> None:
    """Its primary died before it served, came back, was promoted in its next reign, and acknowledged in that."""
    guarantees = (Guarantee(1, 1, (2, 3), 1), Guarantee(2, 2, (1, 3), 1))
    begun, reach = {1: (1, 0), 3: (3, 500)}, (3, 600)
    assert shortfall(guarantees, answers(1), {1: 1, 2: 2, 3: 2}, reach, begun), "node 3 may have confirmed more"
    assert not shortfall(guarantees, answers(1, 3), {1: 1, 2: 2, 3: 2}, reach, begun)
    assert shortfall(guarantees, answers(1, 3), {3: 2}, reach, begun), "where its row began is forgotten"


VOID = (Guarantee(1, 1, (2, 3), 1), Guarantee(3, 2, (1, 3), 1))
"""Node 2 was chosen for reign 3."""


def test_reign_that_its_own_node_never_served_guarantees_nothing() -> None:
    assert shortfall(VOID, answers(2, 3), REIGNS) == "", "node 2 says that it never served"
    assert shortfall(VOID, answers(2), REIGNS), "what reign 1 guaranteed holds nevertheless"
    assert shortfall(VOID, answers(3), REIGNS), "nobody says so"
    assert shortfall((VOID[1],), answers(2), {**REIGNS, 4: 3}), "it may have followed node 3 since, and not know"
    assert shortfall((VOID[1], Guarantee(4, 3, (1, 2), 1)), answers(2, 3), {**REIGNS, 4: 3}) == "", "neither served"
    served = answers(2, 3, served={3: 4})
    assert shortfall((VOID[1], Guarantee(4, 3, (1, 2), 1)), served, {**REIGNS, 4: 3}) == "", "the last primary itself"


@pytest.mark.parametrize(
    ("needed", "owed", "reach", "proven"),
    [
        (1, {}, (1, 100), True),
        (1, {2: (1, 100)}, (1, 100), True),
        (1, {2: (1, 101)}, (1, 100), False),
        (1, {2: (1, 101), 3: (1, 100)}, (1, 101), True),
        (1, {2: (2, 0)}, (1, 100), False),
        (1, {2: (1, 500)}, (2, 100), True),
        (2, {2: (1, 101)}, (1, 100), True),
        (2, {2: (1, 101), 3: (1, 101)}, (1, 100), False),
    ],
)
def test_copy_proves_what_was_there_before_it_where_anybody_has_as_much_as_the_primary_had(
    needed: int, owed: dict[int, tuple[int, int]], reach: tuple[int, int], proven: bool
) -> None:
    found = {node: replace(answer, owed=owed.get(node)) for node, answer in answers(2, 3).items()}
    said = shortfall((Guarantee(1, 1, (2, 3), needed),), found, REIGNS, reach)
    assert (said == "") is proven, said
    alone = shortfall((Guarantee(1, 1, (2,), 1),), {2: found[2]}, REIGNS, reach)
    assert (alone == "") is (reach >= owed.get(2, (0, 0))), "the only one that was waited for"


@pytest.mark.parametrize(
    ("guarantees", "me", "safe"),
    [
        ((), 2, False),
        ((Guarantee(1, 1, (2, 3), 1), Guarantee(2, 2, (1, 3), 1)), 2, True),
        ((Guarantee(1, 1, (3,), 1), Guarantee(2, 2, (1, 3), 1)), 2, False),
        ((Guarantee(1, 1, (2, 3), 2), Guarantee(2, 2, (3,), 1)), 2, False),
        ((Guarantee(1, 1, (2, 3, 4, 5), 2), Guarantee(2, 2, (1, 3, 4, 5), 2)), 2, False),
    ],
)
def test_who_is_promoted_shows_at_once_what_nobody_can_take_over_without(
    guarantees: tuple[Guarantee, ...], me: int, safe: bool
) -> None:
    assert shown_is_safe(guarantees, me) is safe
    if safe:
        others = set(range(1, 6)) - {me}
        sets = [set(chosen) for count in range(5) for chosen in itertools.combinations(others, count)]
        assert all(shortfall(guarantees, answers(*chosen), {1: 1, 2: 2}) for chosen in sets if 1 not in chosen)


def test_names_of_standbys() -> None:
    assert waits_for(None) == waits_for(Guarantee(1, 1, (), 0)) == ((), 0)
    assert waits_for(Guarantee(1, 1, (2, 3), 1)) == (("node2", "node3"), 1)
    assert node_named(standby_name(12)) == 12
    assert node_named("pg_basebackup") is node_named("node") is node_named("nodes1") is node_named("node²") is None


@pytest.mark.parametrize(
    ("mode", "standbys", "databases", "needed"),
    [("quorum", 2, 3, 1), ("quorum", 1, 3, 1), ("quorum", 0, 3, 0), ("quorum", 4, 5, 2), ("quorum", 1, 5, 1),
     ("quorum", 1, 2, 1), ("quorum", 3, 4, 2), ("all", 2, 3, 2), ("all", 1, 3, 1), ("all", 0, 3, 0)],
)  # fmt: skip
def test_needed(mode: Synchronous, standbys: int, databases: int, needed: int) -> None:
    assert needed_of(mode, standbys, databases) == needed


# --- the steps ---------------------------------------------------------------------------------


@dataclass
class Cluster:
    """A primary (node 1), its standbys, and a log in which what is proposed is committed at once or later."""

    mode: Synchronous = "quorum"
    now: float = 100.0
    guarantees: tuple[Guarantee, ...] = ()
    synchrony: Synchrony = field(default_factory=Synchrony)
    databases: frozenset[int] = frozenset({1, 2, 3})
    streaming: set[int] = field(default_factory=set)
    positions: dict[int, int] = field(default_factory=dict)
    owed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Standbys whose database was replaced, and how far the primary was then."""
    written: int = 10
    strict: bool = False
    told: Guarantee | None = None
    """What the server was last told."""
    seen_at: float | None = None
    """When that was seen; None: just now."""
    obeys: Guarantee | None = None
    """What all of its processes have read: they do within RELOAD_SECONDS."""
    told_at: float = 0.0
    silent: frozenset[int] = frozenset()
    proposed: tuple[Guarantee, ...] | None = None
    acknowledged: int = 0

    def step(self) -> tuple[Guarantee, ...] | None:
        """Ask for the next change."""
        standbys = {
            node: Standby(node in self.streaming, position) for node, position in self.positions.items()
            if node in self.streaming
        }  # fmt: skip
        return self.synchrony.step(
            Scene(
                now=self.now, mode=self.mode, strict=self.strict, me=1, reign=1,
                guarantees=self.guarantees, databases=self.databases,
                standbys=standbys, told=waits_for(self.told), position=self.written, patience=PATIENCE,
                seen_at=self.now if self.seen_at is None else self.seen_at, silent=self.silent,
            )
        )  # fmt: skip

    def follow(self) -> list[tuple[Guarantee, ...]]:
        """Commit whatever is proposed, tell the server at once, until nothing changes any more."""
        made = []
        for _ in range(40):
            self.now += 0.5
            found = self.step()
            if found is not None:
                self.guarantees = found
                self.told = found[-1] if found else None
                made.append(found)
        return made

    def confirm(self) -> None:
        """Clients are answered by whichever of the two settings lets more through."""
        for guarantee in (self.told, self.obeys):
            if guarantee is None:
                continue
            reached = sorted((self.positions.get(node, 0) for node in guarantee.standbys), reverse=True)
            position = reached[guarantee.needed - 1] if guarantee.needed else self.written
            self.acknowledged = max(self.acknowledged, position)


def test_standbys_are_let_in_when_they_stream_and_taken_out_when_they_are_away_too_long() -> None:
    cluster = Cluster()
    assert cluster.follow() == [(Guarantee(1, 1, (), 0),)]
    cluster.streaming, cluster.positions = {2, 3}, {2: 10, 3: 10}
    both = Guarantee(1, 1, (2, 3), 1)
    assert cluster.follow() == [(Guarantee(1, 1, (), 0), both), (both,)]
    cluster.streaming = {3}
    cluster.now += PATIENCE / 4
    assert cluster.step() is None, "away for a moment"
    one = Guarantee(1, 1, (3,), 1)
    assert cluster.follow() == [(both, one), (one,)]
    cluster.streaming = set()
    none = Guarantee(1, 1, (), 0)
    assert cluster.follow() == [(one, none), (none,)]


@pytest.mark.parametrize("dead", [True, False])
def test_of_those_a_reign_begins_with_only_who_was_heard_gets_time_to_stream(dead: bool) -> None:
    begun, none = Guarantee(1, 1, (2,), 1), Guarantee(1, 1, (), 0)
    cluster = Cluster(guarantees=(begun,), told=begun, databases=frozenset({1, 2}))
    cluster.silent = frozenset({2} if dead else set())
    assert cluster.step() == ((begun, none) if dead else None)
    cluster.now += PATIENCE
    assert cluster.step() == (begun, none)


def test_standby_that_streamed_in_this_reign_keeps_its_time_though_it_is_silent() -> None:
    cluster = Cluster(streaming={2}, positions={2: 10}, databases=frozenset({1, 2}))
    cluster.follow()
    assert cluster.guarantees == (Guarantee(1, 1, (2,), 1),)
    cluster.streaming, cluster.silent = set(), frozenset({2})
    cluster.now += PATIENCE / 4
    assert cluster.step() is None


def test_what_was_seen_before_all_processes_had_read_the_new_standbys_settles_nothing() -> None:
    cluster = Cluster(streaming={2}, positions={2: 10, 3: 10})
    cluster.follow()
    cluster.streaming = {2, 3}
    both = cluster.step()
    assert both is not None and len(both) == 2
    cluster.guarantees, cluster.told = both, both[-1]
    assert [cluster.step(), cluster.step()] == [None, None], "it was just told"
    cluster.seen_at, cluster.now = cluster.now, cluster.now + 2 * RELOAD_SECONDS
    assert cluster.step() is None, "the look is as old"
    cluster.seen_at = None
    assert cluster.step() == both[-1:]


def test_strict_never_waits_for_nobody_once_there_is_somebody() -> None:
    alone = Cluster(databases=frozenset({1}), strict=True)
    assert alone.follow() == [(Guarantee(1, 1, (), 0),)], "it could not be founded otherwise"
    cluster = Cluster(strict=True, streaming={2, 3}, positions={2: 10, 3: 10})
    cluster.follow()
    cluster.streaming = set()
    cluster.follow()
    assert cluster.guarantees[-1] == Guarantee(1, 1, (2, 3), 1), "whoever comes back first"
    cluster.databases = frozenset({1, 2})
    cluster.follow()
    assert cluster.guarantees[-1] == Guarantee(1, 1, (2,), 1)
    cluster.strict = False
    assert cluster.follow()[-1] == (Guarantee(1, 1, (), 0),)


def test_nobody_is_let_in_who_may_not_take_over() -> None:
    cluster = Cluster(databases=frozenset({1, 3}), streaming={2, 3}, positions={2: 10, 3: 10})
    cluster.follow()
    assert cluster.guarantees == (Guarantee(1, 1, (3,), 1),)


def test_switched_off_the_log_forgets_at_once() -> None:
    cluster = Cluster(streaming={2, 3}, positions={2: 10, 3: 10})
    cluster.follow()
    cluster.mode = "off"
    assert cluster.step() == ()


def test_old_guarantee_stays_until_the_new_standbys_have_what_was_written() -> None:
    cluster = Cluster(streaming={2}, positions={2: 10})
    cluster.follow()
    before = cluster.guarantees
    cluster.mode, cluster.streaming, cluster.positions, cluster.written = "all", {2, 3}, {2: 20, 3: 12}, 20
    assert cluster.follow() == [(*before, Guarantee(1, 1, (2, 3), 2))]
    cluster.positions[3] = 20
    assert cluster.follow() == [(Guarantee(1, 1, (2, 3), 2),)]


def test_server_that_was_not_told_yet_keeps_the_old_guarantee_in_the_log() -> None:
    cluster = Cluster(streaming={2}, positions={2: 10, 3: 10})
    cluster.follow()
    cluster.streaming = {2, 3}
    found = cluster.step()
    assert found is not None
    cluster.guarantees = found
    cluster.now += 10 * RELOAD_SECONDS
    assert cluster.step() is None
    cluster.told = found[-1]
    assert cluster.step() is None, "its processes may not have read it yet"
    cluster.now += RELOAD_SECONDS
    assert cluster.step() == found[-1:]


def test_standbys_that_die_before_they_caught_up_are_replaced() -> None:
    cluster = Cluster(mode="all", streaming={2}, positions={2: 10})
    cluster.follow()
    cluster.streaming, cluster.positions, cluster.written = {2, 3}, {2: 20, 3: 5}, 20
    cluster.follow()
    cluster.streaming = {2}
    cluster.follow()
    assert cluster.guarantees == (Guarantee(1, 1, (2,), 1),)


def _standby_comes_or_goes(cluster: Cluster, random: Random) -> None:
    cluster.streaming ^= {random.choice(sorted(cluster.databases - {1}))}


def _clients_write(cluster: Cluster, random: Random) -> None:
    cluster.written += random.randrange(1, 5)


def _standbys_confirm(cluster: Cluster, random: Random) -> None:
    for node in sorted(cluster.streaming):
        if random.random() < 0.6:
            cluster.positions[node] = random.randint(cluster.positions.get(node, 0), cluster.written)


def _standby_is_copied_from_another(cluster: Cluster, random: Random) -> None:
    """It lost its database; whom it copies may be behind."""
    node, source = random.sample(sorted(cluster.databases), 2)
    if node != 1 and random.random() < 0.5:
        cluster.positions[node] = cluster.written if source == 1 else cluster.positions.get(source, 0)
        cluster.owed[node] = 1, cluster.written


def _operator_changes_the_mode(cluster: Cluster, random: Random) -> None:
    cluster.mode = random.choice(["quorum", "all"])


def _time_passes(cluster: Cluster, random: Random) -> None:
    cluster.now += random.choice([0.1, 0.6, 1.1, PATIENCE])
    if cluster.now >= cluster.told_at + RELOAD_SECONDS:
        cluster.obeys = cluster.told


def _leader_proposes_or_the_log_commits(cluster: Cluster, random: Random) -> None:
    if cluster.proposed is not None:
        cluster.guarantees, cluster.proposed = cluster.proposed, None
    else:
        cluster.proposed = cluster.step()


def _server_is_told(cluster: Cluster, random: Random) -> None:
    last = cluster.guarantees[-1]
    if cluster.told != last and cluster.now >= cluster.told_at + RELOAD_SECONDS:
        cluster.obeys, cluster.told, cluster.told_at = cluster.told, last, cluster.now


HAPPENINGS = (
    _standby_comes_or_goes, _clients_write, _clients_write, _standbys_confirm, _standbys_confirm,
    _standby_is_copied_from_another, _operator_changes_the_mode, _time_passes,
    _leader_proposes_or_the_log_commits, _server_is_told,
)  # fmt: skip


def _nothing_is_lost(cluster: Cluster) -> None:
    """Whoever may answer: the best of those who prove it has all that was acknowledged."""
    others = sorted(cluster.databases - {1})
    for size in range(1, len(others) + 1):
        for able in itertools.combinations(others, size):
            for guarantees in (cluster.guarantees, cluster.proposed or cluster.guarantees):
                best = max(cluster.positions.get(node, 0) for node in able)
                found = {node: replace(one, owed=cluster.owed.get(node)) for node, one in answers(*able).items()}
                if guarantees and not shortfall(guarantees, found, {1: 1}, (1, best)):
                    assert best >= cluster.acknowledged, (able, guarantees, cluster)


def walk(seed: int, nodes: int, steps: int = 300) -> Cluster:
    """A primary's life in which anything happens; its loss is thought of at each moment."""
    random, cluster = Random(seed), Cluster(databases=frozenset(range(1, nodes + 1)), strict=seed % 3 == 0)
    cluster.guarantees = (Guarantee(1, 1, (), 0),)
    cluster.told = cluster.obeys = cluster.guarantees[0]
    for _ in range(steps):
        random.choice(HAPPENINGS)(cluster, random)
        cluster.confirm()
        _nothing_is_lost(cluster)
    return cluster


@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_no_order_of_events_loses_what_was_acknowledged(nodes: int) -> None:
    acknowledged = [walk(seed, nodes).acknowledged for seed in range(60)]
    assert min(acknowledged) > 10, "clients were answered in every walk"


def _settled_at_once(self: Synchrony, last: Guarantee, scene: Scene) -> bool:
    return True


def _without_the_one_before(self: Synchrony, scene: Scene) -> tuple[Guarantee, ...] | None:
    found = SOUND(self, scene)
    return found[-1:] if found else found


SOUND = Synchrony.step


def test_walks_see_a_copy_that_is_taken_for_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synchronous, "_lacks", lambda answer, reach: False)
    with pytest.raises(AssertionError):
        for seed in range(60):
            walk(seed, 3)


@pytest.mark.parametrize(
    ("method", "fault"), [("_settled", _settled_at_once), ("step", _without_the_one_before)], ids=["settled", "joint"]
)
def test_walks_see_a_step_that_is_left_out(method: str, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Synchrony, method, fault)
    with pytest.raises(AssertionError):
        for seed in range(60):
            walk(seed, 3)
