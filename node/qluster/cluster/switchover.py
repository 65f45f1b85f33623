"""Decides what the log knows of switchovers: the one that is planned, the one under way, how the last one ended.

Must not know who carries them out, nor what a pool or a database is. A switchover is named by the index of the
entry with which it began, a plan likewise: so what ends one can never end another.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from qluster.clients import Refused
from qluster.cluster.commands import Reign, SwitchoverBegun, SwitchoverEnded, SwitchoverPlanned, Yielded


class Planned(Struct, frozen=True, array_like=True):
    """A switchover that is to come; ``node`` 0: to whoever is best then; ``at``: seconds since 1970."""

    number: int
    node: int
    at: float
    patience: float
    force: bool = False


class UnderWay(Struct, frozen=True, array_like=True):
    """A switchover that has begun: reign ``reign`` is to end for ``node``."""

    number: int
    node: int
    reign: int
    patience: float
    plan: int = 0
    at: float = 0.0


class Ended(Struct, frozen=True, array_like=True):
    """How the last one ended: ``reason`` is "" when ``node`` took over, in ``reign``."""

    node: int
    reign: int
    at: float
    reason: str = ""


class Switching(Struct, frozen=True):
    """All of it; replaced whole."""

    planned: Planned | None = None
    under_way: UnderWay | None = None
    last: Ended | None = None
    yielded: Yielded | None = None
    """The end of the reign in force, once its primary was shut down for good."""

    def plan(self, body: SwitchoverPlanned, index: int) -> Switching | Refused:
        """One at a time."""
        if self.planned is not None:
            return Refused("at", "a switchover is scheduled already; cancel it first with DELETE /leader")
        return replace(self, planned=Planned(index, body.node, body.at, body.patience, body.force))

    def begin(self, body: SwitchoverBegun, index: int, reign: int) -> Switching | Refused:
        """One at a time, and only while the reign goes on that it is to end."""
        if self.under_way is not None:
            return Refused("node", f"a switchover to node {self.under_way.node} is under way")
        if body.reign != reign:
            return Refused("node", f"reign {body.reign}, which it was to end, is over")
        begun = UnderWay(index, body.node, body.reign, body.patience, body.plan, body.at)
        return replace(self._without_plan(body.plan), under_way=begun)

    def end(self, body: SwitchoverEnded) -> Switching:
        """It came to nothing."""
        planned, under_way = self.planned, self.under_way
        changed = self._without_plan(body.plan)
        if under_way is not None and under_way.number == body.number:
            ended = Ended(under_way.node, under_way.reign, body.at, body.reason)
            return replace(changed, under_way=None, last=ended)
        if planned is not None and planned.number == body.plan:
            return replace(changed, last=Ended(planned.node, 0, body.at, body.reason))
        return changed

    def yields(self, body: Yielded, reign: int) -> Switching:
        """The primary of the reign in force wrote its last record."""
        return replace(self, yielded=body) if body.reign == reign else self

    def reigned(self, reign: Reign) -> Switching:
        """Somebody reigns anew: whatever was under way is over."""
        ended, under_way = self.last, self.under_way
        if under_way is not None:
            reason = "" if reign.node == under_way.node else f"node {reign.node} took over instead"
            ended = Ended(under_way.node, reign.number, under_way.at, reason)
        return replace(self, under_way=None, yielded=None, last=ended)

    def _without_plan(self, number: int) -> Switching:
        done = self.planned is not None and self.planned.number == number
        return replace(self, planned=None) if done else self
