"""The page of features names files and tests that exist."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/consensus-features.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "`" in line
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_files_and_tests_of_the_page_exist(row: list[str]) -> None:
    _, files, tests = row
    for file in re.findall(r"`([^`]+)`", files):
        assert (ROOT / "node/qluster" / file).is_file(), file
    for named in re.findall(r"`([^`]+)`", tests):
        path, _, name = named.partition("::")
        text = (ROOT / "tests/node" / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {re.escape(name)}\b", text, re.MULTILINE), named


def test_every_rule_has_a_row() -> None:
    assert [row[0].split()[0] for row in ROWS if re.match(r"S[0-9]+ ", row[0])] == [f"S{n}" for n in range(1, 21)]
