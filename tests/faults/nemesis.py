"""Faults drawn from a seed, one over the other, for some seconds; whatever they did is taken back at the end.

What a fault may do is said by its own function, which returns how to take it back. The draw is repeatable, what the
machine makes of it is not.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from faults.cables import Link
from faults.cluster import UNREACHED, Cluster

Undo = Callable[[], object]
Fault = Callable[["Nemesis"], Undo]

AT_ONCE_MAX = 3
TICK = 0.1
RESTART_SECONDS = 0.5
"""Until a daemon that ended is started again, as a service manager does."""


def nothing() -> None:
    """Nothing to take back."""


@dataclass
class Nemesis:
    """What strikes a cluster."""

    cluster: Cluster
    seed: int
    kinds: tuple[Fault, ...]
    struck: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    """Daemons that ended by themselves, with the last thing that they said."""
    _active: list[tuple[float, str, Undo]] = field(default_factory=list)
    _held: dict[int, float] = field(default_factory=dict)
    """Daemons that are to stay down until then."""
    _seen: dict[int, int] = field(default_factory=dict)
    _identity_lost: bool = False
    """One state may be lost in a round: two at once would be more than a cluster of three can bear."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._began = time.monotonic()

    def strike_for(self, seconds: float) -> None:
        """Strike until then, then take everything back and see that all daemons run."""
        end = time.monotonic() + seconds
        following = time.monotonic() + 0.5
        while (now := time.monotonic()) < end:
            self._take_back(now)
            self.supervise(now)
            if now >= following and len(self._active) < AT_ONCE_MAX:
                self._strike(now)
                following = now + self.random.uniform(0.1, 2.0)
            time.sleep(TICK)
        self.calm()

    def calm(self) -> None:
        """Take every fault back and start every daemon."""
        self._take_back(float("inf"))
        for disk in self.cluster.disks.values():
            disk.behave()
        self.cluster.cables.heal()
        for number in list(self.cluster.frozen):
            self.cluster.thaw(number)
        self._held.clear()
        for number in self.cluster.numbers:
            if not self.cluster.runs(number):
                self._note_ending(number)
                self.cluster.start(number)
        self._tell("all is well")

    def _strike(self, now: float) -> None:
        fault = self.random.choice(self.kinds)
        name = fault.__name__
        self.struck[name] += 1
        self._tell(name)
        long = self.random.random() < 0.5
        seconds = self.random.uniform(2.0, 6.0) if long else self.random.uniform(0.2, 1.5)
        self._active.append((now + seconds, name, fault(self)))

    def _take_back(self, now: float) -> None:
        for one in [one for one in self._active if one[0] <= now]:
            self._active.remove(one)
            one[2]()

    def supervise(self, now: float) -> None:
        """Start daemons that ended, unless they are to stay down for a while."""
        for number in self.cluster.numbers:
            if self.cluster.runs(number):
                continue
            if number not in self._held:
                self._note_ending(number)
                self._held[number] = now + RESTART_SECONDS
            elif now >= self._held[number]:
                del self._held[number]
                self.cluster.start(number)

    def _note_ending(self, number: int) -> None:
        child = self.cluster.daemons[number]
        if child.returncode != -9 and self._seen.get(number) != child.pid:
            self._seen[number] = child.pid
            said = self.cluster.log(number).rstrip().rpartition("\n")[2]
            self.endings.append(said)
            self._tell(f"node {number} ended: {said[:160]}")

    def _tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:8.2f} {time.monotonic():.3f} {what}")

    # --- what the faults use ----------------------------------------------------------

    def any(self) -> int:
        """One host."""
        return self.random.choice(self.cluster.numbers)

    def leader(self) -> int:
        """A host that says that it leads, or any: a third of the faults is meant for leaders."""
        found = [
            number for number in self.cluster.numbers
            if (self.cluster.own(number) or {}).get("consensus_role") == "leader"
        ]  # fmt: skip
        return self.random.choice(found or self.cluster.numbers)

    def someone(self) -> int:
        """Any host, or the leader."""
        return self.leader() if self.random.random() < 0.4 else self.any()

    def kill(self, numbers: list[int], down: float) -> None:
        """SIGKILL all of these as near together as can be; they stay down for so long."""
        running = [number for number in numbers if self.cluster.runs(number)]
        for number in running:
            self.cluster.daemons[number].kill()
        for number in running:
            self.cluster.kill(number)
            self._held[number] = time.monotonic() + down


# --- the network ---------------------------------------------------------------------


def loses_packets(nemesis: Nemesis) -> Undo:
    """On all links."""
    cables = nemesis.cluster.cables
    return cables.lay(cables.all_links(Link(loss=nemesis.random.choice((20, 100, 250)))))


def one_way_cut(nemesis: Nemesis) -> Undo:
    """From one host to another."""
    one, other = nemesis.random.sample(nemesis.cluster.numbers, 2)
    return nemesis.cluster.cables.lay({(one, other): Link(cut=True)})


def deaf_or_dumb(nemesis: Nemesis) -> Undo:
    """A host hears nobody, or nobody hears it, or both."""
    hears, speaks = nemesis.random.choice(((False, True), (True, False), (False, False)))
    cables = nemesis.cluster.cables
    return cables.lay(cables.isolation(nemesis.someone(), hears=hears, speaks=speaks))


def two_sides(nemesis: Nemesis) -> Undo:
    """A split."""
    numbers = nemesis.random.sample(nemesis.cluster.numbers, len(nemesis.cluster.numbers))
    size = nemesis.random.randrange(1, len(numbers))
    cables = nemesis.cluster.cables
    return cables.lay(cables.sides(set(numbers[:size]), set(numbers[size:])))


