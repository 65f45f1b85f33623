"""Holds the switchover of this node: what there is to see of it, when one is due by plan, what its steps order.

Must not know how a step is decided: that is in ``switching.py``. Nor who asked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from qluster.cluster.commands import SwitchoverEnded
from qluster.config.addresses import place_text
from qluster.database.orders import Checkpoint
from qluster.events import Job, JobEnded
from qluster.leading import Propose, Scene, Transfer
from qluster.pausing import stands_against_moving
from qluster.status import PoolStatus
from qluster.successor import best_fit, unfit
from qluster.switching import Sight, Switchover, Wish

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.handing")

MISSED_LIMIT = 300.0
"""Seconds by which a switchover that was scheduled may be late, because nobody led at its time: later it is
somebody's working hours, or another plan's turn."""


class Handing:
    """The switchover under way on this node, if there is one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._one: Switchover | None = None
        self._checkpoint: int | None = None
        self._checkpointed: str | None = None
        self._given_up = 0
        self._told_at = -inf
        self._stepped_at = -inf

    # --- looks -----------------------------------------------------------------------

    @property
    def stops_primary(self) -> bool:
        """The primary here is to be stopped."""
        return self._one is not None and self._one.stops_primary

    @property
    def under_way(self) -> bool:
        """Somebody's wish is being carried out here."""
        return self._one is not None and not self._one.over

    def given_up(self, reign: int) -> bool:
        """This reign was declared over: nobody writes in it any more, whether that is committed yet or not."""
        yielded = self._node.state.switching.yielded
        return self._given_up == reign or (yielded is not None and yielded.reign == reign)

    @property
    def wake_at(self) -> float:
        """When :meth:`step` is needed without an event."""
        node = self._node
        planned = node.state.switching.planned
        due = node.monotonic_of(planned.at) if planned is not None and node.leads else inf
        times = (self._one.wake_at if self._one is not None else inf, due, self._told_at + self._retry)
        return min((time for time in times if time > self._stepped_at), default=inf)

    @property
    def _retry(self) -> float:
        return self._node.config.cluster.replication_retry_interval

    # --- what comes in ---------------------------------------------------------------

    def begin(self, wish: Wish, now: float) -> Switchover:
        """Carry out a wish. What is at once takes the place of what is being prepared."""
        node, reign = self._node, self._node.state.reign
        assert node.qraft is not None
        log.info("switchover node=%d to=%d force=%s at-once=%s", node.me, wish.node, wish.force, wish.at_once)
        if self._one is not None and not self._one.over:
            self._one.give_way(f"the primary had to be given up for node {wish.node} at once")
        self._one = Switchover(wish, now, node.qraft.term, reign.number if reign is not None else 0)
        self._checkpoint = self._checkpointed = None
        return self._one

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        if event.number != self._checkpoint:
            return False
        self._checkpoint, self._checkpointed = None, event.error or ""
        return True

    # --- what is to be done --------------------------------------------------------------

    def step(self, scene: Scene | None, now: float) -> list[Propose | Transfer]:
        """Go on; ``scene`` is None where this node does not lead (any more)."""
        self._stepped_at = now
        duties: list[Propose | Transfer] = []
        if scene is not None and not self.under_way:
            duties += self._tidy(scene) or self._due(scene)
        one = self._one
        if one is None:
            return duties
        before = one.phase
        for duty in one.step(self._sight(one, scene, now)):
            if isinstance(duty, Checkpoint):
                self._order_checkpoint()
            else:
                duties.append(duty)
        if one.gave_up:
            self._given_up = max(self._given_up, one.reign)
        if one.phase != before:
            log.info("switchover-phase to=%d phase=%s reason=%s", one.wish.node, one.phase, one.reason)
            self._node.stir()
        if one.over:
            self._one = None
        return duties

    def _order_checkpoint(self) -> None:
        node = self._node
        self._checkpoint = node.job_number()
        node.start(Job(self._checkpoint, Checkpoint()))

    def _pool_of(self, number: int) -> PoolStatus | None:
        """What is known of the pool on a host."""
        node, report = self._node, self._node.reports.last(number)
        if number == node.me:
            return node.pointing.status
        return report.pool if report is not None else None

    def _sight(self, one: Switchover, scene: Scene | None, now: float) -> Sight:
        node = self._node
        assert node.qraft is not None
        member = node.settled.get(one.wish.node)
        address = place_text(member.ip, member.db_port) if member is not None and member.db_port is not None else ""
        pools = [one for one in node.settled if one.pool and node.alive(one.node, now)]
        return Sight(
            now=now, wall=node.wall(now), leads=scene is not None, term=node.qraft.term, leader=node.qraft.leader,
            reign=node.state.reign, switching=node.state.switching, checkpointed=self._checkpointed,
            quiet=node.hosting.no_primary,
            end=node.keeper.clean_end,
            successor=node.reports.last(one.wish.node), address=address,
            pools={pool.node: self._pool_of(pool.node) for pool in pools},
            transferring=node.qraft.transferring is not None, node_timeout=node.config.cluster.node_timeout,
            retry=self._retry,
        )  # fmt: skip

    def _tidy(self, scene: Scene) -> list[Propose | Transfer]:
        """What the log calls under way in this node's own reign, and it does not carry out, is over: pools wait."""
        left, reign = scene.state.switching.under_way, scene.state.reign
        mine = reign is not None and (reign.node, reign.term) == (scene.me, scene.term)
        if left is None or not mine or scene.now < self._told_at + self._retry:
            return []
        self._told_at = scene.now
        wall = self._node.wall(scene.now)
        return [Propose(SwitchoverEnded(left.number, 0, "it was left half-way", wall))]

    def _due(self, scene: Scene) -> list[Propose | Transfer]:
        """A plan whose time has come: carried out, or dropped with the reason."""
        planned, wall = scene.state.switching.planned, self._node.wall(scene.now)
        if planned is None or wall < planned.at:
            return []
        if wall > planned.at + MISSED_LIMIT:
            reason = f"its time was missed by more than {MISSED_LIMIT:g} s: nobody led then"
        elif planned.node == scene.me:
            reason = f"node {planned.node} leads already"
        elif not (reason := stands_against_moving(self._node)):
            target = planned.node or best_fit(scene)
            reason = unfit(scene, target) if target else "no node is fit to take over"
            if not reason and target:
                self.begin(Wish(target, planned.force, planned.patience, planned.number), scene.now)
                return []
        if scene.now < self._told_at + self._retry:
            return []
        self._told_at = scene.now
        log.warning("switchover-dropped to=%d reason=%s", planned.node, reason)
        return [Propose(SwitchoverEnded(0, planned.number, reason, wall))]
