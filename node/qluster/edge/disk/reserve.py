"""Space held back, so that a node whose disk is full can still say whom it voted for.

It must not know what the space is needed for; ``store.py`` gives it up and takes it again.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os

RESERVE_SIZE = 4 * 1024 * 1024
"""What can be under way when the disk fills up (a few turns of entries), and votes for years after it."""
_FILE = "reserve"


class Reserve:
    """One file that does nothing but take up space."""

    def __init__(self, directory: str, size: int = RESERVE_SIZE) -> None:
        self._directory = directory
        self._path = os.path.join(directory, _FILE)
        self._size = size
        self.held = False
        """Whether the space is held now."""

    def take(self, spare: int = 0) -> bool:
        """Hold the space, where as much again, or ``spare``, is left for others; False where it is not."""
        if self.held:
            return self._left() >= spare
        try:
            self._make(max(spare, self._size))
        except OSError:
            self.release()
        else:
            self.held = True
        return self.held

    def _make(self, spare: int) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if self._left() < spare:
            raise OSError(0, "too little would be left")

    def _left(self) -> int:
        """Bytes that are free beside it."""
        left = os.statvfs(self._directory)
        return left.f_bavail * left.f_frsize

    def release(self) -> bool:
        """Give the space back; True when there was some."""
        held, self.held = self.held, False
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        return held
