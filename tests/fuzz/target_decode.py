"""Every decoder of what comes from outside: a value that has bytes again, or the refusal that it is known for."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable

from fuzz.source import Source
from qluster.cluster import commands, parcel, state
from qluster.cluster import messages as telling
from qluster.consensus import messages as agreeing
from qluster.consensus.members import MalformedMembers, Members
from qluster.ring import messages as ringing
from qluster.transport.envelope import Drop, Header, parse_header
from qluster.transport.probe import encoded, parse_probe
from qluster.transport.repair import parse_request
from qluster.transport.seal import KeyFault, parse_keys


def run(content: bytes) -> None:
    """The first byte says which decoder gets the rest."""
    source = Source(content)
    decoder = source.one_of(DECODERS)
    decoder(source.rest())


def _both_ways(
    text: bytes, decode: Callable[[bytes], object], encode: Callable[..., bytes], refusal: type[Exception]
) -> None:
    try:
        found = decode(text)
    except refusal:
        return
    again = encode(found)
    assert encode(decode(again)) == again, "what was let in says the same again"


def _agreeing(text: bytes) -> None:
    _both_ways(text, agreeing.decode, agreeing.encode, agreeing.MalformedMessage)


def _telling(text: bytes) -> None:
    _both_ways(text, telling.decode, telling.encode, telling.MalformedMessage)


def _ringing(text: bytes) -> None:
    _both_ways(text, ringing.decode, ringing.encode, ringing.MalformedMessage)


def _members(text: bytes) -> None:
    _both_ways(text, Members.decode, Members.encode, MalformedMembers)


def _command(text: bytes) -> None:
    def encode(command: commands.Command) -> bytes:
        return commands.encode(command.body, command.key)

    _both_ways(text, commands.decode, encode, commands.MalformedCommand)


def _state(text: bytes) -> None:
    _both_ways(text, state.decode, state.encode, state.MalformedState)


def _request(text: bytes) -> None:
    found = parse_request(text)
    if found is not None:
        assert parse_request(found.encoded()) == found


def _probe(text: bytes) -> None:
    found = parse_probe(text)
    if found is not None:
        encoded(found)


def _parcel(text: bytes) -> None:
    try:
        found = parcel.unpack(text, 7, 3)
    except parcel.WrongParcel as fault:
        assert str(fault)
        return
    assert parcel.unpack(parcel.pack(7, found), 7, 3) == found


def _header(text: bytes) -> None:
    found = parse_header(text)
    if isinstance(found, Header):
        assert text.startswith(found.encoded())
    else:
        assert isinstance(found, Drop)


def _keys(text: bytes) -> None:
    try:
        keys = parse_keys(text.decode("ascii", "replace"))
    except KeyFault as fault:
        assert str(fault)
        return
    assert keys and len({key.id for key in keys}) == len(keys)


DECODERS = (_agreeing, _telling, _members, _command, _state, _request, _header, _keys, _probe, _parcel, _ringing)
