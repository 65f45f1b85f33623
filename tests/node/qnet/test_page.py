"""The page about the arbiter names tests and files that exist."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = (ROOT / "docs/arbiter.md").read_text()


def test_every_difference_is_held_by_a_test_that_exists() -> None:
    rows = PAGE.split("## What differs")[1].split("\n\n")[2].splitlines()[2:]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, f"no test is named: {row}"
        for file, test in named:
            assert f"def {test}(" in (HERE / file).read_text(), f"{file} has no {test}"


def test_every_file_is_listed() -> None:
    protocol, daemon = PAGE.split("## Who decides what")[1].split("## ")[0].split("\nThe daemon around it")
    for text, folder in ((protocol, "qnet"), (daemon, "qnetd")):
        files = {path.name for path in (ROOT / "node/qluster" / folder).glob("*.py")} - {"__init__.py", "__main__.py"}
        assert set(re.findall(r"`(\w+\.py)`", text)) == files
