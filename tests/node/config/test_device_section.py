"""The section `device`: what is taken from it, what is refused, and with what words."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from config.test_parse import SMALLEST
from qluster.config import Config, ConfigErrors, Heuristics, parse, with_changes
from qluster.config.device import words_of_command
from qluster.qdevice.settings import arbiter_number, settings_of
from qluster.qnet.names import DecisionAlgorithm, TieBreakerMode
from qluster.qnet.tlv import TieBreaker

PEERS = SMALLEST.replace("239.19.76.1:7400", "[192.0.2.11:7400, 192.0.2.12:7400, 192.0.2.13:7400]")


def config(section: str, base: str = SMALLEST) -> Config:
    return parse(f"{base}device: {{host: 192.0.2.99{', ' if section else ''}{section}}}\n", "c")


def test_only_the_host_must_be_given() -> None:
    device = config("").device
    assert device is not None
    assert (device.model, device.host, device.port, device.algorithm) == ("net", "192.0.2.99", 5403, "ffsplit")
    assert (device.tie_breaker, device.tls, device.timeout, device.sync_timeout) == ("lowest", "on", 10.0, 30.0)
    assert device.heuristics is None and device.keep_active_partition_tie_breaker
    assert parse(SMALLEST, "c").device is None


def test_times_follow_from_the_timeout_as_in_corosync() -> None:
    device = config("heuristics: {mode: on, exec: {one: /bin/true}}").device
    assert device is not None
    settings = settings_of(device, "qlab", 7)
    assert (settings.heartbeat, settings.connecting, settings.poll_interval) == (8.0, 8.0, 5.0)
    assert (settings.check_limit, settings.sync_check_limit, settings.check_interval) == (5.0, 15.0, 30.0)
    assert (settings.cluster_name, settings.node, settings.heuristics) == ("qlab", 7, "on")


def test_everything_that_is_given_arrives() -> None:
    device = config(
        "port: 5404, algorithm: lms, tie-breaker: 3, tls: required, timeout: 20s, sync-timeout: 50s, "
        "connect-timeout: 4s, ca-file: /a, certificate-file: /b, key-file: /c, watchdog-timeout: 1m, "
        "keep-active-partition-tie-breaker: false, "
        "heuristics: {mode: sync, timeout: 2s, sync-timeout: 3s, interval: 9s, exec: {a: /bin/true, b: /bin/true -x}}"
    ).device
    assert device is not None
    settings = settings_of(device, "qlab", 1)
    assert settings.algorithm is DecisionAlgorithm.LMS and settings.tls == "required" and settings.certificate
    assert settings.tie_breaker == TieBreaker(TieBreakerMode.NODE_ID, 3) and not settings.keep_active
    assert (settings.heartbeat, settings.connecting, settings.sync_timeout) == (16.0, 4.0, 50.0)
    assert (settings.check_limit, settings.sync_check_limit, settings.check_interval) == (2.0, 3.0, 9.0)
    assert device.heuristics == Heuristics(
        mode="sync", timeout=2.0, sync_timeout=3.0, interval=9.0, exec={"a": "/bin/true", "b": "/bin/true -x"}
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("port: 0", "1 to 65535"),
        ("model: disk", "Use one of: net"),
        ("algorithm: fifty", "Use one of: ffsplit, lms, 2nodelms, test"),
        ("tie-breaker: middle", "use lowest, highest or the number of a node"),
        ("tls: maybe", "Use one of: off, on, required"),
        ("timeout: 1s", "out of range"),
        ("timeout: 30s", "notices a node that froze only after 36s"),
        ("sync-timeout: 12s", "Use at least 15s"),
        ("connect-timeout: 31s", "longer than device.sync-timeout"),
        ("watchdog-timeout: 30s", "Let the watchdog wait at least 36s"),
        ("certificate-file: /a", "belong together"),
        ("key-file: /a", "belong together"),
        ("heuristics: {mode: on}", "there is nothing to check"),
        ("heuristics: {exec: {ping: ping -c 1 192.0.2.1}}", "does not begin with an absolute path"),
        ("heuristics: {exec: {ping: '/bin/ping \"'}}", "Close its quotes"),
        ("heuristics: {exec: {'a b': /bin/true}}", "a name for the command"),
        ("heuristics: {sync-timeout: 30s}", "keep the arbiter's word away"),
        ("heuristics: {timeout: 30s}", "says nothing before the checks have ended"),
        ("heuristics: {timeout: 5s, interval: 5s}", "Use at least 10s"),
        ("votes: 1", "is not known"),
    ],
)
def test_a_wrong_section_is_refused(section: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        config(section)


def test_the_arbiter_is_no_part_of_the_cluster() -> None:
    with pytest.raises(ConfigErrors, match="Address of the arbiter"):
        parse(SMALLEST + "device: {}\n", "c")
    with pytest.raises(ConfigErrors, match="is this host"):
        parse(SMALLEST + "device: {host: 192.0.2.11}\n", "c")
    with pytest.raises(ConfigErrors, match="is a node of the cluster"):
        parse(PEERS + "device: {host: 192.0.2.12}\n", "c")
    with pytest.raises(ConfigErrors, match="a listener has no vote"):
        config("", SMALLEST + "role: listener\n")
    assert config("", PEERS).device is not None


def test_two_node_lms_is_for_two() -> None:
    with pytest.raises(ConfigErrors, match="lists 3 nodes"):
        config("algorithm: 2nodelms", PEERS)
    assert config("algorithm: 2nodelms").device is not None


def test_commands_are_split_as_a_shell_does_and_nothing_more() -> None:
    assert words_of_command(r'/bin/a "b c" d\ e $HOME * | x') == ["/bin/a", "b c", "d e", "$HOME", "*", "|", "x"]


def test_more_commands_than_corosync_has_are_refused() -> None:
    commands = ", ".join(f"n{number}: /bin/true" for number in range(33))
    with pytest.raises(ConfigErrors, match="the limit is 32"):
        config(f"heuristics: {{exec: {{{commands}}}}}")


@pytest.mark.parametrize("section", ["", "heuristics: {mode: on, exec: {one: /bin/true}}", "heuristics: {}"])
def test_a_change_of_the_clusters_settings_leaves_the_section_as_it_is(section: str) -> None:
    before = config(section)
    after = with_changes(before, {"cluster.heartbeat-interval": "2s"})
    assert after.cluster.heartbeat_interval == 2.0 and after.device == before.device
    assert with_changes(parse(SMALLEST, "c"), {"cluster.heartbeat-interval": "2s"}).device is None


def test_all_who_ask_one_arbiter_for_one_cluster_know_it_by_one_number() -> None:
    """It stands in the list of members: all versions and hosts must find the same."""
    one = arbiter_number("arbiter.example", 5403, "qlab")
    assert one == 0x738EEF9F45F1086B
    assert arbiter_number("Arbiter.Example.", 5403, "qlab") == one
    assert arbiter_number("[2001:db8::1]", 5403, "qlab") == arbiter_number("2001:db8::1", 5403, "qlab")
    others = {arbiter_number(*place) for place in [("arbiter", 5403, "qlab"), ("arbiter.example", 5404, "qlab"),
                                                   ("arbiter.example", 5403, "qlab2")]}  # fmt: skip
    assert len(others) == 3 and one not in others
