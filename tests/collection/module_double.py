"""Stands in for AnsibleModule where a module's own functions are tried without Ansible around them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any


class Asked:
    """What a module's functions look at: the options, and whether it is check mode."""

    def __init__(self, *, check_mode: bool = False, **params: Any) -> None:
        self.params = params
        self.check_mode = check_mode

    def selinux_enabled(self) -> bool:
        """Labels are not tried here."""
        return False
