"""One at a time in a directory that hosts share: a lock that the kernel or the file server holds.

It must not know what is done meanwhile.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from qluster.edge.postgres.repository import RepositoryBusy, RepositoryFailed


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Held for as long as the process lives at most; raises :class:`RepositoryBusy` when another holds it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RepositoryBusy(f"another backup is being taken into {file.parent}") from None
        except OSError as error:
            raise RepositoryFailed(
                f"{file} cannot be locked ({error.strerror}): the file system of the repository "
                "must know locks; mount it with them"
            ) from error
        yield
    finally:
        os.close(descriptor)
