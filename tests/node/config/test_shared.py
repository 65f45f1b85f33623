"""Values that are one for the whole cluster: as text, compared, changed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.config import (
    Config,
    ConfigErrors,
    changeable,
    differences,
    duration_text,
    needs_restart,
    parse,
    shared,
    shared_digest,
    with_changes,
)
from qluster.config.kinds import duration_milliseconds

TEXT = """\
ip: 192.0.2.11
udp: {socket: {group: "239.19.76.1:7400", interface: eth0}}
database: {bin-dir: /usr/bin, parameters: {work_mem: 8MB}, client-networks: [192.0.2.0/24]}
pool: {port: 6000}
"""


def config(more: str = "") -> Config:
    return parse(TEXT + more, "config.yaml")


@given(st.integers(0, 10**12))
def test_durations_to_text_and_back_lose_nothing(milliseconds: int) -> None:
    assert duration_milliseconds(duration_text(milliseconds / 1000)) == milliseconds


def test_shared_values_are_those_of_the_cluster_and_not_of_the_host() -> None:
    keys = set(shared(config()))
    assert {"cluster.name", "cluster.node-timeout", "udp.socket.group", "udp.max-log-size",
            "hello-retry-interval"} <= keys
    assert not {"ip", "cluster.key-file", "udp.socket.interface", "udp.socket.loopback", "database.port"} & keys


def test_digest_is_the_same_on_hosts_that_differ_in_their_own_values_only() -> None:
    other = parse(TEXT.replace("192.0.2.11", "192.0.2.12").replace("eth0", "ens3"), "config.yaml")
    assert shared_digest(config()) == shared_digest(other)
    assert shared_digest(config("cluster: {node-timeout: 31s}\n")) != shared_digest(config())


def test_order_of_peers_and_writing_of_durations_make_no_difference() -> None:
    one = TEXT.replace('"239.19.76.1:7400"', '["192.0.2.11:1", "192.0.2.12:1"]') + "cluster: {remove-interval: 2m}\n"
    two = TEXT.replace('"239.19.76.1:7400"', '["192.0.2.12:1", "192.0.2.11:1"]') + "cluster: {remove-interval: 120s}\n"
    assert shared_digest(parse(one, "a")) == shared_digest(parse(two, "b"))


def test_differences_are_sentences_with_both_values() -> None:
    mine = shared(config("cluster: {node-timeout: 40s}\n"))
    theirs = shared(config("cluster: {founder: 192.0.2.11}\n")) | {"new.key": "1"}
    assert differences(mine, theirs) == [
        "cluster.founder is not set here and 192.0.2.11 in the cluster: make them equal in config.yaml and start this "
        "node again.",
        "cluster.node-timeout is 40s here and 30s in the cluster: make them equal in config.yaml and start this node "
        "again.",
        "new.key is not known here: bring all nodes to the same version.",
    ]
    assert differences(mine, mine) == []


def test_settings_change_under_the_checks_of_the_file() -> None:
    changed = with_changes(config(), {"cluster.node-timeout": "70s", "cluster.heartbeat-interval": "5s"})
    assert (changed.cluster.node_timeout, changed.cluster.heartbeat_interval) == (70.0, 5.0)
    assert with_changes(changed, {"cluster.node-timeout": "30s", "cluster.heartbeat-interval": "10s"}) == config()


def test_change_of_nothing_changes_nothing() -> None:
    assert with_changes(config(), {}) == config()


@pytest.mark.parametrize(("changes", "says"), [
    ({"cluster.node-timeout": "5s"}, "cluster.node-timeout: is 5s, and cluster.heartbeat-interval is 10s"),
    ({"cluster.node-timeout": "5"}, '"5" has no unit'),
    ({"cluster.node-timeuot": "5s"}, "cluster.node-timeuot: is not known. Use one of: hello-retry-interval, "),
    ({"ip": "192.0.2.9"}, "ip: belongs to one host. Change it in that host's config.yaml."),
    ({"cluster.name": "other"}, "cluster.name: is fixed while the cluster lives."),
    ({"cluster.quorum-replication": "false"}, "cluster.replication-factor: is 0 while"),
])
def test_change_that_makes_no_sense_is_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        with_changes(config(), changes)
    assert str(caught.value).startswith("settings: ") and says in str(caught.value)


def test_all_faults_of_a_change_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        with_changes(config(), {"ip": "1", "cluster.node-timeout": "x", "hello-retry-interval": "2s"})
    assert {fault.key for fault in caught.value.faults} == {"ip", "cluster.node-timeout"}


def test_no_key_that_can_be_changed_waits_for_the_next_start() -> None:
    assert needs_restart(changeable()) == []
    assert needs_restart(["cluster.node-timeout", "api-port"]) == ["api-port"]



def test_every_changeable_value_can_be_set_to_what_it_is() -> None:
    values = shared(config(), whole=True)
    assert with_changes(config(), {key: values[key] for key in changeable()}) == config()


def test_votes_are_counted_by_keys_named_as_in_corosync_conf_and_change_live() -> None:
    given = config("quorum: {provider: votequorum, wait_for_all: true, last_man_standing_window: 20s}\n").quorum
    assert (given.provider, given.wait_for_all, given.last_man_standing_window) == ("votequorum", "true", 20.0)
    changed = with_changes(config(), {"quorum.provider": "votequorum", "quorum.two_node": "true"}).quorum
    assert (changed.provider, changed.two_node, changed.wait_for_all) == ("votequorum", True, "auto")


@pytest.mark.parametrize(("changes", "word"), [
    ({"quorum.two_node": "true", "quorum.auto_tie_breaker": "true"}, "Remove one of them"),
    ({"quorum.auto_tie_breaker_node": "2 3"}, "auto_tie_breaker: true"),
    ({"quorum.auto_tie_breaker": "true", "quorum.auto_tie_breaker_node": "2 3 2"}, "names a node twice"),
    ({"quorum.auto_tie_breaker_node": "first"}, "lowest, highest, or numbers"),
    ({"quorum.provider": "corosync_votequorum"}, "none, votequorum"),
    ({"quorum.expected_votes": "-1"}, "expected_votes"),
])  # fmt: skip
def test_votes_that_contradict_each_other_are_refused(changes: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        with_changes(config(), changes)
    assert word in str(caught.value)
