"""Brings the programs that the tests run against: as root from the distribution, else says what is missing.

Nothing is started by an installation: a policy file forbids it for as long as it takes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {
    "pgbouncer": "pgbouncer",
    "pgbackrest": "pgbackrest",
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "fusermount3": "fuse3",
    "corosync": "corosync",
    "corosync-qdevice": "corosync-qdevice",
    "corosync-qnetd": "corosync-qnetd",
    "certutil": "libnss3-tools",
    "fence_dummy": "fence-agents",
}
"""Program → package of Debian and its descendants."""
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
INSTALL_SECONDS = 300
POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """Packages whose program is not here."""
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=WHERE) is None]


def bring() -> str:
    """Install what is missing, when this is root on such a distribution; what is still missing, "" when nothing."""
    wanted = missing()
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing for the tests: {' '.join(wanted)}", flush=True)
        with no_service_starts():
            for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *wanted]):
                done = subprocess.run(
                    ["apt-get", *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False,
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS,
                )  # fmt: skip
                if done.returncode != 0:
                    print(f"apt-get {words[0]} failed: {done.stderr.strip()[-500:]}", flush=True)
    return " ".join(missing())


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """While this lasts a package's scripts start no service."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
