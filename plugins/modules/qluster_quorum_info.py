#!/usr/bin/python
"""Reads votes and quorum as each node of a cluster counts them, and never judges them."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_quorum_info
short_description: Read votes and quorum of a QLUSTER cluster
version_added: 0.1.0
description:
  - Asks every given node over REST for its view of votes and quorum, all at the same time.
  - Each node has two. The list of members in the replicated log decides who can be elected. The votes by the rules of
    corosync's votequorum, counted where the setting C(quorum.provider) is V(votequorum), only forbid.
  - Does not fail when nodes are silent or disagree; it fails when no node gives a usable answer.
author:
  - The QLUSTER authors (@qluster)
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes
  - qhb.qluster.attributes.action_group
seealso:
  - module: qhb.qluster.qluster_info
  - module: qhb.qluster.qluster_status
"""

EXAMPLES = r"""
- name: Read votes and quorum
  qhb.qluster.qluster_quorum_info:
    nodes:
      - https://192.0.2.11:8080
      - https://192.0.2.12:8080
      - https://192.0.2.13:8080
    ca_file: /etc/ssl/qluster/ca.pem
    token_file: ~/.config/qluster/read-token
  delegate_to: localhost
  register: votes

- name: Stop where a node could not be lost any more
  ansible.builtin.assert:
    that: votes.quorum.total_votes > votes.quorum.quorum
    fail_msg: "{{ votes.quorum.total_votes }} votes are here and {{ votes.quorum.quorum }} are needed"

- name: Stop where one of two nodes could not go on without the other just now
  ansible.builtin.assert:
    that: item.quorum.two_node.able
    fail_msg: "node {{ item.quorum.node }}: {{ item.quorum.two_node.reason }}"
  loop: "{{ votes.answers }}"
  loop_control: {label: "{{ item.url }}"}

- name: Say who hears whom
  ansible.builtin.debug:
    msg: "ring {{ item.ring }}: nodes {{ item.nodes | join(', ') }}, {{ 'quorate' if item.quorate else 'not quorate' }}"
  loop: "{{ votes.rings }}"
"""

