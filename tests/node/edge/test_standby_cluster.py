"""A second site: a cluster that follows another one, and is promoted when that one is given up.

Two clusters of daemons on one bridge, the second of them founded with a copy of the first. The tests build on each
other, in the order in which a site lives.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import asyncpg
import pytest
from edge.fault_world import DB_PORT, ERRORS, Hosts, obstacle, wait_for
from qluster.cluster.reign import BRANCHES

FIRST, SECOND = (1, 2), (3, 4, 5)
READ_ONLY = "cannot execute"


class Sites(Hosts):
    """The first site writes, the second one follows it."""

    def prepare_sites(self) -> None:
        """Configurations of both."""
        of = [f"{self.ip(number)}:{DB_PORT}" for number in FIRST]
        for number in FIRST:
            self.prepare(number, cluster__name="first")
        for number in SECOND:
            self.prepare(
                number, cluster__name="second", cluster__founder=self.ip(SECOND[0]),
                cluster__standby_of=of, cluster__standby_slot="second_site", udp__socket__group="239.19.78.2:7510",
                cluster__synchronous="quorum",
            )  # fmt: skip
            (self.root / "wal second").mkdir(exist_ok=True)
            self.prepare_archive(number)

    def prepare_archive(self, number: int) -> None:
        """An archive of its own for the second site."""
        path = self.place(number) / "config.yaml"
        path.write_text(path.read_text().replace(f'"{self.root}/wal"', f'"{self.root}/wal second"'))

    def writers(self, numbers: tuple[int, ...]) -> list[int]:
        """The hosts of a site that take writes, by their own word."""
        return [number for number in numbers if self.own(number).get("may_write")]

    def leading(self) -> list[int]:
        """Who leads the standby cluster."""
        return [number for number in SECOND if self.alive(number) and self.answers(number, "/is-standby-leader")]

    def answers(self, number: int, path: str) -> bool:
        """Whether a route of load balancers says yes."""
        return self.get(number, path).status_code == 200

    def alive(self, number: int) -> bool:
        """Its daemon runs."""
        return number in self.daemons and self.daemons[number].poll() is None

    def sql(self, number: int, statement: str) -> list[tuple[object, ...]]:
        """As the application."""
        return asyncio.run(self._sql(number, statement))

    async def _sql(self, number: int, statement: str) -> list[tuple[object, ...]]:
        connection = await self.connect(number, "app", "application-of-the-test", "app")
        try:
            return [tuple(row) for row in await asyncio.wait_for(connection.fetch(statement), 5)]
        finally:
            connection.terminate()

    async def connect(self, number: int, user: str, password: str, database: str) -> asyncpg.Connection:
        """A connection to a host's database."""
        return await asyncpg.connect(
            host=self.ip(number), port=DB_PORT, user=user, password=password, database=database, timeout=5
        )

    def has(self, numbers: tuple[int, ...], row: int) -> bool:
        """All these databases have this row."""
        return all((row,) in self.sql(number, "select row from kept") for number in numbers if self.alive(number))

    def names(self, number: int) -> set[str]:
        """Under which names others stream from a host."""
        return {str(name) for (name,) in asyncio.run(self._names(number))}

    async def _names(self, number: int) -> list[tuple[object, ...]]:
        connection = await self.connect(number, "qluster", "superuser-of-the-test", "postgres")
        try:
            return [tuple(row) for row in await connection.fetch("select application_name from pg_stat_replication")]
        finally:
            connection.terminate()

    def cluster(self, number: int) -> dict[str, object]:
        """What a node says of its cluster."""
        return self.map(number).get("cluster") or {}  # type: ignore[return-value]

    def settled(self, numbers: tuple[int, ...] = SECOND) -> bool:
        """The second site follows with all its nodes."""
        return all(self.roles(number) == ["replica streaming"] * 3 for number in numbers)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    if reason := obstacle():
        pytest.skip(reason)
    made = Sites(hosts=5)
    try:
        made.prepare_sites()
        for number in (*FIRST, *SECOND):
            made.start(number)
        wait_for("a first site", lambda: made.roles(1) == ["primary", "replica streaming"], 60)
        [primary] = made.writers(FIRST)
        made.sql(primary, "create table kept (row bigint primary key)")
        made.sql(primary, "insert into kept values (1)")
        wait_for("a second site that follows", made.settled, 60)
        yield made
    finally:
        made.end()


def write(sites: Sites, row: int) -> None:
    """A row at the first site."""
    [primary] = sites.writers(FIRST)
    sites.sql(primary, f"insert into kept values ({row})")


def shown(sites: Sites, number: int, name: str) -> object:
    """A parameter of a database, None while it restarts."""
    try:
        return sites.sql(number, f"show {name}")[0][0]
    except ERRORS:
        return None


def test_second_site_is_a_copy_that_nobody_writes_to(sites: Sites) -> None:
    write(sites, 2)
    wait_for("the row at the second site", lambda: sites.has(SECOND, 2))
    assert len({sites.cluster(number)["database_system_id"] for number in (1, *SECOND)}) == 1
    assert not sites.writers(SECOND) and len(sites.leading()) == 1
    [leads] = sites.leading()
    # Not before the node that leads has said how far the first site is.
    wait_for("readiness everywhere", lambda: all(sites.answers(number, "/readiness") for number in SECOND))
    for number in SECOND:
        assert sites.get(number, "/is-leader").status_code == 531
        assert sites.answers(number, "/is-replica") == (number != leads)
        assert sites.answers(number, "/is-readable")
        with pytest.raises(asyncpg.PostgresError, match=READ_ONLY):
            sites.sql(number, "insert into kept values (0)")
    standby = sites.cluster(leads)["standby"]
    assert standby["streaming"] and standby["lag_bytes"] == 0 and standby["node"] == sites.own(leads)["node"]  # type: ignore[index]


