"""Whether the fence agents of a configuration are here and take what they are told, and their secrets are private.

It must not reach for any device: that is `qluster fence --check`, and the daemon itself from time to time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from qluster.config import Config, FenceDevice
from qluster.config.agents import NoAgent, described, unusable
from qluster.edge.pem import read_private

PLACES = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
METADATA_SECONDS = 20.0


def findings(config: Config, starting: bool) -> Iterator[str]:
    """What is wrong with them. A daemon starts all the same: it only could not fence, and says so."""
    if config.fencing is None or starting:
        return
    known: dict[str, str] = {}
    for ip, host in config.fencing.hosts.items():
        for number, level in enumerate(host.levels, 1):
            for device in level:
                key = f"fencing.hosts.{ip}.levels.{number}"
                for parameter, path in device.secrets.items():
                    yield from read_private(f"{key}.secrets.{parameter}", path)[1]
                fault = _fault(device, known)
                if fault:
                    yield f"{key}.agent: {device.agent} {fault}"


def _fault(device: FenceDevice, known: dict[str, str]) -> str:
    program = shutil.which(device.agent, path=PLACES)
    if program is None:
        where = "" if device.agent.startswith("/") else f" in {PLACES}"
        return f"is not there{where}, or is no program. Install the package fence-agents."
    try:
        if program not in known:
            known[program] = _metadata(program)
        fault = unusable(device, described(known[program]))
    except NoAgent as failure:
        return f"cannot be used: {failure}"
    return f"cannot be used: {fault}." if fault else ""


def _metadata(program: str) -> str:
    try:
        done = subprocess.run([program], input=b"action=metadata\n", capture_output=True, timeout=METADATA_SECONDS,
                              env={"PATH": PLACES, "LC_ALL": "C.UTF-8"}, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAgent(f"it does not describe itself ({error})") from None
    if done.returncode != 0:
        raise NoAgent(f"it does not describe itself (exit code {done.returncode})")
    return done.stdout.decode("utf-8", "replace")
