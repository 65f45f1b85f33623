"""Lists of members and their bytes."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec
import pytest
from consensus.world import member
from qluster.consensus.members import MEMBERS_MAX, MalformedMembers, Member, Members


def test_list_survives_its_bytes() -> None:
    members = Members((member(1), member(2, voter=False), member(4, voter=False, role="listener")), False, 2, 3)
    assert Members.decode(members.encode()) == members


def test_voters_and_listeners_are_told_apart() -> None:
    members = Members((member(1), member(2, voter=False)))
    assert (members.voters, members.listeners) == ({1}, {2})
    assert members.get(2) == member(2, voter=False)
    assert members.get(3) is None


def test_changed_list_leaves_the_old_one_as_it_was() -> None:
    old = Members((member(1), member(3, voter=False)))
    assert [one.node for one in old.with_member(member(2))] == [1, 2, 3]
    assert old.promoted(3).voters == {1, 3}
    assert len(old.without(3)) == 1
    assert len(old) == 2 and old.voters == {1}


def other(node: int, **fields: object) -> Member:
    values = {"node": node, "uid": 50 + node, "ip": "10.0.0.9", "api_port": 1, "udp_port": 2, "voter": True}
    return Member(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (Members((other(1), other(1, uid=9))), "must differ"),
        (Members((other(0),)), "begin at 1"),
        (Members((other(1, uid=7), other(2, uid=7))), "same uid"),
        (Members((other(1, role="king"),)), "role 'king'"),
        (Members((other(1, role="listener"),)), "cannot vote"),
        (Members(tuple(other(node) for node in range(1, MEMBERS_MAX + 2))), f"at most {MEMBERS_MAX}"),
        (Members((other(1),), True, -1), "negative"),
        (Members((other(1),), True, 0, -1), "negative"),
        (Members((other(2**63),)), "begin at 1"),
        (Members((other(1, uid=-1),)), "64 bits"),
        (Members((other(1, udp_port=0),)), "ports"),
        (Members((other(1, api_port=65_536),)), "ports"),
        (Members((other(1, db_port=-1),)), "ports"),
        (Members((other(1, ip="node-1"),)), "no IP address"),
    ],
)
def test_list_that_contradicts_itself_is_refused(members: Members, reason: str) -> None:
    assert reason in members.fault()
    with pytest.raises(MalformedMembers, match=reason):
        Members.decode(members.encode())


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\x91\x01", b"nonsense", b"\x91\x91\x94\x01\x02\xa1\xff"])
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedMembers):
        Members.decode(payload)


def test_full_list_fits_into_one_entry() -> None:
    widest = tuple(
        Member(2**31 + node, 2**64 - 1 - node, "255.255.255.255", 65535, 65535, 65535, True, "node", True)
        for node in range(MEMBERS_MAX)
    )
    assert len(Members(widest, True, MEMBERS_MAX, MEMBERS_MAX).encode()) < 8_000


def test_list_in_which_each_has_one_vote_has_the_bytes_that_it_always_had() -> None:
    """Versions that count nodes write the same; recorded before there were votes."""
    members = Members((member(1), member(2, voter=False)), True, 0, 1)
    assert members.encode().hex() == (
        "9492" + "9a01cd03e9a831302e302e302e31cd1f90cd1ce8cd1538c3a46e6f6465c2c0"
        + "9a02cd03eaa831302e302e302e32cd1f90cd1ce8cd1538c2a46e6f6465c2c0" + "c30001"
    )
    assert not members.counted


def test_votes_and_tie_breaker_travel_with_the_list() -> None:
    heavy = msgspec.structs.replace(member(2), votes=3)
    members = Members((member(1), heavy), True, 0, 2, tie=1)
    assert Members.decode(members.encode()) == members
    assert members.counted and Members((member(1), heavy)).counted and Members((member(1),), tie=1).counted


def test_version_that_counts_nodes_decodes_what_it_knows() -> None:
    """Which is why it must not vote where votes are counted."""
    members = Members((msgspec.structs.replace(member(1), votes=3), member(2)), True, 2, 2, tie=1)
    rows, *rest = msgspec.msgpack.decode(members.encode())
    assert [row[:10] for row in rows] == [[*msgspec.structs.astuple(member(node))[:10]] for node in (1, 2)]
    assert rest[:3] == [True, 2, 2]


@pytest.mark.parametrize(
    ("members", "word"),
    [
        (Members((other(1, votes=-1),)), "-1 votes"),
        (Members((other(1, votes=1001),)), "1001 votes, not 0 to 1000"),
        (Members((other(1, votes=0), other(2, votes=0))), "no voter has a vote"),
        (Members((other(1),), tie=2), "the tie-breaker is node 2"),
        (Members((other(1), other(2)), device=1, way="other", device_uid=9), "1 votes (way 'other'"),
        (Members((other(1), other(2)), device=1, device_uid=9), "1 votes (way ''"),
        (Members((other(1), other(2)), device=1, way="memory"), "the device has uid 0"),
        (Members((other(1), other(2)), device=2, way="memory", device_uid=9), "the device has 2 votes and the nodes"),
        (Members((other(1), other(2)), device=-1, way="memory", device_uid=9), "the device has -1 votes"),
        (Members((other(1), other(2)), tie=1, device=1, way="memory", device_uid=9), "one of them breaks ties"),
        (Members((other(1),), two_node=True), "two_node is for two voters"),
        (Members((other(1), other(2)), two_node=True, tie=1), "two_node is for two voters"),
    ],
)
def test_list_that_cannot_be_counted_is_refused(members: Members, word: str) -> None:
    """What this version counts otherwise than others would make two electorates."""
    assert word in members.fault()
    with pytest.raises(MalformedMembers, match=r"node|vote|tie|device"):
        Members.decode(members.encode())
