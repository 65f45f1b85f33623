"""Decides when one of two nodes has the other one's host switched off, so that it may go on alone.

Must not know how an agent is run, nor what makes a claim sound: that is ``consensus/claim.py``.

Each shot follows a silence of node-timeout; who led shoots first, the other one later: else each would shoot the other.
A shot that fails, hangs or says nothing certain proves nothing, and the cluster stands still until there is contact.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from qluster.consensus.claim import other_of
from qluster.events import AgentsEnded, Fence, Job, JobEnded, PowerOn

if TYPE_CHECKING:
    from qluster.consensus.qraft import QRaft
    from qluster.node import Node

log = logging.getLogger("qluster.pairing")

SECOND_DELAY = 5.0
"""Seconds for which who did not lead waits longer: time for the other's shot, if that one lives and sees nobody."""


@dataclass(slots=True)
class Silence:
    """One time for which the other one is not heard."""

    heard_at: float
    """When it was last heard."""
    led: bool
    """This node led then."""
    shots: int = 0
    ended_at: float = -inf
    said: str = ""


class Pairing:
    """One of two nodes, and its shots at the other one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._silence: Silence | None = None
        self._job: tuple[int, int, float] | None = None
        """Number, node, and when it was ordered."""
        self._revive: tuple[str, int] | None = None
        """Address and level of a host that is to be switched on again."""
        self._reviving = 0
        self._led = False
        self._at = inf
        self.reason = ""
        """Why this node does not go on alone yet, "" where nothing is to be said."""

    @property
    def wake_at(self) -> float:
        """When a shot is due."""
        return self._at

    @property
    def remarks(self) -> list[str]:
        """Why this node could not go on alone although the settings want that."""
        node, qraft = self._node, self._node.qraft
        if qraft is None or node.config.cluster.two_node == "off" or len(qraft.members.voters) != 2:
            return []
        if not qraft.members.two_node:
            return ["cluster.two-node has no effect: it is for two voters with one vote each that know it, without a "
                    "tie-breaker or votes of an arbiter, with quorum-replication"]  # fmt: skip
        other = other_of(qraft.members, node.me)
        member, found = qraft.members.get(other), []
        if member is not None and not node.fences.configured(member.ip):
            found.append(f"node {node.me} could not go on without node {other}: it has no fence agent for {member.ip}")
        if other and not qraft.claimable:
            found.append(f"node {node.me} could not go on without node {other} yet: both have confirmed nothing since "
                         "it started")  # fmt: skip
        return found

    def step(self, now: float) -> None:
        """Shoot when it is time."""
        node, qraft = self._node, self._node.qraft
        self._at, self.reason = inf, ""
        if qraft is None or node.stopping or node.state.pause.active or self._job is not None:
            return
        if qraft.role == "leader":
            self._led = True
            self._switch_on(qraft)
            return
        other = qraft.claimable
        if not other or qraft.leader not in (None, node.me) or qraft.off(other):
            self._led = self._led and qraft.leader is None
            return
        heard_at = max(node.heard(other) or node.started, node.started)
        if self._silence is None or heard_at > self._silence.heard_at:
            self._silence = Silence(heard_at, self._led)
        self._shoot(other, self._silence, now)

    def _shoot(self, other: int, silence: Silence, now: float) -> None:
        node = self._node
        section, member = node.file.fencing, node.settled.get(other)
        host = section.hosts.get(member.ip) if section is not None and member is not None else None
        if section is None or host is None or member is None:
            self.reason = f"node {other} is silent, and no fence agent is configured for its host on this one"
            return
        if silence.shots >= section.attempts:
            self.reason = (
                f"node {other} is silent and could not be fenced: {silence.said}. Bring it back, or force the quorum"
            )
            return
        first = silence.heard_at + node.config.cluster.node_timeout + host.delay + (0 if silence.led else SECOND_DELAY)
        self._at = max(first, silence.ended_at + section.retry_pause)
        self.reason = f"node {other} is silent, and is fenced before this one goes on alone"
        if now < self._at:
            return
        self._at, silence.shots = inf, silence.shots + 1
        job = Job(node.job_number(), Fence(other, member.ip))
        self._job = job.number, other, now
        log.warning("fences node=%d ip=%s hint=it is silent, and one of two goes on alone", other, member.ip)
        node.start(job)

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        if event.number == self._reviving:
            self._reviving = 0
            return True
        if self._job is None or event.number != self._job[0]:
            return False
        (_, other, ordered_at), self._job = self._job, None
        found = event.result if isinstance(event.result, AgentsEnded) else AgentsEnded(False, event.error or "")
        log.warning("fenced node=%d success=%s said=%s", other, found.success, found.said)
        if self._silence is not None:
            self._silence.ended_at, self._silence.said = now, found.said
        node, member = self._node, self._node.settled.get(other)
        if found.success and node.qraft is not None and member is not None:
            self._revive = member.ip, found.level
            node.qraft.fenced(other, ordered_at, now)
        return True

    def _switch_on(self, qraft: QRaft) -> None:
        """Once the log says that this node is enough, the host may come back where its file wants that."""
        if self._revive is None or not qraft.ready or qraft.members.voters != {self._node.me}:
            return
        (ip, level), self._revive = self._revive, None
        section = self._node.file.fencing
        if section is not None and ip in section.hosts and section.hosts[ip].action == "reboot":
            job = Job(self._node.job_number(), PowerOn(ip, level))
            self._reviving = job.number
            self._node.start(job)
