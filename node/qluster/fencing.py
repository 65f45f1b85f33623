"""Decides when this node's fence agents are looked after and fired, and gathers what a leader must know of them.

Must not know how an agent is run, nor whether a shot is called for: that is ``cluster/fencing.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from qluster.clients import Busy, FenceRequested, Outcome, Refused
from qluster.cluster import fencing
from qluster.cluster.commands import FencingBegun, FencingConfirmed, FencingEnded, Reign
from qluster.cluster.fencing import SAID_MAX, Shot
from qluster.cluster.reign import Succession
from qluster.events import AgentsEnded, CheckFence, Fence, Job, JobEnded, PowerOn

if TYPE_CHECKING:
    from qluster.consensus.members import Member
    from qluster.leading import Scene
    from qluster.node import Node

log = logging.getLogger("qluster.fencing")

FIRST_CHECK = 5.0
"""Seconds after the start until the agents are looked after for the first time: there is enough to do before."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of the last look at the agents of one host."""

    at: float
    well: bool
    said: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a leader sees of the former primary and of its own agents."""

    left: str = ""
    """How the former primary gave up its office by its own word, "" when it did not."""
    lease: bool = True
    configured: bool = False
    known: bool = True
    heard_at: float | None = None
    delay: float = 0.0
    attempts: int = 2
    retry_pause: float = 1.0
    must_succeed: bool = False
    shot: Shot | None = None
    wall: float = 0.0


class Fences:
    """The fence agents of one host, as its node uses them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.shots: dict[int, Shot] = {}
        """The last shot at each node."""
        self.checked: dict[str, Checked] = {}
        """What came of the last look at the agents of each host."""
        self._left_off: dict[str, tuple[float, str]] = {}
        """Address of a host that could not be switched on again → when, and what its agents said."""
        self._firing: dict[int, int] = {}
        """Job → node."""
        self._reviving: dict[int, str] = {}
        """Job → address of the host that is switched on again."""
        self._checking: tuple[int, str] | None = None
        self._check_at = node.started + FIRST_CHECK
        self._told: dict[int, tuple[int, int]] = {}
        """Node → entry whose outcome was proposed for the log, and in which term."""

    # --- shots ----------------------------------------------------------------------------

    def fire(self, target: int, index: int, now: float) -> None:
        """The shot that entry ``index`` ordered is committed: run the agents."""
        node, member = self._node, self._node.settled.get(target)
        assert target != node.me, "a node never fences itself"
        before = self.shots.get(target)
        if before is not None and (before.index == index or before.ended_at is None):
            return  # each order is carried out once, and one after the other
        self.shots[target] = Shot(index, now)
        if member is None or not self.configured(member.ip):
            self._end(target, AgentsEnded(False, "no agent is configured for its host on this one"), now)
            return
        job = Job(node.job_number(), Fence(target, member.ip))
        self._firing[job.number] = target
        log.warning("fences node=%d ip=%s entry=%d", target, member.ip, index)
        node.start(job)

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        outcome = event.result if isinstance(event.result, AgentsEnded) else AgentsEnded(False, event.error or "")
        target = self._firing.pop(event.number, None)
        if target is not None:
            self._end(target, outcome, now)
            return True
        revived = self._reviving.pop(event.number, None)
        if revived is not None:
            self.revived(revived, outcome, now)
            return True
        if self._checking is None or self._checking[0] != event.number:
            return False
        ip, self._checking = self._checking[1], None
        before = self.checked.get(ip)
        self.checked[ip] = Checked(now, outcome.success, outcome.said)
        if not outcome.success and (before is None or before.well or before.said != outcome.said):
            log.error("fence-agents-fail ip=%s reason=%s hint=this host could not be fenced now", ip, outcome.said)
        elif outcome.success and before is not None and not before.well:
            log.info("fence-agents-work ip=%s", ip)
        return True

    def revived(self, ip: str, outcome: AgentsEnded, now: float) -> None:
        """A host that was fenced was switched on again, or that failed."""
        level = logging.INFO if outcome.success else logging.ERROR
        log.log(level, "fenced-host-on ip=%s success=%s said=%s", ip, outcome.success, outcome.said)
        self._left_off.pop(ip, None)
        if not outcome.success:
            self._left_off[ip] = now, outcome.said[:SAID_MAX]

    def left_off(self, ip: str, heard_at: float | None) -> str:
        """Why a host that was fenced from here is off still; "" where it is not, or was heard since."""
        at, said = self._left_off.get(ip, (inf, ""))
        return said if at < inf and (heard_at is None or heard_at <= at) else ""

    def _end(self, target: int, outcome: AgentsEnded, now: float) -> None:
        shot = self.shots[target]
        said = outcome.said[:SAID_MAX]
        self.shots[target] = replace(shot, ended_at=now, success=outcome.success, said=said)
        loudness = logging.WARNING if outcome.success else logging.ERROR
        log.log(loudness, "fenced node=%d entry=%d success=%s seconds=%.2f said=%s", target, shot.index,
                outcome.success, now - shot.ordered_at, said)  # fmt: skip
        member, section = self._node.settled.get(target), self._node.file.fencing
        host = section.hosts.get(member.ip) if section is not None and member is not None else None
        if outcome.success and member is not None and host is not None and host.action == "reboot":
            # Nobody needs to wait for that: what ran there runs no more.
            job = Job(self._node.job_number(), PowerOn(member.ip, outcome.level))
            self._reviving[job.number] = member.ip
            self._node.start(job)

    def asked_for(self) -> list[tuple[int, int]]:
        """Nodes and entries of the shots that an operator had this leader order, and that were not fired yet."""
        node = self._node
        assert node.qraft is not None
        return [
            (one.node, one.index) for one in node.state.fencings.last
            if one.asked and one.success is None and (one.by, one.term) == (node.me, node.qraft.term)
            and (one.node not in self.shots or self.shots[one.node].index != one.index)
        ]  # fmt: skip

    def endings(self, now: float) -> list[FencingEnded]:
        """Outcomes that the log does not have yet; this node leads."""
        node, found = self._node, []
        assert node.qraft is not None
        for target, shot in self.shots.items():
            last = node.state.fencings.of(target)
            open_there = last is not None and last.index == shot.index and last.success is None
            if shot.ended_at is not None and open_there and self._told.get(target) != (shot.index, node.qraft.term):
                found.append(FencingEnded(target, shot.index, shot.success, shot.said, node.wall(now)))
        return found

    def told(self, ending: FencingEnded) -> None:
        """This outcome is on its way into the log; a proposal that was put off is made again."""
        assert self._node.qraft is not None
        self._told[ending.node] = ending.begun, self._node.qraft.term

    # --- the agents -----------------------------------------------------------------------

    def configured(self, ip: str) -> bool:
        """Whether this host's file says how that host is fenced."""
        section = self._node.file.fencing
        return section is not None and ip in section.hosts

    def step(self, now: float) -> None:
        """Look after the agents of one host after the other, again and again."""
        section = self._node.file.fencing
        if section is None or self._node.qraft is None or self._node.stopping or now < self._check_at:
            return
        if self._checking is not None or self._firing:
            return  # what is under way shows as much
        ip = min(section.hosts, key=lambda ip: self.checked[ip].at if ip in self.checked else -inf)
        last = self.checked.get(ip)
        if last is not None and now < last.at + section.monitor_interval:
            self._check_at = last.at + section.monitor_interval
            return
        job = Job(self._node.job_number(), CheckFence(ip))
        self._checking = job.number, ip
        self._node.start(job)

    @property
    def wake_at(self) -> float:
        """When agents are to be looked after."""
        node, busy = self._node, self._checking is not None or bool(self._firing)
        idle = node.file.fencing is None or node.qraft is None or node.stopping
        return inf if idle or busy else self._check_at

    @property
    def figures(self) -> tuple[int, int]:
        """For how many hosts there are agents, and for how many of them they did not work when last looked at."""
        section = self._node.file.fencing
        faulty = sum(not checked.well for checked in self.checked.values())
        return (len(section.hosts), faulty) if section is not None else (0, 0)

    # --- what a leader sees ------------------------------------------------------------------

    def seen(self, now: float) -> Seen:
        """What there is to know of the node of the reign in force."""
        node, reign, section = self._node, self._node.state.reign, self._node.file.fencing
        assert node.qraft is not None
        if reign is None or reign.node == node.me:
            return Seen(wall=node.wall(now))
        member = node.settled.get(reign.node)
        host = section.hosts.get(member.ip) if section is not None and member is not None else None
        left = f"node {reign.node} gave up its office" if node.qraft.left(reign.node) >= reign.term else ""
        if node.qraft.off(reign.node):
            left = left or f"the host of node {reign.node} was fenced before this one was elected"
        seen = Seen(
            left=left,
            lease=node.qraft.lease_until > now, configured=host is not None, known=self.all_know(),
            heard_at=node.heard(reign.node), shot=self.shots.get(reign.node), wall=node.wall(now),
        )  # fmt: skip
        if host is None or section is None:
            return seen
        return replace(
            seen, delay=host.delay, attempts=section.attempts, retry_pause=section.retry_pause,
            must_succeed=section.when_failed == "wait",
        )  # fmt: skip

    def all_know(self) -> bool:
        """No member that was heard has a version that could not read an entry of a fencing."""
        node = self._node
        reports = [node.reports.last(member.node) for member in node.settled if member.node != node.me]
        return all(report.fencing is not None for report in reports if report is not None)


