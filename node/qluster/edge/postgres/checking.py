"""Holds changes of parameters against the server here before the cluster agrees on them.

It must not know who wants them. Nothing is changed: the running server is asked what it knows of a parameter
and whether a session may have the value, and its program whether a server with all of them could start.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from qluster.database.orders import Checked, CheckSettings
from qluster.database.settings import STANDBY_DEFAULTS, operator_parameters
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.site import Site
from qluster.edge.postgres.trial import complaints

KNOWN = "SELECT lower(name) AS name, context, vartype FROM pg_settings"

OF_SESSIONS = frozenset({
    "is_superuser", "role", "seed", "session_authorization", "transaction_deferrable", "transaction_isolation",
    "transaction_read_only",
})  # fmt: skip
"""Parameters that make no sense in a file; the server would take them there without a word."""

NEEDS_RESTART = "postmaster"
IN_SESSIONS = ("user", "superuser")
READ_ONLY = "internal"


async def check_settings(site: Site, order: CheckSettings) -> Checked:
    """What is wrong with the changes, and which of them need a restart."""
    known = {row["name"]: row for row in await site.session.rows(KNOWN)}
    faults: dict[str, str] = {}
    for name, value in order.changes:
        if value is not None and (fault := _unfit(name, value, known)):
            faults[name] = fault
    if not faults:
        faults = await _tried(site, order)
    for name, value in order.changes:
        if not faults and value is not None and name in known and known[name]["context"] in IN_SESSIONS:
            faults |= await _refused_in_session(site, name, value)
    restart = [name for name, _ in order.changes if name in known and known[name]["context"] == NEEDS_RESTART]
    return Checked(tuple(faults.items()), tuple(restart))


def _unfit(name: str, value: str, known: Mapping[str, Any]) -> str:
    """What is wrong with a name, or with what may be said of a value without the server; "" when nothing is."""
    if name in OF_SESSIONS:
        return "is for a single session, and no setting of a server"
    if name not in known:
        prefix, dot, _ = name.partition(".")
        if dot and not any(other.startswith(f"{prefix}.") for other in known):
            return ""  # of an extension that is not loaded yet
        near = difflib.get_close_matches(name, known, n=1)
        return "is not known to the database" + (f"; there is {near[0]}" if near else "")
    if known[name]["context"] == READ_ONLY:
        return "can only be read: the server itself decides it"
    if name in STANDBY_DEFAULTS and not value.isdecimal():
        return f"is {value!r}: write a plain number, replicas and primary are compared by it"
    return ""


async def _tried(site: Site, order: CheckSettings) -> dict[str, str]:
    """What the server's program says of all settings together, beside what it says of them already."""
    terms = order.terms
    before = operator_parameters(site.database, terms)
    merged: dict[str, str | None] = {**before, **dict(order.changes)}
    own = {name.lower(): value for name, value in site.database.parameters.items()}
    merged = {name: own.get(name) if value is None else value for name, value in merged.items()}
    after = {name: value for name, value in merged.items() if value is not None}
    said = await complaints(site, await site.settings(terms, None, after))
    if said:
        old = await complaints(site, await site.settings(terms, None, before))
        said = [sentence for sentence in said if sentence not in old]
    faults: dict[str, str] = {}
    for sentence in said:
        name = _named(sentence, dict(order.changes))
        faults[name] = f"{faults[name]}; {sentence}" if name in faults else sentence
    return faults


def _named(sentence: str, changes: Mapping[str, str | None]) -> str:
    """The changed parameter that a sentence is about, "" when it is about none of them or about several."""
    quoted = {word.lower() for word in re.findall(r'"([^"]+)"', sentence)}
    found = [name for name in changes if name in quoted] or list(changes)
    return found[0] if len(found) == 1 else ""


async def _refused_in_session(site: Site, name: str, value: str) -> dict[str, str]:
    """Some values can be judged by a session only, such as the name of a text search configuration."""
    try:
        await site.session.rows("SELECT set_config($1, $2, true)", name, value)
    except PostgresFailed as failure:
        if failure.refused:
            return {name: failure.refused}
        raise
    return {}
