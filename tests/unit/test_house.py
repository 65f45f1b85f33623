"""What is held of every file of the project: a person can see it whole, and it says whose it is."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX, LINES_MEDIAN = 500, 200


@pytest.fixture(scope="module")
def lengths() -> dict[str, int]:
    """Python file → lines; of a checkout or of an archive of one."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split() or [str(path.relative_to(ROOT)) for path in (ROOT / "node").rglob("*.py")]
    return {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in names if (ROOT / name).exists()}


def test_no_file_is_longer_than_one_can_keep_in_mind(lengths: dict[str, int]) -> None:
    assert len(lengths) > 100
    assert {name: count for name, count in lengths.items() if count > LINES_MAX} == {}
    assert median(lengths.values()) < LINES_MEDIAN


def test_every_file_names_its_licence(lengths: dict[str, int]) -> None:
    silent = [name for name, count in lengths.items() if count and "SPDX-License-Identifier" not in _head(name)]
    assert silent == []


def _head(name: str) -> str:
    with open(ROOT / name, encoding="utf-8") as file:
        return file.read(8000)
