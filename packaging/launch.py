"""Starts the daemon of the release that this file lies in.

It must not import anything but the standard library before the two folders are in place.
Python runs it with -I -S: neither the caller's environment nor the host's packages can get in.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
DEPENDENCIES = os.path.join(ROOT, "lib", TAG)

if not os.path.isdir(DEPENDENCIES):
    there = sorted(name for name in os.listdir(os.path.join(ROOT, "lib")) if name.startswith("cp"))
    sys.exit(
        f"qluster: this release has nothing for {TAG} (it has: {', '.join(there) or 'none'}). "
        "Run the deploy playbook again: it brings what this Python needs."
    )

sys.path[:0] = [os.path.join(ROOT, "lib", "python"), DEPENDENCIES]
sys.argv[0] = os.environ.pop("QLUSTER_LAUNCHER", sys.argv[0])

from qluster.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
