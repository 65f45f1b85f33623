#!/usr/bin/python
"""Brings the parameters of all databases of a living cluster to what is wanted."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_db_config
short_description: Change parameters of all databases of a cluster
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Parameters of the database are kept in the cluster's log, before what the C(config.yaml) of each node says.
    This module compares them with O(parameters), and changes what differs in one step for all nodes.
  - The leader's database judges the values first. What it refuses is spread to nobody, and the module fails
    with the database's own words.
  - What needs no restart is in force everywhere within a second.
    The rest waits for a restart, which O(restart) asks for.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change. The database judges no value then.
  diff_mode:
    support: full
    description: Shows each parameter before and after.
  idempotent:
    support: full
    description: A second run changes nothing, and restarts nothing that does not wait for it.
options:
  parameters:
    description:
      - The wanted values by name. Others stay as they are.
      - V(null) takes a parameter out of the cluster's log, so that C(config.yaml) says what holds.
      - Values count as equal when they mean the same, such as V(1GB) and V(1024MB).
    type: dict
    default: {}
  instead_of_files:
    description:
      - Take parameters out of the cluster's log as well that O(parameters) does not name, when the C(config.yaml)
        of the leader names them with the same value. They were given up in the inventory then.
    type: bool
    default: false
  older:
    description:
      - What to do with nodes of a version that keeps no parameters in its log. With V(leave) nothing is changed.
    type: str
    choices: [fail, leave]
    default: fail
  restart:
    description:
      - V(rolling) restarts the servers that wait for it, one after the other, replicas first.
    type: str
    choices: ["none", rolling]
    default: none
  primary:
    description:
      - How the primary restarts. With V(switchover) another node takes over before,
        with V(in-place) it restarts where it is.
    type: str
    choices: [switchover, in-place]
    default: switchover
  limit:
    description:
      - Seconds for each server to restart, and for the cluster to be whole before the next one.
    type: int
    default: 120
  wait:
    description:
      - Wait for the end of the restart, for up to O(limit) seconds for each node. The module fails when it does not get
        to its end.
    type: bool
    default: true
  version:
    description:
      - Change something only if this is the version of the parameters, which RV(version) of an earlier run says.
    type: int
  by:
    description:
      - Who wants it, for the history. Up to 64 letters, digits, dots, underscores, colons and hyphens.
    type: str
    default: ansible
"""

EXAMPLES = r"""
- name: Allow more connections, and restart the databases one after the other
  qhb.qluster.qluster_db_config:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    parameters:
      max_connections: 300
      work_mem: 16MB
    restart: rolling

- name: Let config.yaml say again how much is logged
  qhb.qluster.qluster_db_config:
    nodes: [https://192.0.2.11:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    parameters:
      log_min_duration_statement: null
"""

RETURN = r"""
changes:
  description:
    - Value before and after of each parameter that was changed, or would be. V(null) is what C(config.yaml) says.
  returned: success
  type: dict
  sample: {max_connections: {before: "100", after: "300"}}
version:
  description: Version of the parameters, which is the log index of their last change.
  returned: success
  type: int
  sample: 4711
pending:
  description: For each node the parameters that wait for a restart, with the value in force until then.
  returned: success
  type: dict
  sample: {"2": {max_connections: "100"}}
restarted:
  description: Nodes whose servers were restarted, in this order.
  returned: success
  type: list
  elements: int
  sample: [2, 3, 1]
"""

import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect, require_between
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

