"""Decides when one of two nodes has the other one's host switched off, so that it may go on alone.

Must not know how an agent is run, nor what makes a claim sound: that is ``consensus/claim.py``.

Each shot follows a silence of node-timeout; who led shoots first, the other one later: else each would shoot the other.
A shot that fails, hangs or says nothing certain proves nothing. After the last attempt of a silence nothing is tried
any more: the cluster stands still until there is contact, or somebody acts, and the status says what is to be done.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from qluster.consensus.claim import other_of
from qluster.consensus.remarks import resting
from qluster.events import AgentsEnded, Fence, Job, JobEnded, PowerOn
from qluster.paired import ShotStatus, TwoNodeStatus

if TYPE_CHECKING:
    from qluster.consensus.members import Member
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


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of the last shot."""

    node: int
    ip: str
    success: bool
    said: str
    at: float


class Pairing:
    """One of two nodes, and its shots at the other one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._silence: Silence | None = None
        self._job: tuple[int, int, float] | None = None
        """Number, node, and when it was ordered."""
        self._revive: tuple[str, int] | None = None
        """Address and level of a host that is to be switched on again."""
        self._reviving: tuple[int, str] | None = None
        """Number of the job, and the address of the host that is switched on by it."""
        self._led = False
        self._at = inf
        self._last: Ended | None = None
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
                    "tie-breaker or votes of an arbiter, with quorum-replication and a replication-factor below "
                    "2"]  # fmt: skip
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
        self._at = inf
        if self._job is not None:
            return  # the word of before stands until that has ended
        self.reason = ""
        if qraft is None or node.stopping or node.state.pause.active:
            return
        if qraft.role == "leader":
            self._led = True
            self._switch_on(qraft)
            return
        other = qraft.claimable
        if not other or qraft.leader not in (None, node.me) or qraft.off(other):
            self._led = self._led and qraft.leader is None
            self.reason = self._barred(qraft, now)
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
            where = f" ({member.ip})" if member is not None else ""
            self.reason = "" if node.alive(other, now) else (
                f"node {other}{where} is silent, and no fence agent is configured for its host on this one. "
                f"{self._remedy(member)}"
            )
            return
        if silence.shots >= section.attempts:
            self.reason = (
                f"node {other} ({member.ip}) is silent and could not be fenced: {silence.said}. No shot is left after "
                f"{silence.shots}, and nobody serves. {self._remedy(member)}"
            )
            return
        first = silence.heard_at + node.config.cluster.node_timeout + host.delay + (0 if silence.led else SECOND_DELAY)
        self._at = max(first, silence.ended_at + section.retry_pause)
        if not node.alive(other, now):
            self.reason = f"node {other} ({member.ip}) is silent, and is fenced before this one goes on alone" + (
                f"; shot {silence.shots} of {section.attempts} failed: {silence.said}" if silence.shots else ""
            )
        if now < self._at:
            return
        self._at, silence.shots = inf, silence.shots + 1
        job = Job(node.job_number(), Fence(other, member.ip))
        self._job = job.number, other, now
        log.warning("fences node=%d ip=%s hint=it is silent, and one of two goes on alone", other, member.ip)
        node.start(job)

    def _barred(self, qraft: QRaft, now: float) -> str:
        """Why this node must not go on without the other one, who is silent; "" where it may, or need not."""
        node, caught = self._node, _caught(qraft, self._node.me)
        other = caught or (other_of(qraft.members, node.me) if qraft.members.two_node else 0)
        if not other or qraft.claimable or qraft.leader is not None:
            return ""
        member = node.settled.get(other)
        if member is None or node.alive(other, now) or now < node.started + node.config.cluster.node_timeout:
            return ""
        if caught:
            return (
                f"node {other} ({member.ip}) fell silent while it stopped or came back, before both had confirmed "
                f"that: without it nothing can be confirmed. {self._remedy(member)}"
            )
        return (
            f"node {other} ({member.ip}) is silent, and may have gone on alone before: since this node started, both "
            f"have confirmed nothing, so it neither shoots nor goes on. {self._remedy(member)}"
        )

    def _remedy(self, member: Member | None) -> str:
        """What an operator is to do where no shot helps."""
        if member is None:
            return ""
        name = self._node.state.name or self._node.config.cluster.name
        return (
            f"Start it (its host may be off), or mend the link. If it is lost for good, switch its host off, see that "
            f"it is off, and run here: qluster force-quorum --name {name} --confirm-off {member.ip}"
        )

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        if self._reviving is not None and event.number == self._reviving[0]:
            (_, ip), self._reviving = self._reviving, None
            found = event.result if isinstance(event.result, AgentsEnded) else AgentsEnded(False, event.error or "")
            self._node.fences.revived(ip, found, now)
            return True
        if self._job is None or event.number != self._job[0]:
            return False
        (_, other, ordered_at), self._job = self._job, None
        found = event.result if isinstance(event.result, AgentsEnded) else AgentsEnded(False, event.error or "")
        log.warning("fenced node=%d success=%s said=%s", other, found.success, found.said)
        if self._silence is not None:
            self._silence.ended_at, self._silence.said = now, found.said
        node, member = self._node, self._node.settled.get(other)
        self._last = Ended(other, member.ip if member is not None else "", found.success, found.said, now)
        section, silence = node.file.fencing, self._silence
        if not found.success and section is not None and silence is not None and silence.shots >= section.attempts:
            log.error("stands-still node=%d shots=%d hint=%s", other, silence.shots, self._remedy(member))
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
            self._reviving = job.number, ip
            self._node.start(job)

    # --- what there is to see ------------------------------------------------------------------

    def status(self, now: float) -> TwoNodeStatus | None:
        """How far this node is with going on alone; None where nobody wants that."""
        node, qraft = self._node, self._node.qraft
        if qraft is None or (node.config.cluster.two_node == "off" and not qraft.members.two_node):
            return None
        other, silence, last = other_of(qraft.members, node.me), self._silence, self._last
        heard = node.heard(other) if other else None
        member = node.settled.get(other)
        claim = self._claim(qraft, other, now)
        counted = silence if silence is not None and claim in ("waits", "fencing", "failed", "fenced") else None
        section = node.file.fencing
        return TwoNodeStatus(
            in_force=qraft.members.two_node, other=other or None,
            able=bool(qraft.claimable) and member is not None and node.fences.configured(member.ip),
            claim=claim, reason=self.reason or "; ".join(self.remarks),
            heard_ago=None if heard is None else now - heard,
            shots=counted.shots if counted is not None else 0, attempts=section.attempts if section is not None else 0,
            next_in=max(0.0, self._at - now) if self._at < inf and claim == "waits" else None,
            last=None if last is None else ShotStatus(
                node=last.node, ip=last.ip, success=last.success, said=last.said, ago=now - last.at),
        )  # fmt: skip

    def _claim(self, qraft: QRaft, other: int, now: float) -> str:
        """How far it is, in one word of :class:`TwoNodeStatus`."""
        if self._job is not None:
            return "fencing"
        if not other and _caught(qraft, self._node.me):
            return "barred" if self.reason else "none"
        if not other:
            return "alone" if qraft.members.voters == {self._node.me} and resting(qraft.members) else "none"
        if qraft.off(other):
            return "fenced"
        if self._node.alive(other, now) or qraft.leader not in (None, self._node.me):
            return "none"
        if not qraft.claimable:
            return "barred"
        return "waits" if self._at < inf else "failed" if self.reason else "none"


def _caught(qraft: QRaft, me: int) -> int:
    """The other one of two, where a list is on its way that nobody can commit without it; 0: there is none."""
    lists = qraft.members, qraft.former_members
    if qraft.members_index <= qraft.commit_index or not any(members.two_node for members in lists):
        return 0
    return next(filter(None, (other_of(members, me) for members in lists)), 0)
