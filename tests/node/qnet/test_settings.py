"""What an arbiter can be told."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from qluster.qnet.messages import EchoRequest, encode
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import option
from qnet.stage import Stage


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"request_size_max": 32767}, "clients need 32768"),
        ({"reply_size_max": 32767}, "use 32768 to"),
        ({"reply_size_max": 2**25}, "to 16777216"),
        ({"outstanding_max": 1}, "outstanding_max is 1"),
        ({"clients_max": -1}, "clients_max is -1"),
        ({"heartbeat_min": 0}, "heartbeats from 0"),
        ({"heartbeat_min": 2000, "heartbeat_max": 1999}, "from 2000 to 1999 ms"),
        ({"dead_peer_coefficient": 0.9}, "coefficient is 0.9"),
        ({"dead_peer_coefficient": 1001}, "coefficient is 1001"),
    ],
)
def test_what_no_client_could_live_with_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**wrong)


def test_answer_that_is_too_long_ends_the_connection() -> None:
    """Only an echo can be: where requests may be longer than replies."""
    stage = Stage(Settings(request_size_max=65536))
    stage.join("n1", 1)
    request = encode(EchoRequest(seq=1))[6:] + option(999, bytes(40_000))
    stage.give("n1", b"\0\x08" + len(request).to_bytes(4, "big") + request)
    assert stage.closed == {"n1": "an answer of 40018 bytes, 32768 are allowed"}
