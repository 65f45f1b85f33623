#!/usr/bin/python
"""Keeps tasks away from a node, or lets them come back."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_node_drain
short_description: Keep tasks away from a node of a cluster
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - A node that is drained gets no new tasks. Those that it has go on, for O(patience) seconds or to their ends.
  - The database is not moved by it. M(qhb.qluster.qluster_switchover) does that.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.task_by
  - qhb.qluster.task_wait
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say whether it would change something. Nothing is waited for then.
  diff_mode:
    support: none
    description: There is nothing to compare but RV(drained).
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  node:
    description: Number of the node, or its address.
    type: str
    required: true
  state:
    description:
      - Whether tasks are kept away from it.
      - With V(present), O(wait) waits until it has none; with V(absent), until it takes tasks again.
    type: str
    choices: [present, absent]
    default: present
  patience:
    description:
      - Tasks that it has are stopped after this, as seconds or as V(5m), and run elsewhere. V(0) lets them end.
      - A node that is drained already keeps what was said then.
    type: str
    default: "0"
"""

EXAMPLES = r"""
- name: Keep tasks away from a host before its maintenance, and wait until it has none
  qhb.qluster.qluster_node_drain:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    node: 192.0.2.13
    patience: 10m
    wait: {timeout: 660}

- name: Let it have tasks again
  qhb.qluster.qluster_node_drain:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    node: 192.0.2.13
    state: absent
"""

RETURN = r"""
node:
  description: Number of the node.
  returned: success
  type: int
  sample: 3
drained:
  description: Whether tasks are kept away from it now; in check mode, whether they would be.
  returned: success
  type: bool
  sample: true
running:
  description: Tasks that it has.
  returned: success
  type: int
  sample: 0
"""

import ipaddress

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils import _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect, require_between
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

WAIT = {"type": "dict", "options": {"timeout": {"type": "int", "required": True},
                                    "delay": {"type": "float", "default": 2.0}}}
WAIT_MOST = 7 * 86400


def number_of(client, text):
    """Number of the node that is named by it or by its address. Raises Refusal where there is none."""
    if text.isdigit():
        return int(text)
    try:
        wanted = ipaddress.ip_address(text)
    except ValueError:
        raise _tasks.Refusal(f"node is {text!r}: give its number, or its address.") from None
    rows = client.ask("GET", "/map", params={"consistency": "leader"}).document["nodes"]
    for row in rows:
        if ipaddress.ip_address(row["ip"]) == wanted:
            return row["node"]
    known = ", ".join(f"{row['node']} ({row['ip']})" for row in rows)
    raise _tasks.Refusal(f"No node of the cluster has the address {text}. There are {known}.")


def look(client, node):
    """What the leader knows of the node's tasks, None where it has not heard of any runner there."""
    rows = client.ask("GET", "/tasks/summary", params={"consistency": "leader"}).document["nodes"]
    return next((row for row in rows if row["node"] == node), None)


def first_look(client, node, given):
    """The same; a node that is just being started is waited for. Raises Refusal where it runs no tasks."""
    wait = given["wait"] if given["state"] == "absent" else None
    timeout, delay = (wait["timeout"], wait["delay"]) if wait else (0, 1)
    found, there = _tasks.wait_for(lambda: look(client, node), lambda row: row is not None, timeout, delay)
    if not there:
        raise _tasks.Refusal(f"The leader has not heard that node {node} runs tasks. "
                             "qluster_task_info lists those that do.")
    return found


def settled(row, wanted):
    """Whether it is as it is to be in the end."""
    return row is not None and (row["running"] == 0 if wanted else bool(row["ready"]))


def perform(client, given, check):
    """Compare, change, wait; what the module returns."""
    node = number_of(client, given["node"])
    found = first_look(client, node, given)
    wanted = given["state"] == "present"
    changed = found["drained"] != wanted
    if changed and not check:
        if wanted:
            patience = _tasks.seconds(given["patience"])
            span = f"{round(patience * 1000)}ms" if isinstance(patience, float) else patience
            client.ask("POST", f"/nodes/{node}/drain", params={"patience": span, "by": given["by"]})
        else:
            client.ask("DELETE", f"/nodes/{node}/drain", params={"by": given["by"]})
        found = look(client, node) or found
    wait = None if check else given["wait"]
    if wait:
        found, good = _tasks.wait_for(lambda: look(client, node), lambda row: settled(row, wanted),
                                      wait["timeout"], wait["delay"])
        if not good and wanted:
            raise _tasks.Refusal(f"Node {node} still has tasks after {wait['timeout']} s. It gets no new ones; "
                                 f"qluster_task_info lists those that it has, and patience stops them.")
        if not good:
            fault = (found or {}).get("fault") or "the leader has not heard of its task runner"
            raise _tasks.Refusal(f"Node {node} takes no tasks after {wait['timeout']} s: {fault}.")
    return {"changed": changed, "node": node, "drained": wanted, "running": found["running"]}


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "by": _tasks.BY,
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "patience": {"type": "str", "default": "0"},
            "wait": WAIT,
        },
        supports_check_mode=True,
    )
    wait = module.params["wait"]
    if wait is not None:
        require_between(module, "wait.timeout", wait["timeout"], 0, WAIT_MOST)
        require_between(module, "wait.delay", wait["delay"], 0.1, 60)
    client = connect(module)
    try:
        module.exit_json(**perform(client, module.params, module.check_mode))
    except _tasks.Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=_tasks.vain(failure), code=failure.code)


if __name__ == "__main__":
    main()
