"""Keys and seals: what is accepted, what is refused, and that no nonce comes twice."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from base64 import b64encode
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from qluster.transport.envelope import HEADER_SIZE, Header, cluster_tag, parse_header
from qluster.transport.seal import CIPHERS_MAX, Key, KeyFault, Opener, Sealer, parse_keys

FIRST = Key(1, bytes(range(32)))
SECOND = Key(2, bytes(range(32, 64)))


def line(key: Key) -> str:
    return f"{key.id}:{b64encode(key.secret).decode()}"


def header_of(datagram: bytes) -> Header:
    header = parse_header(datagram)
    assert isinstance(header, Header)
    return header


def opened(opener: Opener, datagram: bytes) -> bytes | None:
    return opener.open(header_of(datagram), datagram)


def test_key_file_is_read_in_its_order() -> None:
    text = f"# rotation of May\n\n {line(SECOND)} \r\n{line(FIRST)}\n"
    assert parse_keys(text) == [SECOND, FIRST]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", r"^no key in it", id="empty"),
        pytest.param("# nothing\n\n", r"^no key in it", id="only-comments"),
        pytest.param("hello", r"line 1: does not begin with a number and a colon", id="no-colon"),
        pytest.param("\nx1:" + "A" * 44, r"line 2: does not begin", id="no-number"),
        pytest.param("-1:" + "A" * 44, r"line 1: does not begin", id="negative"),
        pytest.param("0:" + line(FIRST)[2:], r"line 1: key id 0 is out of range. Use 1 to 65535", id="zero"),
        pytest.param("65536:" + line(FIRST)[2:], r"key id 65536 is out of range", id="id-too-large"),
        pytest.param("9" * 5000 + ":" + line(FIRST)[2:], r"key id 9{20} is out of range", id="id-endless"),
        pytest.param("1:§§§", r"line 1: key 1 is no base64", id="no-base64"),
        pytest.param("1:" + b64encode(b"short").decode(), r"key 1 has 5 bytes. It must have 32", id="short"),
        pytest.param("1:" + b64encode(bytes(33)).decode(), r"key 1 has 33 bytes", id="long"),
        pytest.param("1:" + b64encode(bytes(32)).decode(), r"key 1 is one byte repeated", id="placeholder"),
        pytest.param(f"{line(FIRST)}\n{line(FIRST)}", r"line 2: key id 1 appears twice", id="id-twice"),
        pytest.param(f"{line(FIRST)}\n2{line(FIRST)[1:]}", r"line 2: key 2 has the secret of an", id="copied"),
        pytest.param(
            "\n".join(line(Key(number, bytes(31) + bytes([number]))) for number in range(1, 10)),
            r"9 keys in it, at most 8",
            id="too-many",
        ),
    ],
)
def test_faulty_key_file_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(KeyFault, match=said) as raised:
        parse_keys(text)
    assert line(FIRST)[2:] not in str(raised.value), "a key in an error message ends up in a log"


def test_key_does_not_show_its_secret() -> None:
    assert "secret" not in repr(FIRST)


@given(st.binary(max_size=3000), st.integers(0, 7))
def test_what_was_sealed_is_opened(payload: bytes, flags: int) -> None:
    datagram = Sealer("one", 5, 3, FIRST).seal(flags, 9, 1, 4, payload)
    header = header_of(datagram)
    assert (header.flags, header.message, header.chunk, header.chunks) == (flags, 9, 1, 4)
    assert (header.key, header.uid, header.boot, header.sequence) == (1, 5, 3, 1)
    assert Opener("one", [SECOND, FIRST]).open(header, datagram) == payload


@given(st.data())
def test_any_changed_bit_breaks_the_seal(data: st.DataObject) -> None:
    datagram = bytearray(Sealer("one", 5, 3, FIRST).seal(0, 1, 0, 1, b"payload"))
    bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
    original = header_of(bytes(datagram))
    datagram[bit // 8] ^= 1 << bit % 8
    header = parse_header(bytes(datagram))
    opener = Opener("one", [FIRST])
    if isinstance(header, Header) and opener.knows(header.key) and header.cluster == original.cluster:
        assert opener.open(header, bytes(datagram)) is None


@given(st.integers(HEADER_SIZE + 16, HEADER_SIZE + 16 + 99))
def test_datagram_cut_short_breaks_the_seal(size: int) -> None:
    datagram = Sealer("one", 5, 3, FIRST).seal(0, 1, 0, 1, bytes(100))
    assert opened(Opener("one", [FIRST]), datagram[:size]) is None


@pytest.mark.parametrize(
    "opener",
    [
        pytest.param(Opener("one", [Key(1, SECOND.secret)]), id="other-secret"),
        pytest.param(Opener("two", [FIRST]), id="other-cluster"),
    ],
)
def test_strangers_cannot_open(opener: Opener) -> None:
    assert opened(opener, Sealer("one", 5, 3, FIRST).seal(0, 1, 0, 1, b"payload")) is None


def test_no_nonce_repeats_under_one_key_over_rotations() -> None:
    """A repeated nonce would let anybody on the network forge datagrams."""
    sealer = Sealer("one", 5, 3, FIRST)
    used = set()
    for key in (FIRST, SECOND, FIRST, SECOND):
        sealer.rekey(key)
        for _ in range(10):
            header = header_of(sealer.seal(0, 1, 0, 1, b""))
            used.add((header.key, header.uid, header.boot, header.sequence))
    assert len(used) == 40


def test_each_sender_and_start_seals_with_a_key_of_its_own() -> None:
    sealers = [Sealer("one", uid, boot, FIRST) for uid in (1, 2) for boot in (1, 2)]
    sealed = [sealer.seal(0, 1, 0, 1, bytes(64))[HEADER_SIZE:] for sealer in sealers]
    assert all(one != other for one, other in combinations(sealed, 2))


def test_removed_key_opens_no_more() -> None:
    opener = Opener("one", [FIRST, SECOND])
    sealer = Sealer("one", 5, 3, FIRST)
    assert opened(opener, sealer.seal(0, 1, 0, 1, b"x")) == b"x"
    opener.rekey([SECOND])
    assert not opener.knows(FIRST.id)
    opener.rekey([Key(FIRST.id, SECOND.secret)])
    assert opened(opener, sealer.seal(0, 1, 0, 1, b"x")) is None


def test_more_senders_than_ciphers_kept_are_still_opened() -> None:
    opener = Opener("one", [FIRST])
    for uid in [*range(CIPHERS_MAX + 5), 0]:
        assert opened(opener, Sealer("one", uid, 1, FIRST).seal(0, 1, 0, 1, b"x")) == b"x"


def test_derived_key_is_that_of_hkdf() -> None:
    """Derived in two halves for speed; other programs that read datagrams use the whole of it."""
    purpose = b"qluster datagram 1\0" + (3).to_bytes(2, "big") + (77).to_bytes(8, "big") + (5).to_bytes(4, "big")
    key = HKDF(algorithm=SHA256(), length=32, salt=cluster_tag("one"), info=purpose).derive(FIRST.secret)
    datagram = Sealer("one", 77, 5, Key(3, FIRST.secret)).seal(0, 1, 0, 1, b"hello")
    nonce = bytes(4) + header_of(datagram).sequence.to_bytes(8, "big")
    assert AESGCM(key).decrypt(nonce, datagram[HEADER_SIZE:], datagram[:HEADER_SIZE]) == b"hello"
