"""Decides what in the nodes' own words about the cluster does not fit an expectation.

It must not know of contradictions between nodes: those are judged in `_judgement.py`, always;
nor of the members' databases and pools, which `_member_rules.py` judges.

A rule gives (found, url of the node that says so) for each misfit; nothing when all is as wanted.
This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

from ansible_collections.qhb.qluster.plugins.module_utils._reading import writable_nodes

NOBODY = ("no answer from any node", None)


class WrongExpectation(ValueError):
    """An expectation that cannot be judged; the message says which value is wrong."""


def joined(view):
    """The answers of nodes that belong to a cluster."""
    return [answer for answer in view["answers"] if answer["joined"]]


def smallest(name, wanted, total):
    """The number that is enough, behind `all` or a count."""
    if wanted == "all":
        return total
    text = str(wanted)
    if not text.isdigit():
        also = ", all or none" if name == "reachable" else " or all"
        raise WrongExpectation(f"expect.{name} is {wanted!r}. Give a number{also}")
    return int(text)


def spoken(rows, node):
    """A node as a person would name it: number and address."""
    if node is None:
        return None
    address = next((row["ip"] for row in rows if row["node"] == node), "unknown address")
    return f"node {node} ({address})"


def is_node(rows, node, wanted):
    """Whether `wanted`, a number or an address, means this node."""
    if wanted == str(node):
        return True
    addresses = [str(row["ip"]) for row in rows if row["node"] == node]
    return wanted in addresses or _short(wanted) in addresses


def _short(text):
    """An address in the one writing that the nodes use: IPv6 can be written in many ways."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def check_expectations(expect):
    """Refuse values that no cluster could ever meet because they are no values."""
    for name, words in (("reachable", ("none",)), ("alive", ()), ("replicas_streaming", ())):
        if expect.get(name) is not None and expect[name] not in words:
            smallest(name, expect[name], 0)
    for name, word in (("leader", "known"), ("primary", "writable")):
        wanted = expect.get(name)
        if wanted is not None and wanted not in (word, "none") and not _names_node(wanted):
            problem = f"expect.{name} is {wanted!r}"
            raise WrongExpectation(f"{problem}. Give {word}, none, or the number or address of a node")


def _names_node(text):
    if text.isdigit():
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# --- who answers -------------------------------------------------------------


def reachable(view, wanted):
    """How many nodes must answer, or that none does."""
    answered = len(view["answers"])
    total = answered + len(view["unreached"])
    if wanted == "none":
        for answer in view["answers"]:
            yield "a node that answers", answer["url"]
    elif answered < smallest("reachable", wanted, total):
        for failure in view["unreached"]:
            yield f"{answered} of {total}: {failure['reason']}", failure["url"]
        if not view["unreached"]:
            yield f"{total} nodes were given", None


# --- what each node says of the cluster --------------------------------------


def _said(view, pick, fits):
    """Hold what each node says against the wanted; nodes without a cluster fit nothing."""
    if not view["answers"]:
        yield NOBODY
    for answer in view["answers"]:
        if not answer["joined"]:
            reason = answer["message"]
            yield f"not joined: {reason}" if reason else "not joined", answer["url"]
            continue
        found = pick(answer)
        if not fits(found):
            yield "none" if found is None else found, answer["url"]


def _equals(pick):
    """A rule: what `pick` takes from each map is exactly the wanted."""

    def rule(view, wanted):
        return _said(view, lambda answer: pick(answer["map"]), lambda found: found == wanted)

    return rule


def _above(pick):
    """A rule: the number that `pick` takes from each map is larger than the wanted."""

    def rule(view, wanted):
        return _said(view, lambda answer: pick(answer["map"]), lambda found: found > wanted)

    return rule


def _count(role):
    return lambda seen: sum(1 for row in seen["nodes"] if row.get("role") == role)


def _counted(name):
    return lambda seen: seen["own"].get("counters", {}).get(name)


def _reign_number(seen):
    return (seen["cluster"].get("reign") or {}).get("number", 0)


def _leader(view, wanted):
    if wanted == "none":
        return _said(view, lambda answer: answer["leader"], lambda found: found is None)
    if wanted == "known":
        return _said(view, _known_leader, lambda found: found == "as wanted")

    def misnamed(answer):
        """Whom this node names, if it is not the wanted."""
        rows = answer["map"]["nodes"]
        right = is_node(rows, answer["leader"], wanted)
        return "as wanted" if right else spoken(rows, answer["leader"])

    return _said(view, misnamed, lambda found: found == "as wanted")


def _known_leader(answer):
    """That a leader is known; where one of two cannot go on without the other, what must be done."""
    if answer["leader"] is not None:
        return "as wanted"
    reason = (answer["map"]["cluster"].get("two_node") or {}).get("reason")
    return f"none: {reason}" if reason else "none"


def _arbiter(view, wanted):
    """Every member that votes is known to its arbiter, or none has one; a listener asks nobody."""

    def pick(answer):
        device = answer["map"]["own"].get("device")
        listens = any(row["node"] == answer["node"] and row.get("role") == "listener" for row in answer["map"]["nodes"])
        if device is None:
            return "no arbiter" if wanted and not listens else "as wanted"
        if not wanted:
            return f"asks {device['host']}"
        return "as wanted" if device["connected"] else f"{device['host']}: {device['error'] or device['state']}"

    return _said(view, pick, lambda found: found == "as wanted")


# --- who accepts writes ------------------------------------------------------


def _primary(view, wanted):
    writing = [answer for answer in view["answers"] if answer["writable"]]
    if wanted == "none":
        for answer in writing:
            yield "a node that accepts writes", answer["url"]
    elif not view["answers"]:
        yield NOBODY
    elif not writable_nodes(view):
        for answer in view["answers"]:
            yield f"no node that accepts writes ({_why_not(answer)})", answer["url"]
    else:
        for answer in writing:
            for found in _misplaced(view, answer["node"], wanted):
                yield found, answer["url"]


def _misplaced(view, node, wanted):
    """What is wrong with this node being the one that accepts writes."""
    here = spoken(view["nodes"], node)
    if wanted != "writable" and not is_node(view["nodes"], node, wanted):
        yield here
    reign = view["reign"] or {}
    if node != reign.get("node"):
        yield f"{here} accepts writes, the reign is that of node {reign.get('node')}"


def _why_not(answer):
    words = {412: "not joined", 417: "does not lead", 530: "knows no leader", 531: "cannot answer now"}
    return words.get(answer["is_leader"], f"HTTP {answer['is_leader']}")


RULES = {
    "name": _equals(lambda seen: seen["cluster"].get("name")),
    "leader": _leader,
    "primary": _primary,
    "standby": _equals(lambda seen: bool((seen["cluster"].get("standby") or {}).get("streaming"))),
    "paused": _equals(lambda seen: bool((seen["cluster"].get("pause") or {}).get("active"))),
    "quorate": _equals(lambda seen: bool(seen["cluster"].get("quorate"))),
    "arbiter": _arbiter,
    "members": _equals(lambda seen: len(seen["nodes"])),
    "voters": _equals(_count("node")),
    "listeners": _equals(_count("listener")),
    "key_sending": _equals(_counted("key_sending")),
    "key_newest": _equals(_counted("key_newest")),
    "keys_known": _equals(_counted("keys_known")),
    "founding_above": _above(lambda seen: seen["cluster"]["cluster"]),
    "reign_above": _above(_reign_number),
}
