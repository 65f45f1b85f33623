"""The reference pages are what the tables say. ``REWRITE_GOLDEN=1`` writes them anew."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from qluster.api.errors import ERRORS
from qluster.api.operations import OPERATIONS
from qluster.api.reference import errors_page, rest_page

PAGES = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("name", "page"), [("rest.md", rest_page), ("errors.md", errors_page)])
def test_page_is_up_to_date(name: str, page: Callable[[], str]) -> None:
    if os.environ.get("REWRITE_GOLDEN") == "1":
        PAGES.mkdir(parents=True, exist_ok=True)
        (PAGES / name).write_text(page(), encoding="utf-8")
    assert (PAGES / name).read_text(encoding="utf-8") == page()


def test_every_operation_and_word_is_on_its_page() -> None:
    rest, errors = rest_page(), errors_page()
    assert all(f"\n## {each.method} {each.path}\n" in rest for each in OPERATIONS)
    assert all(f"| `{word}` |" in errors for word in ERRORS)
