"""How tests become nobody where they run as root: PostgreSQL and PgBouncer refuse root."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess

AS_NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
"""A user namespace in which root's processes are nobody, and still reach root's files."""


def lacking() -> str:
    """Why nobody cannot be had here; "" when it can."""
    try:
        end = subprocess.run([*AS_NOBODY, "true"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if end.returncode == 0 else end.stderr.strip() or "unshare failed"


def prefix() -> list[str]:
    """What stands before a command that must not be root's: nothing where it is not, or cannot be helped."""
    return AS_NOBODY if os.geteuid() == 0 and not lacking() else []
