"""The exit codes of the command line, each with its meaning.

It must not import anything; every command uses it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

EXIT_DONE = 0
EXIT_TROUBLE = 1
EXIT_USAGE = 2
EXIT_LEADERLESS = 3
EXIT_ENDED_ILL = 4
EXIT_FORGOTTEN = 5
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: starting again does not help before the file is changed."""

MEANINGS = {
    EXIT_DONE: "done",
    EXIT_TROUBLE: "it cannot be done now; the message says why",
    EXIT_USAGE: "the command line is wrong; quorum: the node answers, and it is not quorate",
    EXIT_LEADERLESS: "status: the node answers, and the cluster has no leader",
    EXIT_ENDED_ILL: "task: it is over, and did not succeed",
    EXIT_FORGOTTEN: "task: what became of it is forgotten, or there never was such a task",
    EXIT_CONFIG: "the configuration is wrong; starting again does not help before it is changed",
}
