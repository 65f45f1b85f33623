"""The reference page is what the tables say. ``REWRITE_GOLDEN=1`` writes it anew."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

from qluster.config import parse
from qluster.config.keys import KEYS
from qluster.config.reference import EXAMPLE, reference

PAGE = Path(__file__).parents[3] / "docs/reference/config.md"


def test_page_is_what_the_tables_say() -> None:
    if os.environ.get("REWRITE_GOLDEN") == "1":
        PAGE.write_text(reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == reference(), f"REWRITE_GOLDEN=1 pytest {__file__} writes it anew"


def test_page_has_every_key_once() -> None:
    rows = [line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(key.path for key in KEYS)


def test_example_is_a_configuration() -> None:
    assert parse(EXAMPLE, "example").cluster.node_timeout == 5.0


def test_every_rule_says_what_it_asks() -> None:
    page = reference()
    assert page.split("## Rules between keys")[1].count("\n- ") >= 7
    assert "\n- \n" not in page
