"""Gives a host its disk, switches it on, and takes its power away.

Must not know the other hosts, nor what is installed on it. The disk is an overlay: the base tree below,
shared and never written, the host's own folder above.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from pathlib import Path

from hostlab.base import tree
from hostlab.errors import LabError
from hostlab.group import Group
from hostlab.plan import NETWORK_DIRECTORY, NODES, Host, Plan
from hostlab.shell import POLL_INTERVAL, run, wait_until
from hostlab.space import Space

BOOT_TIMEOUT = 120.0  # seconds; 3 were measured on two busy cores
POWEROFF_TIMEOUT = 90.0  # systemd itself waits that long before it kills a unit
UNMOUNT_TIMEOUT = 20.0
SSH_TIMEOUT = 10.0
CONSOLE_LINES = 15  # of the console shown when a host does not come up
NSPAWN = (
    "systemd-nspawn", "--quiet", "--boot", "--settings=no", "--register=no", "--keep-unit",
    "--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
    # A host's root may change its own addresses.
    "--capability=CAP_NET_ADMIN",
    # As the kernel has it on a host that was booted, whatever this machine's own limit is.
    "--rlimit=RLIMIT_NOFILE=1024:524288",
)  # fmt: skip


class Machine:
    """One host of a lab that is up."""

    def __init__(self, plan: Plan, space: Space, group: Group, host: Host) -> None:
        self._plan = plan
        self._space = space
        self._host = host
        self._group = group.below(host.name)
        self._disk = plan.own_disks_dir / host.name
        self._root = f"/run/lab/{host.name}"

    def running(self) -> bool:
        return self._group.populated()

    def paused(self) -> bool:
        return self._group.frozen()

    def memory_bytes(self) -> int | None:
        return self._group.memory_bytes()

    def processes(self) -> int:
        return len(self._group.processes())

    def switch_on(self, base: Path) -> None:
        """Boot; the disk is made when there is none. Waits for nothing."""
        if not self._space.file(f"{self._root}/usr").is_dir():
            self._mount(base)
        # Whoever mounted it may have been killed before it was this host's.
        if not (self._disk / "upper/etc/machine-id").exists():
            self._personalise()
        self._group.make()
        console = self._plan.console_file(self._host)
        with open(console, "a", encoding="utf-8") as words:
            netns = f"/run/netns/{self._host.name}"
            command = [
                *("setsid", "--fork"),
                # The host's /sys shows the interfaces of whoever starts it.
                *("nsenter", f"--net={netns}", "--"),
                *NSPAWN,
                f"--directory={self._root}",
                f"--machine={self._host.name}",
                *self._shared(),
                f"--network-namespace-path={netns}",
            ]
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
            run(self._space.inside(command), output=words, before=self._group.join, env=environment)

    def _shared(self) -> list[str]:
        if self._host.group != NODES:
            return []
        self._plan.network_dir.mkdir(parents=True, exist_ok=True)
        return [f"--bind={self._plan.network_dir}:{NETWORK_DIRECTORY}"]

    def _mount(self, base: Path) -> None:
        for name in ("upper", "work"):
            (self._disk / name).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={tree(base)},upperdir={self._disk}/upper,workdir={self._disk}/work"
        run(self._space.inside(["mkdir", "-p", self._root]))
        run(self._space.inside(["mount", "-t", "overlay", "-o", options, "lab", self._root]))

    def _personalise(self) -> None:
        """What makes a host of the base tree this host: its names, keys, and who may enter."""
        root = self._space.file(self._root)
        lines = [f"{host.address} {host.name}\n" for host in self._plan.hosts]
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
        (root / "etc/hostname").write_text(f"{self._host.name}\n")
        for kind in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
            copy = root / "etc/ssh" / kind
            shutil.copyfile(self._plan.ssh_dir / f"{self._host.name}-{kind}", copy)
            copy.chmod(0o644 if kind.endswith(".pub") else 0o600)
        (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self._plan.ssh_dir / "key.pub", root / "root/.ssh/authorized_keys")
        # Last: its presence says that all of the above is there.
        (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")

    def wait_ready(self) -> None:
        """Wait until the host's systemd has started everything and says that it runs."""
        end = time.monotonic() + BOOT_TIMEOUT
        said = ""
        while (said := self._system_state()) != "running":
            if not self.running():
                raise LabError(f"{self._host.name} went off while it booted{self._console()}")
            if said == "degraded":
                failed = self.ssh("systemctl --failed --no-legend --plain").stdout.strip()
                raise LabError(f"{self._host.name} booted with failed units: {failed}")
            if time.monotonic() > end:
                raise LabError(
                    f"{self._host.name} did not come up within {BOOT_TIMEOUT:.0f} s, its last answer was "
                    f"{said or 'silence'!r}{self._console()}"
                )
            time.sleep(POLL_INTERVAL)

    def _system_state(self) -> str:
        return self.ssh("systemctl is-system-running").stdout.strip()

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the host; never raises for what it says, nor for silence."""
        # A silent host is an answer while one waits for it: coreutils' timeout makes it an exit code.
        limit = ["timeout", f"{SSH_TIMEOUT:.0f}"]
        words = ["ssh", "-F", str(self._plan.ssh_config), "-o", "ControlPath=none", self._host.name, command]
        return run([*limit, *self._space.on_network(words)], timeout=2 * SSH_TIMEOUT, check=False)

    def _console(self) -> str:
        lines = self._plan.console_file(self._host).read_text(errors="replace").splitlines()
        return "; its console ends with" + "".join(f"\n    {line}" for line in lines[-CONSOLE_LINES:])

    def pause(self) -> None:
        self._group.freeze(True)

    def resume(self) -> None:
        self._group.freeze(False)

    def power_off(self) -> None:
        """The polite way: systemd stops every service first."""
        self.ssh("systemctl poweroff")
        wait_until(
            lambda: not self.running(),
            timeout=POWEROFF_TIMEOUT,
            otherwise=lambda: f"{self._host.name} does not power off; `kill` it{self._console()}",
        )
        self._clear()

    def kill(self) -> None:
        """Take the power away: every process ends at once, the disk stays as it is."""
        self._group.kill()
        self._clear()

    def _clear(self) -> None:
        if self._space.file(f"{self._root}/usr").is_dir():
            unmount = self._space.inside(["umount", self._root])
            # The kernel lets go of a dead container's mounts a moment after its last process.
            wait_until(
                lambda: run(unmount, check=False).returncode == 0,
                timeout=UNMOUNT_TIMEOUT,
                otherwise=lambda: f"the disk of {self._host.name} at {self._root} stays in use",
            )
        self._group.remove()

    def discard_disk(self) -> None:
        """Make the host, which must be off, bare again."""
        remove_tree(self._disk)


def remove_tree(folder: Path) -> None:
    """Remove a folder of the lab with everything in it; none is fine, half of it is not."""
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise LabError(f"cannot remove {folder}: {error}") from error
