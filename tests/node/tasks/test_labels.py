"""Labels and the expressions over them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.tasks.labels import TERMS_MAX, Unreadable, fulfil, read

LABELS = {"disk": "ssd", "zone": "a", "gpu": "", "rack": "7", "os/kind": "debian"}


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("", ""), ("disk=ssd", ""), ("disk = ssd , zone=a", ""), ("disk!=hdd", ""), ("nothing!=x", ""), ("gpu", ""),
        ("!slow", ""), ("rack=1|7", ""), ("os/kind=debian", ""), ("zone!=b|c", ""),
        ("disk=hdd", "disk=hdd"), ("nothing", "nothing"), ("!gpu", "!gpu"), ("disk!=ssd", "disk!=ssd"),
        ("zone=b|c", "zone=b|c"), ("zone!=b|a", "zone!=a|b"), ("disk=ssd, slow", "slow"),
    ],
)  # fmt: skip
def test_the_first_term_that_does_not_hold_is_named(text: str, lacking: str) -> None:
    assert fulfil(LABELS, text) == lacking


@pytest.mark.parametrize("text", ["=x", "a==b", "!a=b", "a b", "a,,b", "-a", "a=", ",".join("a" * (TERMS_MAX + 1))])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)
