"""Decides which expectations a view of the cluster does not meet, and who says so.

It must not ask anybody anything: a view (of `_reading.py`) goes in, a list of findings comes out.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.qhb.qluster.plugins.module_utils._member_rules import MEMBER_RULES
from ansible_collections.qhb.qluster.plugins.module_utils._reading import writable_nodes
from ansible_collections.qhb.qluster.plugins.module_utils._rules import RULES, joined, reachable

CONTRADICTIONS = ("one_cluster", "one_leader", "one_primary")
"""Judged always: no expectation makes it right that nodes disagree about these."""


def judge(view, expect):
    """The list of unmet expectations; those that nobody asked for and everybody wants come first."""
    unmet = []
    for name in CONTRADICTIONS:
        unmet.extend(_findings(name, "no contradiction", _ALWAYS[name](view)))
    wanted_reach = expect.get("reachable") or "1"
    unmet.extend(_findings("reachable", wanted_reach, reachable(view, wanted_reach)))
    if not view["answers"] and (unmet or wanted_reach == "none"):
        return unmet  # With nobody to say anything, one finding tells it all.
    for name, wanted in _asked(expect, RULES):
        unmet.extend(_findings(name, wanted, RULES[name](view, wanted)))
    for name, wanted in _asked(expect, MEMBER_RULES):
        # Members cannot fit anything as long as nobody knows them.
        found = MEMBER_RULES[name](view, wanted) if view["cluster"] else [("no map of the cluster", None)]
        unmet.extend(_findings(name, wanted, found))
    return unmet


def _asked(expect, rules):
    return [(name, expect[name]) for name in rules if expect.get(name) is not None]


def fingerprint(view):
    """What must not change while the cluster is called stable."""
    cluster = view["cluster"] or {}
    reign = view["reign"] or {}
    return cluster.get("cluster"), cluster.get("term"), cluster.get("leader"), reign.get("number")


def describe(unmet):
    """One line for each unmet expectation; contradictions in a form that cannot be overlooked."""
    return "\n".join(_line(finding) for finding in unmet)


def _line(finding):
    name, found = finding["expectation"], finding["found"]
    said = f" (says {', '.join(finding['says'])})" if finding["says"] else ""
    if name in CONTRADICTIONS:
        return f"CONTRADICTION, {name}: {found}{said}"
    return f"{name}: wanted {finding['wanted']}, found {found}{said}"


def _findings(name, wanted, found):
    """Equal findings of several nodes become one, with all who say so."""
    says = {}
    for text, url in found:
        says.setdefault(text, []).extend([url] if url else [])
    return [
        {"expectation": name, "wanted": wanted, "found": text, "says": list(dict.fromkeys(urls))}
        for text, urls in says.items()
    ]


# --- judged always -----------------------------------------------------------


def _one_cluster(view):
    seen = {}
    for answer in joined(view):
        cluster = answer["map"]["cluster"]
        seen.setdefault((cluster.get("name"), cluster["cluster"]), []).append(answer["url"])
    if len(seen) < 2:
        return
    for (name, number), urls in seen.items():
        for url in urls:
            yield f"nodes belong to different clusters, here: {name}, founding {number}", url


def _one_leader(view):
    leading = [answer for answer in joined(view) if answer["consensus_role"] == "leader"]
    named = [answer for answer in joined(view) if answer["leader"] is not None]
    if len({answer["node"] for answer in leading}) > 1:
        for answer in leading:
            yield f"several nodes lead, here: node {answer['node']} in term {answer['term']}", answer["url"]
    elif len({answer["leader"] for answer in named}) > 1:
        for answer in named:
            whom = f"node {answer['leader']} in term {answer['term']}"
            yield f"nodes disagree who leads, here: {whom}", answer["url"]


def _one_primary(view):
    nodes = writable_nodes(view)
    if len(nodes) < 2:
        return
    for answer in view["answers"]:
        if answer["writable"]:
            yield f"{len(nodes)} NODES ACCEPT WRITES AT THE SAME TIME: {', '.join(nodes)}", answer["url"]


_ALWAYS = {"one_cluster": _one_cluster, "one_leader": _one_leader, "one_primary": _one_primary}
