"""Settings in force: the file's, with what the log says."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from qluster.tuning import in_force
from sim.world import configuration

FILE = configuration(1, pool=False)


def test_values_of_the_log_are_in_force() -> None:
    config, fault = in_force(FILE, {"cluster.node-timeout": "4s", "cluster.remove-interval": "2m"})
    assert (config.cluster.node_timeout, config.cluster.remove_interval, fault) == (4.0, 120.0, "")


def test_value_that_cannot_be_taken_is_passed_over_and_the_others_are_not() -> None:
    config, fault = in_force(FILE, {"cluster.node-timeout": "never", "cluster.remove-interval": "2m"})
    assert (config.cluster.node_timeout, config.cluster.remove_interval) == (2.0, 120.0)
    assert "cluster.node-timeout" in fault and "newer version" in fault


def test_values_that_contradict_each_other_are_taken_as_far_as_they_fit() -> None:
    config, fault = in_force(FILE, {"cluster.heartbeat-interval": "600ms", "cluster.node-timeout": "1s"})
    assert (config.cluster.heartbeat_interval, config.cluster.node_timeout) == (0.6, 2.0)
    assert "heartbeat" in fault


def test_keys_that_belong_to_one_host_or_are_unknown_change_nothing() -> None:
    assert in_force(FILE, {"ip": "10.0.0.9", "later.key": "1", "cluster.name": "other"}) == (FILE, "")
