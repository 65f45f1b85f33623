"""Decides how the answers of all nodes become one view of the cluster.

It must not know what anybody expects of the cluster: it reads, and never judges.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time

from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

WRITABLE = 200
REFUSED_CODES = (401, 403)
DATABASE_STANDBYS = ("replica", "detached")


def read_cluster(client, deadline=None):
    """The view of the whole cluster: every node asked at the same time, each for itself.

    When two nodes accept writes, all are asked a second time before it is believed:
    the primary may have moved between the two questions.
    """
    view = merge(ask_all(client, _ask_node, deadline))
    if len(writable_nodes(view)) > 1:
        view = merge(ask_all(client, _ask_node, deadline))
    return view


def writable_nodes(view):
    """Number (or, before it has one, address) of each node that answers 200 on /is-leader."""
    return sorted({str(answer["node"] or answer["url"]) for answer in view["answers"] if answer["writable"]})


def ask_all(client, ask_node, deadline=None):
    """The answer or :class:`Unanswered` of each node, by URL: what ``ask_node(client, url, deadline)`` gives."""
    end = time.monotonic() + client.total_timeout
    if deadline is not None:
        end = min(end, deadline)
    found = {}

    def ask(url):
        try:
            found[url] = ask_node(client, url, end)
        except Unanswered as failure:
            found[url] = failure

    # Daemon threads: a name that resolves slowly must not hold the module back at its end.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in client.urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = "no answer in time"
    settled = dict(found)
    return {url: settled.get(url, Unanswered(url, late)) for url in client.urls}


def _ask_node(client, url, deadline):
    writable = client.ask_node(url, "/is-leader", deadline=deadline)
    answer = client.ask_node(url, "/map", deadline=deadline)
    if answer.code in (412, 531):
        # It has no map yet; its status may still say who it is and what it waits for.
        status = client.ask_node(url, "/status", deadline=deadline)
        answer = status if status.code == 200 else answer
    if answer.code not in (200, 412, 531):
        reason = f"GET /map: HTTP {answer.code}, {answer.meaning}"
        raise Unanswered(url, reason, answer.code, refused=answer.code in REFUSED_CODES)
    document = answer.document if answer.code == 200 else None
    if answer.code == 200 and not is_map(document):
        raise Unanswered(url, "GET /map: the answer is no map of a cluster: is this the port of qluster?")
    return answer_of(url, writable.code, document, "" if document else answer.meaning)


def is_map(document):
    """Whether this is a cluster map, as far as the rest of this file relies on it."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("own"), dict)
        and isinstance(document.get("cluster"), dict)
        and isinstance(document.get("nodes"), list)
        and all(isinstance(row, dict) and "node" in row and "ip" in row for row in document["nodes"])
    )


def answer_of(url, is_leader, document, message=""):
    """What one node said: its code on /is-leader, and its map when it has one."""
    own = (document or {}).get("own", {})
    cluster = (document or {}).get("cluster", {})
    return {
        "url": url,
        "node": own.get("node"),
        "ip": own.get("ip"),
        "joined": own.get("node") is not None and cluster.get("cluster") is not None,
        "writable": is_leader == WRITABLE,
        "is_leader": is_leader,
        "consensus_role": own.get("consensus_role"),
        "term": cluster.get("term"),
        "leader": cluster.get("leader"),
        "version": own.get("version"),
        "message": own.get("message") or message,
        "map": document,
    }


def merge(found):
    """One view from what each URL gave: an answer, or :class:`Unanswered`."""
    answers = [said for said in found.values() if isinstance(said, dict)]
    failures = [said for said in found.values() if isinstance(said, Unanswered)]
    best = _authority(answers)
    document = best["map"] if best else {}
    rows = [_merged_row(row, best, answers) for row in document.get("nodes", [])]
    reign = document.get("cluster", {}).get("reign")
    _add_lag(rows, reign)
    cluster = document.get("cluster") or None
    return {
        "cluster": cluster,
        "reported_by": best["url"] if best else None,
        "nodes": rows,
        "leader": _place(rows, cluster["leader"]) if cluster else None,
        "primary": _primary(rows, answers),
        "reign": reign,
        "settings": document.get("settings", {}),
        "db_config": document.get("db_config", {}),
        "answers": answers,
        "unreached": [
            {"url": failure.url, "reason": failure.reason, "code": failure.code, "refused": failure.refused}
            for failure in failures
        ],
    }


def _authority(answers):
    """The answer to believe where they differ.

    The latest founding first, then the latest term; in it the leader knows more than the others,
    and among those, who applied more.
    """
    joined = [answer for answer in answers if answer["joined"]]

    def rank(answer):
        cluster = answer["map"]["cluster"]
        leads = answer["consensus_role"] == "leader"
        return cluster["cluster"], answer["term"] or 0, leads, cluster.get("applied_index") or 0

    return max(joined, key=rank) if joined else None


def _merged_row(row, best, answers):
    """A member as the authority sees it; what it says of its own database is newer than hearsay."""
    merged = dict(row)
    merged["reported_by"] = best["url"]
    merged["url"] = None
    merged["writable"] = False
    for answer in answers:
        if not answer["joined"] or answer["node"] != row["node"] or answer["ip"] != row["ip"]:
            continue
        own_row = next((mine for mine in answer["map"]["nodes"] if mine["node"] == row["node"]), {})
        for name in ("database", "pool", "version", "settings_digest"):
            if own_row.get(name):
                merged[name] = own_row[name]
                merged["reported_by"] = answer["url"]
        merged["url"] = answer["url"]
        merged["writable"] = answer["writable"]
    return merged


def _add_lag(rows, reign):
    """Bytes of WAL that each standby is behind the primary; None where it cannot be known.

    In a standby cluster that is the primary outside, as the node that follows it last heard.
    """
    databases = {row["node"]: row.get("database") or {} for row in rows}
    primary = databases.get(reign["node"], {}) if reign else {}
    ahead = primary.get("position") if primary.get("role") == "primary" else None
    if reign and reign.get("standby"):
        ahead = primary.get("ahead")
    for row in rows:
        mine = databases[row["node"]]
        known = (
            mine.get("role") in DATABASE_STANDBYS
            and ahead is not None
            and mine.get("position") is not None
            and mine.get("timeline") == primary.get("timeline")
        )
        # Two clocks, two moments: a replica that was asked later may seem to be ahead.
        row["lag_bytes"] = max(0, ahead - mine["position"]) if known else None


def _place(rows, node):
    """Where a member is to be found."""
    for row in rows:
        if row["node"] == node:
            return {name: row.get(name) for name in ("node", "ip", "api_port", "db_port", "url")}
    return None


def _primary(rows, answers):
    """The one node that accepts writes, when there is exactly one."""
    nodes = {answer["node"] for answer in answers if answer["writable"]}
    return _place(rows, nodes.pop()) if len(nodes) == 1 else None
