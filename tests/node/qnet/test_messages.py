"""How messages are written and read."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as some
from qluster.qnet import at_once, names
from qluster.qnet.messages import (
    KINDS,
    LIST_NODES_MAX,
    AskForVote,
    EchoRequest,
    Init,
    MalformedMessage,
    Message,
    NodeList,
    NodeListReply,
    Preinit,
    PreinitReply,
    SetOption,
    VoteInfo,
    decode,
    decode_parts,
    echo,
    encode,
    encode_parts,
    frame,
)
from qluster.qnet.names import Heuristics, MessageType, NodeListType, NodeState, Option, TieBreakerMode, Vote
from qluster.qnet.own import OWN_KINDS, decode_any
from qluster.qnet.tlv import ALL_CODECS, CODECS, NodeInfo, RingId, TieBreaker, option, options
from qnet.recorded import frames

U8, U16, U32, U64 = (some.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
RINGS = some.builds(RingId, U32, U64)
NODES = some.builds(NodeInfo, some.integers(1, 2**32 - 1), U32, some.sampled_from([None, *NodeState]))
TIES = some.builds(
    lambda mode, node: TieBreaker(mode, node if mode is TieBreakerMode.NODE_ID else 0),
    some.sampled_from(TieBreakerMode),
    U32,
)
ARRAYS = some.lists(U16, max_size=40).map(tuple)
VALUES: dict[int, some.SearchStrategy[Any]] = {
    Option.MSG_SEQ_NUMBER: U32,
    Option.CLUSTER_NAME: some.binary(max_size=40),
    Option.TLS_SUPPORTED: some.sampled_from(names.TlsSupported),
    Option.TLS_CLIENT_CERT_REQUIRED: some.booleans(),
    Option.SUPPORTED_MESSAGES: ARRAYS,
    Option.SUPPORTED_OPTIONS: ARRAYS,
    Option.REPLY_ERROR_CODE: U16,
    Option.SERVER_MAXIMUM_REQUEST_SIZE: U32,
    Option.SERVER_MAXIMUM_REPLY_SIZE: U32,
    Option.NODE_ID: U32,
    Option.SUPPORTED_DECISION_ALGORITHMS: ARRAYS,
    Option.DECISION_ALGORITHM: U16,
    Option.HEARTBEAT_INTERVAL: U32,
    Option.RING_ID: RINGS,
    Option.CONFIG_VERSION: U64,
    Option.NODE_INFO: some.lists(NODES, max_size=5).map(tuple),
    Option.NODE_LIST_TYPE: some.sampled_from(NodeListType),
    Option.VOTE: some.sampled_from(Vote),
    Option.QUORATE: some.booleans(),
    Option.TIE_BREAKER: TIES,
    Option.HEURISTICS: some.sampled_from([Heuristics.PASS, Heuristics.FAIL]),
    Option.KEEP_ACTIVE_PARTITION_TIE_BREAKER: some.booleans(),
}


@some.composite
def messages(draw: some.DrawFn) -> Message:
    """Any message that can be written: each option is there or not, but not none at all."""
    kind = KINDS[draw(some.sampled_from(MessageType))]
    found = {name: draw(VALUES[number]) for name, number in kind.order if name != "seq" and draw(some.booleans())}
    return kind(seq=draw(U32), **found)


def body_of(message: Message) -> bytes:
    return encode(message)[6:]


@given(U32, some.sampled_from(Vote), some.sampled_from(NodeListType), RINGS)
def test_what_is_written_at_once_is_what_is_written_part_by_part(
    seq: int, vote: Vote, kind: NodeListType, at: RingId
) -> None:
    assert at_once.vote_info(seq, vote, at) == encode_parts(VoteInfo(seq=seq, vote=vote, ring_id=at))
    reply = NodeListReply(seq=seq, node_list_type=kind, ring_id=at, vote=vote)
    assert at_once.list_reply(seq, kind, at, vote) == encode_parts(reply)


@given(messages())
def test_what_is_written_is_read_again(message: Message) -> None:
    [one] = frames(encode(message))
    assert decode(one.kind, body_of(message)) == message


LISTS = some.builds(
    NodeList,
    seq=U32,
    node_list_type=some.sampled_from(NodeListType),
    ring_id=RINGS,
    config_version=some.none() | U64,
    quorate=some.none() | some.booleans(),
    nodes=some.lists(NODES, max_size=5).map(tuple),
    heuristics=some.sampled_from([None, Heuristics.PASS, Heuristics.FAIL]),
)
OWN_VALUES: dict[int, some.SearchStrategy[Any]] = {
    **dict.fromkeys(names.OwnOption, U64),
    Option.MSG_SEQ_NUMBER: U32,
    names.OwnOption.PROMISE: U32,
    names.OwnOption.LINEAGE: some.lists(U64, max_size=3).map(tuple),
    names.OwnOption.STAGE: some.sampled_from(names.Stage),
    names.OwnOption.REFUSAL: some.sampled_from(names.Refusal),
    names.OwnOption.GRANTED: some.booleans(),
}


@some.composite
def own_messages(draw: some.DrawFn) -> Message:
    """One of ours, with nearly all of its parts."""
    kind = OWN_KINDS[draw(some.sampled_from(names.OwnMessage))]
    found = {name: draw(OWN_VALUES[number]) for name, number in kind.order[1:] if draw(some.integers(0, 19))}
    return kind(seq=draw(U32), **found)


def read(way: Callable[[], Message]) -> Message | tuple[str, int | None]:
    """What a way of reading makes of bytes, errors as well."""
    try:
        return way()
    except MalformedMessage as error:
        return str(error), error.seq


@given(LISTS | messages() | own_messages(), some.data())
def test_what_is_read_at_once_is_what_is_read_part_by_part(message: Message, data: some.DataObject) -> None:
    assert encode(message) == encode_parts(message)
    body = bytearray(body_of(message))
    assert decode_any(message.type, bytes(body)) == message
    place = data.draw(some.integers(0, len(body) - 1))
    match data.draw(some.sampled_from(["a byte", "a bit", "less", "more", "twice"])):
        case "a byte":
            body[place] = data.draw(some.integers(0, 255))
        case "a bit":
            body[place] ^= 1
        case "less":
            del body[place:]
        case "more":
            body += data.draw(some.binary(min_size=1, max_size=9))
        case _:
            body += bytes(body)
    codecs = ALL_CODECS if type(message) in OWN_KINDS.values() else CODECS
    found = read(lambda: decode_any(message.type, bytes(body)))
    assert found == read(lambda: decode_parts(type(message), codecs, bytes(body)))


def test_end_of_a_list_that_is_long_is_not_kept() -> None:
    for length in (at_once.LIST_END_MAX // 12, at_once.LIST_END_MAX // 12 + 1):
        message = NodeList(
            seq=1, node_list_type=NodeListType.MEMBERSHIP, ring_id=RingId(1, 4),
            nodes=tuple(NodeInfo(node) for node in range(1, length + 1)),
        )  # fmt: skip
        assert (at_once.membership(body_of(message)) is None) == (12 * length > at_once.LIST_END_MAX)
        assert decode(MessageType.NODE_LIST, body_of(message)) == message


@given(messages(), some.randoms(use_true_random=False))
def test_order_of_options_does_not_matter_and_unknown_ones_are_skipped(message: Message, random: Any) -> None:
    parts = [option(kind, value) for kind, value in options(body_of(message))]
    lists = [part for part in parts if part[:2] == b"\x00\x11"]
    others = [part for part in parts if part not in lists]
    others += [option(200, b"abc"), option(0xFFFF, b""), option(names.OwnOption.TERM, b"ours")]
    random.shuffle(others)
    assert decode(message.type, b"".join(others + lists)) == message


def test_each_option_is_tried_by_these_tests() -> None:
    inside_a_node = {Option.DATA_CENTER_ID, Option.NODE_STATE}
    assert set(VALUES) | inside_a_node == set(CODECS)
    for kind in KINDS.values():
        hints = {name for name in get_type_hints(kind) if name not in ("type", "order")}
        assert hints == {name for name, _ in kind.order}, kind


def test_repeated_option_counts_as_it_stands_last_and_nodes_add_up() -> None:
    nodes = [option(Option.NODE_INFO, option(Option.NODE_ID, node.to_bytes(4, "big"))) for node in (3, 1)]
    seqs = [option(Option.MSG_SEQ_NUMBER, seq.to_bytes(4, "big")) for seq in (7, 9)]
    message = decode(MessageType.NODE_LIST, nodes[0] + seqs[0] + nodes[1] + seqs[1])
    assert message == NodeList(seq=9, nodes=(NodeInfo(3), NodeInfo(1)))


SEQ = option(Option.MSG_SEQ_NUMBER, b"\0\0\0\5")


@pytest.mark.parametrize(
    ("bad", "seq"),
    [
        pytest.param(b"", None, id="no option at all"),
        pytest.param(SEQ + b"\0", 5, id="one byte too many"),
        pytest.param(SEQ + b"\0\1\0", 5, id="half a head"),
        pytest.param(SEQ + b"\0\1\0\5abcd", 5, id="longer than the message"),
        pytest.param(b"\0\1\0\5abcd" + SEQ, None, id="sequence number behind the fault"),
        pytest.param(option(0, b"\0\0\5"), None, id="sequence number of three bytes"),
        pytest.param(SEQ + option(2, b"\3"), 5, id="TLS 3"),
        pytest.param(SEQ + option(4, b"\0"), 5, id="half a number in a list"),
        pytest.param(SEQ + option(6, b"\0"), 5, id="short error code"),
        pytest.param(SEQ + option(13, bytes(11)), 5, id="short ring id"),
        pytest.param(SEQ + option(14, bytes(4)), 5, id="short version"),
        pytest.param(SEQ + option(16, b"\0"), 5, id="node state 0"),
        pytest.param(SEQ + option(16, b"\4"), 5, id="node state 4"),
        pytest.param(SEQ + option(17, b""), 5, id="empty node"),
        pytest.param(SEQ + option(17, option(9, bytes(4))), 5, id="node 0"),
        pytest.param(SEQ + option(17, option(15, bytes(4))), 5, id="node without a number"),
        pytest.param(SEQ + option(17, option(9, b"\0\0\0\1") + option(16, b"\7")), 5, id="node with state 7"),
        pytest.param(SEQ + option(17, option(9, b"\0\0\0\1") + b"\0"), 5, id="node with a byte too many"),
        pytest.param(SEQ + option(18, b"\4"), 5, id="list type 4"),
        pytest.param(SEQ + option(19, b"\0"), 5, id="vote 0"),
        pytest.param(SEQ + option(19, b"\6"), 5, id="vote 6"),
        pytest.param(SEQ + option(20, b"\2"), 5, id="quorate 2"),
        pytest.param(SEQ + option(21, bytes(4)), 5, id="short tie-breaker"),
        pytest.param(SEQ + option(21, bytes(5)), 5, id="tie-breaker mode 0"),
        pytest.param(SEQ + option(22, b"\0"), 5, id="heuristics undefined"),
        pytest.param(SEQ + option(22, b"\3"), 5, id="heuristics 3"),
        pytest.param(SEQ + option(23, b"\2"), 5, id="keep active partition 2"),
    ],
)
@pytest.mark.parametrize("kind", [MessageType.PREINIT, MessageType.NODE_LIST, MessageType.VOTE_INFO_REPLY])
def test_malformed_message_says_its_number_as_far_as_it_was_read(kind: int, bad: bytes, seq: int | None) -> None:
    with pytest.raises(MalformedMessage) as refused:
        decode(kind, bad)
    assert refused.value.seq == seq


def test_list_has_no_more_nodes_than_corosync_can_have() -> None:
    full = NodeList(seq=1, nodes=tuple(NodeInfo(node) for node in range(1, LIST_NODES_MAX + 1)))
    assert decode(full.type, body_of(full)) == full
    with pytest.raises(MalformedMessage, match="more than 384 nodes"):
        decode(full.type, body_of(full) + option(Option.NODE_INFO, option(Option.NODE_ID, b"\0\1\0\0")))


def test_unknown_type_is_no_message() -> None:
    with pytest.raises(MalformedMessage):
        decode(18, SEQ)


def test_options_of_other_messages_are_allowed_and_left_out() -> None:
    assert decode(MessageType.ASK_FOR_VOTE, SEQ + option(Option.CONFIG_VERSION, bytes(8))) == AskForVote(seq=5)


def test_certificate_is_required_by_any_number_but_zero() -> None:
    reply = decode(MessageType.PREINIT_REPLY, option(Option.TLS_CLIENT_CERT_REQUIRED, b"\7"))
    assert reply == PreinitReply(tls_client_cert_required=True)


def test_node_of_a_tie_breaker_counts_only_where_the_mode_names_one() -> None:
    tie = option(Option.TIE_BREAKER, b"\1\0\0\0\7")
    assert decode(MessageType.INIT, tie) == Init(tie_breaker=TieBreaker(TieBreakerMode.LOWEST, 0))


def test_algorithm_and_error_that_nobody_knows_can_be_read() -> None:
    assert decode(MessageType.INIT, option(Option.DECISION_ALGORITHM, b"\xff\xff")) == Init(decision_algorithm=65535)


def test_echo_repeats_every_byte() -> None:
    body = SEQ + option(999, b"whatever")
    assert decode(MessageType.ECHO_REQUEST, body) == EchoRequest(seq=5)
    assert echo(body) == frame(MessageType.ECHO_REPLY, body)


def test_written_out_by_hand() -> None:
    assert encode(Preinit(seq=1, cluster_name=b"qlab")).hex() == "000000000010" "0000000400000001" "00010004716c6162"
    info = VoteInfo(seq=2, vote=Vote.ACK, ring_id=RingId(1, 9))
    assert encode(info).hex() == "000e0000001d" "0000000400000002" "0013000101" "000d000c000000010000000000000009"
    option_set = SetOption(seq=3, heartbeat_interval=8000)
    assert encode(option_set).hex() == "000600000010" "0000000400000003" "000c000400001f40"


def test_own_numbers_are_far_from_those_of_corosync() -> None:
    taken = {*MessageType, *Option}
    own = range(names.OWN_FIRST, names.OWN_LAST + 1)
    assert max(taken) < 100 < min(own)
    assert {*names.OwnMessage, *names.OwnOption} <= set(own)
    assert max(own) < 2**16
