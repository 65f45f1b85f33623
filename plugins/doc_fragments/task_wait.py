"""Says once how a module waits for the end of something that the cluster does."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Wait for the end. Left out, the module comes back at once.
      - A failover meanwhile is borne. The nodes are asked again until one answers.
    type: dict
    suboptions:
      timeout:
        description: Seconds to wait at most. The module fails when it has not ended by then.
        type: int
        required: true
      delay:
        description: Seconds between two looks at most; the first ones follow each other faster.
        type: float
        default: 2.0
"""
