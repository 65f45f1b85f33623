"""Who is told yes by which route of load balancers, and why somebody is told no."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from api import sample_status as sample
from msgspec.structs import replace
from qluster.api.probes import KNOWN_SECONDS, LIVE_SECONDS, READY_LAG, ROUTES, Lag, read_lag
from qluster.api.routes import Reply, Request, answer_probe, decide, probe_of
from qluster.status import Health

PRIMARY, SYNCHRONOUS, REPLICA, POOL = (sample.health(number) for number in (1, 2, 3, 4))
UNJOINED = sample.unjoined().health
HUNG = KNOWN_SECONDS + 0.1


def with_database(health: Health, **changes: object) -> Health:
    assert health.database is not None
    return replace(health, database=replace(health.database, **changes))


def answered(target: str, health: Health) -> Reply:
    path, _, query = target.partition("?")
    pairs = tuple(tuple(each.split("=", 1)) for each in query.split("&") if each)
    probe = probe_of(Request("GET", path, pairs))
    assert probe is not None
    return answer_probe(probe, health)


def codes(target: str) -> list[int]:
    """Of the primary, a synchronous replica, another replica, a host without a database, one that has not joined."""
    return [answered(target, each).code for each in (PRIMARY, SYNCHRONOUS, REPLICA, POOL, UNJOINED)]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/is-leader", [200, 417, 417, 417, 412]),
        ("/is-replica", [417, 200, 200, 417, 412]),
        ("/is-synchronous", [417, 200, 417, 417, 412]),
        ("/asynchronous", [417, 417, 200, 417, 412]),
        ("/is-readable", [200, 200, 200, 417, 412]),
        ("/readiness", [200, 200, 200, 200, 412]),
        ("/liveness", [200, 200, 200, 200, 200]),
        ("/health", [200, 200, 200, 200, 200]),
    ],
)
def test_every_role_is_told_what_it_is(path: str, wanted: list[int]) -> None:
    assert codes(path) == wanted


@pytest.mark.parametrize("route", [route for route in ROUTES if route.alias], ids=lambda route: route.path)
def test_name_of_patroni_is_answered_like_ours(route) -> None:
    ours = next((each.path for each in ROUTES if each.judge is route.judge and not each.alias), None)
    assert ours is None or codes(route.path) == codes(ours)
    assert not route.lag or codes(f"{route.path}?lag=100MB") == codes(route.path)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/is-leader", [531, 531]),
        ("/is-standby-leader", [200, 417]),
        ("/standby-leader", [200, 417]),
        ("/is-replica", [417, 200]),
        ("/is-readable", [200, 200]),
        ("/readiness", [200, 200]),
    ],
)
def test_standby_cluster_is_read_everywhere_and_written_to_nowhere(path: str, wanted: list[int]) -> None:
    leads, follows = (replace(sample.standby_cluster(own).health, node=own) for own in (1, 2))
    assert [answered(path, leads).code, answered(path, follows).code] == wanted


def test_leader_of_a_standby_cluster_that_is_cut_off_from_outside_says_so() -> None:
    leads = sample.standby_cluster().health
    assert leads.database is not None
    late = replace(leads, database=replace(leads.database, streamed_ago=40.0))
    assert answered("/is-standby-leader", late).code == 531
    assert answered("/is-standby-leader?max-lag=10", replace(leads, database=replace(
        leads.database, lag_bytes=11))).code == 531


READS = ("/is-replica", "/is-synchronous", "/is-readable", "/readiness")
NEVER = {path: 531 for path in READS}


@pytest.mark.parametrize(
    ("change", "wanted", "reason"),
    [
        ({"answered_ago": HUNG}, NEVER, "has not answered for 3.1 seconds"),
        ({"answered_ago": None, "answers": False}, NEVER, "has not answered"),
        ({"answers": False}, NEVER, "did not answer when last looked at"),
        ({"halted": True}, NEVER, "the postmaster is stopped"),
        ({"genuine": False}, NEVER, "has not rejoined yet"),
        ({"paused": True}, NEVER, "replay is paused"),
        ({"doing": "rewinding"}, NEVER, "its database is rewinding"),
        ({"doing": "stopping"}, NEVER, "its database is stopping"),
        ({"doing": "cloning", "role": "absent"}, NEVER, "its database is cloning"),
        ({"role": "absent"}, NEVER, "it has no database yet"),
        ({"doing": "changing"}, dict.fromkeys(READS, 200), ""),
        # Who was cut off may be read by whoever sets no limit; a moment without a stream is no reason at all.
        ({"streamed_ago": 31.0}, {**NEVER, "/is-readable": 200}, "has not streamed from the primary for 31.0 seconds"),
        ({"streamed_ago": None}, {**NEVER, "/is-readable": 200}, "has not streamed from the primary yet"),
        ({"streamed_ago": 29.0, "role": "detached"}, dict.fromkeys(READS, 200), ""),
        # How far behind is asked only where a limit is given, and that is always so for readiness.
        ({"lag_bytes": READY_LAG + 1}, {**dict.fromkeys(READS, 200), "/readiness": 531}, "is 16777217 bytes behind"),
        ({"lag_known_ago": HUNG}, {**dict.fromkeys(READS, 200), "/readiness": 531}, "silent for 3.1 seconds"),
        ({"lag_known_ago": None, "lag_bytes": None}, {**dict.fromkeys(READS, 200), "/readiness": 531}, "is not known"),
    ],
)
@pytest.mark.parametrize("path", READS)
def test_replica_that_is_unfit_says_why(path: str, change: dict, wanted: dict[str, int], reason: str) -> None:
    answer = answered(path, with_database(SYNCHRONOUS, **change))
    assert answer.code == wanted[path]
    if answer.code == 531:
        document = json.loads(answer.body)
        assert document["error"] == "unfit" and reason in document["message"] and "node 2" in document["message"]
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/is-replica", "/is-synchronous", "/is-readable"])
@pytest.mark.parametrize("change", [{"down": True}, {"stopping": True}], ids=str)
def test_node_that_is_marked_down_or_goes_is_no_replica_for_the_pool(path: str, change: dict) -> None:
    assert answered(path, replace(SYNCHRONOUS, **change)).code == 531


def test_readers_are_kept_away_where_the_operator_says_so_until_it_is_the_primary() -> None:
    codes = {path: answered(path, with_database(SYNCHRONOUS, balanced=False)).code for path in READS}
    assert codes == {"/is-replica": 417, "/is-synchronous": 417, "/is-readable": 417, "/readiness": 200}
    assert answered("/is-readable", with_database(PRIMARY, balanced=False)).code == 200


def test_mark_is_no_word_about_readiness() -> None:
    assert answered("/readiness", replace(REPLICA, down=True)).code == 200
    assert answered("/readiness", replace(REPLICA, stopping=True)).code == 531


@pytest.mark.parametrize(
    ("limit", "size", "seconds", "code"),
    [
        ("1000", 1000, 0.9, 200), ("1000", 1001, 0.9, 531), ("1kB", 1024, 0.9, 200), ("1kB", 1025, 0.9, 531),
        ("0", 0, 0.9, 200), ("0", 1, 0.9, 531), ("10MiB", 10 << 20, 99.0, 200), ("2s", 1 << 40, 2.0, 200),
        ("2s", 1, 2.1, 531), ("2s", 1, None, 531), ("1m", 1, 60.0, 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/is-replica", "/is-synchronous", "/is-readable", "/readiness"])
def test_limit_is_kept_in_bytes_or_in_seconds(path: str, limit: str, size: int, seconds, code: int) -> None:
    behind = with_database(SYNCHRONOUS, lag_bytes=size, lag_seconds=seconds)
    assert answered(f"{path}?max-lag={limit}", behind).code == code


@pytest.mark.parametrize(
    ("limit", "code"), [("1GiB", 531), ("5s", 200)], ids=["bytes", "seconds"]
)
def test_silent_primary_may_have_written_any_number_of_bytes_but_time_goes_its_pace(limit: str, code: int) -> None:
    silent = with_database(REPLICA, lag_bytes=0, lag_seconds=4.0, lag_known_ago=4.0)
    assert answered(f"/is-replica?max-lag={limit}", silent).code == code
    longer = with_database(REPLICA, lag_bytes=0, lag_seconds=5.1, lag_known_ago=5.1)
    assert answered(f"/is-replica?max-lag={limit}", longer).code == 531


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0", Lag(0)), ("1048576", Lag(1 << 20)), ("16B", Lag(16)), ("16kB", Lag(16 << 10)), ("2MiB", Lag(2 << 20)),
        ("1GB", Lag(1 << 30)), ("2s", Lag(seconds=2.0)), ("90s", Lag(seconds=90.0)), ("5m", Lag(seconds=300.0)),
        ("1h", Lag(seconds=3600.0)), ("1s", None), ("0s", None), ("", None), ("-1", None), ("10 MB", None),
        ("1.5MB", None), ("10mb", None), ("5min", None), ("1" * 16, None), ("٣", None),
    ],
)  # fmt: skip
def test_limit_is_read_with_its_unit(text: str, wanted: Lag | None) -> None:
    assert read_lag(text) == wanted


@pytest.mark.parametrize("target", ["/is-replica?max-lag=10", "/is-leader?max-lag=10", "/replica?max-lag=1", "/map"])
def test_request_with_a_fault_is_no_probe(target: str) -> None:
    path, _, query = target.partition("?")
    wrong = (*(tuple(each.split("=")) for each in query.split("&") if each), ("max-lag", "x"))
    asked = Request("GET", path, wrong)
    assert probe_of(asked) is None
    sent = decide(asked, sample.healthy, 1)
    assert isinstance(sent, Reply) and sent.code in (400, 401)


def test_primary_that_may_not_be_written_to_is_neither() -> None:
    """Its lease ended, and the guard stops the database: it is no replica, and must not be read as the primary."""
    late = replace(PRIMARY, may_write=False)
    found = {path: answered(path, late).code for path in ("/is-leader", *READS)}
    assert found == {
        "/is-leader": 531, "/is-replica": 417, "/is-synchronous": 417, "/is-readable": 531, "/readiness": 531,
    }  # fmt: skip


def test_primary_whose_database_hangs_is_not_readable() -> None:
    hung = with_database(PRIMARY, answered_ago=HUNG)
    assert [answered(path, hung).code for path in ("/is-readable", "/readiness", "/liveness")] == [531, 531, 200]


def test_without_a_leader_nobody_is_ready_and_a_reader_is_still_served() -> None:
    cut_off = with_database(replace(REPLICA, leader=None, leader_at=None), streamed_ago=31.0)
    found = {path: answered(path, cut_off).code for path in ("/is-leader", *READS)}
    assert found == {
        "/is-leader": 530, "/is-replica": 531, "/is-synchronous": 417, "/is-readable": 200, "/readiness": 530,
    }  # fmt: skip
    assert answered("/is-readable?max-lag=10MiB", with_database(cut_off, lag_known_ago=31.0)).code == 531


def test_daemon_whose_turns_stand_still_does_not_live() -> None:
    stuck = replace(PRIMARY, turned_ago=LIVE_SECONDS + 0.2)
    assert json.loads(answered("/liveness", stuck).body)["error"] == "unfit"
    assert answered("/liveness", replace(PRIMARY, turned_ago=LIVE_SECONDS - 0.2, stopping=True)).code == 200


@pytest.mark.parametrize("health", [PRIMARY, SYNCHRONOUS, REPLICA, POOL, UNJOINED], ids=str)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_short_way_says_what_the_long_way_says(route, health: Health) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        asked = Request(method, route.path)
        probe = probe_of(asked)
        assert probe is not None
        assert answer_probe(probe, health) == decide(asked, sample.healthy, 1, lambda: health)


@pytest.mark.parametrize("path", ["/map", "/kv/a", "/swagger"])
def test_options_is_a_question_of_load_balancers_alone(path: str) -> None:
    sent = decide(Request("OPTIONS", path), sample.healthy, 1)
    assert isinstance(sent, Reply) and sent.code == 405
