"""Builds the tree of files that all hosts of a lab begin with, once, and keeps it in the cache.

A bare minimal host: systemd, sshd, sudo, python3; no database, no pool, no package source. Must not know
which hosts there will be. The finished tree gets its name by one rename, so a name is a complete tree.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from hostlab.group import Group
from hostlab.plan import Plan
from hostlab.record import locked
from hostlab.shell import run

INCLUDED = (
    "systemd", "systemd-sysv", "dbus", "python3", "iproute2", "openssh-server", "sudo", "procps",
    "ca-certificates",
)  # fmt: skip
RECIPE = 2  # raised whenever this file makes another tree from the same names
BUILD_TIMEOUT = 900.0  # seconds; 33 were measured with a near package mirror
# What would go out to the network, or start by the clock, in a host that has neither need nor source.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer")
SOURCES = "package-sources"


def base_dir(plan: Plan) -> Path:
    """The tree's folder: its name changes with everything that went into it."""
    words = [str(RECIPE), plan.suite, plan.mirror, *INCLUDED]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:10]
    return plan.cache_dir / f"base-{plan.suite}-{digest}"


def tree(base: Path) -> Path:
    """The root of the hosts' files inside the folder of a base."""
    return base / "tree"


def sources(base: Path) -> Path:
    """The package sources that the tree was built from, taken out of it."""
    return base / SOURCES


def build_base(plan: Plan, group: Group) -> Path:
    """The base tree's folder; builds it when the cache has none."""
    base = base_dir(plan)
    with locked(base.parent / f"{base.name}.lock"):
        if base.is_dir():
            return base
        _tell(f"building the hosts' base tree ({plan.suite}) in {base}, once")
        fresh = base.parent / f"{base.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of a build that was cut off
        fresh.mkdir(parents=True)
        try:
            _bootstrap(plan, fresh, group)
            _strip(fresh)
            fresh.rename(base)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return base


def _bootstrap(plan: Plan, fresh: Path, group: Group) -> None:
    settings = fresh / "apt.conf"
    settings.touch(mode=0o600)  # a proxy's address may hold a password
    settings.write_text(apt_network_settings())
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(INCLUDED)}",
        f"--aptopt={settings}",
        plan.suite,
        str(tree(fresh)),
    ]
    group.make()
    try:
        run(command + ([plan.mirror] if plan.mirror else []), timeout=BUILD_TIMEOUT, before=group.join)
    finally:
        group.kill()
        group.remove()
        settings.unlink()


def apt_network_settings() -> str:
    """How this machine reaches its package source: proxies, trust, retries; none of its other settings."""
    lines = run(["apt-config", "dump", "Acquire"]).stdout.splitlines()
    return "".join(line + "\n" for line in lines if not line.startswith("Acquire::IndexTargets"))


def _strip(fresh: Path) -> None:
    """Take out what would make the hosts one another's copies, or let them look for the internet."""
    root = tree(fresh)
    kept = sources(fresh)
    kept.mkdir()
    listed = root / "etc/apt/sources.list"
    if listed.exists():
        listed.rename(kept / "sources.list")
    for file in sorted((root / "etc/apt/sources.list.d").glob("*")):
        file.rename(kept / file.name)
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    # A host that dies while dpkg runs is thrown away: no need to sync each file.
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n")
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
