"""Histories with known verdicts get them, and random ones get what the definition says."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from random import Random
from time import process_time

import pytest
from histories.definition import applied, explained
from histories.linearizability import check
from histories.operations import Kind, Operation, cas, delete, from_lines, read, to_lines, write
from hypothesis import given, settings
from hypothesis import strategies as st

X = "x"

LEGAL: dict[str, Sequence[Operation]] = {
    "nothing happened": [],
    "a read of what was never written": [read("a", X, 0, 1, None)],
    "one after the other": [
        write("a", X, 0, 1, 1), read("a", X, 2, 3, 1), write("a", X, 4, 5, 2), read("b", X, 6, 7, 2)],
    "a read beside a write finds the value before it": [
        write("a", X, 0, 1, 1), write("a", X, 2, 9, 2), read("b", X, 3, 4, 1)],
    "a read beside a write finds its value": [write("a", X, 0, 1, 1), write("a", X, 2, 9, 2), read("b", X, 3, 4, 2)],
    "old, then new, beside one write": [
        write("a", X, 0, 1, 1), write("a", X, 2, 9, 2), read("b", X, 3, 4, 1), read("b", X, 5, 6, 2)],
    "two readers see two writes in one order": [
        write("a", X, 0, 9, 1), write("b", X, 0, 9, 2), read("c", X, 1, 2, 1), read("c", X, 3, 4, 2),
        read("d", X, 1, 2, 1), read("d", X, 3, 4, 2)],
    "concurrent writes may end the other way round": [
        write("a", X, 0, 5, 1), write("b", X, 1, 4, 2), read("c", X, 6, 7, 1)],
    "a write nobody saw lies under another": [
        write("a", X, 0, 5, 1), write("b", X, 1, 4, 2), read("c", X, 2, 3, 2), read("c", X, 6, 7, 2)],
    "a write of unknown outcome is seen much later": [
        write("a", X, 0, 1, 1), write("b", X, 2, inf, 2), read("c", X, 3, 4, 1), read("c", X, 100, 101, 2)],
    "a write of unknown outcome is never seen": [
        write("a", X, 0, 1, 1), write("b", X, 2, inf, 2), read("c", X, 3, 4, 1), read("c", X, 100, 101, 1)],
    "a late write takes effect after a newer one": [
        write("a", X, 0, inf, 1), write("b", X, 2, 3, 2), read("c", X, 4, 5, 2), read("c", X, 6, 7, 1)],
    "one ends when the other begins: concurrent": [write("a", X, 0, 1, 1), read("b", X, 1, 2, None)],
    "compare-and-set finds what it expects": [
        write("a", X, 0, 1, 1), cas("a", X, 2, 3, 1, 2), read("b", X, 4, 5, 2)],
    "compare-and-set on nothing": [cas("a", X, 0, 1, None, 1), read("a", X, 2, 3, 1)],
    "a compare-and-set that failed changes nothing": [
        write("a", X, 0, 1, 1), cas("b", X, 2, 3, 7, 8, held=False), read("b", X, 4, 5, 1)],
    "a failed compare-and-set needs another value in its time": [
        write("a", X, 0, 1, 1), write("a", X, 2, 9, 2), cas("b", X, 3, 4, 1, 5, held=False), read("b", X, 5, 6, 2)],
    "a chain of compare-and-sets, answered in the wrong order": [
        cas("c", X, 0, 9, 2, 3), cas("b", X, 0, 8, 1, 2), cas("a", X, 0, 7, None, 1), read("d", X, 10, 11, 3)],
    "a compare-and-set of unknown outcome explains a read": [
        write("a", X, 0, 1, 1), cas("b", X, 2, inf, 1, 2), read("c", X, 3, 4, 2)],
    "unknown write, then unknown compare-and-set on it": [
        write("a", X, 0, inf, 1), cas("b", X, 0, inf, 1, 2), read("c", X, 3, 4, 2)],
    "a write lies between a read and its compare-and-set": [
        write("a", X, 0, 10, 1), cas("b", X, 0, 10, 1, 2), read("c", X, 11, 12, 2)],
    "two equal writes around a compare-and-set": [
        write("a", X, 0, 10, 1), write("b", X, 0, 10, 1), cas("c", X, 0, 10, 1, 2), read("d", X, 11, 12, 1)],
    "delete and read": [write("a", X, 0, 1, 1), delete("a", X, 2, 3), read("b", X, 4, 5, None)],
    "delete of nothing": [delete("a", X, 0, 1, held=False), read("b", X, 4, 5, None)],
    "delete beside a write finds it or not": [
        write("a", X, 0, 9, 1), delete("b", X, 1, 2, held=False), delete("b", X, 3, 4), read("c", X, 10, 11, None)],
    "a delete of unknown outcome": [write("a", X, 0, 1, 1), delete("b", X, 2, inf), read("c", X, 3, 4, None)],
    "keys know nothing of each other": [
        write("a", "x", 0, 1, 1), write("a", "y", 2, 3, 2), read("b", "y", 4, 5, 2), read("b", "x", 6, 7, 1)],
    "ABA: the old value came back": [
        write("a", X, 0, 1, 1), write("b", X, 2, 3, 2), write("b", X, 4, 5, 1), cas("c", X, 6, 7, 1, 9)],
    "three writes, a read in the midst of each pair": [
        write("a", X, 0, 10, 1), write("b", X, 0, 10, 2), write("c", X, 0, 10, 3),
        read("d", X, 1, 2, 3), read("d", X, 3, 4, 1), read("d", X, 5, 6, 2), read("e", X, 11, 12, 2)],
    "a write first seen, then hidden, then gone": [
        write("a", X, 0, 3, 1), write("b", X, 1, 6, 2), read("c", X, 2, 5, 1), read("c", X, 7, 8, 2)],
    "a read in the time of both, answered from the first": [
        write("p", X, 0, 10, "p"), read("r", X, 0, 10, "p"), write("o", X, 0, 4, "o"), read("s", X, 5, 6, "o")],
    "the goal is put after the write that something waits for": [
        write("p", X, 0, 10, "p"), read("r", X, 0, 3, "p"), write("o", X, 0, 4, "o"), read("s", X, 5, 6, "o"),
        read("t", X, 11, 12, "o")],
}  # fmt: skip

ILLEGAL: dict[str, tuple[Sequence[Operation], int]] = {
    "a read of what nobody wrote": ([read("a", X, 0, 1, 1)], 1),
    "a stale read": ([write("a", X, 0, 1, 1), write("a", X, 2, 3, 2), read("b", X, 4, 5, 1)], 3),
    "a lost write": ([write("a", X, 0, 1, 1), read("b", X, 2, 3, None)], 2),
    "new, then old, beside one write": (
        [write("a", X, 0, 1, 1), write("a", X, 2, 9, 2), read("b", X, 3, 4, 2), read("c", X, 5, 6, 1)], 4),
    "two readers see two writes in two orders": (
        [write("a", X, 0, 9, 1), write("b", X, 0, 9, 2), read("c", X, 1, 2, 1), read("c", X, 3, 4, 2),
         read("d", X, 1, 2, 2), read("d", X, 3, 4, 1)], 6),
    "a read of the future": ([read("a", X, 0, 1, 1), write("b", X, 2, 3, 1)], 1),
    "a write of unknown outcome is seen, and then not": (
        [write("a", X, 0, 1, 1), write("b", X, 2, inf, 2), read("c", X, 3, 4, 2), read("c", X, 5, 6, 1)], 4),
    "a write of unknown outcome is seen before it began": (
        [read("c", X, 0, 1, 2), write("b", X, 2, inf, 2)], 1),
    "two compare-and-sets find the same value": (
        [write("a", X, 0, 1, 1), cas("b", X, 2, 9, 1, 2), cas("c", X, 2, 9, 1, 3)], 3),
    "a compare-and-set finds what was replaced": (
        [write("a", X, 0, 1, 1), write("a", X, 2, 3, 2), cas("b", X, 4, 5, 1, 3)], 3),
    "a compare-and-set fails on what it expects": ([write("a", X, 0, 1, 1), cas("b", X, 2, 3, 1, 2, held=False)], 2),
    "a failed compare-and-set took effect": (
        [write("a", X, 0, 1, 1), cas("b", X, 2, 3, 7, 8, held=False), read("c", X, 4, 5, 8)], 1),
    "delete of nothing finds something": ([delete("a", X, 0, 1)], 1),
    "a deleted key is read": ([write("a", X, 0, 1, 1), delete("a", X, 2, 3), read("b", X, 4, 5, 1)], 3),
    "two deletes find one value": ([write("a", X, 0, 1, 1), delete("a", X, 2, 5), delete("b", X, 2, 5)], 3),
    "the second key is wrong": ([write("a", "x", 0, 1, 1), write("a", "y", 0, 1, 2), read("b", "y", 2, 3, 1)], 1),
    "a value is seen, replaced and seen again": (
        [write("a", X, 0, 9, 1), write("b", X, 0, 9, 2), read("c", X, 1, 2, 1), read("c", X, 3, 4, 2),
         read("c", X, 5, 6, 1)], 5),
    "an increment is lost": (
        [cas("a", X, 0, 1, None, 1), cas("a", X, 2, 3, 1, 2), cas("b", X, 2, 3, 1, 2), read("c", X, 4, 5, 2)], 3),
}  # fmt: skip


@pytest.mark.parametrize("history", LEGAL.values(), ids=LEGAL)
def test_legal_history_is_legal(history: Sequence[Operation]) -> None:
    verdict = check(history)
    assert verdict, verdict.explanation
    assert verdict.operations == len(history)


@pytest.mark.parametrize(("history", "size"), ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_history_is_illegal_and_shown_small(history: Sequence[Operation], size: int) -> None:
    verdict = check(history)
    assert not verdict.legal and not verdict.undecided
    assert len(verdict.illegal) <= size
    assert not explained(verdict.illegal), "what is shown is illegal by itself"
    assert "no order explains this" in verdict.explanation
    assert len(verdict.explanation.splitlines()) == 1 + len(verdict.illegal)


@pytest.mark.parametrize("history", [*LEGAL.values(), *(one for one, _ in ILLEGAL.values())])
def test_table_agrees_with_the_definition(history: Sequence[Operation]) -> None:
    keys = {one.key for one in history}
    assert all(explained([one for one in history if one.key == key]) for key in keys) == check(history).legal


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Small, with few values and few moments, so that everything meets everything."""
    found = []
    for number in range(draw(st.integers(1, 7))):
        began = draw(st.integers(0, 8))
        ended = draw(st.one_of(st.just(inf), st.integers(began, began + 6), st.integers(began, began + 6)))
        kind = draw(st.sampled_from(Kind))
        values = [None, 1, 2, 3] if kind is Kind.READ else [1, 2, 3]
        value = None if kind is Kind.DELETE else draw(st.sampled_from(values))
        expected = draw(st.sampled_from([None, 1, 2, 3])) if kind is Kind.CAS else None
        held = draw(st.booleans()) or ended == inf or kind in (Kind.READ, Kind.WRITE)
        found.append(Operation(f"c{number}", X, kind, began, ended, value, expected, held))
    return found


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(histories())
def test_verdict_is_that_of_the_definition(history: list[Operation]) -> None:
    verdict = check(history)
    assert not verdict.undecided
    assert verdict.legal == explained(history)
    if not verdict.legal:
        assert not explained(verdict.illegal)


