"""Fetches the database's and the pool's packages once, so that hosts without a package source get them.

The controller plays the part of an operator's package mirror: apt, with a state of its own, resolves what
a bare host lacks. Must not know who installs the files.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hostlab.base import apt_network_settings, sources, tree
from hostlab.group import Group
from hostlab.plan import Plan
from hostlab.record import locked
from hostlab.shell import run

FETCH_TIMEOUT = 600.0  # seconds; 6 were measured with a near package mirror


@dataclass(frozen=True)
class PackageFiles:
    """The folders with the package files that a host lacks for its part."""

    database: Path
    pool: Path


def fetch_packages(plan: Plan, base: Path, group: Group) -> PackageFiles:
    """The folders with the package files; fetches what the cache does not have."""
    database = stocked(plan, base, group, plan.database_packages)
    return PackageFiles(database, stocked(plan, base, group, plan.pool_packages))


def stocked(plan: Plan, base: Path, group: Group, names: tuple[str, ...]) -> Path:
    """The folder with the files of these packages and of all that a bare host lacks for them."""
    digest = hashlib.sha256("\0".join([base.name, *names]).encode()).hexdigest()[:10]
    target = plan.cache_dir / f"packages-{plan.suite}-{digest}"
    with locked(target.parent / f"{target.name}.lock"):
        if target.is_dir():
            return target
        print(f"fetching {', '.join(names)} into {target}, once", file=sys.stderr, flush=True)
        state = target.parent / f"{target.name}.new"
        shutil.rmtree(state, ignore_errors=True)  # of a download that was cut off
        state.mkdir(parents=True)
        group.make()
        try:
            _fetch(names, base, state, group)
            files = state / "archives"
            shutil.rmtree(files / "partial", ignore_errors=True)
            (files / "lock").unlink(missing_ok=True)
            files.rename(target)
        finally:
            group.kill()
            group.remove()
            shutil.rmtree(state, ignore_errors=True)
    return target


def _fetch(names: tuple[str, ...], base: Path, state: Path, group: Group) -> None:
    for folder in ("lists/partial", "archives/partial", "parts"):
        (state / folder).mkdir(parents=True)
    settings = state / "apt.conf"
    settings.touch(mode=0o600)  # a proxy's address may hold a password
    settings.write_text(apt_settings(base, state) + apt_network_settings())
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "APT_CONFIG": str(settings),
    }
    fetch = ["apt-get", "install", "--yes", "--download-only", "--no-install-recommends", *names]
    for command in (["apt-get", "update"], fetch):
        run(command, timeout=FETCH_TIMEOUT, env=environment, before=group.join)


def apt_settings(base: Path, state: Path) -> str:
    """An apt that knows the base tree's packages and sources, and neither reads nor writes this machine's."""
    kept, root = sources(base), tree(base)
    places = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": state / "parts",
        "Dir::Etc::sourcelist": kept / "sources.list",
        "Dir::Etc::sourceparts": kept,
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": state / "parts",
        "Dir::Etc::trusted": "/dev/null",
        "Dir::Etc::trustedparts": root / "etc/apt/trusted.gpg.d",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": root / "var/lib/dpkg/status",
        "Dir::State::extended_states": state / "extended_states",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Log": state,
        "APT::Sandbox::User": "root",
    }
    return "".join(f'{name} "{value}";\n' for name, value in places.items())
