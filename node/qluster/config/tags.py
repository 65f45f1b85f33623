"""What an operator says of one node's database for the whole cluster to know.

Must not know who keeps to it. The host's configuration says it, the membership carries it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from .structure import Config

PRIORITY_MAX = 100

VOTES_MAX = 1000
"""No cluster needs finer shares than these."""


class Tags(Struct, frozen=True, array_like=True, gc=False):
    """Of one node's database."""

    no_failover: bool = False
    """It never becomes primary by itself, and nobody waits for it."""
    no_sync: bool = False
    """Nobody waits for it before a transaction is acknowledged."""
    no_load_balance: bool = False
    """Readers are not to be sent to it."""
    clone_from: bool = False
    """Copies are made from it before others."""
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 0
    """Of those with the same WAL the largest takes over."""
    replicate_from: Annotated[str, Meta(max_length=45)] = ""
    """Address of the node whose database it follows instead of the primary; "" follows the primary."""


NONE = Tags()


def tags_of(config: Config) -> Tags | None:
    """What the configuration says of the database here; None when that is nothing."""
    database = config.database
    if database is None:
        return None
    tags = Tags(
        database.no_failover, database.no_sync, database.no_load_balance, database.clone_from, database.priority,
        database.replicate_from or "",
    )  # fmt: skip
    return tags if tags != NONE else None
