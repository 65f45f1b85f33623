#!/usr/bin/python
"""Keeps a schedule of tasks in a cluster, or removes one."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_task_schedule
short_description: Keep a schedule of tasks in a cluster
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - The cluster submits a task on each date of a cron expression, whoever leads then. A failover neither loses a date
    nor counts one twice.
  - One whose task a template makes may be written with the token for operating. Every other one needs that for
    deploying.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.task_by
  - qhb.qluster.task_stored
  - qhb.qluster.attributes.action_group
options:
  cron:
    description: Minute, hour, day of the month, month and day of the week.
    type: str
  zone:
    description: Time zone of the dates.
    type: str
    default: UTC
  task:
    description:
      - The task, with the options of M(qhb.qluster.qluster_task) by the same names, most often C(template) and
        C(parameters). C(key), C(start), C(expires) and C(needs) have no place here.
    type: dict
  missed:
    description:
      - What becomes of dates on which nobody could start it, V(skip) nothing, V(one) one task, V(all) one for each of
        the last 100, without O(overlap) one after the other.
    type: str
    choices: [skip, one, all]
    default: one
  overlap:
    description: Whether a task is begun although the one before it is not over. Otherwise its date is passed over.
    type: bool
    default: false
  enabled:
    description: Whether dates count.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Dump the database every night
  qhb.qluster.qluster_task_schedule:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    name: nightly-dump
    cron: "30 2 * * *"
    zone: Europe/Berlin
    task:
      template: dump
      parameters: {database: application}
"""

RETURN = r"""
schedule:
  description: The schedule as the cluster has it now, V(null) where there is none. In check mode as it was.
  returned: success
  type: dict
  sample: {name: nightly-dump, cron: "30 2 * * *", zone: Europe/Berlin, next: "2030-01-31T01:30:00Z", last_task: null}
"""

from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils import _stored, _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION

FIELDS = {"cron": None, "zone": "UTC", "missed": "one", "overlap": False, "enabled": True}
"""Beside the task, with what they are where nobody says it."""


def wanted(given):
    """The body of the request."""
    return {**{name: given[name] for name in FIELDS}, "task": _tasks.plain(given["task"])}


def simple(schedule):
    """A schedule in the form in which two are compared."""
    task = dict(schedule["task"])
    # An answer has the template beside the task, a request in it.
    template = schedule.get("template") or task.get("template")
    if template:
        given = schedule.get("parameters") or task.get("parameters") or {}
        task = {"template": template, "parameters": given,
                **{name: task[name] for name in ("name", "priority") if name in task}}
    fields = {name: schedule.get(name, default) for name, default in FIELDS.items()}
    return {**fields, "cron": " ".join(str(fields["cron"]).split()), "task": _tasks.canonical(task)}


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "by": _tasks.BY,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "cron": {"type": "str"},
            "zone": {"type": "str", "default": "UTC"},
            "task": {"type": "dict"},
            "missed": {"type": "str", "choices": ["skip", "one", "all"], "default": "one"},
            "overlap": {"type": "bool", "default": False},
            "enabled": {"type": "bool", "default": True},
        },
        required_if=[("state", "present", ("cron", "task"))],
        supports_check_mode=True,
    )
    given = module.params
    body = wanted(given) if given["state"] == "present" else None
    _stored.run(module, "schedule", f"/task-schedules/{quote(given['name'], safe='')}", body, simple)


if __name__ == "__main__":
    main()
