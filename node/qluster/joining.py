"""Decides how a node comes to its cluster: continue, found, found anew, join, or stay out.

Must not know the consensus, nor how a hello travels.

A founding has a number; a later founding under the same name and key has a larger one.
The rules, and why each is safe:

- The file ``add_node`` says "belongs to a cluster, or is to join one": with it a node never founds.
- Without it, an empty node founds when its configuration names it as founder and no member
  answers its hello: a lost disk does not found a second cluster beside a living one.
- Without it, a node that had an identity founds anew, whoever it is: that is how an operator
  starts over. Its database directory must be empty, so nothing can be overwritten by mistake.
- A node that meets a later founding than its own joins it, again only with an empty database
  directory: what it held belonged to the cluster that was given up.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass
from math import inf

from qluster.events import Saved

FOUNDING_HELLOS = 4
"""Hellos that must stay unanswered before a founder founds: four in a row are not lost by chance
on a network that a cluster could live on."""

EMPTY = ("none", "absent", "empty")
"""States of a database directory over which a cluster may be founded, or another one joined."""
FOUNDABLE = (*EMPTY, "fresh")
"""States with which a cluster may be founded: nobody has ever written to a fresh database."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Say hello by multicast."""


@dataclass(frozen=True, slots=True)
class Found:
    """Found a cluster with this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Joined:
    """This node is member ``node`` of founding ``number``."""

    number: int
    node: int


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing to do before ``until``; why not further is in ``reason``."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This node cannot go on; an operator must act."""

    message: str


Step = Hello | Found | Joined | Stay | GiveUp


def begins_anew(saved: Saved) -> bool:
    """True when the log in the state directory is to be set aside and a cluster founded anew."""
    return saved.identity is not None and not saved.invited


class Joining:
    """The way of one node into its cluster, from the start to an identity."""

    def __init__(
        self,
        saved: Saved,
        *,
        founder: bool,
        anew: int | None,
        wall: float,
        retry: float,
        now: float,
        founding: int = 0,
    ) -> None:
        """``anew`` is the number of the founding that is to be given up; ``wall`` seconds since 1970;
        ``retry`` is hello-retry-interval in seconds; ``founding`` the number of a founding decided before.
        """
        self._uid = saved.uid
        self._may_found = anew is not None or (founder and not saved.invited)
        self._number = max(int(wall), (anew or 0) + 1)
        self._anew = anew
        self._retry = retry
        self._hello_at = now
        self._hellos = 0
        self._present: int | None = None
        self._present_at = -inf
        self._welcome: Joined | None = None
        self._refusal = ""
        self._founding = founding

    def present(self, cluster: int, now: float) -> None:
        """A voter of ``cluster`` answered the hello."""
        self._present = max(cluster, self._present or 0)
        self._present_at = now

    def welcome(self, cluster: int, uid: int, number: int) -> None:
        """The leader admitted ``uid`` as member ``number``."""
        if uid == self._uid:
            self._welcome = Joined(cluster, number)

    def refusal(self, uid: int, reason: str) -> None:
        """The leader refused ``uid``."""
        if uid == self._uid:
            self._refusal = reason

    def step(self, now: float, directory: str) -> Step:
        """What to do now. ``directory`` is the state of the database directory:
        "unknown" (not looked at yet), "none" (host without database), "absent", "empty", "fresh" (made or
        recovered here for a founding) or another word.
        """
        if self._refusal:
            return GiveUp(f"the cluster refuses this node: {self._refusal}")
        if directory == "unknown":
            return Stay(inf, "looking at the database directory")
        if self._founding:
            return Found(self._founding)
        if self._welcome is not None:
            return self._welcome
        if self._anew is not None and directory not in FOUNDABLE:
            return GiveUp(
                "the file add_node is missing, which means: found this cluster anew; but the database directory is not "
                "empty. Empty it to found anew, or put the file add_node back to go on as before"
            )
        if now < self._hello_at:
            return Stay(self._hello_at, self._reason(now, directory))
        if self._may_found and self._hellos >= FOUNDING_HELLOS and not self._answered(now) and directory in FOUNDABLE:
            return Found(self._number)
        self._hellos = self._hellos + 1 if not self._answered(now) else 0
        self._hello_at = now + self._retry
        return Hello()

    def _answered(self, now: float) -> bool:
        return self._present is not None and now < self._present_at + FOUNDING_HELLOS * self._retry

    def _reason(self, now: float, directory: str) -> str:
        if self._answered(now):
            if self._anew is not None:
                return "a cluster of this name is running; stop all its nodes to found anew, or wait to be admitted"
            return "waiting to be admitted by the leader"
        if self._may_found and directory not in FOUNDABLE:
            return (
                f"no member of the cluster answers, and a cluster is not founded over a database directory that is "
                f"{directory}; start the other nodes, or empty it to found"
            )
        if self._may_found:
            return "looking for a cluster before founding one"
        return "no member of the cluster answers; is the founder running, does multicast work?"


def meets_later_founding(own: int, heard: int, directory: str, *, led: bool = False) -> GiveUp | bool:
    """What a member of founding ``own`` does when a member of ``heard`` speaks.

    True: set the log aside and join. False: nothing. GiveUp: an operator must empty the directory.
    A cluster that is ``led`` and has a database does not end because somebody founded another one behind a
    cut link: founding anew begins with stopping all nodes.
    """
    if heard <= own or directory == "unknown":
        return False
    if led and directory not in ("absent", "empty"):
        return False
    if directory in EMPTY:
        return True
    return GiveUp(
        f"this cluster was founded anew (founding {heard}; this node belongs to {own}), but the database directory "
        "here is not empty. Empty it and start this node again, and it joins"
    )