LIMIT_LEAST = 5
LIMIT_MOST = 3600
WAIT_PAUSE = 0.5
LOG = "cluster log"
WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
SIZES = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
SPANS = {"us": 1, "ms": 1000, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
MEASURE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([A-Za-z]+)")


class Older(Exception):
    """The nodes keep no parameters in their log."""


class Refusal(Exception):
    """It cannot become so; the text says why and what to do."""


def text(value):
    """A value as the database reads it; None stays."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (dict, list)):
        raise Refusal(f"{value!r} is no value of a parameter: give text, a number, true, false or null.")
    return str(value).strip()


def meaning(value):
    """What a value means, so that two ways to write it are equal."""
    if value is None:
        return None
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    measure = MEASURE.fullmatch(value)
    for kind, units in (("bytes", SIZES), ("microseconds", SPANS)):
        if measure and measure[2].lower() in units:
            return kind, float(measure[1]) * units[measure[2].lower()]
    try:
        return float(value)
    except ValueError:
        return value


def differing(wanted, present, instead_of_files):
    """Name → before and after of every parameter that is to be changed, by the answer of GET /db-config."""
    changes = {}
    for name, value in sorted(wanted.items()):
        known = present.get(name.lower())
        before = known["value"] if known else None
        in_log = known is not None and known["source"] == LOG
        if value is None:
            if in_log:
                changes[name.lower()] = {"before": before, "after": None}
        elif known is None or meaning(text(value)) != meaning(before):
            changes[name.lower()] = {"before": before, "after": text(value)}
    if instead_of_files:
        named = {name.lower() for name in wanted}
        for name, known in sorted(present.items()):
            given_up = known["source"] == LOG and known.get("file") == known["value"] and name not in named
            if given_up:
                changes[name] = {"before": known["value"], "after": None}
    return changes


def look(client):
    """The answer of GET /db-config."""
    document = client.ask("GET", "/db-config", params={"consistency": "leader"}).document
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), dict):
        raise Older("The nodes run a version that keeps no parameters of databases in its log. Upgrade them first.")
    return document


def waiting(document):
    """Node → parameters that wait for a restart there."""
    return {name: node["pending"] for name, node in sorted(document["nodes"].items()) if node["pending"]}


def changing(client, given, changes, waits):
    """Ask for what is to be done; the index with which a restart begins, 0 for none."""
    rolling = given["restart"] == "rolling"
    how = {"primary": given["primary"], "limit": given["limit"], "by": given["by"]}
    if changes:
        asked = {"restart": given["restart"], **how}
        if given["version"] is not None:
            asked["cas"] = given["version"]
        body = {name: change["after"] for name, change in changes.items()}
        said = client.ask("POST", "/db-config", params=asked, body=body).document
        return said["index"] if rolling else 0
    if rolling and waits:
        return client.ask("POST", "/db-restart", params={"only": "pending", **how}).document["index"]
    return 0


def wait_for_end(client, begun, limit):
    """The answer of GET /db-config after the end of the restart that began with this index."""
    deadline = time.monotonic() + limit
    while True:
        try:
            document = look(client)
        except Unanswered:
            document = None
        restart = document["restart"] if document else None
        if restart and (restart["begun"] > begun or (restart["begun"] == begun and restart["state"] != "running")):
            if restart["begun"] == begun and restart["state"] == "failed":
                raise Refusal(f"The databases were not all restarted: {restart['reason']}.")
            return document
        if time.monotonic() > deadline:
            doing = f", now node {restart['node']}: {restart['waits_for'] or 'it restarts'}" if restart else ""
            raise Refusal(f"The restart that began at entry {begun} had no end after {limit:g} seconds{doing}.")
        time.sleep(WAIT_PAUSE)


def perform(client, given, check):
    """Compare, change what differs, wait; what the module returns."""
    document = look(client)
    if given["version"] is not None and given["version"] != document["version"]:
        raise Refusal(
            f"The version of the parameters is {document['version']}, not {given['version']}: somebody else changed "
            "them. Look at what they are now."
        )
    changes = differing(given["parameters"], document["parameters"], given["instead_of_files"])
    waits = waiting(document)
    restarts = given["restart"] == "rolling" and bool(waits)
    restarted = []
    if (changes or restarts) and not check:
        begun = changing(client, given, changes, waits)
        if begun and given["wait"]:
            document = wait_for_end(client, begun, given["limit"] * (1 + len(document["nodes"])))
            restarted = document["restart"]["turns"] if document["restart"]["begun"] == begun else []
        else:
            document = look(client)
    return {
        "changed": bool(changes) or restarts, "changes": changes, "version": document["version"],
        "pending": waiting(document), "restarted": restarted,
    }


def lines(changes, which):
    return "".join(f"{name}: {change[which]}\n" for name, change in changes.items() if change[which] is not None)


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "parameters": {"type": "dict", "default": {}},
            "instead_of_files": {"type": "bool", "default": False},
            "older": {"type": "str", "choices": ["fail", "leave"], "default": "fail"},
            "restart": {"type": "str", "choices": ["none", "rolling"], "default": "none"},
            "primary": {"type": "str", "choices": ["switchover", "in-place"], "default": "switchover"},
            "limit": {"type": "int", "default": 120},
            "wait": {"type": "bool", "default": True},
            "version": {"type": "int"},
            "by": {"type": "str", "default": "ansible"},
        },
        supports_check_mode=True,
    )
    require_between(module, "limit", module.params["limit"], LIMIT_LEAST, LIMIT_MOST)
    client = connect(module)
    try:
        result = perform(client, module.params, module.check_mode)
    except Older as older:
        if module.params["older"] == "leave":
            module.exit_json(changed=False, changes={}, version=0, pending={}, restarted=[], msg=str(older))
        module.fail_json(msg=str(older))
    except Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=f"The parameters were not changed: {failure}", code=failure.code)
    changes = result["changes"]
    module.exit_json(diff={"before": lines(changes, "before"), "after": lines(changes, "after")}, **result)


if __name__ == "__main__":
    main()
