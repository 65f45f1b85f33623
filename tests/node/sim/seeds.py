"""Seeds that once failed, run before all others. A seed is kept with what it showed.

The runs of a seed change whenever the simulator does; what a seed once showed is therefore also kept as a
planted fault or as a test of the part that was repaired.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

KEPT: dict[int, str] = {
    1: "a leader that hands over woke two thousand times a second",
    3: "a node that started from a snapshot did not know the state in it",
    8: "a reign that nobody served overtook a primary that had served",
    11: "a node removed while it was away followed for ever",
    22: "a founder without add_node took up its old number without its old promises",
    27: "what failed while a postmaster stood still was given up for good",
    30: "a pool whose repointing failed, and was not wanted any more, woke its node without end",
    49: "a former primary with a branch of its own was compared by timeline and position",
    140: "members that are just being removed need not be asked",
    145: "a founder without add_node founded beside members that had no leader at the moment",
    214: "a reign that only went on with the one before overtook its own primary",
    317: "a node that stops woke without end, for the next look at its fence agents",
    1183: "a host that stood still twice",
    6007: "the best database died while leadership was handed to it: its rows are left behind, and said to be",
    300155: "a ring was proposed once, while one of two was not heard for a moment, and never again",
    400011: "a start of a primary that had waited for the disk was begun although others reigned by then",
    6027: "offers of leadership that were only put off counted as attempts, and the best database was passed over",
}
"""Seed → what it showed."""
