"""Says once who is named in the history of tasks."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  by:
    description: Who wants it, for the history that the cluster keeps.
    type: str
    default: ansible
"""
