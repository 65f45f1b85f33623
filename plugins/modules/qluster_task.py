#!/usr/bin/python
"""Submits tasks to a cluster, waits for them, cancels them."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_task
short_description: Have a cluster run a task, or cancel one
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - A task is submitted to the cluster, not to a host. The cluster decides where it runs, and it survives every
    failover.
  - What a task may be, and what is guaranteed, says docs/tasks.md of the project. Without a template only what the
    hosts allow may be submitted.
extends_documentation_fragment:
  - qhb.qluster.connection
  - qhb.qluster.task_by
  - qhb.qluster.task_wait
  - qhb.qluster.attributes.action_group
attributes:
  check_mode:
    support: full
    description: Asks the cluster where the task would run, without submitting it.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: partial
    description: With O(key) a second run submits nothing. Without it each run submits a task.
options:
  state:
    description:
      - V(present) submits, and fails when O(wait) is given and the task does not succeed.
      - V(cancelled) cancels the task with the number O(task) or the key O(key). One that runs is stopped.
    type: str
    choices: [present, cancelled]
    default: present
  key:
    description:
      - While a task with this key is known, that one is meant, and nothing is submitted. It must be the same task, one
        that runs something else or elsewhere is refused.
      - Left out, a request whose answer was lost is still not carried out twice, but each run of the module is a
        request of its own.
    type: str
  task:
    description: Number of a task, to wait for it or to cancel it.
    type: int
  tasks:
    description:
      - Several tasks that are taken on all or none, each with the options of one task by the same names.
      - C(needs) of one may name another one of the list. V(-1) is the first.
    type: list
    elements: dict
  command:
    description: Absolute path of a program, and its arguments. No shell reads them.
    type: list
    elements: str
  shell:
    description: Text for C(/bin/sh -c), where the hosts allow that.
    type: str
  sql:
    description: Statements for the database of the node that runs the task.
    type: str
  script:
    description: Python for the Dask cluster, where there is one.
    type: str
  template:
    description: Name of a template that the cluster keeps.
    type: str
  parameters:
    description: Values of the template's parameters.
    type: dict
  arguments:
    description: Arguments of O(script).
    type: list
    elements: str
  environment:
    description: Variables of the program's environment.
    type: dict
  directory:
    description: Where the program runs. Left out, in a directory of its own that goes with its output.
    type: str
  user:
    description: Who runs the program, of those that the hosts allow. Left out, the one that the host has for tasks.
    type: str
  database:
    description: Database of O(sql). The cluster takes C(postgres) when this is left out.
    type: str
  role:
    description: Role of the database that runs O(sql).
    type: str
  variables:
    description: Variables of O(sql), named there as C(:'name') or C(:"name"), which quotes them.
    type: dict
  name:
    description: Name for people.
    type: str
  target:
    description:
      - On which node it runs. C(role) is V(any), V(leader), V(replica) or V(pooler), C(nodes) a list of their
        numbers, and C(where) an expression over labels such as V(disk=ssd, zone!=b, gpu).
      - C(least_lag) chooses the replica that lacks the least, C(pack) the fullest node that has room, C(each) runs it
        once on every node that fits, and with C(fail) it fails where no node could ever run it.
    type: dict
  priority:
    description: From 0 to 9; the largest goes first. The cluster takes 5 when this is left out.
    type: int
  slots:
    description: What it takes of its node's slots. The cluster takes 1 when this is left out.
    type: int
  resources:
    description: What it takes of its node's other resources.
    type: dict
  time_limit:
    description: It is stopped after this, as seconds or as V(90m); V(0) never. The cluster takes an hour when left out.
    type: str
  start:
    description: Not before this date, with its zone, such as V(2030-01-31T02:30:00Z).
    type: str
  expires:
    description: Not begun after this date.
    type: str
  retry:
    description:
      - What follows a failure. C(attempts) says how many more, C(delay) the pause before the first of them,
        C(factor) how much longer each later one is, C(delay_max) up to what.
    type: dict
  once:
    description: Run it at most once; one whose end nobody saw is V(lost) then. Otherwise it is run again.
    type: bool
  overlap:
    description: It may go on where its node is cut off, although it may then run twice at the same time.
    type: bool
  moved:
    description: What becomes of it when the role moves that it is for. The cluster takes V(stop) when this is left out.
    type: str
    choices: [stop, restart, stay]
  needs:
    description:
      - Tasks that must be over first. Each is a number, or C(task) with C(on) V(success), V(failure) or V(any).
    type: list
    elements: raw
  group:
    description: Name of a group of which only so many run at once.
    type: str
  group_limit:
    description: How many of the group. The cluster takes 1 when this is left out.
    type: int
  limits:
    description:
      - What one attempt may use, by C(memory) in bytes, C(cpu) in processors, C(processes), C(output) in bytes.
    type: dict
  reason:
    description: Why it is cancelled, for people.
    type: str
  accept:
    description: States in which a task that was waited for may have ended without the module's failing.
    type: list
    elements: str
    choices: [succeeded, failed, cancelled, expired, lost]
    default: [succeeded]
"""

