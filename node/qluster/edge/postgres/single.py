"""Runs statements, or a whole recovery, in single-user mode: nobody can connect meanwhile.

It must not know what the statements are for. None of them is ever logged: some hold passwords.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qluster.edge.postgres.site import Site
from qluster.edge.process import Ended

SINGLE_USER_LIMIT = 120.0
"""Seconds for creating roles and a database."""
PREPARED = "max_prepared_transactions"
QUIET = ("log_statement=none", "log_min_error_statement=panic", "log_min_duration_statement=-1")


async def least_prepared(site: Site, directory: Path) -> list[tuple[str, int]]:
    """The setting without which a directory does not start whose transactions wait for their second phase."""
    return [(name, value) for name, value in (await site.control(directory)).least if name == PREPARED]


async def single_user(site: Site, directory: Path, statements: Sequence[str], *, tolerated: str = "") -> str:
    """Carry out statements, one a line; "" or what failed, but for errors that say ``tolerated``."""
    settings = [*QUIET, "password_encryption=scram-sha-256", "standard_conforming_strings=on"]
    # Transactions may wait here for their second phase: with less room than they had nothing would start.
    settings += [f"{name}={value}" for name, value in await least_prepared(site, directory)]
    given = "".join(f"{statement}\n" for statement in statements).encode()
    ended = await run_single(site, directory, settings, given, SINGLE_USER_LIMIT)
    # Single-user mode ends well even when a statement failed: its words tell.
    faults = [line for line in complaints(ended) if not tolerated or tolerated not in line]
    if ended.code != 0 or faults:
        return faults[0] if faults else ended.complaint
    return ""


async def run_single(
    site: Site, directory: Path, settings: Sequence[str], given: bytes = b"", time_limit: float = SINGLE_USER_LIMIT
) -> Ended:
    """Run the server by itself on a directory until it has no more to do."""
    options = [word for setting in settings for word in ("-c", setting)]
    arguments = ["--single", "-D", str(directory), *options, "postgres"]
    return await site.programs.run("postgres", arguments, time_limit=time_limit, given=given)


def complaints(ended: Ended) -> list[str]:
    """What the server called errors."""
    return [line for line in ended.errors.splitlines() if any(word in line for word in ("ERROR:", "FATAL:", "PANIC:"))]
