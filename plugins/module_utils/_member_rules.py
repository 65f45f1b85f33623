"""Decides which members of the merged view do not fit an expectation.

It must not know what single nodes say of the cluster: `_rules.py` judges that;
nor what to do when there is no view of the members at all.

A rule gives (found, url of the node that says so) for each misfit; nothing when all is as wanted.
This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.qhb.qluster.plugins.module_utils._rules import smallest

DIGEST_SHOWN = 12
"""So many digits of a digest are enough to tell two apart by eye."""


def _member(row):
    return f"node {row['node']} ({row['ip']})"


def _database(row):
    return row.get("database") or {}


def _primary_node(view):
    reign = view["reign"] or {}
    # In a standby cluster the node of the reign is a standby too: of the installation outside.
    return None if reign.get("standby") else reign.get("node")


def _standbys(view):
    """Every member that has a database, reported or not, and is not the primary of the reign."""
    rows = [row for row in view["nodes"] if row["node"] != _primary_node(view)]
    return [row for row in rows if row.get("db_port") is not None or _role(row) != "none"]


def _role(row):
    return _database(row).get("role") or ("none" if row.get("db_port") is None else "unknown")


def _alive(view, wanted):
    rows = view["nodes"]
    dead = [row for row in rows if not row.get("alive")]
    alive = len(rows) - len(dead)
    if alive >= smallest("alive", wanted, len(rows)):
        return
    for row in dead:
        heard = row.get("heard_ago")
        when = "never heard of" if heard is None else f"not heard for {heard:.2f} s"
        yield f"{alive} of {len(rows)}: {_member(row)} {when}", row["reported_by"]
    if not dead:
        yield f"{len(rows)} members", view["reported_by"]


def _streams(row):
    return _role(row) == "replica" and bool(_database(row).get("streaming"))


def _replicas_streaming(view, wanted):
    rows = _standbys(view)
    idle = [row for row in rows if not _streams(row)]
    streaming = len(rows) - len(idle)
    if streaming >= smallest("replicas_streaming", wanted, len(rows)):
        return
    for row in idle:
        words = [_role(row), *(_database(row).get(name) for name in ("state", "error"))]
        state = ", ".join(word for word in words if word)
        yield f"{streaming} of {len(rows)}: {_member(row)} is {state}", row["reported_by"]
    if not idle:
        yield f"{streaming} replicas", view["reported_by"]


def _max_lag_bytes(view, wanted):
    for row in _standbys(view):
        lag = row["lag_bytes"]
        if lag is None:
            yield f"{_member(row)}: lag unknown ({_role(row)})", row["reported_by"]
        elif lag > wanted:
            yield f"{_member(row)}: {lag} bytes behind", row["reported_by"]


def _same_settings(view, wanted):
    digests = {row.get("settings_digest") or "unknown" for row in view["nodes"]}
    same = len(digests) <= 1 and "unknown" not in digests
    if same == wanted:
        return
    for row in view["nodes"]:
        digest = (row.get("settings_digest") or "unknown")[:DIGEST_SHOWN]
        yield f"{_member(row)} has settings {digest}", row["reported_by"]


def _no_errors(view, wanted):
    faults = list(_faults(view))
    if wanted:
        yield from faults
    elif not faults:
        yield "no errors", view["reported_by"]


def _faults(view):
    told = set()
    for row in view["nodes"]:
        if row.get("down"):
            yield f"{_member(row)} is marked down", row["reported_by"]
        for part in ("database", "pool"):
            error = (row.get(part) or {}).get("error")
            if error:
                told.add((row["url"], error))
                yield f"{_member(row)}, {part}: {error}", row["reported_by"]
        archive_error = _database(row).get("archive_error")
        if archive_error:
            yield f"{_member(row)}, WAL archive: {archive_error}", row["reported_by"]
        room_error = _database(row).get("room_error")
        if room_error and room_error not in (_database(row).get("error") or ""):
            yield f"{_member(row)}, disk: {room_error}", row["reported_by"]
    for answer in view["answers"]:
        # A node's own message often is the trouble of its database: once is enough.
        if answer["message"] and (answer["url"], answer["message"]) not in told:
            yield answer["message"], answer["url"]


def _no_pending_restart(view, wanted):
    waiting = [row for row in view["nodes"] if _database(row).get("pending_restart")]
    if wanted:
        for row in waiting:
            yield f"{_member(row)} waits for a restart of its database", row["reported_by"]
    elif not waiting:
        yield "no pending restart", view["reported_by"]


def _version(view, wanted):
    for row in view["nodes"]:
        if row.get("version") != wanted:
            yield f"{_member(row)} runs {row.get('version') or 'unknown'}", row["reported_by"]


def _pool(view, wanted):
    """`wanted` is `primary`: every pool points at the primary of the reign."""
    first = next((row for row in view["nodes"] if row["node"] == _primary_node(view)), None)
    target = _target(first) if first else None
    pools = [row for row in view["nodes"] if row.get("pool")]
    if not pools:
        yield "no member with a pool", view["reported_by"]
    for row in pools:
        aim = row["pool"].get("target")
        if aim is None or aim != target:
            found = f"{_member(row)} points at {aim or 'nobody'}, the {wanted} is {target or 'unknown'}"
            yield found, row["reported_by"]
        elif row["pool"].get("error"):
            yield f"{_member(row)}: {row['pool']['error']}", row["reported_by"]


def _target(row):
    host = f"[{row['ip']}]" if ":" in row["ip"] else row["ip"]
    return f"{host}:{row.get('db_port')}"


def _backup_age(view, wanted):
    """`wanted` is seconds: the newest base backup is no older, as some host sees it."""
    seen = list(_backups(view))
    ages = [found["newest_age"] for _url, found in seen if found.get("newest_age") is not None]
    if ages and min(ages) <= wanted:
        return
    if ages:
        yield f"the newest backup is {min(ages):.0f} seconds old", view["reported_by"]
    for url, found in seen:
        reason = found.get("error") or found.get("failure")
        if reason:
            yield reason, url
    if not ages and not any(found.get("error") or found.get("failure") for _url, found in seen):
        yield "no backup" if seen else "no host that keeps backups", view["reported_by"]


def _archive_complete(view, wanted):
    seen = [(url, found) for url, found in _backups(view) if found.get("archive_complete") is not None]
    if not seen:
        yield "unknown: no host has seen the archive", view["reported_by"]
    for url, found in seen:
        if found["archive_complete"] != wanted:
            yield "; ".join(found.get("archive_faults") or ["complete"]), url


def _backups(view):
    """What each host that keeps backups says of them."""
    for answer in view["answers"]:
        found = (answer.get("map") or {}).get("backups")
        if found is not None:
            yield answer["url"], found


MEMBER_RULES = {
    "alive": _alive,
    "replicas_streaming": _replicas_streaming,
    "max_lag_bytes": _max_lag_bytes,
    "same_settings": _same_settings,
    "no_errors": _no_errors,
    "no_pending_restart": _no_pending_restart,
    "version": _version,
    "pool": _pool,
    "backup_age": _backup_age,
    "archive_complete": _archive_complete,
}
