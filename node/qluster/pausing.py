"""Decides what a pause asks of this node: what is refused, what a leader leaves undone, when a lease binds again.

Must not know how a pause is kept in the log (``cluster/pause.py``), nor how a database is left alone (``plan.py``).
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from qluster.clients import Busy, Done, Outcome, PauseRequested, Refused, ResumeRequested
from qluster.cluster.commands import Bound, Paused, Resumed
from qluster.cluster.pause import Pause
from qluster.cluster.state import MalformedState, State
from qluster.cluster.state import decode as decode_state
from qluster.events import Saved
from qluster.leading import Propose, Scene, Transfer

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.pausing")

GIVE_BACK_INTERVAL = 5.0
"""Seconds between two offers of the leadership to the node of the reign: each is an election."""
GIVE_BACKS_MAX = 3
"""Offers in one office: who cannot be elected three times will not be the fourth time either."""


def was_paused(saved: Saved) -> bool:
    """Whether this node was paused when it saved this: what runs on its host then is left alone at its start.

    A state that cannot be read counts as one: the start is refused a moment later, and nothing was touched before.
    """
    try:
        return saved.snapshot is not None and decode_state(saved.snapshot.state).pause.active
    except MalformedState:
        return True


def withheld(state: State, me: int) -> str:
    """Why this node, which leads, begins no reign; "" when nothing stands against it."""
    pause = state.pause
    if state.reign is None or pause.allows(me):
        return ""
    if pause.active:
        return f"the cluster is paused, the primary stays on node {pause.loose}"
    return waits_for(pause.loose)


def waits_for(node: int) -> str:
    """Why nobody takes over although the pause is over."""
    return (
        f"node {node} may still run the primary that the pause left without a lease: bring it back, or, when its "
        f"database has certainly ended, give it up with `qluster resume --abandon {node}`"
    )


def tell(pause: Pause, body: Paused | Resumed | Bound) -> None:
    """A line of log for what was applied."""
    match body:
        case Paused():
            log.info("paused index=%d node=%d reason=%s", pause.since, pause.loose, pause.reason or "none given")
        case Resumed(abandoned):
            log.info("resumed index=%d waits-for=%d abandoned=%d", pause.since, pause.loose, abandoned)
        case Bound(node):
            log.info("bound-again node=%d waits-for=%d", node, pause.loose)


# --- what operators ask ------------------------------------------------------------------


Asked = Outcome | tuple[Paused | Resumed, dict[str, object]]
"""An answer at once, or a command for the log with what is answered when it is committed."""


def asked(node: Node, request: PauseRequested | ResumeRequested, now: float) -> Asked:
    """What becomes of the wish to pause, or to go on."""
    return _pause(node, request) if isinstance(request, PauseRequested) else _resume(node, request, now)


def _pause(node: Node, request: PauseRequested) -> Asked:
    pause = node.state.pause
    if node.state.reign is None:
        return Refused("", "there is no database yet that could be left alone")
    if node.governing.handing_over or node.state.switching.under_way is not None:
        return Refused("", "the primary is being moved; wait for its end, then pause")
    if pause.active and pause.reason == request.reason:
        return Done(0, {"paused": True, "changed": False})
    return Paused(request.reason), {"paused": True, "changed": True}


def _resume(node: Node, request: ResumeRequested, now: float) -> Asked:
    pause, abandoned = node.state.pause, request.abandon or 0
    if abandoned and abandoned != pause.loose:
        known = f"it is node {pause.loose}" if pause.loose else "nobody is"
        return Refused("abandon", f"node {abandoned} is not waited for, {known}")
    if not pause.active and not abandoned:
        return Done(0, {"paused": False, "changed": False, "waits_for": pause.loose or None})
    if pause.of(node.me) and not node.hosting.reigns() and node.keeper.intact(node.state.system_id, now):
        # Resumed without a reign of this term, its primary would be ended instead of going on.
        return Busy(f"node {node.me} has just been elected and begins its reign first")
    if not abandoned and node.governing.pausing.gives_back(node.governing.scene(now)):
        return Busy(f"node {pause.loose}, whose primary goes on, takes the leadership back first")
    waits = pause.loose if pause.loose != abandoned else 0
    return Resumed(abandoned), {"paused": False, "changed": True, "waits_for": waits or None}


def stands_against_moving(node: Node) -> str:
    """Why the primary cannot be moved now, "" when the pause has nothing against it."""
    pause = node.state.pause
    if pause.active:
        return f"the cluster is paused{_because(pause.reason)}: resume it first"
    return waits_for(pause.loose) if pause.loose not in (0, node.me) else ""


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


# --- what a leader does --------------------------------------------------------------------


class Pausing:
    """The duties of one leader in and after a pause."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._term = 0
        self._offers = 0
        self._offered_at = 0.0
        self._proposed = (0, 0)

    def duties(self, scene: Scene) -> list[Propose | Transfer]:
        """What is to be done now."""
        self._count_anew(scene)
        pause = scene.state.pause
        if not pause.loose:
            return []
        if pause.loose != scene.me and self._can_lead(scene, pause.loose):
            return self._give_back(scene, pause.loose)
        if pause.active:
            return []
        if not self._is_bound(pause.loose, pause.since, scene.now) or self._proposed == (scene.term, pause.since):
            return []
        self._proposed = scene.term, pause.since
        return [Propose(Bound(pause.loose, pause.since))]

    def gives_back(self, scene: Scene) -> bool:
        """Whether the node of the reign is yet to lead, whose primary serves: a resume before that would end it."""
        self._count_anew(scene)
        holder = scene.state.pause.loose
        report = scene.report(holder)
        serves = holder not in (0, scene.me) and report is not None and report.writable
        return serves and self._can_lead(scene, holder)

    def _count_anew(self, scene: Scene) -> None:
        if scene.term != self._term:
            self._term, self._offers = scene.term, 0

    def _can_lead(self, scene: Scene, holder: int) -> bool:
        """Whether the node of the reign may yet take the leadership: it has all that was written, and goes on with it.

        Then the resume finds its primary in the term that binds it; and a primary that was cut off is not passed
        over for a replica that lacks what it took on meanwhile.
        """
        member, report = scene.settled.get(holder), scene.report(holder)
        able = member is not None and member.voter and holder in scene.alive and holder not in scene.state.down
        waiting = scene.now < self._offered_at + GIVE_BACK_INTERVAL if self._offers else False
        return able and report is not None and not report.short and (self._offers < GIVE_BACKS_MAX or waiting)

    def _give_back(self, scene: Scene, holder: int) -> list[Propose | Transfer]:
        busy = self._node.qraft is None or self._node.qraft.transferring is not None
        if busy or (self._offers and scene.now < self._offered_at + GIVE_BACK_INTERVAL):
            return []
        self._offers, self._offered_at = self._offers + 1, scene.now
        return [Transfer(holder)]

    @property
    def wake_at(self) -> float:
        """When leadership is offered again, or not any more."""
        waits = self._offers and self._node.state.pause.loose not in (0, self._node.me)
        return self._offered_at + GIVE_BACK_INTERVAL if waits else inf

    def _is_bound(self, holder: int, since: int, now: float) -> bool:
        """Whether this node can say that a lease bounds the primary of the reign again."""
        node = self._node
        if holder != node.me:
            report = node.reports.last(holder)
            return report is not None and report.bound == since
        return node.hosting.bound(now) == since and node.applying.kept(since)
