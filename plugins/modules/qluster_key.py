#!/usr/bin/python
"""Takes the steps by which a cluster changes its key, in the file on the controller."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_key
short_description: Take a step in the change of a cluster's key
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Changes the file C(cluster.key) in the directory of the secrets on the controller, one step of a rotation
    at a time. The playbook C(rotate_key) brings each step to all hosts before it takes the next.
  - Each step leaves the file as it is where it was taken already, so an interrupted rotation is gone on with.
  - No key is returned or printed.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what would change.
  diff_mode:
    support: none
    description: Keys are not shown.
  idempotent:
    support: partial
    description: A step that was taken is not taken again.
    details:
      - After V(drop) the next V(add) begins a new rotation.
options:
  directory:
    description: Directory of the secrets.
    type: path
    required: true
  step:
    description:
      - V(show) changes nothing.
      - V(add) makes a key that all hosts are to know, where there is only one.
      - V(send) makes the newest key the one to send with.
      - V(drop) leaves the newest key alone.
    type: str
    choices: [show, add, send, drop]
    default: show
"""

EXAMPLES = r"""
- name: Make a key that all hosts are to know
  qhb.qluster.qluster_key:
    directory: "{{ inventory_dir }}/.secrets"
    step: add
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
sending:
  description: Number of the key to send with.
  returned: success
  type: int
  sample: 1
newest:
  description: Number of the newest key.
  returned: success
  type: int
  sample: 2
known:
  description: Numbers of all keys, the one to send with first.
  returned: success
  type: list
  elements: int
  sample: [1, 2]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._cluster_key import (
    STEPS,
    KeyFileFault,
    content_of,
    newest,
    parse,
    stepped,
)
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked, replace_file


def perform(directory, step, check):
    """Take the step; what the file says after it."""
    path = os.path.join(directory, "cluster.key")
    with open(path, "rb") as file:
        keys = parse(path, file.read())
    after = stepped(path, keys, step)
    if after != keys and not check:
        replace_file(path, content_of(after))
    numbers = [number for number, _text in after]
    return {"changed": after != keys, "sending": numbers[0], "newest": newest(after), "known": numbers}


def perform_alone(directory, step, check):
    """Two rotations at once would overwrite each other's keys: one waits for the other."""
    with locked(directory):
        return perform(directory, step, check)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "step": {"type": "str", "default": "show", "choices": list(STEPS)},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        module.exit_json(**perform_alone(given["directory"], given["step"], module.check_mode))
    except KeyFileFault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(msg=f"The cluster's key cannot be changed: {error}. Run deploy.yml first.")


if __name__ == "__main__":
    main()
