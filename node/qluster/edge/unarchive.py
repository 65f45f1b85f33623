"""Brings one WAL file back from the archive: the program behind ``restore_command`` of a recovery.

It must not import anything of the daemon: the server starts it for every segment, with
``python -I -S unarchive.py DIRECTORY NAME TARGET``, and it has to be quick.

A recovery takes "there is no such file" for the end of the WAL, and goes into service there. An archive that
is not mounted, or does not answer, must not look like that: then the exit code is one that ends the recovery.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import sys

NOT_THERE = 1
"""The archive has no such file: the recovery ends here, or goes on with what it has."""
UNUSABLE = 200
"""More than 125: the server ends its recovery with an error instead of believing that WAL ends here."""


def fetch(directory: str, name: str, target: str) -> tuple[int, str]:
    """Copy the file; exit code and, unless it is 0, why."""
    if "/" in name or name.startswith("."):
        return UNUSABLE, f"{name!r} is no name of a WAL file"
    try:
        names = set(os.listdir(directory)) if not os.path.isfile(os.path.join(directory, name)) else {name}
        if not names:
            return UNUSABLE, f"the archive {directory} is empty: is it mounted?"
        if name not in names:
            return NOT_THERE, f"{name} is not in the archive"
        shutil.copyfile(os.path.join(directory, name), target)
    except OSError as error:
        return UNUSABLE, f"{name} cannot be read from {directory}: {error.strerror or error}"
    return 0, ""


def main(arguments: list[str]) -> int:
    """The exit code tells the server whether the file came."""
    if len(arguments) != 3:
        print("usage: unarchive.py DIRECTORY NAME TARGET", file=sys.stderr)
        return UNUSABLE
    code, reason = fetch(*arguments)
    if code == UNUSABLE:
        print(f"qluster unarchive: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
