"""Finds and ends all processes that one has begun, whatever they did to get away.

It must not know why. Three nets, each for what slips through the one before: the process group, which the kernel
kills as one; the family tree, which ends at the attendant because orphans come to it; a mark in the environment,
for the family of an attendant that is gone.

A /proc that was mounted with ``hidepid`` shows nothing of other users' processes. The kernel still lists who our own
children are, and what these have begun comes to us when they die: such a family is killed one generation after the
other.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qluster.edge import clock

LISTED = os.path.exists("/proc/thread-self/children")
"""The kernel says whose children a process has (CONFIG_PROC_CHILDREN)."""
HIDING = frozenset(f"hidepid={word}" for word in ("1", "2", "4", "noaccess", "invisible", "ptraceable"))
"""Options of a /proc that shows whose processes are one's own, and no others (proc(5))."""
KILL_INTERVAL = 0.01
"""Seconds between two looks for what was killed."""
STOPS_MAX = 20
"""Rounds in which a family is made to stand still before it is killed: each finds what the one before had begun."""


@dataclass(frozen=True, slots=True)
class Relative:
    """A process of a family."""

    pid: int
    parent: int
    ticks: int
    pages: int
    """Memory that it has."""


def look() -> dict[int, Relative]:
    """All processes of this host that live, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (one := relative(int(name))) is not None:
            found[one.pid] = one
    return found


def relative(pid: int) -> Relative | None:
    """One process; None when it is gone or only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Relative(pid, int(fields[1]), int(fields[19]), int(fields[21]))


def family(ancestor: int) -> list[Relative]:
    """All that descend from a process.

    The kernel's lists may lack one while others end (proc_pid_children(5)): who must be sure asks until there is
    nobody left.
    """
    return _by_lists(ancestor) if LISTED else _by_parents(ancestor)


def _by_lists(ancestor: int) -> list[Relative]:
    found, pids = [], _children(ancestor)
    for pid in pids:  # grows meanwhile
        if (one := relative(pid)) is not None:
            found.append(one)
            pids += _children(pid)
        elif _hidden(pid):
            found.append(Relative(pid, ancestor, 0, 0))
    return found


def _hidden(pid: int) -> bool:
    """It is there, and nothing else may be known of it."""
    try:
        os.close(os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(PermissionError):
                os.kill(pid, 0)
            return True
    return False


def hidden_from_us() -> bool:
    """Whether this process sees nothing of other users' processes here."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            fields, _, kind = line.partition(" - ")
            options = {*fields.split()[5].split(","), *kind.split()[2].split(",")}
            if fields.split()[4] == "/proc" and options & HIDING:
                first = relative(1)  # root's, or in a container perhaps our own
                return os.geteuid() != 0 and (first is None or os.stat("/proc/1").st_uid == os.geteuid())
    return False


def _children(pid: int) -> list[int]:
    """Begun by any thread of it."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                found += map(int, children.read().split())
    return found


def _by_parents(ancestor: int) -> list[Relative]:
    """All processes of the host are looked at: where hundreds of runs end at once, each of them does so."""
    processes = look()
    children: dict[int, list[Relative]] = {}
    for one in processes.values():
        children.setdefault(one.parent, []).append(one)
    found, at = list(children.get(ancestor, ())), 0
    while at < len(found):
        found += children.get(found[at].pid, ())
        at += 1
    return found


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone, or another's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def send_group(group: int, number: int) -> None:
    """The same to a process group, which the kernel does at one stroke: no fork runs away from it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_family(ancestor: int) -> int:
    """Kill all that descend from a process, once; how many were met.

    They are stopped first: else who is killed late has begun another meanwhile.
    """
    stopped: set[int] = set()
    for _ in range(STOPS_MAX):
        new = [one.pid for one in family(ancestor) if one.pid not in stopped]
        if not new:
            break
        for pid in new:
            send(pid, signal.SIGSTOP)
        stopped.update(new)
    for pid in stopped:
        send(pid, signal.SIGKILL)
    return len(stopped)


def marked(mark: str) -> list[int]:
    """Processes that were begun with this in their environment, as far as it may be read."""
    wanted, found = mark.encode("utf-8", "surrogateescape"), []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0") and relative(int(name)):
                found.append(int(name))
    return found


def kill_marked(mark: str) -> int:
    """Kill those; how many were met."""
    found = marked(mark)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in found:
            send(pid, number)
    return len(found)


def until_nothing(met: Callable[[], bool], seconds: float) -> None:
    """Look and kill until nothing is met, or what is left hangs in the kernel: it is killed and runs no further."""
    until = clock.awake() + seconds
    while met() and clock.awake() < until:
        time.sleep(KILL_INTERVAL)
