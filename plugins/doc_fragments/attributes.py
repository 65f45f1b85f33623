"""Says once which attributes the modules of this collection have."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    # For modules that only read.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and say what it would do without changing anything.
    support: full
    details:
      - It only reads, so check mode makes no difference.
  diff_mode:
    description: Says in diff mode what it changed or would change.
    support: N/A
    details:
      - It changes nothing.
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing.
    support: full
    details:
      - It changes nothing.
"""

    # For every module that takes the connection options.
    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/qhb.qluster.qluster) in C(module_defaults) to set the connection options once.
    support: full
    membership:
      - qhb.qluster.qluster
"""
