"""Hosts with a disk each for their database, which can be cut, unplugged, killed and filled.

Clients stand on the bridge, outside of all hosts: no cut between hosts touches them. Programs run as
nobody, since PostgreSQL refuses root. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import namespaces
from bench.namespaces import BRIDGE, NET, OWN, Hosts, enter, run
from bench.site import Site

NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
COUNT = 3
DISK_SIZE = 2 * 1024**3
"""Bytes of each database's disk. The file behind it has holes."""
FILLER = "filler"
END_SECONDS = 10.0
CLIENT = f"{NET}.{OWN}"


def obstacle() -> str:
    """Why there can be no such hosts here, "" when there can."""
    missing = [name for name in ("nft", "unshare", "nsenter", "losetup", "mkfs.ext4") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return namespaces.obstacle()


class DatabaseHosts(Hosts):
    """Three hosts, a disk for each one's database, and nobody, as whom all programs run."""

    def __init__(self, folder: Path, memory: bool = False) -> None:
        super().__init__(COUNT)
        self.folder = folder
        self._memory = memory
        self._mounted: list[Path] = []
        self._nobody: subprocess.Popen[bytes] | None = None
        self._home = -1

    @property
    def numbers(self) -> range:
        """The hosts."""
        return range(1, COUNT + 1)

    def make(self) -> None:
        """Make hosts and disks and stand on the bridge; :meth:`remove` undoes it, also after a failure."""
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # One for all: a daemon looks into processes that a former one left, which takes a common user namespace.
        self._nobody = subprocess.Popen([*NOBODY, "sleep", "infinity"])
        mine, end = os.readlink("/proc/self/ns/user"), time.monotonic() + END_SECONDS
        while os.readlink(f"/proc/{self._nobody.pid}/ns/user") == mine:
            if time.monotonic() > end or self._nobody.poll() is not None:
                raise RuntimeError(f"{' '.join(NOBODY)}: no user namespace")
            time.sleep(0.01)
        super().make()
        enter(f"{self.entering}0")
        for number in self.numbers:
            self._mount(number)

    def disk(self, number: int) -> Path:
        """Where a host's database lives."""
        return self.folder / f"disk{number}"

    def _mount(self, number: int) -> None:
        place = self.disk(number)
        place.mkdir(parents=True)
        if self._memory:
            run("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "bench", str(place))
        else:
            image = self.folder / f"disk{number}.img"
            with image.open("wb") as file:
                file.truncate(DISK_SIZE)
            # Nothing is kept for root: a full disk is full for everybody.
            run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
            run("mount", "-o", "loop", str(image), str(place))
        self._mounted.append(place)
        place.chmod(0o755)

    @property
    def prefix(self) -> list[str]:
        """What comes before a command that runs as nobody."""
        assert self._nobody is not None
        return ["nsenter", f"--user=/proc/{self._nobody.pid}/ns/user", "--preserve-credentials"]

    # --- faults -------------------------------------------------------------------------

    def cut(self, number: int, *, hears: bool = False, speaks: bool = False) -> None:
        """Between a host and all others, but not its clients."""
        rules = ["add table inet cut"]
        for hook, device, peer, passes in (("input", "iif", "saddr", hears), ("output", "oif", "daddr", speaks)):
            if not passes:
                rules += [
                    f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy accept; }}",
                    f"add rule inet cut {hook} {device}name eth0 ip {peer} != {CLIENT} drop",
                ]
        self._inside(number, "nft", "; ".join(rules))

    def mend(self, number: int) -> None:
        """Take a cut back."""
        self._inside(number, "nft", "add table inet cut; delete table inet cut")

    def unplug(self, number: int) -> None:
        """Nothing leaves or reaches a host, no RST either."""
        run("ip", "-n", f"{self.entering}0", "link", "set", f"port{number}", "down")

    def plug(self, number: int) -> None:
        """The cable is back."""
        run("ip", "-n", f"{self.entering}0", "link", "set", f"port{number}", "master", BRIDGE, "up")

    def processes(self, number: int) -> list[int]:
        """Everything that runs on a host."""
        return [int(word) for word in run("ip", "netns", "pids", f"{self.entering}{number}").split()]

    def kill(self, number: int) -> None:
        """Everything on a host at once, until nothing is left."""
        end = time.monotonic() + END_SECONDS
        while found := self.processes(number):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > end:
                raise RuntimeError(f"host {number}: processes {found} survive SIGKILL")

    def fill(self, number: int) -> None:
        """Leave not a byte on a database's disk."""
        place = self.disk(number)
        free = shutil.disk_usage(place).free
        with (place / FILLER).open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, free)
            file.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

    def clear(self, number: int) -> None:
        """The space is back."""
        (self.disk(number) / FILLER).unlink(missing_ok=True)

    def _inside(self, number: int, *words: str) -> None:
        run("ip", "netns", "exec", f"{self.entering}{number}", *words)

    # --- the end ------------------------------------------------------------------------

    def wipe(self) -> None:
        """End every process on the hosts, take all faults back, empty the disks: as after :meth:`make`."""
        for number in self.numbers:
            self.kill(number)
            self.mend(number)
            self.plug(number)
            for entry in self.disk(number).iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def remove(self) -> None:
        """Remove every trace."""
        if self._home >= 0:
            enter(self._home)
            os.close(self._home)
            self._home = -1
        for number in self.numbers:
            with contextlib.suppress(RuntimeError):
                self.kill(number)
        for place in reversed(self._mounted):
            subprocess.run(["umount", str(place)], capture_output=True, timeout=60, check=False)
        self._mounted.clear()
        if self._nobody is not None:
            self._nobody.kill()
            self._nobody.wait()
            self._nobody = None
        super().remove()


@contextlib.contextmanager
def standing(folder: Path, memory: bool) -> Iterator[DatabaseHosts]:
    """Hosts for as long as this lasts; the calling thread stands on their bridge."""
    hosts = DatabaseHosts(folder, memory)
    try:
        hosts.make()
        yield hosts
    finally:
        hosts.remove()


@dataclass(frozen=True)
class DatabaseSite(Site):
    """A cluster's folder on these hosts."""

    hosts: DatabaseHosts | None = None

    def prefix(self, number: int) -> list[str]:
        """On the host, and as nobody."""
        assert self.hosts is not None
        return [*super().prefix(number), *self.hosts.prefix]

    def disk(self, number: int) -> Path:
        """Where a host's database lives."""
        assert self.hosts is not None
        return self.hosts.disk(number)
