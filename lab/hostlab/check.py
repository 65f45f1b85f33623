"""Decides whether this machine can hold a lab, by trying each ability on a small scale.

Changes nothing that stays. The reasons are what a test prints when it must be skipped.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostlab.errors import LabError
from hostlab.group import find_hierarchies
from hostlab.plan import Plan
from hostlab.shell import run

# Program -> the Debian package that brings it.
PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "nft": "nftables",
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
INSTALL_TIMEOUT = 600.0
# Base tree 0.3 GiB, packages 0.1 GiB, and about 0.5 GiB for each of five hosts with a database at work.
FREE_BYTES_MIN = 3 * 1024**3
TRY_NETWORK = """
ip link add try0 type bridge && ip link add try1 type veth peer name try2 &&
nft -f - <<END
table bridge try {
  chain x {
    type filter hook forward priority 0;
    numgen random mod 9 < 1 drop
  }
}
END
"""


def missing_packages() -> list[str]:
    """The packages whose programs this machine lacks."""
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})


def reasons_against(plan: Plan) -> list[str]:
    """Why this machine cannot hold a lab; empty when it can (after `setup`, where packages are missing)."""
    if sys.platform != "linux":
        return [f"the lab needs Linux, this is {sys.platform}"]
    if reason_against_user():
        return [reason_against_user()]
    if missing_packages():
        if shutil.which("apt-get") is None:
            return [f"{', '.join(missing_packages())} not installed, and there is no apt-get to bring them"]
        return []
    tried = (_against_groups(plan), _against_disks(plan), _against_network(), _against_space(plan))
    return [reason for reason in tried if reason]


def reason_against_user() -> str:
    """Why this user can do nothing with a lab; empty for root."""
    if os.geteuid() == 0:
        return ""
    return f"the lab needs root for namespaces and mounts, this is user {os.geteuid()}"


def install_missing() -> list[str]:
    """Install the missing packages with apt; their names."""
    packages = missing_packages()
    if not packages:
        return []
    if shutil.which("apt-get") is None:
        raise LabError(f"install {', '.join(packages)} with this system's package client; it has no apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], timeout=INSTALL_TIMEOUT, env=environment)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    run(install, timeout=INSTALL_TIMEOUT, env=environment)
    still = missing_packages()
    if still:
        raise LabError(f"after installing {', '.join(packages)} the programs of {', '.join(still)} are missing")
    return packages


def _against_groups(plan: Plan) -> str:
    found = find_hierarchies()
    if found is None:
        return "no cgroup2 file system is mounted"
    for root in (found.unified, *found.old):
        folder = root / f"{plan.name}-check"
        try:
            folder.mkdir(exist_ok=True)
            freezes = root != found.unified or (folder / "cgroup.freeze").exists()
            folder.rmdir()
        except OSError as error:
            return f"no control group can be made in {root}: {error.strerror}"
        if not freezes:
            return f"{root} cannot freeze a control group (Linux 5.2 or newer can)"
    return ""


def _against_disks(plan: Plan) -> str:
    try:
        said = _try_overlay(plan)
    except OSError as error:
        said = str(error)
    if said:
        return f"no overlay file system in {plan.disks_dir} (QLUSTER_LAB_DISKS names another folder): {said}"
    return ""


def _try_overlay(plan: Plan) -> str:
    with _made(plan.disks_dir) as parent, tempfile.TemporaryDirectory(prefix="check-", dir=parent) as folder:
        for name in ("lower", "upper", "work", "root"):
            (Path(folder) / name).mkdir()
        script = (
            f"cd {folder} && mount -n -t tmpfs none /run && mkdir /run/x && "
            f"mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none root && touch root/file"
        )
        return _try("--mount", "--pid", "--fork", "--mount-proc", script=script)


def _against_network() -> str:
    said = _try("--net", script=TRY_NETWORK)
    return f"no bridge, veth or nftables in a network namespace: {said}" if said else ""


def _against_space(plan: Plan) -> str:
    for folder in (plan.cache_dir, plan.disks_dir):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        if free < FREE_BYTES_MIN:
            needed = f"the lab needs {FREE_BYTES_MIN / 1024**3:.0f} GiB"
            other = "QLUSTER_LAB_CACHE and QLUSTER_LAB_DISKS name other folders"
            return f"{there} has {free / 1024**3:.1f} GiB free, {needed} ({other})"
    return ""


def _try(*namespaces: str, script: str) -> str:
    try:
        done = run(["unshare", *namespaces, "--", "sh", "-c", script], check=False)
    except LabError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return " ".join(done.stderr.split()) or f"exit code {done.returncode}"


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """The folder, made for the time of a trial if it was not there."""
    absent = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        for path in absent:
            try:
                path.rmdir()
            except OSError:
                break  # somebody else uses it by now
