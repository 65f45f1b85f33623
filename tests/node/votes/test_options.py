"""What cannot be said about votes, and what is said about it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from qluster.votes.options import DeviceOptions, Options, faults, faults_of_change
from qluster.votes.votequorum import Votequorum
from votes.model import even

DEVICE = DeviceOptions()
ONE = DeviceOptions(votes=1)
TWO, THREE, FOUR = Options(nodes=even(2)), Options(nodes=even(3)), Options(nodes=even(4))

CONFLICTS = {
    "nobody knows the votes": (Options(), "expected_votes", "List the nodes, or give the number."),
    "two_node and a device": (replace(TWO, two_node=True, device=ONE), "two_node", "Remove two_node."),
    "two_node and a tie-breaker": (
        replace(TWO, two_node=True, auto_tie_breaker=True), "two_node", "Remove one of them."),
    "two_node for three": (replace(THREE, two_node=True), "two_node", "node 3: 1. It is for two nodes"),
    "two_node with two votes": (
        Options(nodes=((1, 2), (2, 1)), two_node=True), "two_node", "node 1: 2, node 2: 1. It is for two"),
    "two_node that expects four": (
        replace(TWO, two_node=True, expected_votes=4), "two_node", "expected_votes are 4. Remove one"),
    "tie-breaker of an odd number": (
        replace(THREE, auto_tie_breaker=True), "auto_tie_breaker", "3 votes are expected, and wait_for_all is not"),
    "tie-breaker of an odd number with last_man_standing": (
        replace(THREE, auto_tie_breaker=True, last_man_standing=True), "auto_tie_breaker",
        "Set wait_for_all: true, or remove last_man_standing."),
    "device and last_man_standing": (
        replace(FOUR, device=ONE, last_man_standing=True), "device", "last_man_standing as well"),
    "device and tie-breaker": (replace(FOUR, device=ONE, auto_tie_breaker=True), "device", "auto_tie_breaker as well"),
    "device and downscale": (replace(FOUR, device=ONE, allow_downscale=True), "device", "allow_downscale as well"),
    "device votes unknown beside expected votes": (
        replace(FOUR, device=DEVICE, expected_votes=5), "device.votes", "Give device.votes, or remove expected_votes."),
    "device votes unknown beside uneven nodes": (
        Options(nodes=((1, 2), (2, 1)), device=DEVICE), "device.votes", "node 1 has 2 votes"),
    "device with all votes": (
        replace(TWO, device=DeviceOptions(votes=3), expected_votes=4), "device.votes", "less than two would be left"),
    "device of one node": (Options(nodes=even(1), device=DEVICE), "device.votes", "no vote at all"),
    "last_man_standing with a heavy node": (
        Options(nodes=((1, 1), (2, 3)), last_man_standing=True), "last_man_standing", "node 2 has 3 votes"),
    "fewer expected than there are": (
        replace(FOUR, expected_votes=2), "expected_votes", "Use at least 4, or remove the key."),
    "tie-breaker's node without tie-breaker": (
        replace(FOUR, auto_tie_breaker_node="lowest"), "auto_tie_breaker_node", "auto_tie_breaker: true"),
    "tie-breaker of no form": (
        replace(FOUR, auto_tie_breaker=True, auto_tie_breaker_node="middle"), "auto_tie_breaker_node",
        '"middle" is not one of lowest, highest'),
    "tie-breaker that names a node twice": (
        replace(FOUR, auto_tie_breaker=True, auto_tie_breaker_node="2 2"), "auto_tie_breaker_node", "Name each once."),
    "tie-breaker that names a stranger": (
        replace(FOUR, auto_tie_breaker=True, auto_tie_breaker_node="1 9"), "auto_tie_breaker_node", "names node 9"),
    "no vote at all": (Options(nodes=((1, 0), (2, 0))), "nodes", "Give one a vote."),
    "a node twice": (Options(nodes=((1, 1), (1, 1))), "nodes", "Keep one of them."),
    "node 0": (Options(nodes=((0, 1), (1, 1))), "nodes", "have a node 0"),
    "too many votes": (Options(nodes=((1, 1001), (2, 1))), "nodes", "Use 0 to 1000."),
    "too many nodes": (Options(nodes=even(65)), "nodes", "Use at most 64."),
    "negative votes of one's own": (Options(expected_votes=2, votes=-1), "votes", "are -1"),
    "nothing expected": (Options(expected_votes=0), "expected_votes", "are 0"),
    "a window of no time": (replace(TWO, last_man_standing_window=0.0), "last_man_standing_window", "is 0 s"),
    "a device that is never given up": (
        replace(TWO, device=DeviceOptions(votes=1, timeout=1e9)), "device.timeout", "is 1e+09 s"),
    "a device without sync timeout": (
        replace(TWO, device=DeviceOptions(votes=1, sync_timeout=0)), "device.sync_timeout", "is 0 s"),
    "a device with less than no vote": (replace(TWO, device=DeviceOptions(votes=-1)), "device.votes", "are -1"),
}


@pytest.mark.parametrize(("options", "key", "words"), CONFLICTS.values(), ids=CONFLICTS)
def test_refuses_and_says_what_to_do(options: Options, key: str, words: str) -> None:
    found = {fault.key: fault.message for fault in faults(options)}
    assert words in found.get(key, ""), found
    assert found[key].endswith(".")


@pytest.mark.parametrize("options", [
    TWO, THREE, replace(TWO, two_node=True), replace(FOUR, auto_tie_breaker=True),
    replace(FOUR, auto_tie_breaker=True, auto_tie_breaker_node="2 4"),
    replace(THREE, auto_tie_breaker=True, wait_for_all=True, last_man_standing=True),
    replace(THREE, device=DEVICE), replace(TWO, device=ONE), replace(FOUR, device=ONE, expected_votes=5),
    Options(expected_votes=3), Options(nodes=((1, 3), (2, 0), (3, 1))), replace(THREE, allow_downscale=True),
])
def test_accepts_what_goes_together(options: Options) -> None:
    assert faults(options) == []


def test_options_with_faults_are_never_used() -> None:
    with pytest.raises(AssertionError, match="two_node"):
        Votequorum(replace(THREE, two_node=True), 1, 0.0)


@pytest.mark.parametrize(("options", "expected", "device"), [
    (TWO, 2, 0),
    (Options(nodes=((1, 3), (2, 1))), 4, 0),
    (replace(TWO, expected_votes=5), 5, 0),
    (replace(THREE, device=DEVICE), 5, 2),
    (replace(TWO, device=ONE), 2, 1),
    (replace(TWO, device=ONE, expected_votes=3), 3, 1),
])
def test_expected_votes_at_the_start(options: Options, expected: int, device: int) -> None:
    assert (options.expected, options.device_votes) == (expected, device)


@pytest.mark.parametrize(("two_node", "given", "waits"), [
    (False, None, False), (True, None, True), (True, False, False), (False, True, True),
])
def test_two_node_brings_wait_for_all_unless_it_is_given(two_node: bool, given: bool | None, waits: bool) -> None:
    assert Options(nodes=even(2), two_node=two_node, wait_for_all=given).waits_for_all is waits


def test_what_is_read_at_the_start_only_does_not_change_later() -> None:
    changed = replace(FOUR, auto_tie_breaker=True, wait_for_all=True, expected_votes=6)
    assert sorted(fault.key for fault in faults_of_change(FOUR, changed)) == ["auto_tie_breaker", "wait_for_all"]
    assert faults_of_change(FOUR, replace(FOUR, expected_votes=6)) == []
