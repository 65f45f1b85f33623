#!/usr/bin/python
"""Asks the arbiter of one host, by its tool, which clusters it serves."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_arbiter_info
short_description: Ask an arbiter which clusters it serves
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Asks the arbiter of this host, by C(qluster-qnetd-tool), how it is, and which clusters and nodes it serves.
  - It runs on the arbiter's host, as root or as the arbiter's user, and waits for an arbiter that is just starting.
extends_documentation_fragment:
  - qhb.qluster.attributes
options:
  tool:
    description: Path of the tool.
    type: path
    default: /usr/local/bin/qluster-qnetd-tool
  socket:
    description: Path of the arbiter's Unix socket.
    type: path
    default: /run/qluster-qnetd/qnetd.sock
  timeout:
    description: Seconds that an arbiter that does not answer yet is waited for.
    type: float
    default: 5.0
"""

EXAMPLES = r"""
- name: Ask the arbiter
  qhb.qluster.qluster_arbiter_info:
  register: asked

- name: See that it serves the cluster
  ansible.builtin.assert:
    that: "'main' in asked.arbiter.clusters | map(attribute='name')"
"""

RETURN = r"""
arbiter:
  description: What C(qluster-qnetd-tool --json) says.
  returned: success
  type: dict
  contains:
    address:
      description: Where it listens.
      type: str
      sample: "*:5403"
    tls:
      description: Whether it speaks TLS.
      type: str
      sample: required
    connected_clients:
      description: How many clients there are.
      type: int
      sample: 2
    clusters:
      description: The clusters that have clients, each with its name, algorithm, tie-breaker and nodes.
      type: list
      elements: dict
"""

import json
import time

from ansible.module_utils.basic import AnsibleModule

UNREACHED = 3
"""The tool's exit code when the arbiter does not answer."""
PAUSE = 0.2
"""Seconds between two questions."""


class Unclear(Exception):
    """The arbiter does not answer, or not as expected; the text says what to do."""


def ask(run, command, timeout, clock=time.monotonic, pause=time.sleep):
    """What the arbiter says; one that does not answer is asked again until the time is over."""
    end = clock() + timeout
    while True:
        code, out, said = run(command)
        if code != UNREACHED or clock() >= end:
            break
        pause(PAUSE)
    if code == UNREACHED:
        raise Unclear(f"{said.strip()} It was waited for {timeout:g} s; its log says why: journalctl -u qluster-qnetd.")
    if code != 0:
        raise Unclear(f"{' '.join(command)} ended with {code}: {said.strip() or out.strip()}")
    try:
        answer = json.loads(out)
    except ValueError as error:
        raise Unclear(f"{' '.join(command)} answers what is no JSON ({error}). Is it the tool of this release?"
                      ) from None
    if not isinstance(answer, dict) or "clusters" not in answer:
        raise Unclear(f"{' '.join(command)} answers {out.strip()[:60]!r}: that is not what an arbiter says.")
    return answer


def main():
    module = AnsibleModule(
        argument_spec={
            "tool": {"type": "path", "default": "/usr/local/bin/qluster-qnetd-tool"},
            "socket": {"type": "path", "default": "/run/qluster-qnetd/qnetd.sock"},
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    options = module.params
    if options["timeout"] < 0:
        module.fail_json(msg=f"timeout is {options['timeout']:g}: give seconds, 0 to ask once.")
    try:
        answer = ask(module.run_command, [options["tool"], "--json", "-p", options["socket"]], options["timeout"])
    except Unclear as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=False, arbiter=answer)


if __name__ == "__main__":
    main()
