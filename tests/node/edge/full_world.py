"""Hosts whose database has a disk of its own, an ext4 in a file: it can be filled, and made to hang.

A disk that hangs is a file system that is frozen: who writes sleeps in the kernel, and no signal ends it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edge import fault_world
from edge.fault_world import Hosts, run

SIZE = 320 << 20
"""A database of 40 MiB, five segments of WAL, and room for a copy beside it."""
PARAMETERS = {"shared_buffers": "16MB", "max_connections": "40", "max_wal_size": "64MB", "min_wal_size": "48MB"}


def obstacle() -> str:
    """Why there can be no such hosts here, "" when there can."""
    missing = [name for name in ("mkfs.ext4", "fsfreeze", "losetup", "mount") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if reason := fault_world.obstacle():
        return reason
    with tempfile.TemporaryDirectory() as folder:
        try:
            _mount(Path(folder) / "image", Path(folder) / "disk", 16 << 20)
        except AssertionError as failure:
            return f"no file system can be mounted here: {failure}"
        run("umount", folder + "/disk")
    return ""


def _mount(image: Path, place: Path, size: int) -> None:
    with image.open("wb") as file:
        file.truncate(size)
    place.mkdir()
    # Nothing is kept for root: a full disk is full for everybody.
    run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    run("mount", "-o", "loop", str(image), str(place))
    place.chmod(0o755)


class DiskHosts(Hosts):
    """Three hosts with a disk for the database of each."""

    def disk(self, number: int) -> Path:
        """Where its disk is mounted."""
        return self.place(number) / "disk"

    def data(self, number: int) -> Path:
        """Data directory of a node."""
        return self.disk(number) / "data"

    def prepare(self, number: int, **changes: object) -> None:
        """The disk, and the configuration."""
        if not self.disk(number).is_mount():
            _mount(self.place(number) / "image", self.disk(number), SIZE)
        super().prepare(number, **{"database__parameters": PARAMETERS, **changes})

    def fill(self, number: int, spare: int = 0) -> None:
        """Leave so many bytes on a host's disk."""
        free = shutil.disk_usage(self.disk(number)).free
        with (self.disk(number) / "filler").open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, free - spare))
            file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while not spare:
                    file.write(bytes(4096))

    def clear(self, number: int) -> None:
        """The space is back."""
        (self.disk(number) / "filler").unlink(missing_ok=True)

    def hang_disk(self, number: int) -> None:
        """Who writes from now on sleeps in the kernel."""
        run("fsfreeze", "--freeze", str(self.disk(number)))

    def free_disk(self, number: int) -> None:
        """The disk goes on; idempotent."""
        subprocess.run(["fsfreeze", "--unfreeze", str(self.disk(number))], capture_output=True, check=False)

    def end(self) -> None:
        """End everything, and unmount the disks."""
        for number in range(1, self.hosts + 1):
            self.free_disk(number)
        for number in range(1, self.hosts + 1):
            # Processes that still write there end below; the mount goes with the last of them.
            subprocess.run(["umount", "--lazy", str(self.disk(number))], capture_output=True, check=False)
        super().end()
