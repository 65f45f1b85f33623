"""Patterns of parameters: what they let through, what is refused, and no value makes them last."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.tasks.checking import PARAMETER_PATTERN
from qluster.tasks.matching import Unreadable, fits


@pytest.mark.parametrize(("pattern", "lets", "stops"), [
    ("[a-z_]+", ["orders", "a_b"], ["", "Orders", "a b", "a\n"]),
    ("^[a-z]+$", ["a"], ["a\n", "1"]),
    ("[0-9]{4}-[0-9]{2}-[0-9]{2}", ["2026-11-23"], ["2026-11-2", "2026-11-231"]),
    ("(fast|slow)?", ["", "fast"], ["fas", "fastslow"]),
    (r"([a-z0-9]+\.)+[a-z]{2,}", ["www.example.org"], ["example", ".org"]),
    ("ü.", ["üß"], ["ü", "u1"]),
    (".*", ["", "a b", "x" * 1024], ["a\nb"]),
    (PARAMETER_PATTERN, ["a", "ünï", "x" * 1024, "2 words"], ["", "-x", "--all", "a\nb", "a\x00"]),
])  # fmt: skip
def test_the_whole_value_must_match(pattern: str, lets: list[str], stops: list[str]) -> None:
    assert [value for value in lets + stops if fits(pattern, value)] == lets


@pytest.mark.parametrize(("pattern", "why"), [
    ("(", "missing )"), (")", "unexpected )"), ("[", "missing ]"), ("[z-a]", "invalid character class range"),
    ("*a", "no argument for repetition"), (r"(a)\1", "invalid escape"), ("(?=a)", "invalid perl operator"),
    ("\\", "trailing \\"), ("a{5000}", "invalid repetition size"), ("((a{99}){99}){99}", "invalid repetition size"),
    (r"(\pL{500}|\pN{500}){2}", "too large"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why.replace("\\", r"\\").replace(")", r"\)")):
        fits(pattern, "a")


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)[0-9]"])
def test_no_value_makes_it_last(pattern: str) -> None:
    """Who tries one way after the other never comes back from these: the test's own limit of time ends it then."""
    assert not fits(pattern, "a" * 1024)
