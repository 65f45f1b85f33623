#!/usr/bin/python
"""Pauses a living cluster, or ends the pause."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_pause
short_description: Have a cluster leave its databases alone, or end that
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - In a pause no database is started, stopped, promoted, copied or pointed elsewhere, and the pool stays as it is.
    The primary goes on also where it is cut off.
  - After the pause nobody takes over from the node that held the primary before the cluster has heard that a lease
    bounds it again. RV(waits_for) names it as long as that is not so.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change.
  diff_mode:
    support: full
    description: Shows the pause before and after.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  state:
    description: Whether the cluster is to be paused. The token must have the right to operate when that differs.
    type: str
    choices: [present, absent]
    default: present
  reason:
    description:
      - Why, in one line. It is shown everywhere until the pause ends.
      - A pause that is there already keeps its reason when this is left out.
    type: str
  abandon:
    description:
      - Number of a node that is not waited for after the pause, only with O(state=absent).
      - If the database of this node still runs, it goes on taking writes beside the new primary, and they are lost.
        Make sure that the host is off.
    type: int
"""

EXAMPLES = r"""
- name: Leave the databases alone while a switch is exchanged
  qhb.qluster.qluster_pause:
    nodes: &nodes [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    reason: a switch is exchanged

- name: Go on
  qhb.qluster.qluster_pause:
    nodes: *nodes
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    state: absent
"""

RETURN = r"""
paused:
  description: Whether the cluster is paused now; in check mode, whether it would be.
  returned: success
  type: bool
waits_for:
  description: Node from which nobody takes over before it is heard, null when there is none.
  returned: success
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

REASON_LENGTH_MAX = 200
"""As the nodes have it."""


def present_pause(client):
    """What the leader says of a pause."""
    document = client.ask("GET", "/map", params={"consistency": "leader"}).document
    found = document["cluster"].get("pause") or {}
    return {name: found.get(name) for name in ("active", "reason", "node")}


def wanted_request(before, state, reason, abandon):
    """Path and parameters of what is to be asked, None when all is as wanted."""
    if state == "present":
        same = before["active"] and reason in (None, before["reason"])
        return None if same else ("/pause", {"reason": reason or ""})
    given_up = abandon is not None and before["node"] == abandon
    if not before["active"] and not given_up:
        return None
    return ("/resume", {"abandon": abandon} if given_up else {})


def perform(client, state, reason, abandon, check):
    """Before, after, and whether they differ."""
    before = present_pause(client)
    request = wanted_request(before, state, reason, abandon)
    if request is None:
        return before, before, False
    if not check:
        client.ask("POST", request[0], params=request[1])
        return before, present_pause(client), True
    if state == "present":
        return before, {"active": True, "reason": reason or "", "node": before["node"]}, True
    given_up = before["node"] == abandon
    return before, {"active": False, "reason": "", "node": None if given_up else before["node"]}, True


def line(pause):
    """A pause for the difference."""
    if pause["active"]:
        return f"paused: {pause['reason'] or 'no reason given'}\n"
    return f"not paused, node {pause['node']} is waited for\n" if pause["node"] else "not paused\n"


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "reason": {"type": "str"},
            "abandon": {"type": "int"},
        },
        supports_check_mode=True,
    )
    given = module.params
    if given["abandon"] is not None and given["state"] != "absent":
        module.fail_json(msg="abandon names a node that is not waited for after a pause. Give it with state=absent.")
    length = len(given["reason"] or "")
    if length > REASON_LENGTH_MAX:
        module.fail_json(msg=f"reason has {length} characters. Give one line of {REASON_LENGTH_MAX} at most.")
    client = connect(module)
    try:
        before, after, changed = perform(client, given["state"], given["reason"], given["abandon"], module.check_mode)
    except Unanswered as failure:
        module.fail_json(msg=f"Whether the cluster is paused could not be changed: {failure}", code=failure.code)
    module.exit_json(
        changed=changed, paused=bool(after["active"]), waits_for=None if after["active"] else after["node"],
        diff={"before": line(before), "after": line(after)},
    )


if __name__ == "__main__":
    main()