def ring(nemesis: Nemesis) -> Undo:
    """Each host hears only its two neighbours in a ring; with three hosts one link is cut."""
    order = nemesis.random.sample(nemesis.cluster.numbers, len(nemesis.cluster.numbers))
    near = set(pairwise([*order, order[0]])) if len(order) > 3 else set(pairwise(order))
    return nemesis.cluster.cables.lay({
        (one, other): Link(cut=True) for one in order for other in order
        if one != other and (one, other) not in near and (other, one) not in near
    })  # fmt: skip


def late_and_twice(nemesis: Nemesis) -> Undo:
    """Packets overtake each other and come twice (relay)."""
    longest = nemesis.random.choice((0.02, 0.1, 0.5, 1.5))
    link = Link(delay=(0.0, longest), twice=nemesis.random.choice((0, 100, 400)), loss=nemesis.random.choice((0, 50)))
    return nemesis.cluster.cables.lay(nemesis.cluster.cables.all_links(link))


# --- processes ------------------------------------------------------------------------


def stands_still(nemesis: Nemesis) -> Undo:
    """SIGSTOP, for less or more than a node-timeout."""
    number = nemesis.someone()
    if not nemesis.cluster.runs(number) or number in nemesis.cluster.frozen:
        return nothing
    nemesis.cluster.freeze(number)
    return lambda: nemesis.cluster.thaw(number) if number in nemesis.cluster.frozen else None


def killed(nemesis: Nemesis) -> Undo:
    """SIGKILL."""
    nemesis.kill([nemesis.someone()], nemesis.random.uniform(0, 2.5))
    return nothing


def all_killed(nemesis: Nemesis) -> Undo:
    """Everybody at once."""
    nemesis.kill(nemesis.cluster.numbers, nemesis.random.uniform(0, 0.5))
    return nothing


def asked_to_hand_over(nemesis: Nemesis) -> Undo:
    """An operator moves the leadership."""
    leader, target = nemesis.leader(), nemesis.any()
    node = nemesis.cluster.own(target).get("node")
    if node is not None:
        with contextlib.suppress(UNREACHED):
            nemesis.cluster.ask(leader, "POST", f"/leader?node={node}", token="operate", limit=0.5)
    return nothing


# --- disks ------------------------------------------------------------------------------


def slow_flush(nemesis: Nemesis) -> Undo:
    """Flushes take long at one host, or at all."""
    stall = nemesis.random.choice((0.02, 0.2, 0.8, 2.0))
    numbers = [nemesis.someone()] if nemesis.random.random() < 0.8 else nemesis.cluster.numbers
    for number in numbers:
        nemesis.cluster.disks[number].tell(stall=stall)
    return lambda: [nemesis.cluster.disks[number].tell(stall=0.0) for number in numbers]


def failed_flush(nemesis: Nemesis) -> Undo:
    """EIO; afterwards the disk is well again, and what was not flushed before is lost with the power."""
    number = nemesis.someone()
    nemesis.cluster.disks[number].tell(flush="EIO")
    return lambda: nemesis.cluster.disks[number].tell(flush="")


def failed_write(nemesis: Nemesis) -> Undo:
    """EIO."""
    number = nemesis.someone()
    nemesis.cluster.disks[number].tell(write="EIO")
    return lambda: nemesis.cluster.disks[number].tell(write="")


def full_disk(nemesis: Nemesis) -> Undo:
    """No space at all."""
    number = nemesis.someone()
    nemesis.cluster.disks[number].tell(space=0)
    return lambda: nemesis.cluster.disks[number].tell(space=1 << 30)


def power_cut(nemesis: Nemesis) -> Undo:
    """One host, or all at once: what was not flushed is lost, by sectors."""
    numbers = [nemesis.someone()] if nemesis.random.random() < 0.6 else nemesis.cluster.numbers
    nemesis.kill(numbers, nemesis.random.uniform(0, 1.0))
    for number in numbers:
        if not nemesis.cluster.runs(number):
            nemesis.cluster.disks[number].cut_power(nemesis.random.choice((None, nemesis.random.randrange(1 << 30))))
    return nothing


def no_space_to_write(nemesis: Nemesis) -> Undo:
    """Writing finds no space, also where some was set aside, as on a file system that copies on writing."""
    number = nemesis.someone()
    nemesis.cluster.disks[number].tell(write="ENOSPC")
    return lambda: nemesis.cluster.disks[number].tell(write="")


def lost_state(nemesis: Nemesis) -> Undo:
    """Once a round: a host gets an empty disk, or a bit of its log rots; its node must come back as another.

    Not the founder's disk: an empty founder that hears nobody founds anew, as its documentation says.
    """
    number, rots = nemesis.random.choice(nemesis.cluster.numbers[1:]), nemesis.random.random() < 0.6
    if nemesis._identity_lost:
        return nothing
    nemesis._identity_lost = True
    nemesis.kill([number], nemesis.random.uniform(0.1, 1.0))
    if not nemesis.cluster.runs(number):
        disk = nemesis.cluster.disks[number]
        rots = rots and disk.rot("state/current/log/*.log", nemesis.random.uniform(0.1, 0.9))
        if not rots:
            disk.replace()
        nemesis._tell(f"node of host {number} lost its state{' by rot' if rots else ''}")
    return nothing


NETWORK: tuple[Fault, ...] = (loses_packets, one_way_cut, deaf_or_dumb, two_sides, ring)
RELAY: tuple[Fault, ...] = (*NETWORK, late_and_twice, late_and_twice)
PROCESSES: tuple[Fault, ...] = (stands_still, killed, all_killed, asked_to_hand_over)
DISKS: tuple[Fault, ...] = (slow_flush, failed_flush, failed_write, full_disk, no_space_to_write, power_cut, lost_state)
