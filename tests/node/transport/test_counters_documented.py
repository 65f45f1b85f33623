"""Every counter of a link is explained to the operator who finds it growing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from re import findall

import pytest
from qluster.transport.link import COUNTERS

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "network.md"


@pytest.mark.parametrize("counter", COUNTERS)
def test_counter_is_explained(counter: str) -> None:
    explained = findall(r"`([a-z_*]+)`", PAGE.read_text(encoding="utf-8"))
    assert any(fnmatch(counter, name) for name in explained), f"{counter} is not in {PAGE.name}"
