"""What the key-value store holds, and which writes do not happen."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.clients import Done, Refused
from qluster.cluster import commands, values
from qluster.cluster.state import KEYS_MAX, State, decode, encode
from qluster.cluster.values import LIST_MAX, Value, Values
from qluster.events import Entry


def test_value_is_written_read_and_removed() -> None:
    store = Values()
    assert store.write("a", b"one", None, 5) is None
    assert store.of["a"] == Value(b"one", 5) and store.size == 4
    assert store.write("a", None, None, 6) is None
    assert store.of == {} and store.size == 0


@pytest.mark.parametrize(("cas", "happens"), [(None, True), (5, True), (4, False), (6, False), (0, False)])
def test_check_and_set_asks_for_the_index_of_the_last_change(cas: int | None, happens: bool) -> None:
    store = Values()
    store.write("a", b"one", None, 5)
    refusal = store.write("a", b"two", cas, 9)
    assert (refusal is None) == happens
    assert store.of["a"] == (Value(b"two", 9) if happens else Value(b"one", 5))


def test_index_zero_means_that_the_key_is_absent() -> None:
    store = Values()
    assert store.write("a", b"", 0, 5) is None
    assert store.write("a", b"", 0, 6) == Refused("cas", "the index of a is 5, not 0")


def test_absent_key_cannot_be_removed() -> None:
    assert Values().write("a", None, None, 5) == Refused("key", "there is no key a", "no-such-key")


def test_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "NAMES_MAX", 2)
    store = Values()
    assert store.write("a", b"", None, 1) is None and store.write("b", b"", None, 2) is None
    refusal = store.write("c", b"", None, 3)
    assert refusal is not None and "2 keys" in refusal.reason
    assert store.write("b", b"again", None, 4) is None


def test_bytes_are_bounded_and_shrinking_is_always_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Values()
    store.write("a", b"x" * 90, None, 1)
    monkeypatch.setattr(values, "BYTES_MAX", 50)
    refusal = store.write("a", b"x" * 91, None, 2)
    assert refusal is not None and "92 bytes" in refusal.reason
    assert store.write("a", b"x" * 80, None, 3) is None


def test_keys_are_listed_in_order_and_in_parts() -> None:
    store = Values()
    for number in range(LIST_MAX + 10, 0, -1):
        store.write(f"a{number:05d}", b"", None, number)
    store.write("b", b"", None, 1)
    first, more = store.names("a", "")
    rest, no_more = store.names("a", first[-1])
    assert more and not no_more
    assert first + rest == [f"a{number:05d}" for number in range(1, LIST_MAX + 11)]
    assert store.names("", "a99999") == (["b"], False)


NAMES = st.sampled_from(["a", "b", "c"])
WRITES = st.tuples(NAMES, st.none() | st.binary(max_size=4), st.none() | st.integers(0, 12))


@given(st.lists(WRITES, max_size=30))
def test_size_is_what_is_there_and_a_snapshot_keeps_all(writes: list[tuple[str, bytes | None, int | None]]) -> None:
    state = State()
    for index, (name, value, cas) in enumerate(writes, start=1):
        state.apply(Entry(index, 1, "command", commands.encode(commands.ValueWritten(name, value, cas))))
    assert state.store.size == sum(len(name) + len(kept.value) for name, kept in state.store.of.items())
    assert decode(encode(state)) == state


def test_write_sent_again_happens_once_and_a_refused_one_is_judged_again() -> None:
    state = State()
    first = commands.encode(commands.ValueWritten("a", b"1", 0), "key")
    assert state.apply(Entry(1, 1, "command", first)) is None
    assert state.apply(Entry(2, 1, "command", first)) == Done(1, {"repeated": True}), "the index of the write itself"
    assert state.store.of["a"].index == 1
    other = commands.encode(commands.ValueWritten("a", b"2", 0), "other")
    assert state.apply(Entry(3, 1, "command", other)) is not None
    assert "other" not in state.keys


def test_key_of_a_write_is_remembered_while_thousands_of_others_come_and_not_for_ever() -> None:
    """S20: a client repeats a write that was not confirmed, and it happens once."""
    state = State()

    def write(index: int, key: str, value: bytes) -> None:
        state.apply(Entry(index, 1, "command", commands.encode(commands.ValueWritten("x", value), key, b"mark")))

    write(1, "first", b"old")
    for index in range(2, KEYS_MAX - 10):
        write(index, f"other-{index}", b"new")
    write(KEYS_MAX - 10, "first", b"old")
    assert state.store.of["x"] == Value(b"new", KEYS_MAX - 11)
    for index in range(KEYS_MAX - 9, KEYS_MAX + 5000):
        write(index, f"other-{index}", b"new")
    assert "first" not in state.keys and len(state.keys) <= KEYS_MAX
    assert set(state.fingerprints) == set(state.keys.values())
