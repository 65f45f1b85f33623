"""Daemons with a ring and Debian's arbiter: each shows the vote of its own ring, and one goes on alone by it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from edge.daemon_world import Site, wait_for
from edge.qnetd_world import free_port
from edge.released_arbiter import PROGRAM
from edge.test_device_released import Program

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="corosync-qnetd is not here (package corosync-qnetd)")


def test_two_daemons_have_the_vote_together_and_the_one_that_is_left_has_it_alone(tmp_path: Path) -> None:
    site, port = Site(tmp_path, "239.19.78.202:7802", "127.0.62", hosts=2), free_port()
    program = Program(tmp_path, port, host="127.0.62.9")

    def quorum(number: int) -> tuple[list[str], list[str]]:
        """The flags, and the column Qdevice of the members."""
        votes = site.get(number, "/quorum").json()["votequorum"]
        return votes.get("flags", []), [node["device"]["text"] for node in votes.get("nodes", []) if node["member"]]

    def own_number(number: int) -> object:
        return (site.map(number).get("own") or {}).get("node")  # type: ignore[attr-defined]

    def shown(number: int) -> dict[str, object]:
        own = site.map(number).get("own") or {}
        return own.get("device") or {}  # type: ignore[attr-defined, no-any-return]

    try:
        for number in (1, 2):
            site.configure(number, device__host="127.0.62.9", device__port=port, device__tls="off",
                           device__timeout="1250ms", device__sync_timeout="3s", quorum__provider="votequorum")
            site.start(number)
        wait_for("both have it for one ring", lambda: [shown(number).get("answer") for number in (1, 2)] == ["ack"] * 2
                 and shown(1)["vote_ring"] == shown(2)["vote_ring"] == shown(1)["ring"])  # fmt: skip
        former = shown(1)["ring"]
        assert program.shows().count("Configured node list:\t1, 2") == 2
        wait_for("votequorum has it", lambda: quorum(1) == (["Quorate", "Qdevice"], ["A,V,NMW"] * 2))
        wait_for("it counts for both", lambda: [shown(number).get("counts") for number in (1, 2)] == [True] * 2)
        assert {shown(number)["way"] for number in (1, 2)} == {"episode"}
        site.children[1].kill()
        wait_for("node 1 has it alone", lambda: shown(1).get("answer") == "ack" and shown(1)["vote_ring"] != former)
        assert program.shows().count("Membership node list:\t1\n") == 1
        wait_for("node 1 leads alone", lambda: shown(1)["counts"] is True and site.leader(1) == own_number(1))
        program.kill()
        wait_for("it knows that the arbiter is gone", lambda: shown(1).get("answer") is None)
        assert "no connection to the arbiter" in str(shown(1)["reason"])
        assert quorum(1) == (["Qdevice"], ["A,NV,NMW"])
    finally:
        program.kill()
        site.end()
