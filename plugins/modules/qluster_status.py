#!/usr/bin/python
"""Judges the whole cluster by what its nodes say, and waits until it is as expected."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_status
short_description: Judge a QLUSTER cluster, or wait until it is as expected
version_added: 0.1.0
description:
  - Asks every given node over REST for its map of the cluster and whether it accepts writes, all at the same
    time.
  - Holds the answers against O(expect), and fails with the list of what is unmet and which nodes say so.
  - Fails always, whatever is expected, when nodes contradict each other about the cluster they belong to,
    about who leads,
    or when two of them accept writes. Two nodes that accept writes are asked again before that is believed.
  - With O(wait) it looks again until all is met, or time is up.
author:
  - The QLUSTER authors (@qluster)
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes
  - qhb.qluster.attributes.action_group
options:
  expect:
    description:
      - What the cluster must be like. What is left out is not judged.
      - What one node says of the cluster is asked of every node that answers, so a node that has not joined
        yet
        meets none of O(expect.name), O(expect.leader), O(expect.standby), O(expect.paused), O(expect.quorate),
        O(expect.members), O(expect.voters),
        O(expect.listeners), O(expect.founding_above), O(expect.reign_above).
    type: dict
    default: {}
    suboptions:
      reachable:
        description:
          - Of how many of O(nodes) an answer must come, at least. A number, V(all), or V(none) when all must
            be silent.
        type: str
        default: '1'
      name:
        description: Name of the cluster.
        type: str
      leader:
        description:
          - V(known) when every node must name a leader, V(none) when none may,
            or the number or address of the node that must be named.
        type: str
      primary:
        description:
          - V(writable) when exactly one node must answer 200 on C(/is-leader), V(none) when none may,
            or the number or address of the node that must be the one.
          - It must be the node whose reign it is by the log.
        type: str
      standby:
        description:
          - Whether every node must say that the cluster follows an installation outside and streams from it, or none
            may. Nobody can write to such a cluster, so V(none) belongs to it as O(expect.primary).
        type: bool
      paused:
        description: Whether every node must say that the cluster is paused, or none may.
        type: bool
      quorate:
        description: Whether every node must hear an electing quorum, or none may.
        type: bool
      arbiter:
        description:
          - Whether every node that votes must be known to its arbiter with its membership, or none may ask one.
          - It says nothing of what the arbiter's vote counts for.
        type: bool
      members:
        description: Exact number of members, voters and listeners together.
        type: int
      voters:
        description: Exact number of members that vote.
        type: int
      listeners:
        description: Exact number of members that do not vote. The host of the pool is one of them.
        type: int
      alive:
        description: How many members must be alive, at least. A number or V(all).
        type: str
      replicas_streaming:
        description:
          - How many replicas must stream from the primary, at least. A number, or V(all) for every member
            with a database beside the primary. A node that has not joined is no member yet,
            so O(expect.voters) belongs beside V(all).
        type: str
      max_lag_bytes:
        description:
          - How many bytes of WAL a replica may be behind the primary. A replica whose lag cannot be known
            does not meet it.
        type: int
      same_settings:
        description: Whether all members must run with the same settings.
        type: bool
      no_errors:
        description: Whether no node may report a trouble of its own, of its database or of its pool, or be
          marked down.
        type: bool
      no_pending_restart:
        description: Whether no database may wait for a restart.
        type: bool
      version:
        description: Version of the daemon that every member must run.
        type: str
      pool:
        description: V(primary) when every pool must point at the primary, and there must be one.
        type: str
        choices: [primary]
      backup_age:
        description:
          - Seconds since the newest base backup ended, at most.
          - A cluster in which no host keeps backups does not meet it.
        type: int
      archive_complete:
        description: Whether the archive must have all WAL that the backups need.
        type: bool
      key_sending:
        description: Number of the cluster key that every node must send with.
        type: int
      key_newest:
        description: Largest number of the cluster keys that every node must know.
        type: int
      keys_known:
        description: Exact number of cluster keys that every node must know.
        type: int
      founding_above:
        description: Number that the number of the founding must be larger than. It shows that a cluster was
          founded anew.
        type: int
      reign_above:
        description: Number that the number of the reign must be larger than. It shows that the primary
          changed.
        type: int
      term_stable:
        description:
          - Whether founding, term, leader and reign must stay the same during O(wait.stable_for), which must
            then be given.
        type: bool
        default: false
  wait:
    description: How long to look again while something is unmet.
    type: dict
    default: {}
    suboptions:
      timeout:
        description:
          - Seconds after which no new look is begun. V(0) looks once.
          - It ends at once when every node refuses the token or fails the check of its certificate.
        type: float
        default: 0.0
      delay:
        description: Seconds between two looks, from 0.1.
        type: float
        default: 1.0
      stable_for:
        description:
          - Seconds for which all must be met, in every look, before it counts. At most O(wait.timeout).
        type: float
        default: 0.0
seealso:
  - module: qhb.qluster.qluster_info
"""

