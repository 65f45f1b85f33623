"""What is done as a user of tasks, who alone may: to empty his directories, to find what he left running.

It must not know for which run. Each is done in a process of its own that becomes the user first, so that whatever he
put there leads to nothing but his own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from qluster.edge.runner import kin, rights
from qluster.edge.runner.program import PR_SET_PDEATHSIG, prctl

HANGS = 10.0
"""Seconds after which what was killed, and does not go, is given up: it hangs in the kernel."""


def sweep(directory: int, users: rights.Users) -> None:
    """Empty a directory, as its owner."""
    _be(rights.name_of(os.fstat(directory).st_uid), users)
    os.fchdir(directory)
    empty(Path())


def end(user: str, mark: str, users: rights.Users) -> None:
    """Kill what that user runs with this mark, until nothing is left."""
    _be(user, users)
    kin.until_nothing(lambda: kin.kill_marked(mark) > 0, HANGS)


def _be(user: str, users: rights.Users) -> None:
    rights.become(user, users)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change, which would undo it


def empty(directory: Path) -> None:
    """Remove all that is in it and can be, also below directories that were made unwritable."""
    with contextlib.suppress(OSError):
        for place, inner, _ in os.walk(directory):
            for name in inner:
                path = os.path.join(place, name)
                if not os.path.islink(path):
                    with contextlib.suppress(OSError):
                        os.chmod(path, 0o700)
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(directory)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
