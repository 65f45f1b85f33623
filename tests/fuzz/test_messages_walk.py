"""Every truncation and every flipped bit of every message kind: refused by name, or another message."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
from fuzz import examples
from fuzz.harm import harmed, truncations
from qluster.cluster import commands, parcel, state
from qluster.cluster import messages as telling
from qluster.consensus import messages as agreeing
from qluster.consensus.members import MalformedMembers, Members
from qluster.ring import messages as ringing
from qluster.transport.probe import Ask, Reply, encoded, parse_probe
from qluster.transport.repair import parse_request


def named(values: tuple[object, ...]) -> list[str]:
    return [type(value).__name__ for value in values]


def walk(whole: bytes, decode: Callable[[bytes], object], refusal: type[Exception], encode: object = None) -> int:
    """How many of all harmed forms are still something; what is, must have bytes again."""
    accepted = 0
    for wrong in harmed(whole):
        try:
            found = decode(wrong)
        except refusal:
            continue
        accepted += 1
        if callable(encode):
            encode(found)
    return accepted


def test_every_kind_of_message_has_an_example() -> None:
    assert {type(one) for one in examples.AGREEING} == set(get_args(agreeing.AnyMessage))
    assert {type(one) for one in examples.TELLING} == set(get_args(telling.Message))
    assert {type(one) for one in examples.RINGING} == set(get_args(ringing.Message))
    assert {type(one) for one in examples.COMMANDS} == set(get_args(commands.Body))


@pytest.mark.parametrize("message", examples.AGREEING, ids=named(examples.AGREEING))
def test_harmed_message_of_consensus_is_refused_or_another_message(message: agreeing.AnyMessage) -> None:
    whole = agreeing.encode(message)
    assert agreeing.decode(whole) == message
    for cut in truncations(whole):
        with pytest.raises(agreeing.MalformedMessage):
            agreeing.decode(cut)
    walk(whole, agreeing.decode, agreeing.MalformedMessage, agreeing.encode)


@pytest.mark.parametrize("message", examples.TELLING, ids=named(examples.TELLING))
def test_harmed_message_of_the_cluster_is_refused_or_another_message(message: telling.Message) -> None:
    whole = telling.encode(message)
    assert telling.decode(whole) == message
    for cut in truncations(whole):
        with pytest.raises(telling.MalformedMessage):
            telling.decode(cut)
    walk(whole, telling.decode, telling.MalformedMessage, telling.encode)


@pytest.mark.parametrize("message", examples.RINGING, ids=named(examples.RINGING))
def test_harmed_message_of_a_ring_is_refused_or_another_message(message: ringing.Message) -> None:
    whole = ringing.encode(message)
    assert ringing.decode(whole) == message
    for cut in truncations(whole):
        with pytest.raises(ringing.MalformedMessage):
            ringing.decode(cut)
    walk(whole, ringing.decode, ringing.MalformedMessage, ringing.encode)


@pytest.mark.parametrize("body", examples.COMMANDS, ids=named(examples.COMMANDS))
def test_harmed_command_is_refused_or_another_command(body: commands.Body) -> None:
    whole = commands.encode(body, "key-1")
    walk(whole, commands.decode, commands.MalformedCommand, lambda found: commands.encode(found.body, found.key))


def test_harmed_list_of_members_is_refused_or_sound() -> None:
    def encode(members: Members) -> None:
        assert not members.fault()
        members.encode()

    whole = examples.MEMBERS.encode()
    for cut in truncations(whole):
        with pytest.raises(MalformedMembers):
            Members.decode(cut)
    walk(whole, Members.decode, MalformedMembers, encode)


def test_harmed_state_is_refused_or_another_state() -> None:
    whole = state.encode(examples.state())
    for cut in truncations(whole):
        with pytest.raises(ValueError, match="no cluster state"):
            state.decode(cut)
    walk(whole, state.decode, ValueError, state.encode)


def test_harmed_parcel_is_refused_or_of_this_cluster_and_late_enough() -> None:
    whole = parcel.pack(examples.FOUNDING, examples.snapshot())
    for wrong in harmed(whole):
        try:
            found = parcel.unpack(wrong, examples.FOUNDING, 2)
        except parcel.WrongParcel:
            continue
        assert found.index >= 2 and found.term >= 1


@pytest.mark.parametrize("probe", [examples.ASK, examples.ANSWER], ids=["ask", "answer"])
def test_harmed_probe_is_none_or_another_probe(probe: Ask | Reply) -> None:
    whole = encoded(probe)
    assert parse_probe(whole) == probe
    for wrong in harmed(whole):
        found = parse_probe(wrong)
        if found is not None:
            encoded(found)


def test_harmed_repair_request_is_none_or_another_request() -> None:
    whole = examples.REQUEST.encoded()
    assert parse_request(whole) == examples.REQUEST
    for wrong in harmed(whole):
        found = parse_request(wrong)
        if found is not None:
            assert parse_request(found.encoded()) == found