# --- what operators ask -----------------------------------------------------------------------

Asked = Outcome | tuple[FencingBegun | FencingConfirmed, dict[str, object]]
"""An answer at once, or a command for the log with what is answered when it is committed."""


def asked(node: Node, request: FenceRequested, now: float) -> Asked:
    """What becomes of an operator's wish to have a host fenced, or of his word that it is off. This node leads."""
    member = node.settled.get(request.node)
    if member is None:
        return Refused("node", f"there is no node {request.node}", "no-such-node")
    if member.ip != request.ip:
        return Refused("ip", f"node {request.node} has the address {member.ip}, not {request.ip}")
    if request.node == node.me:
        return Refused("node", f"node {request.node} leads, and a node never fences itself: hand leadership to another "
                               f"one first, or run `qluster fence {member.ip} --here` on another host")  # fmt: skip
    if node.state.pause.active:
        return Refused("", "the cluster is paused: resume it first")
    if not node.fences.all_know():
        return Refused("", "not all nodes have a version that knows of fencing: bring them to one version first")
    return _confirm(node, request, now) if request.confirm else _order(node, member, now)


def _order(node: Node, member: Member, now: float) -> Asked:
    reign, shot = node.state.reign, node.fences.shots.get(member.node)
    if not node.fences.configured(member.ip):
        return Refused("node", f"fencing.hosts of node {node.me}, which leads, does not name {member.ip}")
    if shot is not None and shot.ended_at is None:
        return Busy(f"node {member.node} is being fenced")
    number = reign.number if reign is not None else 0
    body = FencingBegun(member.node, number, node.me, node.qraft.term if node.qraft else 0, node.wall(now), True)
    return body, {"node": member.node, "ordered": True}


