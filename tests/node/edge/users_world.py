"""A runner's host with users: services that are no root, and the rights that their units lend them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS, THEIRS, FURTHER = "nobody", "daemon", "games"
"""Users of any Linux: the runner's, that of tasks, and one more."""
RIGHTS = ("chown", "kill", "setgid", "setuid")


def lacking() -> str:
    """Why this cannot be had here; "" where it can."""
    if os.geteuid() != 0:
        return "only root can lend a runner the right to become other users"
    if not shutil.which("setpriv") or not shutil.which("unshare"):
        return "there is no setpriv or no unshare (util-linux)"
    try:
        for user in (OURS, THEIRS, FURTHER):
            pwd.getpwnam(user)
    except KeyError as error:
        return str(error)
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False).stderr


def words(python: Path, rights: tuple[str, ...] = RIGHTS, hidden: str = "") -> list[str]:
    """A prefix of a command line: as our user, with these rights and no way to more. The interpreter may lie where only
    root gets to, so it is mounted where everybody does. ``hidden``: options of a /proc that hides others' processes."""
    listed = ",".join(f"+{right}" for right in rights) or "-all"
    mounted = f"mount -t proc -o {hidden} proc /proc && " if hidden else ""
    mounted += f'mount --bind {sys.base_prefix} {python} && exec setpriv --reuid {OURS} --regid nogroup --clear-groups '
    if rights:
        mounted += f"--inh-caps {listed} --ambient-caps {listed} "
    mounted += f'--bounding-set -all,{listed} --no-new-privs {python}/bin/python3 "$@"'
    return ["unshare", "-m", "--propagation", "private", "sh", "-c", mounted, "runner"]


@contextmanager
def passable() -> Iterator[Path]:
    """A directory that other users can pass."""
    root = Path(tempfile.mkdtemp(prefix="qluster-users-"))
    root.chmod(0o711)
    (root / "python").mkdir()
    (root / "ours").mkdir(mode=0o700)
    (root / "works").mkdir()
    (root / "works").chmod(0o711)
    for name in ("ours", "works"):
        shutil.chown(root / name, OURS)
    (root / "ours" / "secret").write_text("secret")
    shutil.chown(root / "ours" / "secret", OURS)
    try:
        yield root
    finally:
        shutil.rmtree(root)
