#!/usr/bin/python
"""Keeps a template of tasks in a cluster, or removes one."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_task_template
short_description: Keep a template of tasks in a cluster
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - A template is a task to be filled in. Whoever may operate the cluster may submit what it says, with the parameters
    that it lets through, and nothing else.
  - Writing one needs the token for deploying, which deploy.yml makes on the controller as C(deploy.token).
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.task_by
  - qhb.qluster.task_stored
  - qhb.qluster.attributes.action_group
options:
  task:
    description:
      - The task, with the options of M(qhb.qluster.qluster_task) by the same names; C(key), C(start), C(expires) and
        C(needs) are for who submits it.
      - C({name}) in a word of C(command) or of C(arguments), or in a value of C(environment), stands for the parameter
        of this name. Statements of C(sql) get parameters as variables. In C(shell) nothing is filled in, its text names
        variables of C(environment).
    type: dict
  parameters:
    description:
      - Parameters by name, each with a C(default), or none where one must be given, and a C(pattern) that the
        whole value must match. Without a pattern it is one line that does not begin with a dash.
    type: dict
  about:
    description: What it is for, for people.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Let operators dump a database
  qhb.qluster.qluster_task_template:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/deploy.token
    ca_file: secrets/ca.crt
    name: dump
    about: Dumps one database on a replica
    task:
      command: [/opt/site/bin/dump, "{database}"]
      target: {role: replica, least_lag: true}
      time_limit: 2h
    parameters:
      database: {pattern: "[a-z_]+"}
"""

RETURN = r"""
template:
  description: The template as the cluster has it now, V(null) where there is none. In check mode as it was.
  returned: success
  type: dict
  sample: {name: dump, about: "", parameters: {}, task: {command: [/opt/site/bin/dump]}}
"""

from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils import _stored, _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION


def parameters(given):
    """The parameters as they are sent."""
    return {name: {field: _tasks.as_text(value) for field, value in (one or {}).items() if value is not None}
            for name, one in (given or {}).items()}


def wanted(given):
    """The body of the request."""
    return {"task": _tasks.plain(given["task"]), "parameters": parameters(given["parameters"]),
            "about": given["about"]}


def simple(template):
    """A template in the form in which two are compared."""
    given = {name: {"default": one.get("default"), "pattern": one.get("pattern") or ""}
             for name, one in template["parameters"].items()}
    return {"about": template["about"], "parameters": given, "task": _tasks.canonical(template["task"])}


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "by": _tasks.BY,
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "task": {"type": "dict"},
            "parameters": {"type": "dict"},
            "about": {"type": "str", "default": ""},
        },
        required_if=[("state", "present", ("task",))],
        supports_check_mode=True,
    )
    given = module.params
    body = wanted(given) if given["state"] == "present" else None
    _stored.run(module, "template", f"/task-templates/{quote(given['name'], safe='')}", body, simple)


if __name__ == "__main__":
    main()
