"""Rules between the keys of the section `device`: each is one function from a Config to the faults it finds.

They must not look at the host: whether a command or a certificate is there is seen elsewhere.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex
from collections.abc import Iterator

from .document import Fault
from .kinds import duration_text, shown
from .structure import Config, Device

LATE = 1.2
"""Of `timeout`: after so long an arbiter gives up a node that froze, and only then decides about the others."""


def place(config: Config) -> Iterator[Fault]:
    """The arbiter is another host than the node, which is no listener."""
    device = config.device
    if device is None:
        return
    if device.host == config.ip:
        yield Fault("device.host", (
            f"{device.host} is this host: an arbiter that fails together with a node decides nothing. "
            f"Name a host outside the cluster."))
    elif any(device.host == host for host, _ in config.udp.socket.peers):
        yield Fault("device.host", (
            f"{device.host} is a node of the cluster: an arbiter that fails together with a node decides nothing. "
            f"Name a host outside the cluster."))
    if config.role != "node":
        yield Fault("device.host", (
            f"{device.host} is given, and role is {config.role}: a {config.role} has no vote. "
            f"Remove the section device."))


def times(config: Config) -> Iterator[Fault]:
    """`device.sync-timeout` is longer than 1.2 times `device.timeout`; `connect-timeout` is not longer than
    `sync-timeout`, and `watchdog-timeout` is."""
    device = config.device
    if device is None:
        return
    least = LATE * device.timeout
    if device.sync_timeout <= least:
        yield Fault("device.sync-timeout", (
            f"is {duration_text(device.sync_timeout)}, and device.timeout is {duration_text(device.timeout)}: the "
            f"arbiter notices a node that froze only after {duration_text(least)}, and until then decides nothing. "
            f"Use at least {duration_text(1.5 * device.timeout)}."))
    if device.connect_timeout is not None and device.connect_timeout > device.sync_timeout:
        yield Fault("device.connect-timeout", (
            f"is {duration_text(device.connect_timeout)}, longer than device.sync-timeout "
            f"({duration_text(device.sync_timeout)}). Use at most that, or remove the key."))
    if device.watchdog_timeout is not None and device.watchdog_timeout <= device.sync_timeout:
        yield Fault("device.watchdog-timeout", (
            f"is {duration_text(device.watchdog_timeout)}, not longer than device.sync-timeout "
            f"({duration_text(device.sync_timeout)}): while a membership changes the arbiter may take that long, "
            f"and the watchdog would reset a host that is about to hear from it. Let the watchdog wait at least "
            f"{duration_text(device.sync_timeout * 1.2)}, or use a shorter sync-timeout."))


def algorithm(config: Config) -> Iterator[Fault]:
    """`2nodelms` stands only where `udp.socket.group` lists two nodes or none."""
    device, peers = config.device, config.udp.socket.peers
    if device is not None and device.algorithm == "2nodelms" and peers and len(peers) != 2:
        yield Fault("device.algorithm", (
            f"is 2nodelms, and udp.socket.group lists {len(peers)} nodes. Use ffsplit or lms."))


def certificates(config: Config) -> Iterator[Fault]:
    """`device.certificate-file` and `device.key-file` are given together."""
    device = config.device
    if device is not None and (device.certificate_file is None) != (device.key_file is None):
        yield Fault("device.certificate-file", "and key-file belong together: give both, or none of them.")


def heuristics(config: Config) -> Iterator[Fault]:
    """With heuristics there is a command, each with an absolute path; they end before the membership does without
    them."""
    device = config.device
    checks = device.heuristics if device is not None else None
    if device is None or checks is None:
        return
    if checks.mode != "off" and not checks.exec:
        yield Fault("device.heuristics.exec", (
            f"is empty, and device.heuristics.mode is {checks.mode}: there is nothing to check. Name a command, or say "
            f"mode: off."))
    for name, line in checks.exec.items():
        if fault := fault_of_command(line):
            yield Fault(f"device.heuristics.exec.{name}", fault)
    yield from _check_times(device)


def _check_times(device: Device) -> Iterator[Fault]:
    checks = device.heuristics
    assert checks is not None
    if checks.sync_timeout is not None and checks.sync_timeout >= device.sync_timeout:
        yield Fault("device.heuristics.sync-timeout", (
            f"is {duration_text(checks.sync_timeout)}, not shorter than device.sync-timeout "
            f"({duration_text(device.sync_timeout)}): a command that hangs would keep the arbiter's word away. "
            f"Use at most {duration_text(device.sync_timeout / 2)}."))
    if checks.timeout is not None and checks.timeout >= device.sync_timeout:
        yield Fault("device.heuristics.timeout", (
            f"is {duration_text(checks.timeout)}, not shorter than device.sync-timeout "
            f"({duration_text(device.sync_timeout)}): a new connection says nothing before the checks have ended. "
            f"Use at most {duration_text(device.sync_timeout / 2)}."))
    if checks.interval is not None and checks.timeout is not None and checks.interval <= checks.timeout:
        yield Fault("device.heuristics.interval", (
            f"is {duration_text(checks.interval)}, not longer than device.heuristics.timeout "
            f"({duration_text(checks.timeout)}). Use at least {duration_text(2 * checks.timeout)}."))


def words_of_command(line: str) -> list[str]:
    """The program and its arguments, with quotes and backslashes as a shell has them, and nothing else of a shell.

    Raises ValueError where a quote is not closed.
    """
    return shlex.split(line, comments=False, posix=True)


def fault_of_command(line: str) -> str:
    """What is wrong with a command line, "" when nothing."""
    try:
        words = words_of_command(line)
    except ValueError as error:
        return f'"{shown(line)}" cannot be split into words ({error}). Close its quotes.'
    if not words or not words[0].startswith("/"):
        return f'"{shown(line)}" does not begin with an absolute path. Name the program with its directory.'
    return ""


RULES = (place, times, algorithm, certificates, heuristics)
