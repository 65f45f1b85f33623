"""What members tell each other beside the log: what is let in."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from qluster.cluster import messages as say

HELLO = say.Hello(0, 0, 2**64 - 1, "10.0.0.2", 7400, 8080, None, "node", False, "0.1.0", {})


@pytest.mark.parametrize("ip", ["10.0.0.2", "192.168.255.254", "fd00::1"])
def test_hello_from_an_address_is_let_in(ip: str) -> None:
    hello = msgspec.structs.replace(HELLO, ip=ip)
    assert say.decode(say.encode(hello)) == hello


@pytest.mark.parametrize("ip", ["", "\0", "host", "10.0.0", "é" * 90, "a." * 400, "239.1.1.1", "0.0.0.0", "::"])
def test_hello_from_what_is_no_host_is_refused(ip: str) -> None:
    """It would be answered there: names were looked up, and some names ended the daemon."""
    with pytest.raises(say.MalformedMessage, match="hello from"):
        say.decode(say.encode(msgspec.structs.replace(HELLO, ip=ip)))


@pytest.mark.parametrize(
    "message",
    [
        say.Welcome(1, 1, 7, 0),
        say.Welcome(0, 1, 7, 4),
        say.Welcome(2**63, 1, 7, 4),
        say.Present(0, 1, 1),
        say.PositionQuery(1, 1, 2**63),
        msgspec.structs.replace(HELLO, role="king"),
        msgspec.structs.replace(HELLO, udp_port=0),
        msgspec.structs.replace(HELLO, version="v" * 1001),
        msgspec.structs.replace(HELLO, shared={str(place): "" for place in range(65)}),
    ],
    ids=repr,
)
def test_message_with_a_number_or_word_that_cannot_be_is_refused(message: say.Message) -> None:
    with pytest.raises(say.MalformedMessage):
        say.decode(say.encode(message))


def test_positions_and_identifiers_use_all_of_their_64_bits() -> None:
    reply = say.PositionReply(1, 2, 7, 2**64 - 1, 1, 2**64 - 1, True, "")
    assert say.decode(say.encode(reply)) == reply


def test_answer_of_a_version_that_knows_of_no_copies_is_one_of_a_database_that_was_not_replaced() -> None:
    reply = say.PositionReply(1, 2, 7, 5, 1, 100, True, "", 0, (3, 120))
    values = msgspec.msgpack.decode(say.encode(reply))
    old = say.decode(msgspec.msgpack.encode(values[:-1]))
    assert isinstance(old, say.PositionReply) and old.owed is None and say.decode(say.encode(reply)) == reply
