#!/usr/bin/python
"""Reads what a cluster knows of its tasks."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_task_info
short_description: Read what a cluster knows of its tasks
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Lists tasks, shows one with its trail, its result and why it is where it is, reads its output, and says how many
    there are and what each node has of slots.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.attributes
  - qhb.qluster.attributes.action_group
options:
  gather:
    description:
      - What is read. V(tasks) is the list, or with O(task) that one, V(output) what that one has said.
    type: list
    elements: str
    choices: [tasks, output, summary, templates, schedules]
    default: [tasks]
  task:
    description: Number of a task that is shown, instead of a list.
    type: int
  state:
    description: Only tasks in these states.
    type: list
    elements: str
    choices: [submitted, waiting, assigned, running, succeeded, failed, cancelled, expired, lost]
    default: []
  name:
    description: Only tasks with this name.
    type: str
  template:
    description: Only tasks of this template.
    type: str
  schedule:
    description: Only tasks of this schedule.
    type: str
  key:
    description: Only the task with this key.
    type: str
  node:
    description: Only tasks that the node with this number has, or had last.
    type: int
  limit:
    description: So many tasks at most, the newest first.
    type: int
    default: 100
  output_size:
    description: Bytes of each stream that are returned at most, the end of what is kept where that is more.
    type: int
    default: 65536
  consistency:
    description:
      - Whom to ask, V(leader) for what a majority confirms or V(local) for what the first node that answers knows.
    type: str
    choices: [leader, local]
    default: leader
"""

EXAMPLES = r"""
- name: What has failed lately
  qhb.qluster.qluster_task_info:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/read.token
    ca_file: secrets/ca.crt
    state: [failed, lost]
  register: bad

- name: What the last of them has said
  qhb.qluster.qluster_task_info:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/read.token
    ca_file: secrets/ca.crt
    task: "{{ bad.tasks[0].task }}"
    gather: [tasks, output]
  when: bad.tasks
"""

RETURN = r"""
tasks:
  description: The tasks, the newest first; of the list short, of O(task) all that is known.
  returned: when they are gathered
  type: list
  elements: dict
  sample: [{task: 4711, name: analyze, state: failed, node: 2, reason: it failed, attempts: 1}]
stdout:
  description: The end of what the task wrote to its standard output.
  returned: when output is gathered
  type: str
  sample: "42 rows"
stderr:
  description: The end of what the task wrote to its standard error.
  returned: when output is gathered
  type: str
  sample: ""
output_missing:
  description:
    - Why there is no output, which is a warning as well. The task has not begun, will never begin, or its output had to
      make room for newer. Empty where there is an output, even where nothing was said.
    - Where the node that has the output does not answer the module fails; it may succeed later.
  returned: when output is gathered
  type: str
  sample: "Task 4711 has not begun: waiting, node 1 has not the label gpu"
summary:
  description: How many tasks are in which state, and what each node has of slots and resources.
  returned: when it is gathered
  type: dict
  sample: {states: {running: 2}, ended: {succeeded: 17}, nodes: [{node: 1, slots: 4, used: 1, drained: false}]}
templates:
  description: The templates that the cluster keeps.
  returned: when they are gathered
  type: list
  elements: dict
  sample: [{name: dump, about: "", parameters: {}, task: {command: [/opt/site/bin/dump]}}]
schedules:
  description: The schedules that the cluster keeps, with the next date of each.
  returned: when they are gathered
  type: list
  elements: dict
  sample: [{name: nightly-dump, cron: "30 2 * * *", next: "2030-01-31T01:30:00Z"}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils import _output, _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect, require_between
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

LIMIT_MOST = 100_000
PAGE = 1000
"""Tasks of one answer, as the nodes have it."""
OUTPUT_MOST = 8 * 1024 * 1024
STATES = ["submitted", "waiting", "assigned", "running", *_tasks.FINAL]
FILTERS = ("name", "template", "schedule", "key", "node")


def listed(client, given):
    """The tasks that are meant, page by page."""
    if given["task"] is not None:
        return [_tasks.show(client, given["task"])]
    params = {name: given[name] for name in FILTERS if given[name]}
    if given["state"]:
        params["state"] = ",".join(given["state"])
    params["consistency"] = given["consistency"]
    found = []
    while len(found) < given["limit"]:
        params["limit"] = min(PAGE, given["limit"] - len(found))
        page = client.ask("GET", "/tasks", params=params).document
        found += page["tasks"]
        if page["next"] is None:
            break
        params["before"] = page["next"]
    return found


def gather(client, given):
    """What the module returns."""
    found = {}
    at = {"consistency": given["consistency"]}
    if "tasks" in given["gather"]:
        found["tasks"] = listed(client, given)
    if "output" in given["gather"]:
        found.update(_output.read(client, _tasks.show(client, given["task"]), given["output_size"]))
    if "summary" in given["gather"]:
        found["summary"] = client.ask("GET", "/tasks/summary", params=at).document
    for kind in ("templates", "schedules"):
        if kind in given["gather"]:
            found[kind] = client.ask("GET", f"/task-{kind}", params=at).document[kind]
    return found


def main():
    text = {name: {"type": "str", "no_log": False} for name in ("name", "template", "schedule", "key")}
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            **text,
            "gather": {"type": "list", "elements": "str", "default": ["tasks"],
                       "choices": ["tasks", "output", "summary", "templates", "schedules"]},
            "task": {"type": "int"},
            "state": {"type": "list", "elements": "str", "choices": STATES, "default": []},
            "node": {"type": "int"},
            "limit": {"type": "int", "default": 100},
            "output_size": {"type": "int", "default": 65536},
            "consistency": {"type": "str", "choices": ["leader", "local"], "default": "leader"},
        },
        supports_check_mode=True,
    )
    given = module.params
    require_between(module, "limit", given["limit"], 1, LIMIT_MOST)
    require_between(module, "output_size", given["output_size"], 1, OUTPUT_MOST)
    if "output" in given["gather"] and given["task"] is None:
        module.fail_json(msg="output is of one task: give its number in task.")
    client = connect(module)
    try:
        found = gather(client, given)
        if found.get("output_missing"):
            module.warn(f"There is no output. {found['output_missing']}")
        module.exit_json(changed=False, **found)
    except _tasks.Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=_tasks.vain(failure), code=failure.code)


if __name__ == "__main__":
    main()
