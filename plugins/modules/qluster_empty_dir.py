#!/usr/bin/python
"""Empties a directory without removing it, and refuses where that would be a mistake."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_empty_dir
short_description: Empty a database directory or a WAL archive safely
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Removes everything in a directory, but not the directory itself, which may be a mount point.
  - Refuses directories of the system, a directory that does not look like what O(kind) says,
    and a database directory whose server still runs.
  - Stays on one file system; a mount point inside is an error before anything is removed.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would remove.
    details:
      - A server that still runs is no error then, because the task that would stop it has not done so.
  diff_mode:
    support: none
    description: Shows no difference.
  idempotent:
    support: full
    description: An empty directory stays as it is.
options:
  path:
    description: The directory. One that is not there counts as empty.
    type: path
    required: true
  kind:
    description:
      - What the directory must look like.
      - V(database) has C(PG_VERSION), or the marks of a copy that was not finished.
      - V(archive) has nothing but WAL segments, histories, backup labels, and their unfinished copies.
    type: str
    choices: [database, archive]
    required: true
  remove:
    description: Whether the directory itself is removed too, unless it is a mount point.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Empty the database directory
  qhb.qluster.qluster_empty_dir:
    path: /opt/qhb-data
    kind: database
"""

RETURN = r"""
entries:
  description: Number of entries in the directory that were removed, or would be.
  returned: success
  type: int
  sample: 24
bytes:
  description: Their size.
  returned: success
  type: int
  sample: 40370176
"""

import contextlib
import os
import re
import shutil

from ansible.module_utils.basic import AnsibleModule

SYSTEM = re.compile(r"/|/(bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)"
                    r"|/(usr|var)/[^/]+|/home/[^/]+")
DATABASE_MARKS = ("backup_manifest", ".qluster-old", ".qluster-new", "base", "global", "PG_VERSION")
"""Any of these says that a database, or a part of one, lies here. They go last: an emptying that was
interrupted can go on."""
ARCHIVE_NAME = re.compile(
    r"(\.?[0-9A-F]{8}([0-9A-F]{16})?(\.history|\.partial|\.[0-9A-F]{8}\.backup)?(\.gz|\.lz4|\.zst)?"
    r"([.~-][A-Za-z0-9_.-]*)?|\..*|lost\+found)")
SYSTEM_ID = re.compile(r"[0-9]{10,20}")
"""A database's folder in the archive."""
SHOWN_MAX = 5
"""Names in a message; more would hide its point."""


class Refusal(Exception):
    """The directory must not be emptied; the text says why."""


def running(path):
    """The process that serves a database directory, None when none does."""
    try:
        with open(os.path.join(path, "postmaster.pid"), encoding="utf-8") as file:
            pid = int(file.readline())
        works_in = os.readlink(f"/proc/{pid}/cwd")
    except (OSError, ValueError):
        return None
    return pid if os.path.realpath(path) == os.path.realpath(works_in) else None


def check_kind(path, kind, names, check):
    if kind == "database":
        pid = None if check else running(path)
        if pid is not None:
            raise Refusal(f"{path} is in use: its server runs as process {pid}. Stop the daemon first, "
                          "and resume a cluster that is paused: its databases outlive their daemons.")
        if not any(name in names for name in DATABASE_MARKS):
            raise Refusal(f"{path} does not look like a database directory (it has {some(names)}). "
                          f"Look at it, and empty it by hand if that is right.")
        return
    strange = [name for name in names if ARCHIVE_NAME.fullmatch(name) is None and SYSTEM_ID.fullmatch(name) is None]
    for name in names:
        if SYSTEM_ID.fullmatch(name):
            strange += [f"{name}/{inside}" for inside in names_in(os.path.join(path, name))
                        if ARCHIVE_NAME.fullmatch(inside) is None]
    if strange:
        raise Refusal(f"{path} has more than archived WAL ({some(strange)}). "
                      f"Look at it, and move what does not belong there.")


def names_in(path):
    """What a database's folder of the archive holds; another host may just have removed it."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return ["is no directory"]


def some(names):
    more = len(names) - SHOWN_MAX
    return ", ".join(sorted(names)[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def measure(path, device):
    """Size of everything below a path; a mount point below it is refused."""
    total = 0
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return 0  # another host has just removed what both share
    for entry in entries:
        try:
            there = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # another host has just emptied what both share
        if there.st_dev != device:
            raise Refusal(f"{entry.path} is on another file system: unmount it, or empty it by hand.")
        total += there.st_size
        if entry.is_dir(follow_symlinks=False):
            total += measure(entry.path, device)
    return total


def rank(name):
    """Ordinary names first, then the marks, what says most at the very end."""
    return DATABASE_MARKS.index(name) if name in DATABASE_MARKS else -1


def remove(path):
    """Remove a file or a tree; a network directory may be emptied by several hosts at once."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, onerror=bear_absence)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def bear_absence(_function, _path, failure):
    """What is gone already needs no removal."""
    if not issubclass(failure[0], FileNotFoundError):
        raise failure[1]


def empty(path, kind, check):
    """Empty the directory; answer how much there was."""
    real = os.path.realpath(path)
    if not os.path.isabs(path) or SYSTEM.fullmatch(real):
        raise Refusal(f"{path} is never emptied: it belongs to the system. Use a directory of its own.")
    try:
        names = [name for name in os.listdir(real) if name != "lost+found"]
    except FileNotFoundError:
        return {"entries": 0, "bytes": 0}
    if not names:
        return {"entries": 0, "bytes": 0}
    check_kind(real, kind, names, check)
    try:
        size = measure(real, os.stat(real).st_dev)
    except FileNotFoundError:
        return {"entries": 0, "bytes": 0}
    for name in sorted(names, key=rank) if not check else ():
        inside = os.path.join(real, name)
        remove(inside)
    return {"entries": len(names), "bytes": size}


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "kind": {"type": "str", "choices": ["database", "archive"], "required": True},
            "remove": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        found = empty(module.params["path"], module.params["kind"], module.check_mode)
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))
    path = module.params["path"]
    removable = module.params["remove"] and os.path.isdir(path) and not os.path.ismount(path)
    if removable and not module.check_mode:
        try:
            remove(path)
        except OSError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=found["entries"] > 0 or removable, **found)


if __name__ == "__main__":
    main()
