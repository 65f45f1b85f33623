"""What a token allows."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.api.access import TOKEN_LENGTH_MAX, Rights, Tokens, rights_of

TOKENS = Tokens("reads", "operates")


@pytest.mark.parametrize(
    ("header", "rights"),
    [
        (None, Rights.NONE),
        ("Bearer reads", Rights.READ),
        ("bearer  operates ", Rights.OPERATE),
        ("Bearer operate", Rights.UNKNOWN),
        ("Bearer readsoperates", Rights.UNKNOWN),
        ("Bearer ", Rights.UNKNOWN),
        ("", Rights.UNKNOWN),
        ("Basic cmVhZHM=", Rights.UNKNOWN),
        ("Bearer r\u00e9ads", Rights.UNKNOWN),
        ("Bearer re\udcffads", Rights.UNKNOWN),
        ("Bearer " + "x" * (TOKEN_LENGTH_MAX + 1), Rights.UNKNOWN),
    ],
)
def test_header_gives_rights(header: str | None, rights: Rights) -> None:
    assert rights_of(header, TOKENS) is rights


def test_tokens_are_not_shown() -> None:
    assert "reads" not in repr(TOKENS)


@pytest.mark.parametrize(("read", "operate"), [("", "x"), ("x", ""), ("x", "x")])
def test_tokens_that_would_let_everybody_in_are_refused(read: str, operate: str) -> None:
    with pytest.raises(AssertionError):
        Tokens(read, operate)
