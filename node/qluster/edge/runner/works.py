"""Where programs work: a directory for each run, its user's own, that goes with it.

It must not know what they do there. Whatever is called here may take long.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from qluster.edge.runner.helper import empty
from qluster.edge.runner.record import lack


class Works:
    """The working directories of this host."""

    def __init__(self, given: str | None, runs: str, sweep: Callable[[int], None] = lambda _: None) -> None:
        """``given``: ``tasks.work-dir``; ``sweep`` empties the directory of another user."""
        self._given = Path(given) if given else None
        self._runs = Path(runs)
        self._sweep = sweep

    def path(self, name: str) -> Path:
        """That of a run."""
        return self._given / name if self._given is not None else self._runs / name / "work"

    def make(self, name: str) -> Path:
        """Make it, ours for now; raises OSError."""
        path = self.path(name)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def lack(self) -> str:
        """Why nothing new may begin there: no room; "" when there is."""
        return lack(str(self._given)) if self._given is not None else ""

    @property
    def apart(self) -> bool:
        """They lie where other users can get to them."""
        return self._given is not None

    def clear(self, name: str) -> None:
        """It goes, with all that is in it."""
        for path in {self.path(name), self._runs / name / "work"}:
            if not path.is_dir() or path.is_symlink():
                continue
            empty(path)
            with contextlib.suppress(OSError):
                path.rmdir()
            if path.exists():
                self._clear_as_owner(path)

    def _clear_as_owner(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._sweep(directory)
            finally:
                os.close(directory)
            path.rmdir()

    def clear_others(self, names: Collection[str]) -> None:
        """Those of all other runs go: what a runner left that was killed."""
        if self._given is None or not self._given.is_dir():
            return
        for entry in list(os.scandir(self._given)):
            task, _, fence = entry.name.partition("-")
            if task.isdecimal() and fence.isdecimal() and entry.name not in names:
                self.clear(entry.name)
