"""A faulty disk as the tests hold it: mount it, tell it what to do wrong, cut its power, take it away.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from edge.daemon_world import wait_for

PROGRAM = Path(__file__).with_name("disk_process.py")
MOUNT_SECONDS = 20.0
END_SECONDS = 3.0
"""Somebody else's namespace may hold a copy of the mount; then the program is killed, and the mount is dead."""
WELL = {"write": "", "flush": "", "stall": 0.0, "rot": 0, "space": 1 << 30}


class FaultyDisk:
    """A directory whose file system is ours."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        # Paths of sockets are short, those of tests are not.
        self._folder = tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp")
        address = os.path.join(self._folder.name, "s")
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(place), address], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_for("a mounted disk", lambda: self._ended() or os.path.ismount(place), MOUNT_SECONDS)
            assert self._process.poll() is None, self._process.communicate()[1]
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address)
        except BaseException:
            self._end_process()
            raise
        self._lines = self._socket.makefile("rw")

    def _ended(self) -> bool:
        return self._process.poll() is not None

    def tell(self, **faults: object) -> dict[str, int]:
        """Set some faults, see ``Faults`` in the program; what was counted until now."""
        self._lines.write(json.dumps(faults) + "\n")
        self._lines.flush()
        return json.loads(self._lines.readline())  # type: ignore[no-any-return]

    def behave(self) -> None:
        """No faults any more."""
        self.tell(**WELL)

    def counts(self) -> dict[str, int]:
        """What happened."""
        return self.tell()

    def cut_power(self, seed: int | None = None) -> None:
        """Lose what was not flushed: all of it, or as chance will have it. End its users first."""
        self.tell(cut=seed)

    def replace(self) -> None:
        """An empty disk in the place of this one. End its users first."""
        self.tell(empty=True)

    def rot(self, pattern: str, place: float) -> bool:
        """Flip a bit of the newest file of a name, so far into what was written; False where that cannot be."""
        found = sorted(file for file in self.place.glob(pattern) if file.is_file())
        content = found[-1].read_bytes() if found else b""
        written = len(content.rstrip(b"\0"))
        if not written:
            return False
        where = int(written * place)
        try:
            with open(found[-1], "r+b", buffering=0) as file:
                file.seek(where)
                file.write(bytes([content[where] ^ 0x10]))
        except OSError:
            # Another fault of this disk stands in the way.
            return False
        return True

    def remove(self) -> None:
        """Unmount it."""
        self._lines.close()
        self._socket.close()
        self._end_process()

    def _end_process(self) -> None:
        if os.path.ismount(self.place):
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run(["umount", "--lazy", str(self.place)], check=True, capture_output=True)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._folder.cleanup()


def obstacle() -> str:
    """Why there can be no such disk here, "" when there can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    with tempfile.TemporaryDirectory() as folder:
        try:
            FaultyDisk(Path(folder) / "probe").remove()
        except (OSError, AssertionError, subprocess.SubprocessError) as error:
            return f"no FUSE: {str(error).strip()[-300:]}"
    return ""