def test_nobody_at_the_first_site_takes_the_second_one_for_its_own(sites: Sites) -> None:
    # A node of the same name there would be one for whom transactions may wait.
    [primary] = sites.writers(FIRST)
    strangers = {name for name in sites.names(primary) if not name.startswith("node")}
    assert len(strangers) == 1 and strangers.pop().startswith("second.node")
    assert len(sites.names(primary)) == 2


def test_second_site_follows_a_switchover_of_the_first(sites: Sites) -> None:
    [before] = sites.writers(FIRST)
    assert sites.post(before, "/leader").status_code == 200
    wait_for("another primary", lambda: sites.writers(FIRST) not in ([], [before]))
    write(sites, 3)
    wait_for("the row at the second site", lambda: sites.has(SECOND, 3))
    wait_for("all of them on its timeline", lambda: sites.timelines(SECOND[0]) == sites.timelines(1))


def test_another_node_follows_when_the_one_that_leads_dies(sites: Sites) -> None:
    [leads] = sites.leading()
    sites.inside(leads, "true")
    for pid in (sites.daemons[leads].pid, sites.postmaster(leads) or 0):
        sites.kill(pid)
    sites.daemons[leads].wait()
    wait_for("another one that leads", lambda: sites.leading() not in ([], [leads]), 30)
    write(sites, 4)
    rest = tuple(number for number in SECOND if number != leads)
    wait_for("the row at the second site", lambda: sites.has(rest, 4))
    sites.start(leads)
    wait_for("the node that was away", sites.settled, 30)
    assert not sites.writers(SECOND) and sites.timelines(SECOND[0]) == sites.timelines(1)


def test_leadership_of_the_second_site_is_handed_over(sites: Sites) -> None:
    [leads] = sites.leading()
    answer = sites.post(leads, "/leader")
    assert answer.status_code == 200, answer.text
    wait_for("another one that leads", lambda: sites.leading() not in ([], [leads]), 30)
    refused = sites.post(sites.leading()[0], "/leader?at=2040-01-01T00:00:00Z")
    assert refused.status_code == 409 and "standby cluster" in refused.json()["message"], refused.text
    write(sites, 5)
    wait_for("the row at the second site", lambda: sites.has(SECOND, 5))


def test_databases_of_the_second_site_get_parameters_and_restart_where_they_are(sites: Sites) -> None:
    [leads] = sites.leading()
    answer = sites.post(leads, "/db-config", {"max_connections": "50", "work_mem": "5MB"})
    assert answer.status_code == 200, answer.text
    assert sites.post(leads, "/db-restart").status_code == 200
    wait_for("another number of connections everywhere", lambda: all(
        shown(sites, number, "max_connections") == "50" for number in SECOND), 60)
    wait_for("a second site that follows", lambda: sites.leading() == [leads] and sites.settled())
    assert shown(sites, leads, "work_mem") == "5MB" and not sites.writers(SECOND)


def test_site_with_a_primary_of_its_own_follows_nobody(sites: Sites) -> None:
    [primary] = sites.writers(FIRST)
    refused = sites.post(primary, "/config", {"cluster.standby-of": f"{sites.ip(3)}:{DB_PORT}"})
    assert refused.status_code == 409 and "primary of its own" in refused.json()["message"], refused.text
    assert sites.writers(FIRST) == [primary]


def test_second_site_is_promoted_once_and_for_all(sites: Sites) -> None:
    write(sites, 6)
    wait_for("the row at the second site", lambda: sites.has(SECOND, 6))
    [timeline] = sites.timelines(1)
    for number in FIRST:
        sites.daemons[number].send_signal(signal.SIGTERM)
    for number in FIRST:
        sites.daemons[number].wait(20)
    wait_for("a stream that has ended", lambda: not any(
        (sites.cluster(number).get("standby") or {}).get("streaming") for number in SECOND))  # type: ignore[attr-defined]
    leader = next(number for number in SECOND if sites.own(number)["consensus_role"] == "leader")
    wait_for("the reason", lambda: "cluster.standby-of: the database at" in str(
        (sites.cluster(leader).get("standby") or {}).get("error")))  # type: ignore[attr-defined]
    assert not sites.answers(leader, "/is-leader") and sites.answers(leader, "/is-readable"), "it is read as before"
    answer = sites.post(leader, "/config", {"cluster.standby-of": ""})
    assert answer.status_code == 200, answer.text
    assert answer.json()["detail"]["promoted"] and answer.json()["detail"]["known_lag_bytes"] == 0, answer.text
    wait_for("a primary at the second site", lambda: len(sites.writers(SECOND)) == 1, 30)
    [primary] = sites.writers(SECOND)
    sites.sql(primary, "insert into kept values (7)")
    assert {1, 2, 3, 4, 5, 6, 7} == {row for (row,) in sites.sql(primary, "select row from kept")}
    wait_for("replicas of it", lambda: sites.roles(primary) == ["primary", "replica streaming", "replica streaming"])
    wait_for("one timeline", lambda: len(sites.timelines(primary)) == 1)
    # Numbers that the first site may yet give to its own are left to it.
    assert sites.timelines(primary) == {int(str(timeline)) + BRANCHES + 1}
    wait_for("a guarantee", lambda: (sites.cluster(primary).get("guarantee") or {}).get("needed") == 1)  # type: ignore[attr-defined]
    assert sites.cluster(primary)["standby"] is None
    again = sites.post(leader, "/config", {"cluster.standby-of": f"{sites.ip(1)}:{DB_PORT}"})
    assert again.status_code in (409, 417), again.text
