"""Decides what a lab consists of: its hosts, their addresses, and every folder and name it uses.

Knows no process and no file system; it only names things.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostlab.errors import LabError

DEFAULT_NAME = "qluster-lab"
DEFAULT_SUITE = "bookworm"
DEFAULT_CACHE = "/var/cache/qluster-lab"
DEFAULT_DISKS = "/var/lib/qluster-lab"
DEFAULT_DATABASE_PACKAGES = "postgresql"
DEFAULT_POOL_PACKAGES = "pgbouncer"

# The lab's network exists only inside the lab's own network namespace, so it may be the same for all labs.
NETWORK = "10.77.0.0/24"
NETWORK_BITS = 24
CONTROLLER_ADDRESS = "10.77.0.1"
BRIDGE = "lab0"
INTERFACE = "eth0"

# A name becomes a control group, a folder and part of a machine name: letters that are safe in all three.
NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]")

# What stands for the network directory of the WAL archive: one folder, seen by all database hosts.
NETWORK_DIRECTORY = "/opt/qhb-backup"

NODES = "qluster_nodes"
POOLERS = "qluster_poolers"
ARBITERS = "qluster_arbiters"


@dataclass(frozen=True)
class Host:
    """One machine of the lab."""

    name: str
    address: str
    group: str

    @property
    def port(self) -> str:
        """The bridge's end of the host's cable (an interface name has at most 15 letters)."""
        return f"p-{self.name}"


HOSTS = (
    Host("db1", "10.77.0.11", NODES),
    Host("db2", "10.77.0.12", NODES),
    Host("db3", "10.77.0.13", NODES),
    Host("pool1", "10.77.0.21", POOLERS),
    Host("arbiter1", "10.77.0.31", ARBITERS),
)


@dataclass(frozen=True)
class Plan:
    """The names and folders of one lab."""

    name: str
    suite: str
    mirror: str
    database_packages: tuple[str, ...]
    pool_packages: tuple[str, ...]
    cache_dir: Path
    disks_dir: Path
    run_dir: Path
    inventory_dir: Path
    hosts: tuple[Host, ...] = HOSTS

    @property
    def state_file(self) -> Path:
        return self.run_dir / "state.json"

    @property
    def ssh_dir(self) -> Path:
        return self.run_dir / "ssh"

    @property
    def ssh_config(self) -> Path:
        return self.ssh_dir / "config"

    @property
    def own_disks_dir(self) -> Path:
        return self.disks_dir / self.name

    @property
    def network_dir(self) -> Path:
        return self.own_disks_dir / "network-directory"

    def console_file(self, host: Host) -> Path:
        return self.run_dir / "console" / f"{host.name}.log"

    def host(self, name: str) -> Host:
        """The host of that name, or an error that lists all names."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise LabError(f"there is no host {name!r} in the lab; its hosts are {names}")


def plan_from(environment: Mapping[str, str], checkout: Path) -> Plan:
    """The plan that the environment asks for; defaults for everything it does not name."""
    name = environment.get("QLUSTER_LAB_NAME") or DEFAULT_NAME
    if not NAME_PATTERN.fullmatch(name):
        raise LabError(
            f"QLUSTER_LAB_NAME is {name!r}: use 2 to 32 small letters, digits and hyphens, "
            f"beginning with a letter, such as {DEFAULT_NAME}"
        )
    run_dir = Path("/run") / name
    inventory = environment.get("QLUSTER_LAB_INVENTORY")
    if not inventory:
        # Two labs must not fight for one inventory: only the default lab writes into the checkout.
        inventory = str(checkout / "inventories" / "lab" if name == DEFAULT_NAME else run_dir / "inventory")
    return Plan(
        name=name,
        suite=environment.get("QLUSTER_LAB_SUITE") or DEFAULT_SUITE,
        mirror=environment.get("QLUSTER_LAB_MIRROR", ""),
        database_packages=_words(environment, "QLUSTER_LAB_DATABASE_PACKAGES", DEFAULT_DATABASE_PACKAGES),
        pool_packages=_words(environment, "QLUSTER_LAB_POOL_PACKAGES", DEFAULT_POOL_PACKAGES),
        cache_dir=_folder(environment, "QLUSTER_LAB_CACHE", DEFAULT_CACHE),
        disks_dir=_folder(environment, "QLUSTER_LAB_DISKS", DEFAULT_DISKS),
        run_dir=run_dir,
        inventory_dir=Path(inventory).absolute(),
    )


def _words(environment: Mapping[str, str], variable: str, default: str) -> tuple[str, ...]:
    words = tuple((environment.get(variable) or default).split())
    if any(word.startswith("-") for word in words):
        raise LabError(f"{variable} is {' '.join(words)!r}: name packages, such as {default}")
    return words


def _folder(environment: Mapping[str, str], variable: str, default: str) -> Path:
    path = Path(environment.get(variable) or default)
    if not path.is_absolute():
        raise LabError(f"{variable} is {path}: name an absolute folder, such as {default}")
    if path.is_relative_to("/run"):
        # The lab's keeper covers /run with a file system of its own; what lies there is out of its sight.
        raise LabError(f"{variable} is {path}: it may not lie below /run; take one such as {default}")
    if any(letter in str(path) for letter in ",:\\"):
        raise LabError(f"{variable} is {path}: overlayfs takes no comma, colon or backslash in a folder")
    return path
