#!/usr/bin/python
"""Hands leadership, and with it the primary, to another node of a living cluster."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_switchover
short_description: Hand leadership, and with it the primary, to another node
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Clients of the pools wait meanwhile, instead of failing. Transactions that are open get O(patience) seconds to end.
  - A node that is not fit is refused with the reason. Where a step fails the primary goes on where it was,
    and the module fails with the reason.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say whether it would change something. The node is not judged then.
  diff_mode:
    support: none
    description: There is nothing to compare but the leader, which is returned.
  idempotent:
    support: partial
    description: With O(node), or O(at), a second run changes nothing. Without both each run moves the primary.
options:
  node:
    description:
      - Number of the node that is to lead. Left out, the fittest of the others is chosen.
    type: int
  at:
    description:
      - When, as a time with its zone (RFC 3339), such as V(2030-01-31T02:30:00Z). The module does not wait for it.
        Whoever leads then carries it out, after another look at whether the node is fit.
      - Left out, it happens now, and the module waits for its end.
    type: str
  patience:
    description:
      - Seconds that open transactions get at the pools.
    type: int
    default: 5
  force:
    description:
      - Break off transactions that do not end in time. Otherwise the switchover is refused because of them.
    type: bool
    default: false
  state:
    description:
      - With V(absent) the switchover that is scheduled is cancelled.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let node 2 lead
  qhb.qluster.qluster_switchover:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    node: 2

- name: Move the primary in the night, to whoever is fittest then
  qhb.qluster.qluster_switchover:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    at: "2030-01-31T02:30:00Z"
    force: true
"""

RETURN = r"""
leader:
  description: Number of the node that leads, or would in check mode. Left out when the cluster would choose it.
  returned: when it is known
  type: int
  sample: 2
write_gap_ms:
  description: Milliseconds for which nobody could write.
  returned: when the primary was moved, and the answer was not lost
  type: int
  sample: 280
phases_ms:
  description: Milliseconds of each phase.
  returned: when the primary was moved, and the answer was not lost
  type: dict
  sample: {checkpoint: 31, pause: 24, stop: 104, proof: 0, commit: 4, transfer: 12, promote: 90, resume: 24}
scheduled:
  description: The switchover that is scheduled, or V(null).
  returned: success
  type: dict
  sample: {node: 2, at: "2030-01-31T02:30:00Z", force: false, patience: 5.0}
"""

import re
import time
from datetime import datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect, require_between
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

PATIENCE_MOST = 600
LIMIT = 180
"""Seconds beside the patience: longer than the leader itself waits for any step."""
WAIT_PAUSE = 0.5
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


class Refusal(Exception):
    """It cannot become so; the text says why and what to do."""


def moment(text):
    """Seconds since 1970. Raises Refusal for what is no time with a zone."""
    wanted = f"at is {text!r}: give a time with its zone, such as 2030-01-31T02:30:00Z or 2030-01-31T05:30:00+03:00."
    if not TIME.fullmatch(text):
        raise Refusal(wanted)
    try:
        form = "%Y-%m-%dT%H:%M:%S.%f%z" if "." in text else "%Y-%m-%dT%H:%M:%S%z"
        return datetime.strptime(text, form).timestamp()
    except ValueError:
        raise Refusal(wanted) from None


def look(client):
    """The answer of GET /leader."""
    document = client.ask("GET", "/leader").document
    if not isinstance(document, dict) or not isinstance(document.get("switchover"), dict):
        raise Refusal("The nodes run a version that plans no switchovers. Upgrade them first.")
    return document


def asked(given):
    """The parameters of the request."""
    chosen = {"node": given["node"], "at": given["at"], "patience": given["patience"]}
    params = {name: value for name, value in chosen.items() if value is not None}
    if given["force"]:
        params["force"] = "true"
    return params


def schedule(client, given, found, check):
    """See to what is scheduled; whether something changed."""
    planned = found["switchover"]["planned"]
    if given["state"] == "absent":
        if planned and not check:
            client.ask("DELETE", "/leader")
        return bool(planned)
    wanted = moment(given["at"])
    if planned and int(moment(planned["at"])) == int(wanted) and planned["node"] == given["node"]:
        return False
    if planned:
        target = f"to node {planned['node']}" if planned["node"] else "to the fittest node"
        raise Refusal(f"A switchover {target} is scheduled at {planned['at']} already. Cancel it first: state: absent.")
    if not check:
        client.ask("POST", "/leader", params=asked(given))
    return True


def move(client, given, found):
    """Move the primary now; what the cluster says of it."""
    try:
        answer = client.ask_leader_once("POST", "/leader", params=asked(given), limit=LIMIT + given["patience"])
        return answer.document["detail"]
    except Unanswered as failure:
        if failure.refused:
            raise
    return outcome(client, found, LIMIT + given["patience"])


def outcome(client, before, limit):
    """What became of a switchover whose answer was lost: the log knows it."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        try:
            found = look(client)
        except Unanswered:
            time.sleep(WAIT_PAUSE)
            continue
        last, under_way = found["switchover"]["last"], found["switchover"]["under_way"]
        if under_way is None and last and last != before["switchover"]["last"]:
            if last["reason"]:
                raise Refusal(f"The primary was not moved: {last['reason']}.")
            return {"leader": last["node"]}
        time.sleep(WAIT_PAUSE)
    raise Refusal(f"The answer was lost, and within {limit} s nobody says what became of it. See who leads.")


def perform(client, given, check):
    """Compare, and move or schedule; what the module returns."""
    found = look(client)
    result = {"changed": False, "scheduled": found["switchover"]["planned"]}
    if given["state"] == "absent" or given["at"]:
        result["changed"] = schedule(client, given, found, check)
        if result["changed"] and not check:
            result["scheduled"] = look(client)["switchover"]["planned"]
        return result
    leads = found["node"] == given["node"] and (found["primary"] or {}).get("node") in (None, given["node"])
    if given["node"] is not None:
        result["leader"] = given["node"]
    if leads or check:
        result["changed"] = not leads
        return result
    detail = move(client, given, found)
    result["changed"] = bool(detail.get("changed", True))
    return {**result, **{name: detail[name] for name in ("leader", "write_gap_ms", "phases_ms") if name in detail}}


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "node": {"type": "int"},
            "at": {"type": "str"},
            "patience": {"type": "int", "default": 5},
            "force": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    require_between(module, "patience", module.params["patience"], 1, PATIENCE_MOST)
    client = connect(module)
    try:
        result = perform(client, module.params, module.check_mode)
    except Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=f"The primary was not moved: {failure}", code=failure.code)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