RETURN = r"""
quorum:
  description:
    - Votes and quorum as the best informed node sees them, as C(GET /quorum) gives them.
    - Best informed is who knows the latest term, and there the leader.
  returned: success
  type: dict
  contains:
    quorate:
      description: Whether the node hears enough of the voters of the list of members.
      type: bool
    can_commit:
      description: Whether what is written now can be confirmed.
      type: bool
    expected_votes:
      description: Votes of the list of members.
      type: int
    total_votes:
      description: Those of the members that the node hears.
      type: int
    quorum:
      description: Votes that elect.
      type: int
    term:
      description: The term that the node is in.
      type: int
    leader:
      description: Number of the leader, null when none is known.
      type: int
    members:
      description: The members with their votes, and whether each is heard.
      type: list
      elements: dict
    tie_breaker:
      description: Number of the node with whom half of the votes of the list are enough, null when with none.
      type: int
    resting:
      description: Nodes that will vote by the list, and are not counted until they keep up.
      type: list
      elements: int
    remarks:
      description: What is easily overlooked in how the votes of the list are distributed.
      type: list
      elements: str
    device:
      description: What has votes in the list beside the nodes, null when nothing has.
      type: dict
    node:
      description: Number of the node that says this.
      type: int
    binds:
      description: What decides who can be elected; always V(list), the list of members.
      type: str
    differs:
      description: Where the votes by votequorum's rules say otherwise than the list, empty where they do not.
      type: str
    votequorum:
      description:
        - The votes by votequorum's rules, with ring, nodes, flags, device, and the last gains and losses of quorum.
        - Where its C(counted) is false, its C(reason) says why there are none.
      type: dict
    two_node:
      description:
        - How far the node is with going on without the other one of two, null where C(cluster.two-node) is off.
        - C(in_force) says whether either may, C(able) whether this one could now, and C(claim) how far it is - V(none),
          V(waits) for a shot, V(fencing), V(fenced), V(alone), V(failed) when somebody must act, V(barred) when it must
          not. C(reason) says what to do, and C(last) what came of the last shot.
      type: dict
    forced:
      description:
        - How often an operator forced a quorum, the newest last, with when (C(at)), on which node, C(by) whom, and the
          nodes that are C(outside) until they join again.
      type: list
      elements: dict
    forcing:
      description: What the node is doing to force a quorum, or why that came to nothing, empty for nothing.
      type: str
  sample: {quorate: true, can_commit: true, expected_votes: 3, total_votes: 3, quorum: 2, term: 3, leader: 1,
           tie_breaker: null, resting: [], remarks: [], device: null, node: 1, binds: list, differs: "",
           two_node: null, forced: [], forcing: ""}
reported_by:
  description: URL of the node that RV(quorum) comes from.
  returned: success
  type: str
  sample: https://192.0.2.11:8080
rings:
  description: The rings that the answering nodes are in, by votequorum; empty where no node counts votes.
  returned: success
  type: list
  elements: dict
  contains:
    ring:
      description: Its number.
      type: str
    nodes:
      description: Its members.
      type: list
      elements: int
    quorate:
      description: Whether all of them that answered say that they are quorate.
      type: bool
    reported_by:
      description: URLs of the nodes that are in it and answered.
      type: list
      elements: str
answers:
  description: What each node that answered said, in the order of O(nodes).
  returned: success
  type: list
  elements: dict
  contains:
    url:
      description: URL of the node.
      type: str
    quorum:
      description: Its answer, as RV(quorum).
      type: dict
unreached:
  description: The nodes that gave no usable answer, with the reason.
  returned: always
  type: list
  elements: dict
  sample: [{url: "https://192.0.2.13:8080", reason: Connection refused, code: null, refused: false}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered
from ansible_collections.qhb.qluster.plugins.module_utils._reading import REFUSED_CODES, ask_all


def main():
    module = AnsibleModule(argument_spec=dict(CONNECTION), supports_check_mode=True)
    client = connect(module)
    found = ask_all(client, ask_quorum)
    answers = [{"url": url, "quorum": said} for url, said in found.items() if isinstance(said, dict)]
    unreached = [
        {"url": url, "reason": said.reason, "code": said.code, "refused": said.refused}
        for url, said in found.items() if isinstance(said, Unanswered)
    ]
    if not answers:
        reasons = "; ".join("{url}: {reason}".format(**failure) for failure in unreached)
        module.fail_json(msg=f"No node says how votes stand. {reasons}.", unreached=unreached)
    for failure in unreached:
        if failure["refused"]:
            module.warn("{url}: {reason}".format(**failure))
    best = best_informed(answers)
    module.exit_json(
        changed=False, quorum=best["quorum"], reported_by=best["url"], rings=rings_of(answers), answers=answers,
        unreached=unreached,
    )


def ask_quorum(client, url, deadline):
    """What one node says of votes and quorum."""
    answer = client.ask_node(url, "/quorum", deadline=deadline)
    if answer.code != 200:
        reason = f"GET /quorum: HTTP {answer.code}, {answer.meaning}"
        raise Unanswered(url, reason, answer.code, refused=answer.code in REFUSED_CODES)
    said = answer.document
    if not isinstance(said, dict) or not isinstance(said.get("members"), list) or "term" not in said:
        raise Unanswered(url, "GET /quorum: the answer says nothing of votes: is this the port of qluster?")
    return said


def best_informed(answers):
    """Who knows the latest term, and there the leader; the first of several."""
    return max(answers, key=lambda each: (each["quorum"]["term"], is_leader(each["quorum"])))


def is_leader(said):
    """Whether the node that says this leads; a version that counts no votes does not say who it is."""
    return said.get("leader") is not None and said.get("leader") == said.get("node")


def rings_of(answers):
    """Each ring that an answering node is in, once, by its number."""
    rings = {}
    for each in answers:
        votes = each["quorum"].get("votequorum") or {}
        if not votes.get("counted"):
            continue
        text = votes["ring"]["text"]
        members = [node["node"] for node in votes["nodes"] if node["member"]]
        ring = rings.setdefault(text, {"ring": text, "nodes": members, "quorate": True, "reported_by": []})
        ring["quorate"] = ring["quorate"] and votes["quorate"]
        ring["reported_by"].append(each["url"])
    return [rings[text] for text in sorted(rings, key=lambda text: [int(part, 16) for part in text.split(".")])]


if __name__ == "__main__":
    main()