EXAMPLES = r"""
- name: The cluster is well
  qhb.qluster.qluster_status:
    nodes: &nodes
      - https://192.0.2.11:8080
      - https://192.0.2.12:8080
      - https://192.0.2.13:8080
    ca_file: /etc/ssl/qluster/ca.pem
    token_file: ~/.config/qluster/read-token
    expect:
      reachable: all
      leader: known
      primary: writable
      quorate: true
      voters: 3
      replicas_streaming: 2
      no_errors: true
  delegate_to: localhost

- name: Wait up to two minutes until a new primary is found and nothing moves for five seconds
  qhb.qluster.qluster_status:
    nodes: *nodes
    expect:
      primary: writable
      reign_above: "{{ before.reign.number }}"
      replicas_streaming: 1
      max_lag_bytes: 16777216
      term_stable: true
    wait:
      timeout: 120
      stable_for: 5
  delegate_to: localhost

- name: Nobody answers any more
  qhb.qluster.qluster_status:
    nodes: *nodes
    expect:
      reachable: none
    wait:
      timeout: 30
  delegate_to: localhost
"""

RETURN = r"""
unmet:
  description: The unmet expectations, empty when all is as expected.
  returned: always
  type: list
  elements: dict
  contains:
    expectation:
      description:
        - Name of the suboption of O(expect), or V(one_cluster), V(one_leader), V(one_primary) for a
          contradiction between nodes,
          or V(stable) when all was met, but not for long enough.
      type: str
    wanted:
      description: What was expected.
      type: raw
    found:
      description: What was found instead.
      type: raw
    says:
      description: URLs of the nodes that say so.
      type: list
      elements: str
  sample:
    - {expectation: leader, wanted: known, found: none, says: ["https://192.0.2.13:8080"]}
elapsed:
  description: Seconds that judging and waiting took.
  returned: always
  type: float
  sample: 12.34
looks:
  description: How often the cluster was looked at.
  returned: always
  type: int
  sample: 7
cluster:
  description:
    - The cluster as the best informed node sees it, null when no answering node has joined one.
    - C(two_node) says how far one of two is with going on alone, C(forced) when an operator forced a quorum and who is
      outside since then, as in RV(qhb.qluster.qluster_quorum_info#module:quorum).
  returned: always
  type: dict
  sample: {name: main, cluster: 1, term: 3, leader: 1, quorate: true, can_commit: true, voters: 3, quorum: 2}
reported_by:
  description: URL of the node that RV(cluster) comes from.
  returned: always
  type: str
nodes:
  description: The members, as in RV(qhb.qluster.qluster_info#module:nodes).
  returned: always
  type: list
  elements: dict
leader:
  description: Number, address, ports and URL of the leader, null when none is known.
  returned: always
  type: dict
  sample: {node: 1, ip: 192.0.2.11, api_port: 8080, db_port: 5432, url: "https://192.0.2.11:8080"}
primary:
  description: The same of the one node that accepts writes, null unless it is exactly one.
  returned: always
  type: dict
reign:
  description: Who the primary is by decision of the log, null when none was ever decided.
  returned: always
  type: dict
  sample: {number: 2, node: 1, term: 3, timeline: 2, position: 50331744, lost_bytes: 0}
settings:
  description: Replicated settings of the cluster.
  returned: always
  type: dict
db_config:
  description: Replicated settings of the database.
  returned: always
  type: dict
answers:
  description:
    - What each node that answered said, as in RV(qhb.qluster.qluster_info#module:answers).
    - When the module fails, the whole map of each node is left out, to keep the message readable.
  returned: always
  type: list
  elements: dict
unreached:
  description: The nodes that gave no usable answer, with the reason.
  returned: always
  type: list
  elements: dict
  sample: [{url: "https://192.0.2.13:8080", reason: Connection refused, code: null, refused: false}]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import (
    CONNECTION,
    connect,
    require_between,
)
from ansible_collections.qhb.qluster.plugins.module_utils._judgement import describe, fingerprint, judge
from ansible_collections.qhb.qluster.plugins.module_utils._reading import read_cluster
from ansible_collections.qhb.qluster.plugins.module_utils._rules import WrongExpectation, check_expectations

DAY = 86400.0
COUNT_OPTIONS = ("members", "voters", "listeners", "max_lag_bytes", "founding_above", "reign_above")

EXPECT = {
    "reachable": {"type": "str", "default": "1"},
    "name": {"type": "str"},
    "leader": {"type": "str"},
    "primary": {"type": "str"},
    "standby": {"type": "bool"},
    "paused": {"type": "bool"},
    "quorate": {"type": "bool"},
    "arbiter": {"type": "bool"},
    "members": {"type": "int"},
    "voters": {"type": "int"},
    "listeners": {"type": "int"},
    "alive": {"type": "str"},
    "replicas_streaming": {"type": "str"},
    "max_lag_bytes": {"type": "int"},
    "same_settings": {"type": "bool"},
    "no_errors": {"type": "bool"},
    "no_pending_restart": {"type": "bool"},
    "version": {"type": "str"},
    "pool": {"type": "str", "choices": ["primary"]},
    "backup_age": {"type": "int"},
    "archive_complete": {"type": "bool"},
    "key_sending": {"type": "int", "no_log": False},
    "key_newest": {"type": "int", "no_log": False},
    "keys_known": {"type": "int", "no_log": False},
    "founding_above": {"type": "int"},
    "reign_above": {"type": "int"},
    "term_stable": {"type": "bool", "default": False},
}
WAIT = {
    "timeout": {"type": "float", "default": 0.0},
    "delay": {"type": "float", "default": 1.0},
    "stable_for": {"type": "float", "default": 0.0},
}


class Watch:
    """Looks at the cluster until it was as expected for long enough, or time is up."""

    def __init__(self, client, expect, wait):
        self._client = client
        self._expect = expect
        self._wait = wait
        self._met_since = None
        self._met_as = None
        self.looks = 0

    def run(self):
        """The last view, and what is unmet in it."""
        began = time.monotonic()
        end = began + self._wait["timeout"]
        while True:
            view = read_cluster(self._client)
            self.looks += 1
            unmet = judge(view, self._expect)
            if unmet:
                self._met_since = None
            else:
                unmet = self._unsettled(view, began)
            now = time.monotonic()
            if not unmet or hopeless(view) or now >= end:
                return view, unmet
            time.sleep(min(self._wait["delay"], end - now))
            began = time.monotonic()

    def _unsettled(self, view, began):
        """All is met: what is missing is that it has been so for long enough."""
        stable_for = self._wait["stable_for"]
        moved = self._expect["term_stable"] and fingerprint(view) != self._met_as
        if self._met_since is None or moved:
            self._met_since = began
            self._met_as = fingerprint(view)
        met_for = began - self._met_since  # a look that takes long says nothing of the time that it takes
        if met_for >= stable_for:
            return []
        found = f"all is met for {met_for:.2f} s only"
        return [{"expectation": "stable", "wanted": f"{stable_for:.2f} s", "found": found, "says": []}]


def hopeless(view):
    """Whether looking again is pointless: every node refuses the token, or is not to be trusted."""
    return not view["answers"] and all(failure["refused"] for failure in view["unreached"])


def main():
    module = AnsibleModule(
        argument_spec=dict(
            CONNECTION,
            expect={"type": "dict", "default": {}, "options": EXPECT},
            wait={"type": "dict", "default": {}, "options": WAIT},
        ),
        supports_check_mode=True,
    )
    client = connect(module)
    check_wishes(module)
    watch = Watch(client, module.params["expect"], module.params["wait"])
    began = time.monotonic()
    view, unmet = watch.run()
    elapsed = round(time.monotonic() - began, 2)
    result = dict(view, unmet=unmet, elapsed=elapsed, looks=watch.looks, changed=False)
    if not unmet:
        module.exit_json(**result)
    for answer in view["answers"]:
        del answer["map"]
    lines = describe(unmet)
    module.fail_json(msg=f"The cluster is not as expected, after {elapsed:.2f} s:\n{lines}", **result)


def check_wishes(module):
    """End the module when the expectations or the waiting make no sense."""
    expect, wait = module.params["expect"], module.params["wait"]
    require_between(module, "wait.timeout", wait["timeout"], 0.0, DAY)
    require_between(module, "wait.delay", wait["delay"], 0.1, DAY)
    require_between(module, "wait.stable_for", wait["stable_for"], 0.0, wait["timeout"])
    for name in COUNT_OPTIONS:
        if expect[name] is not None and expect[name] < 0:
            module.fail_json(msg=f"expect.{name} is {expect[name]}. Give a number from 0.")
    if expect["term_stable"] and not wait["stable_for"]:
        module.fail_json(msg="expect.term_stable needs wait.stable_for: how long nothing may move.")
    try:
        check_expectations(expect)
    except WrongExpectation as error:
        module.fail_json(msg=f"{error}.")


if __name__ == "__main__":
    main()