def _confirm(node: Node, request: FenceRequested, now: float) -> Asked:
    reign = node.state.reign
    if reign is None or reign.node != request.node:
        who = f"node {reign.node} holds reign {reign.number}" if reign is not None else "there is no reign yet"
        return Refused("node", f"nobody waits for node {request.node} to be off: {who}")
    if node.alive(request.node, now):
        return Refused("node", f"node {request.node} was heard within node-timeout: it is not off")
    return FencingConfirmed(request.node, reign.number, node.wall(now)), {"node": request.node, "confirmed": True}


@dataclass(slots=True)
class Fencer:
    """What one leader does in one term before it reigns after another node."""

    since: float | None = None
    """When it could have begun to reign for the first time."""
    ordered: int = 0
    """Index of the last shot that it proposed."""
    reason: str = ""
    """Why it did begin, as it was last decided."""

    def decide(self, scene: Scene, succession: Succession) -> fencing.Decision:
        """What comes before the reign of this node."""
        reign = scene.state.reign
        if reign is None or reign.standby or scene.seen is None:
            return fencing.Go("nobody could write")
        if self.since is None:
            self.since = scene.now
        if self.ordered > scene.state.applied:
            return fencing.Hold(f"node {reign.node}, the former primary, is about to be fenced")
        decision = fencing.decide(view(scene, scene.seen, succession, self.since))
        if isinstance(decision, fencing.Go) and decision.reason != self.reason:
            self.reason = decision.reason
            log.info("fencing-done reign=%d node=%d reason=%s", reign.number, reign.node, decision.reason)
        return decision

    def order(self, scene: Scene) -> FencingBegun:
        """The entry that orders a shot at the former primary."""
        reign = scene.state.reign
        assert reign is not None and scene.seen is not None
        return FencingBegun(reign.node, reign.number, scene.me, scene.term, scene.seen.wall)


def view(scene: Scene, seen: Seen, succession: Succession, since: float) -> fencing.View:
    """What the decision rests on."""
    reign = scene.state.reign
    assert reign is not None
    former = scene.members.get(reign.node)
    return fencing.View(
        now=scene.now, me=scene.me, term=scene.term, reign=reign.number, target=reign.node,
        ip=former.ip if former is not None else "ADDRESS",
        word=_word(scene, seen, succession, reign), lease=seen.lease, paused=bool(scene.withheld),
        configured=seen.configured, known=seen.known, heard_at=seen.heard_at, since=since, delay=seen.delay,
        attempts=seen.attempts, retry_pause=seen.retry_pause, must_succeed=seen.must_succeed,
        last=scene.state.fencings.of(reign.node), shot=seen.shot,
    )  # fmt: skip


def _word(scene: Scene, seen: Seen, succession: Succession, reign: Reign) -> str:
    """How the former primary said that it reigns no more, "" when it did not."""
    yielded = scene.state.switching.yielded
    if yielded is not None and yielded.reign == reign.number:
        return f"node {reign.node} handed over in order"
    if reign.node in succession.replies:
        return f"node {reign.node} said where its database ended"
    return seen.left