def recorded(random: Random, clients: int, count: int, keys: int, lost: float = 0.0) -> list[Operation]:
    """What clients of a real register see: each operation takes effect at some moment between its two ends."""
    moments = []
    for client in range(clients):
        at = random.random()
        for number in range(count // clients):
            began, at = at, at + random.uniform(0.5, 1.5)
            effect = random.uniform(began, at)
            unknown = random.random() < lost
            key = f"k{random.randrange(keys)}"
            kind = random.choice([Kind.READ, Kind.READ, Kind.WRITE, Kind.WRITE, Kind.CAS, Kind.DELETE])
            if unknown and random.random() < 0.5:
                effect = random.choice([inf, at + random.uniform(0, 50)])
            moments.append((effect, f"{client}/{number}", client, key, kind, began, inf if unknown else at))
            at += random.expovariate(20)
    values: dict[str, str | None] = {}
    found = []
    for effect, name, client, key, kind, began, ended in sorted(moments):
        before = values.get(key)
        expected = before if random.random() < 0.7 else "0/0"
        put = None if kind is Kind.DELETE else name
        if kind is Kind.READ:
            found.append(read(str(client), key, began, ended, before))
            continue
        unsure = Operation(str(client), key, kind, began, inf, put, expected if kind is Kind.CAS else None)
        held = kind is Kind.WRITE or (before == expected if kind is Kind.CAS else before is not None)
        if effect < inf:
            _, values[key] = applied(unsure, before)
        found.append(replace(unsure, ended=ended, held=held or ended == inf))
    return found


@pytest.mark.parametrize(("clients", "keys", "lost"), [(1, 1, 0.0), (8, 1, 0.0), (8, 5, 0.05), (40, 12, 0.02)])
def test_recorded_history_of_a_register_is_legal(clients: int, keys: int, lost: float) -> None:
    for seed in range(6):
        verdict = check(recorded(Random(seed), clients, 1500, keys, lost))
        assert verdict, verdict.explanation or verdict.undecided


def test_one_changed_answer_in_a_recorded_history_is_found() -> None:
    sizes = []
    for seed in range(16):
        random = Random(seed)
        history = recorded(random, 4, 300, 3)
        reads = [place for place, one in enumerate(history) if one.kind is Kind.READ and not one.unknown]
        place, other = random.choice(reads[20:]), random.choice(reads[:10])
        one = history[place]
        if history[other].key != one.key or history[other].value == one.value:
            continue
        history[place] = read(one.client, one.key, one.began, one.ended, history[other].value)
        verdict = check(history)
        if not verdict.legal:
            sizes.append(len(verdict.illegal))
    assert len(sizes) > 3 and sorted(sizes)[len(sizes) // 2] < 30 and max(sizes) < 80, sizes


def test_many_writers_of_one_key_are_no_burden() -> None:
    history = [write(str(client), X, client / 1000, 1 + client / 1000, client) for client in range(300)]
    assert check([*history, read("r", X, 2, 3, 17)]).legal
    assert not check([*history, read("r", X, 2, 3, 17), read("r", X, 4, 5, 18)]).legal


def test_search_that_takes_too_long_is_undecided_not_legal() -> None:
    history = [cas(str(one), X, 0, 10, one % 7, (one * 5 + 1) % 7) for one in range(18)]
    verdict = check(history, initial=0, steps_max=50)
    assert verdict.undecided == (X,) and not verdict


def test_fifty_thousand_operations_a_second() -> None:
    """Of well-behaved histories. The machine may be busy: its own time counts, and a quarter is demanded."""
    history = recorded(Random(1), 8, 20_000, 100, 0.0)
    began = process_time()
    assert check(history)
    assert len(history) / (process_time() - began) > 12_500


def test_history_in_a_file_is_the_same() -> None:
    history = recorded(Random(2), 4, 60, 2, 0.1)
    assert from_lines(to_lines(history)) == history
