"""Headers: what is written is read back, what is no header is named for what it is."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.transport.envelope import (
    BOOT_MAX,
    FLAGS_KNOWN,
    HEADER_SIZE,
    NUMBER_MAX,
    SEAL_SIZE,
    TAG_SIZE,
    Drop,
    Header,
    cluster_tag,
    parse_header,
)

NUMBERS = st.integers(1, NUMBER_MAX)
HEADERS = st.builds(
    lambda chunk, more, **fields: Header(chunk=chunk, chunks=min(chunk + more, 65535), **fields),
    flags=st.integers(0, FLAGS_KNOWN),
    key=st.integers(0, 65535),
    cluster=st.binary(min_size=8, max_size=8),
    uid=st.integers(0, NUMBER_MAX),
    boot=st.integers(0, BOOT_MAX),
    sequence=NUMBERS,
    message=NUMBERS,
    chunk=st.integers(0, 65534),
    echo=st.integers(0, NUMBER_MAX),
    more=st.integers(1, 65535),
)
GOOD = Header(0, 1, cluster_tag("one"), 7, 1, 1, 1, 0, 1)


@given(HEADERS, st.binary(min_size=TAG_SIZE, max_size=40))
def test_header_written_is_the_header_read(header: Header, rest: bytes) -> None:
    assert parse_header(header.encoded() + rest) == header


@given(st.binary(max_size=2 * SEAL_SIZE))
def test_anything_from_the_network_is_a_header_or_a_reason(datagram: bytes) -> None:
    assert isinstance(parse_header(datagram), Header | Drop)


@given(HEADERS, st.integers(0, SEAL_SIZE - 1))
def test_cut_into_header_or_tag_is_short(header: Header, size: int) -> None:
    assert parse_header((header.encoded() + bytes(TAG_SIZE))[:size]) is Drop.SHORT


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        pytest.param(0, b"X", Drop.FOREIGN, id="magic"),
        pytest.param(4, b"\x01", Drop.VERSION, id="version"),
        pytest.param(5, b"\x20", Drop.MALFORMED, id="unknown-flag"),
        pytest.param(28, bytes(8), Drop.MALFORMED, id="sequence-0"),
        pytest.param(36, bytes(8), Drop.MALFORMED, id="message-0"),
        pytest.param(44, b"\x00\x01", Drop.MALFORMED, id="chunk-beyond-count"),
        pytest.param(46, b"\x00\x00", Drop.MALFORMED, id="no-chunks"),
    ],
)
def test_what_no_sender_writes_is_refused(offset: int, value: bytes, reason: Drop) -> None:
    datagram = bytearray(GOOD.encoded() + bytes(TAG_SIZE))
    datagram[offset : offset + len(value)] = value
    assert parse_header(bytes(datagram)) is reason


def test_header_has_its_size() -> None:
    assert len(GOOD.encoded()) == HEADER_SIZE == 56


def test_clusters_have_different_tags() -> None:
    assert len({cluster_tag(name) for name in ("", "a", "b", "ab", "квластер")}) == 5
    assert cluster_tag("a") == cluster_tag("a")
