"""Clusters that do not count nodes: votes, a tie-breaker, voters that rest; with strikes of their own.

Only seeds from :data:`VOTES_FROM` to :data:`VOTES_TO` make such clusters, by chances of their own: all others stay as
they are.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace
from qluster.clients import SettingsChangeRequested
from qluster.consensus.members import Members

if TYPE_CHECKING:
    from sim.world import World

VOTES_FROM, VOTES_TO = 100_000, 200_000
"""Of four seeds from here up to there one is about votes, one about ties, one about resting voters, one about all."""

WINDOW = "2500ms"
"""A little longer than node-timeout: several voters come to rest, and are back, in one run."""

VOTES_MAX = 3


@dataclass(frozen=True, slots=True)
class Electing:
    """How a simulated cluster counts."""

    databases: int
    votes: tuple[int, ...]
    """Of each host with a database; others have what makes no difference."""
    tie: str = "off"
    last_man_standing: bool = False
    allow_downscale: bool = False
    factor: int = 0
    two_node: bool = False

    @property
    def text(self) -> str:
        """Lines for the section ``cluster``."""
        flags = {True: "true", False: "false"}
        return (
            f"  auto-tie-breaker: \"{self.tie}\"\n  last-man-standing: {flags[self.last_man_standing]}\n"
            f"  last-man-standing-window: {WINDOW}\n  allow-downscale: {flags[self.allow_downscale]}\n"
            f"  replication-factor: {self.factor}\n" + ("  two-node: fencing\n" if self.two_node else "")
        ) if any((self.tie != "off", self.last_man_standing, self.allow_downscale, self.factor, self.two_node)) else ""


def electing_of(seed: int) -> Electing | None:
    """The seed's way of counting; None where nodes are counted."""
    if not VOTES_FROM <= seed < VOTES_TO:
        return None
    random, kind = Random(f"votes {seed}"), seed % 4
    tied = kind == 1 or (kind == 3 and random.random() < 0.6)
    lasting = kind == 2 or (kind == 3 and random.random() < 0.6)
    databases = random.choice([2, 4, 4] if kind == 1 else [3, 4, 5, 5] if kind == 2 else [2, 3, 3, 4, 5])
    votes = (1,) * databases
    while kind in (0, 3) and votes == (1,) * databases:
        drawn = tuple(random.randint(0, VOTES_MAX) for _ in range(databases))
        votes = drawn if any(drawn) else votes
    tie = random.choice(["lowest", "highest", "3 2 1"]) if tied else "off"
    factor = random.choice([0, 0, 0, 2]) if databases > 2 else 0
    return Electing(databases, votes, tie, lasting, lasting and random.random() < 0.5, factor)


DEVICE = 0
"""Stands for the device among those who have an entry: no node has this number."""


def enough(members: Members, holders: set[int]) -> bool:
    """Whether these are more than half of the votes, or half with the tie-breaker, and so many copies as asked."""
    voting = [member for member in members if member.voter]
    copies = min(members.replication_factor, len(voting))
    if sum(member.node in holders for member in voting) < copies:
        return False
    if copies and not members.quorum_replication:
        return True
    if not any(member.node in holders for member in voting):
        return False
    twice = 2 * (sum(member.votes for member in voting if member.node in holders))
    twice += 2 * members.device * (DEVICE in holders)
    total = sum(member.votes for member in voting) + members.device
    return twice > total or (twice == total and members.tie in holders)


# --- strikes ---------------------------------------------------------------------------------


def change_votes(world: World) -> None:
    """An operator gives a node other votes, and starts it again."""
    host = world.random.choice([host for host in world.hosts.values() if host.database is not None])
    votes = world.random.randint(0, VOTES_MAX)
    others = sum(one.config.votes for one in world.hosts.values() if one is not host and one.database is not None)
    if host.node is None or host.config is not host.proper or not votes + others:
        return
    world.tell(f"{host.name} is to have {votes} votes, it had {host.config.votes}")
    host.crash(held=True)
    host.config = host.proper = replace(host.config, votes=votes)
    alone = world.random.random() < 0.5
    if alone:
        # What it is to count for it knows from its file; the others, which decide it, do not hear of it.
        world.disturbed()
        world.network.isolate(host)
    host.start()
    if alone:
        world.run(world.random.uniform(3.0, 8.0))


def change_sides(world: World) -> None:
    """Two sides; then one host changes from one to the other, which may have forgotten it."""
    hosts = [host for host in world.hosts.values() if host.database is not None]
    if len(hosts) < 2:
        return
    random = world.random
    side = random.sample(hosts, random.randint(1, len(hosts) // 2))
    for _ in range(random.randint(2, 4)):
        world.tell(f"sides: {' '.join(host.name for host in side)} and the rest")
        world.disturbed()
        world.network.cut.clear()
        world.network.split(side)
        world.run(random.uniform(2.0, 9.0))
        rest = [host for host in hosts if host not in side]
        giving = side if len(side) > 1 and random.random() < 0.5 else rest
        if len(giving) < 2:
            break
        moved = random.choice(giving)
        side = [host for host in hosts if (host in side) != (host is moved)]


def one_after_another(world: World) -> None:
    """Hosts are cut off one by one, each after the others have come to terms with the one before."""
    hosts = [host for host in world.hosts.values() if host.database is not None]
    for host in world.random.sample(hosts, max(1, len(hosts) - 1)):
        world.tell(f"{host.name} is cut off as the next one")
        world.disturbed()
        world.network.isolate(host)
        world.run(world.random.uniform(3.0, 8.0))


def change_tie(world: World) -> None:
    """An operator wants another tie-breaker."""
    first, seen = world.leader(), world.electing
    if first is None or seen is None or seen.tie == "off":
        return
    tie = world.random.choice(["lowest", "highest", "2 3", "off"])
    world.tell(f"the tie-breaker is to be {tie}")
    changes = {"cluster.auto-tie-breaker": tie}
    world.clients.ask(first, SettingsChangeRequested(world.clients.ticket(), "", changes))


ELECTING: list[tuple[str, float, Callable[[World], None]]] = [
    ("votes changed", 4, change_votes),
    ("sides changed", 5, change_sides),
    ("cut off one after another", 3, one_after_another),
    ("tie-breaker changed", 2, change_tie),
]

__all__ = ["ELECTING", "VOTES_FROM", "VOTES_TO", "Electing", "electing_of"]
