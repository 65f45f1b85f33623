"""Values are matched as ``re`` does it, by patterns that can be read, in a time that grows with their length alone."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import time
from random import Random

import pytest
from qluster.tasks.checking import PARAMETER_PATTERN
from qluster.tasks.matching import Unreadable, fits, read

PATTERNS = (
    "[a-z_]+", "^[a-z]+$", "[0-9]{4}-[0-9]{2}-[0-9]{2}", r"([a-z0-9]+\.)+[a-z]{2,}", "(fast|slow)?", r"\d+(,\d+)*",
    "a|b|", "(?:ab|a)(?:bc|c)", "(a*)*b", "(a|a)*", "((a?){3}){2}", "[^/]+(/[^/]+){0,3}", r"\$[A-Z]+\$", "a+?b??",
    "x{0}y{2,}z{,2}", "[]a-c]+", r"[\]\-x]*", ".*", r"\x41\u0042", "", PARAMETER_PATTERN, "(a+)+b", r"a\\$", "}]",
)  # fmt: skip
VALUES = (
    "", "a", "b", "ab", "abc", "abbc", "aab", "aaaaaa", "fast", "2026-11-23", "www.example.org", "1,22,3", "a/b/c",
    "-x", "$HOME$", "yyzz", "yy", "]-x", "AB", "a\nb", "x" * 1024, "ünï", "a\\", "a.b", "}]",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_re(pattern: str) -> None:
    for value in VALUES:
        if len(value) < 100 or "+)+" not in pattern:
            assert fits(pattern, value) == (re.fullmatch(pattern, value) is not None), (pattern, value)


def test_whatever_is_read_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By all ways side by side, also where one after the other would do."""
    monkeypatch.setattr("qluster.tasks.matching.FREE_MAX", -1)
    read.cache_clear()
    random, read_well = Random(1), 0
    for _ in range(3000):
        pattern = "".join(random.choice(["a", "b", "[ab]", ".", "(", "(?:", ")", "|", "*", "+", "?", "{1,2}", "{2}"])
                          for _ in range(random.randint(1, 9)))  # fmt: skip
        try:
            meant = re.compile(pattern)
        except re.error:
            with pytest.raises(Unreadable):
                fits(pattern, "a")
            continue
        try:
            read(pattern)
        except Unreadable:  # a possessive repeat, which takes and does not give back
            assert re.search(r"[*+?}]\+|\}\{|\}\*", pattern), pattern
            continue
        read_well += 1
        for value in ("", "a", "b", "ab", "ba", "aab", "abab", "bbba"):
            assert fits(pattern, value) == (meant.fullmatch(value) is not None), (pattern, value)
    read.cache_clear()
    assert read_well > 300


@pytest.mark.parametrize("pattern", [
    "(", ")", "a)", "[", "[z-a]", "*a", "a**", "a++", "a{2}{3}", "a{3,2}", "{2}", r"\b", r"(a)\1", "(?=a)", "(?i)a",
    "(?P<x>a)", "a^b", "a$b", "\\", "(((a{99}){99}){99}){99}", "(" * 40 + "a" + ")" * 40, "a{5000}", r"\Z", r"\q",
])  # fmt: skip
def test_what_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(Unreadable) as refused:
        fits(pattern, "a")
    assert str(refused.value)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)[0-9]",
                                     "(a{0,30}){0,30}b", "(([a-z])+.)+[A-Z]([a-z])+"])  # fmt: skip
def test_no_value_makes_it_last(pattern: str) -> None:
    began = time.process_time()
    assert not fits(pattern, "a" * 1024)
    assert time.process_time() - began < 5.0
