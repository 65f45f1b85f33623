"""Says once how something by a name that stays in a cluster is kept there."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and say what it would do without changing anything.
    support: full
    details:
      - The cluster judges nothing then.
  diff_mode:
    description: Says in diff mode what it changed or would change.
    support: full
    details:
      - Shows what is kept under the name, before and after.
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
options:
  name:
    description: Name under which it is kept.
    type: str
    required: true
  state:
    description: Whether it is to be there. Tasks that it made stay.
    type: str
    choices: [present, absent]
    default: present
"""
