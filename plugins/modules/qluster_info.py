#!/usr/bin/python
"""Reads what the nodes of a cluster say, and never judges it."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_info
short_description: Read the state of a QLUSTER cluster
version_added: 0.1.0
description:
  - Asks every given node over REST for its map of the cluster and whether it accepts writes, all at the same
    time.
  - Returns the answer of each node, and one merged view of the cluster.
  - Does not fail when nodes are silent or disagree. M(qhb.qluster.qluster_status) judges and waits.
author:
  - The QLUSTER authors (@qluster)
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes
  - qhb.qluster.attributes.action_group
options:
  documents:
    description:
      - Further documents of the REST interface to read. They are asked once of the cluster, not of each node.
      - A node that cannot answer is passed over for the next, and the module fails when none can.
    type: list
    elements: str
    choices: [config, db-config, info, leader, quorum, replication]
    default: []
  consistency:
    description:
      - How fresh the O(documents) must be.
      - V(local) takes what any node knows, V(lease) asks the leader while its lease holds,
        V(leader) has the leader confirm by a quorum that it still leads.
    type: str
    choices: [local, lease, leader]
    default: local
seealso:
  - module: qhb.qluster.qluster_status
"""

EXAMPLES = r"""
- name: Read the cluster
  qhb.qluster.qluster_info:
    nodes:
      - https://192.0.2.11:8080
      - https://192.0.2.12:8080
      - https://192.0.2.13:8080
    ca_file: /etc/ssl/qluster/ca.pem
    token_file: ~/.config/qluster/read-token
  delegate_to: localhost
  register: seen

- name: Say where clients can write
  ansible.builtin.debug:
    msg: "{{ seen.primary.ip }}:{{ seen.primary.db_port }}"
  when: seen.primary is not none

- name: Read the settings of the database as the leader knows them
  qhb.qluster.qluster_info:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    documents: [db-config]
    consistency: leader
  delegate_to: localhost
"""

RETURN = r"""
cluster:
  description:
    - The cluster as the best informed node sees it, or null when no answering node has joined one.
    - Best informed is who knows the latest founding and term, and there the leader.
  returned: always
  type: dict
  sample: {name: main, cluster: 1, term: 3, leader: 1, quorate: true, can_commit: true, voters: 3, quorum: 2}
reported_by:
  description: URL of the node that RV(cluster) comes from.
  returned: always
  type: str
  sample: https://192.0.2.11:8080
nodes:
  description:
    - The members. What a member says of its own database, pool, version and settings goes before what others
      say of it.
  returned: always
  type: list
  elements: dict
  contains:
    node:
      description: Number of the member.
      type: int
    ip:
      description: Its address.
      type: str
    api_port:
      description: Its REST port.
      type: int
    db_port:
      description: Port of its database, null when it has none.
      type: int
    role:
      description: V(node) when it votes, otherwise V(listener).
      type: str
    alive:
      description: Whether the best informed node heard of it lately.
      type: bool
    database:
      description: Its database, with role, state, timeline and position.
      type: dict
    pool:
      description: Its pool, with the address that it points at; null when it has none.
      type: dict
    lag_bytes:
      description: Bytes of WAL that its database is behind the primary; null where that cannot be known.
      type: int
    writable:
      description: Whether it answers 200 on C(/is-leader).
      type: bool
    url:
      description: URL under which it answered, null when it was not asked or did not answer.
      type: str
    reported_by:
      description: URL of the node that this comes from.
      type: str
leader:
  description: Number, address, ports and URL of the leader, null when none is known.
  returned: always
  type: dict
  sample: {node: 1, ip: 192.0.2.11, api_port: 8080, db_port: 5432, url: "https://192.0.2.11:8080"}
primary:
  description: The same of the one node that accepts writes, null unless it is exactly one.
  returned: always
  type: dict
  sample: {node: 1, ip: 192.0.2.11, api_port: 8080, db_port: 5432, url: "https://192.0.2.11:8080"}
reign:
  description: Who the primary is by decision of the log, null when none was ever decided.
  returned: always
  type: dict
  sample: {number: 2, node: 1, term: 3, timeline: 2, position: 50331744, lost_bytes: 0}
settings:
  description: Replicated settings of the cluster.
  returned: always
  type: dict
  sample: {cluster.node-timeout: 30s}
db_config:
  description: Replicated settings of the database.
  returned: always
  type: dict
  sample: {max_connections: "200"}
answers:
  description: What each node that answered said, in the order of O(nodes).
  returned: always
  type: list
  elements: dict
  contains:
    url:
      description: URL of the node.
      type: str
    node:
      description: Its number, null before it has joined.
      type: int
    ip:
      description: Its address.
      type: str
    joined:
      description: Whether it belongs to a cluster.
      type: bool
    writable:
      description: Whether it answers 200 on C(/is-leader).
      type: bool
    is_leader:
      description: The HTTP status of its answer on C(/is-leader).
      type: int
    consensus_role:
      description: Its part in QRaft.
      type: str
      sample: follower
    term:
      description: The term that it is in.
      type: int
    leader:
      description: Number of the leader that it knows.
      type: int
    version:
      description: Version of its daemon.
      type: str
    message:
      description: Why it is not further along, empty when all is well.
      type: str
    map:
      description: Its whole map, as C(GET /map) gives it.
      type: dict
unreached:
  description: The nodes that gave no usable answer, with the reason.
  returned: always
  type: list
  elements: dict
  sample: [{url: "https://192.0.2.13:8080", reason: Connection refused, code: null, refused: false}]
documents:
  description: The documents asked for, by name.
  returned: when O(documents) has entries
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._reading import read_cluster

DOCUMENTS = ["config", "db-config", "info", "leader", "quorum", "replication"]
CONSISTENCIES = ["local", "lease", "leader"]


def main():
    module = AnsibleModule(
        argument_spec=dict(
            CONNECTION,
            documents={"type": "list", "elements": "str", "choices": DOCUMENTS, "default": []},
            consistency={"type": "str", "choices": CONSISTENCIES, "default": "local"},
        ),
        supports_check_mode=True,
    )
    client = connect(module)
    view = read_cluster(client)
    refusals = [failure for failure in view["unreached"] if failure["refused"]]
    for failure in refusals:
        module.warn("{}: {}".format(failure["url"], failure["reason"]))
    if module.params["documents"]:
        view["documents"] = read_documents(module, client)
    module.exit_json(changed=False, **view)


def read_documents(module, client):
    """The further documents by name; ends the module when one cannot be had."""
    params = {"consistency": module.params["consistency"]}
    found = {}
    for name in module.params["documents"]:
        try:
            found[name] = client.ask("GET", "/" + name, params=params).document
        except Unanswered as failure:
            module.fail_json(msg=f"The document {name} cannot be read. Last asked: {failure}.")
    return found


if __name__ == "__main__":
    main()
