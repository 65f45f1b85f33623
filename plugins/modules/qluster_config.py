#!/usr/bin/python
"""Brings the replicated settings of a living cluster to what is wanted."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_config
short_description: Change the replicated settings of a cluster
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Timers and sizes that must be the same on all nodes are kept in the cluster's log.
    This module compares them with O(settings), and changes what differs in one step for all nodes.
  - Values count as equal when they mean the same, such as V(60s) and V(1m).
  - What is fixed while a cluster lives is refused before anything is changed. A list of peers in the place of a
    multicast group is left to the nodes' files.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change.
  diff_mode:
    support: full
    description: Shows each setting before and after.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  settings:
    description:
      - The wanted values, by key as in C(config.yaml). Others stay as they are.
      - The token must have the right to operate when something differs.
    type: dict
    required: true
  newer:
    description:
      - What to do with a setting that the cluster does not know, because its version is older than this collection.
        With V(leave) it is left out; the nodes take it from their files once they are brought to the new version.
    type: str
    choices: [fail, leave]
    default: fail
    version_added: 0.1.0
"""

EXAMPLES = r"""
- name: Give the leader more time
  qhb.qluster.qluster_config:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    settings:
      cluster.node-timeout: 30s
      cluster.heartbeat-interval: 10s
"""

RETURN = r"""
changes:
  description: Value before and after of each setting that was changed, or would be.
  returned: success
  type: dict
  sample: {cluster.node-timeout: {before: 30s, after: 40s}}
left:
  description: The settings that the cluster does not know, and that were left out.
  returned: success
  type: list
  elements: str
  sample: []
"""

import ipaddress
import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

GROUP = "udp.socket.group"
FIXED = ("cluster.name", "cluster.founder", GROUP)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]+)")
"""Address and port; of IPv6 the address stands in brackets."""
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class Refusal(Exception):
    """The settings cannot become so; the text says why and what to do."""


def text(value):
    """A value as config.yaml writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value).strip()


def places(value):
    """Addresses with ports in a list of them, sorted because their order means nothing; None for other text."""
    found = [PLACE.fullmatch(part.strip()) for part in value.split(",")]
    if None in found:
        return None
    try:
        return sorted((str(ipaddress.ip_address(match[1] or match[2])), int(match[3])) for match in found)
    except ValueError:
        return None


def meaning(value):
    """What a value means, so that two ways to write it are equal."""
    if DURATION.fullmatch(value):
        return round(sum(float(number) * UNITS[unit] for number, unit in PART.findall(value)), 6)
    addresses = places(value)
    if addresses is not None:
        return addresses
    lower = value.lower()
    if lower in ("true", "yes", "false", "no"):
        return lower in ("true", "yes")
    return value


def unknown(wanted, present):
    """The settings that this cluster does not have."""
    return sorted(key for key in wanted if key not in present)


def differing(wanted, present):
    """Key → before and after of every setting that is to be changed."""
    changes = {}
    for key, value in sorted(wanted.items()):
        if meaning(text(value)) != meaning(text(present[key])):
            changes[key] = {"before": present[key], "after": text(value)}
    return changes


def lists_peers(value):
    """Whether a group is a list of nodes and no multicast group."""
    found = places(text(value))
    return found is not None and not any(ipaddress.ip_address(host).is_multicast for host, _port in found)


def without_lists(changes):
    """The changes without that of a list of peers: it stands in the files alone, and each node has its own."""
    group = changes.get(GROUP)
    if group is None or not (lists_peers(group["before"]) and lists_peers(group["after"])):
        return changes
    return {key: change for key, change in changes.items() if key != GROUP}


def refuse_fixed(changes):
    fixed = [f"{key} (is {changes[key]['before']}, wanted {changes[key]['after']})" for key in FIXED if key in changes]
    if fixed:
        raise Refusal(
            f"{', '.join(fixed)}: this is fixed while the cluster lives. Set it back, or begin anew: destroy.yml, "
            "then deploy.yml, which loses what is in the database."
        )


def perform(client, wanted, check, newer="fail"):
    """Compare, and change what differs: the changes, and the keys that were left out."""
    present = client.ask("GET", "/config").document
    left = unknown(wanted, present)
    if left and newer == "fail":
        raise Refusal(
            f"{', '.join(left)}: no replicated setting of this cluster; there are: {', '.join(sorted(present))}."
        )
    changes = without_lists(differing({key: value for key, value in wanted.items() if key in present}, present))
    refuse_fixed(changes)
    if changes and not check:
        client.ask("POST", "/config", body={key: change["after"] for key, change in changes.items()})
    return changes, left


def lines(changes, which):
    return "".join(f"{key}: {change[which]}\n" for key, change in changes.items())


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "settings": {"type": "dict", "required": True},
            "newer": {"type": "str", "choices": ["fail", "leave"], "default": "fail"},
        },
        supports_check_mode=True,
    )
    client = connect(module)
    try:
        changes, left = perform(client, module.params["settings"], module.check_mode, module.params["newer"])
    except Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=f"The settings were not changed: {failure}", code=failure.code)
    module.exit_json(
        changed=bool(changes), changes=changes, left=left,
        diff={"before": lines(changes, "before"), "after": lines(changes, "after")},
    )


if __name__ == "__main__":
    main()
