"""The file of the next segment: made and filled with zeros beside the saves, while the present one is written.

It must not know what a segment holds; ``log.py`` gives the file its beginning and its name.

Nothing depends on it: where there is none, or too little of it, the log makes room by itself as it goes. Until it
has a segment's name it counts for nothing, and a start removes it. So what goes wrong here is only noted.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from .files import TEMPORARY_SUFFIX, flush_data, set_aside_room
from .trouble import DiskFailed

logger = logging.getLogger(__name__)

STEP: Final = 128 * 1024
"""Zeros that are written and flushed at once. A save that comes meanwhile waits for them at the disk: with 1 MiB it
waits as long as if it had written them itself."""
SPARE: Final = 16 * 1024 * 1024
"""Bytes that stay free on the disk: room for later is worth less than what others need now."""
_NEVER: Final = 2**63
_FILE = "next" + TEMPORARY_SUFFIX


class Ahead:
    """The next segment's file, a step for each that the present segment has grown by."""

    def __init__(self, directory: str, segment_size: int) -> None:
        self.path = os.path.join(directory, _FILE)
        self._directory = directory
        self._size = segment_size // STEP * STEP
        self._thread = ThreadPoolExecutor(1, "segment")
        self._step: Future[None] | None = None
        self._descriptor = -1
        self._begun = 0
        self._room = 0
        self.due = 0
        """From this length of the present segment on the next step is due."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._descriptor, self._begun, self._room = -1, 0, 0
        self.due = STEP // 2 if self._size else _NEVER

    def go_on(self) -> None:
        """Begin with the step that is due, unless the one before it is still under way."""
        if self._step is not None and not self._step.done():
            return
        if not self._size:
            self.due = _NEVER
            return
        self._begun += STEP
        self.due = self._begun + STEP // 2 if self._begun < self._size else _NEVER
        self._step = self._thread.submit(self._extend)

    def _extend(self) -> None:
        """In the thread: some more room, durably, where the disk has plenty."""
        try:
            left = os.statvfs(self._directory)
            if left.f_bavail * left.f_frsize < STEP + SPARE:
                return
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            room = set_aside_room(self._descriptor, self._room, STEP)
            flush_data(self._descriptor, self.path)
            self._room = room
        except (OSError, DiskFailed) as error:
            # After a flush that failed nobody knows what the file holds.
            logger.warning("no-segment-ahead path=%s error=%s", self.path, error)
            self._remove()
            self._size = 0

    def take(self) -> tuple[int, int] | None:
        """The file, open, and its room in bytes; None when there is none. What comes next is for the one after it."""
        self._wait()
        if not self._room:
            self.drop()
            return None
        taken = self._descriptor, self._room
        self._begin_anew()
        return taken

    def drop(self) -> bool:
        """Give the space back; True when there was some."""
        self._wait()
        held = self._room > 0
        self._remove()
        self._begin_anew()
        return held

    def _wait(self) -> None:
        if self._step is not None:
            self._step.result()
            self._step = None

    def _remove(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self._descriptor, self._room = -1, 0

    def close(self) -> None:
        """Remove the file and end the thread."""
        self.drop()
        self._thread.shutdown()