EXAMPLES = r"""
- name: Analyze the database on the leader, once a day however often this runs
  qhb.qluster.qluster_task:
    nodes: [https://192.0.2.11:8080, https://192.0.2.12:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    template: analyze
    parameters: {database: application}
    key: "analyze-{{ '%Y-%m-%d' | strftime }}"
    wait: {timeout: 600}
  register: analyzed

- name: Show what it said
  ansible.builtin.debug:
    msg: "{{ analyzed.tail }}"

- name: Load two files at a time, and count when all are there
  qhb.qluster.qluster_task:
    nodes: [https://192.0.2.11:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    tasks:
      - {command: [/opt/load/bin/load, monday.csv], group: load, group_limit: 2}
      - {command: [/opt/load/bin/load, tuesday.csv], group: load, group_limit: 2}
      - {command: [/opt/load/bin/count], needs: [-1, -2]}
    wait: {timeout: 3600}

- name: Cancel a task
  qhb.qluster.qluster_task:
    nodes: [https://192.0.2.11:8080]
    token_file: secrets/operate.token
    ca_file: secrets/ca.crt
    task: 4711
    state: cancelled
    reason: it loads the wrong file
"""

RETURN = r"""
task:
  description: Number of the task, or of the first of several. Left out in check mode when there is none yet.
  returned: when it is known
  type: int
  sample: 4711
state:
  description: State of that task.
  returned: when it is known
  type: str
  sample: succeeded
result:
  description: What is known of the last attempt of that task that ended, V(null) before that.
  returned: when it is known
  type: dict
  sample: {code: 0, signal: 0, seconds: 3.1, cpu_seconds: 2.9, memory_bytes: 41943040}
tail:
  description: The end of what that task said.
  returned: when it is known
  type: str
  sample: "42 rows"
tasks:
  description: All tasks that are meant, each as GET /tasks/{task} shows it.
  returned: success
  type: list
  elements: dict
  sample: [{task: 4711, name: analyze, state: succeeded, node: 2, reason: ""}]
placements:
  description: In check mode, where each task would run now, and what stands against each node that could not run it.
  returned: in check mode, when something would be submitted
  type: list
  elements: dict
  sample: [{nodes: [2], reasons: {"1": is no replica}}]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils import _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import CONNECTION, connect, require_between
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered

WORKS = ("command", "shell", "sql", "script", "template")
WAIT_MOST = 7 * 86400
OPTIONS = {
    **{name: {"type": "str"} for name in (
        "shell", "sql", "script", "template", "directory", "user", "database", "role", "name", "time_limit",
        "start", "expires", "group")},
    **{name: {"type": "dict"} for name in (
        "parameters", "environment", "variables", "target", "resources", "retry", "limits")},
    **{name: {"type": "int"} for name in ("priority", "slots", "group_limit")},
    **{name: {"type": "list", "elements": "str"} for name in ("command", "arguments")},
    "once": {"type": "bool"},
    "overlap": {"type": "bool"},
    "moved": {"type": "str", "choices": ["stop", "restart", "stay"]},
    "needs": {"type": "list", "elements": "raw"},
}
"""Options of one task, by the names that the cluster has for them."""

WAIT = {"type": "dict", "options": {"timeout": {"type": "int", "required": True},
                                    "delay": {"type": "float", "default": 2.0}}}


def wanted(given):
    """The body of the request."""
    if given["tasks"] is not None:
        return {"tasks": [_tasks.plain(task) for task in given["tasks"]]}
    task = _tasks.plain({name: given[name] for name in OPTIONS})
    if given["key"]:
        task["key"] = given["key"]
    return task


def known(client, key):
    """Number of the task with this key, None where there is none."""
    found = client.ask("GET", "/tasks", params={"key": key, "limit": 1, "consistency": "leader"}).document["tasks"]
    return found[0]["task"] if found else None


def keys_of(body):
    """Key of each task of a request."""
    return [task.get("key") for task in body.get("tasks", [body])]


def submit(client, given, check):
    """Submit what is not known yet; numbers, whether something changed, and where it would run."""
    body = wanted(given)
    if check:
        numbers = [known(client, key) if key else None for key in keys_of(body)]
        if None not in numbers:
            return numbers, False, None
        answer = client.ask("POST", "/tasks", params={"check": "true"}, body=body)
        return [number for number in numbers if number], True, answer.document["placements"]
    answer = client.ask("POST", "/tasks", params={"by": given["by"]}, body=body).document
    if answer["tasks"] is None:
        raise _tasks.Refusal("The tasks were taken on, and their numbers are forgotten. qluster_task_info finds them.")
    return answer["tasks"], bool(set(answer["tasks"]) - set(answer["known"])), None


def cancel(client, given, check):
    """Cancel the task; its number, None where no task has the key, and whether something changed."""
    number = given["task"] or known(client, given["key"])
    if number is None:
        return None, False
    found = _tasks.show(client, number)
    if _tasks.over(found) or found["cancelling"]:
        return number, False
    if check:
        return number, True
    params = {"by": given["by"], **({"reason": given["reason"]} if given["reason"] else {})}
    return number, client.ask("DELETE", f"/tasks/{number}", params=params).document["changed"]


def look(client, numbers, wait):
    """The tasks as they are, or once all are over; those first in time that are not."""
    if wait is None:
        return [_tasks.show(client, number) for number in numbers], []
    deadline = time.monotonic() + wait["timeout"]
    found = []
    for number in numbers:
        left = max(0.0, deadline - time.monotonic())
        found.append(
            _tasks.wait_for(lambda number=number: _tasks.show(client, number), _tasks.over, left, wait["delay"])[0]
        )
    return found, [task for task in found if not _tasks.over(task)]


def shown(found):
    """What the module returns of tasks."""
    if not found:
        return {"tasks": []}
    first = found[0]
    result = first.get("result")
    tail = (result or {}).get("tail", "")
    return {"tasks": found, "task": first["task"], "state": first["state"], "result": result, "tail": tail}


def judge(found, unfinished, given):
    """Raise Refusal where a task that was waited for is not over, or ended otherwise than was wanted."""
    if given["wait"] is None:
        return
    if unfinished:
        lines = "; ".join(_tasks.line(task) for task in unfinished[:5])
        limit = given["wait"]["timeout"]
        raise _tasks.Refusal(f"Not over after {limit} s: {lines}. It goes on; wait longer, or cancel it.")
    accepted = given["accept"] if given["state"] == "present" else _tasks.FINAL
    bad = [task for task in found if task["state"] not in accepted]
    if bad:
        tail = (bad[0].get("result") or {}).get("tail", "").strip()
        said = f"\nIt said at last:\n{tail}" if tail else ""
        raise _tasks.Refusal("; ".join(_tasks.line(task) for task in bad[:5]) + said)


def perform(client, given, check):
    """Do it; what the module returns, and what stands against it ("": nothing)."""
    result = {"changed": False}
    if given["state"] == "cancelled":
        number, result["changed"] = cancel(client, given, check)
        numbers = [] if number is None else [number]
    elif given["task"] is not None:
        numbers = [given["task"]]
    else:
        numbers, result["changed"], placements = submit(client, given, check)
        if placements is not None:
            result["placements"] = placements
    wait = None if check and result["changed"] else given["wait"]
    found, unfinished = look(client, numbers, wait)
    result.update(shown(found))
    try:
        judge(found, unfinished, {**given, "wait": wait})
    except _tasks.Refusal as refusal:
        return result, str(refusal)
    return result, ""


def fit(module):
    """End the module where its options contradict each other."""
    given = module.params
    works = [name for name in WORKS if given[name] is not None]
    if given["state"] == "cancelled":
        if (given["task"] is None) == (not given["key"]):
            module.fail_json(msg="state is cancelled: give the number (task) or the key of the task, not both.")
        if works or given["tasks"] is not None:
            module.fail_json(msg="state is cancelled: name the task by task or key, not by what it runs.")
        return
    if given["task"] is not None or given["tasks"] is not None:
        single = [name for name in (*OPTIONS, "key") if given[name] is not None]
        if single or (given["task"] is not None and given["tasks"] is not None):
            name = "task" if given["task"] is not None else "tasks"
            module.fail_json(msg=f"{name} is given, so that {', '.join(single) or 'tasks'} has no meaning beside it.")
    elif len(works) != 1:
        module.fail_json(msg=f"A task runs one of {', '.join(WORKS)}; given: {', '.join(works) or 'none'}.")


def main():
    module = AnsibleModule(
        argument_spec={
            **CONNECTION,
            "by": _tasks.BY,
            **OPTIONS,
            "state": {"type": "str", "choices": ["present", "cancelled"], "default": "present"},
            "key": {"type": "str", "no_log": False},
            "task": {"type": "int"},
            "tasks": {"type": "list", "elements": "dict"},
            "reason": {"type": "str"},
            "accept": {"type": "list", "elements": "str", "choices": list(_tasks.FINAL), "default": ["succeeded"]},
            "wait": WAIT,
        },
        supports_check_mode=True,
    )
    fit(module)
    wait = module.params["wait"]
    if wait is not None:
        require_between(module, "wait.timeout", wait["timeout"], 0, WAIT_MOST)
        require_between(module, "wait.delay", wait["delay"], 0.1, 60)
    client = connect(module)
    try:
        result, against = perform(client, module.params, module.check_mode)
    except _tasks.Refusal as refusal:
        module.fail_json(msg=str(refusal))
    except Unanswered as failure:
        module.fail_json(msg=_tasks.vain(failure), code=failure.code)
    if against:
        module.fail_json(msg=against, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
