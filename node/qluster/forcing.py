"""Decides how this node goes on without the majority when an operator says so, and how it gives in to one that did.

Must not know how a state directory is replaced. What may be forced, and with what log: ``force.py``.

Between the order and the new founding: the hosts that are given up and not confirmed to be off are fenced; then a lease
that the former leader may still have runs out, while nobody of them may be heard; then the database here stops. Until
that is over nothing has changed, and whatever contradicts it ends the attempt.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from qluster import force
from qluster.clients import Busy, Done, ForceQuorumRequested, Outcome, Refused
from qluster.cluster import commands
from qluster.consensus.members import Member
from qluster.events import Address, AgentsEnded, Fence, Job, JobEnded, Refound

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.forcing")

NAMED_SECONDS = 10.0
"""Seconds at least that nodes which were counted on have to come back before a primary is chosen without them: they
set their logs aside, say hello and fetch a snapshot first."""


@dataclass(slots=True)
class Shot:
    """The fencing of one host."""

    ended_at: float | None = None
    success: bool = False
    said: str = ""


@dataclass(slots=True)
class UnderWay:
    """What was ordered."""

    request: ForceQuorumRequested
    named: tuple[int, ...]
    left_out: tuple[Member, ...]
    since: float
    shots: dict[int, Shot] = field(default_factory=dict)


class Forcing:
    """One node's way out of a founding that has lost its majority."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._under_way: UnderWay | None = None
        self._jobs: dict[int, int] = {}
        """Job → node that it fences."""
        self._voided = ""
        """Why this node gives up its founding, "" while it does not."""
        self._asked_at = -inf
        self._named_since: float | None = None
        self._gave_up: tuple[Member, ...] = ()
        """By the last attempt that came to nothing."""
        self.outcome = ""
        """How the last attempt came to nothing; "" when none did."""
        self.stops = False
        """The database here is to stop, whatever the log says: this founding is over for this node."""

    # --- what an operator asks ------------------------------------------------------------

    def asked(self, request: ForceQuorumRequested, now: float) -> Outcome:
        """What becomes of an operator's order, or (``check``) what would."""
        view = self._view(request, now)
        faults, planned = force.against(view), force.plan(view)
        if self._voided:
            faults.append(self._voided)
        detail = self._detail(planned, request, faults, now)
        if request.check:
            return Done(0, detail)
        if self._under_way is not None:
            return Busy(f"it is under way: {self.status}")
        if faults:
            return Refused("", "; ".join(faults))
        self._begin(request, planned, now)
        return Done(0, {**detail, "begun": True})

    def _detail(
        self, planned: force.Plan, request: ForceQuorumRequested, faults: list[str], now: float
    ) -> dict[str, object]:
        node = self._node
        fenced = {one.node for one in planned.to_fence(request.confirmed)}
        return {
            "begun": False, "node": node.me, "founding": node.cluster, "against": faults,
            "counts_on": [one.node for one in planned.named],
            "gives_up": [
                {"node": one.node, "ip": one.ip, "fenced": one.node in fenced, "heard_ago": self._heard_ago(one, now)}
                for one in planned.left_out
            ],
            "seconds": node.config.cluster.node_timeout,
        }  # fmt: skip

    def _heard_ago(self, member: Member, now: float) -> float | None:
        """Seconds: what the others decided since then nobody knows here; None: it was not since the daemon started."""
        heard = self._node.heard(member.node)
        return None if heard is None else round(now - heard, 2)

    def _view(self, request: ForceQuorumRequested, now: float) -> force.View:
        node, qraft = self._node, self._node.qraft
        assert qraft is not None, "asked only of a node that has joined"
        lists = (qraft.former_members, node.settled, qraft.members)
        others = {one.node: one for members in lists for one in members if one.node != node.me}
        section = node.file.fencing
        return force.View(
            me=node.me, name=node.state.name or node.config.cluster.name, asked=request.name,
            others=tuple(others[number] for number in sorted(others)),
            alive=frozenset(number for number in others if node.alive(number, now)),
            named=request.nodes, confirmed=request.confirmed,
            agents=frozenset(section.hosts) if section is not None else frozenset(),
            leader=self._leader(now), votes=node.me in qraft.members.voters and not qraft.removed,
            enough=qraft.quorate(now) and qraft.can_commit(now),
            loose=node.state.pause.loose, entries=qraft.last_index, fault=node.short,
        )  # fmt: skip

    def _leader(self, now: float) -> int | None:
        """Who leads. By formula an arbiter elects this node alone, and nothing is committed: that is no leader."""
        qraft, me = self._node.qraft, self._node.me
        assert qraft is not None
        if qraft.role != "leader":
            return qraft.leader
        return me if qraft.ready or qraft.can_commit(now) else None

    def _begin(self, request: ForceQuorumRequested, planned: force.Plan, now: float) -> None:
        node = self._node
        named = tuple(one.node for one in planned.named)
        self.outcome = ""
        # What was chosen when it was asked for stays: who comes back meanwhile contradicts it.
        self._under_way = under_way = UnderWay(replace(request, nodes=named), named, planned.left_out, now)
        log.warning("quorum-is-forced counts-on=%s gives-up=%s hint=nothing has changed yet", named,
                    [one.node for one in planned.left_out])  # fmt: skip
        for one in planned.to_fence(request.confirmed):
            under_way.shots[one.node] = Shot()
            job = Job(node.job_number(), Fence(one.node, one.ip))
            self._jobs[job.number] = one.node
            log.warning("fences node=%d ip=%s hint=before its quorum is forced", one.node, one.ip)
            node.start(job)

    def ended(self, event: JobEnded, now: float) -> bool:
        """Take the end of a job; False when it was not one of these."""
        target = self._jobs.pop(event.number, None)
        if target is None:
            return False
        found = event.result if isinstance(event.result, AgentsEnded) else AgentsEnded(False, event.error or "")
        log.warning("fenced node=%d success=%s said=%s", target, found.success, found.said)
        if self._under_way is not None and target in self._under_way.shots:
            self._under_way.shots[target] = Shot(now, found.success, found.said)
        elif found.success:  # the attempt had ended meanwhile
            self._note_left_off([one for one in self._gave_up if one.node == target])
        return True

    def _note_left_off(self, off: list[Member]) -> None:
        """Hosts are off for an attempt that came to nothing: nobody but an operator switches them on again."""
        if off:
            hosts = ", ".join(f"node {one.node} ({one.ip})" for one in off)
            again = " ".join(f"--confirm-off {one.ip}" for one in off)
            self.outcome += (f". Switched off for it, and still off: {hosts}. Switch on again what you do not give up; "
                             f"else force the quorum with {again}")  # fmt: skip
            log.error("fenced-for-nothing hosts=%s hint=switch them on again", hosts)

    # --- what is done -----------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Do what is due."""
        node = self._node
        if node.stopping or node.qraft is None:
            return
        if self._voided:
            self._give_in()
        elif self._under_way is not None:
            self._go_on(self._under_way, now)

    def _go_on(self, under_way: UnderWay, now: float) -> None:
        faults = self._against(under_way, now)
        if faults:
            self._abandon("; ".join(faults))
        elif any(shot.ended_at is None for shot in under_way.shots.values()) or now < self._ready_at(under_way):
            return
        elif not self._database_stopped:
            self.stops = True
        else:
            self._refound(under_way, now)

    def _against(self, under_way: UnderWay, now: float) -> list[str]:
        """What contradicts the attempt by now."""
        found = force.against(self._view(under_way.request, now))
        for member in under_way.left_out:
            shot, heard = under_way.shots.get(member.node), self._node.heard(member.node)
            if shot is not None and shot.ended_at is not None and not shot.success:
                found.append(f"node {member.node} ({member.ip}) could not be fenced: {shot.said}. Switch its host off, "
                             f"see that it is off, and say so with --confirm-off {member.ip}")  # fmt: skip
            since = under_way.since if shot is None else inf if shot.ended_at is None else shot.ended_at
            if heard is not None and heard > since:
                found.append(f"node {member.node} ({member.ip}) was heard: its host is not off")
        return found

    def _abandon(self, why: str) -> None:
        log.error("quorum-not-forced reason=%s", why)
        under_way, self._under_way, self.outcome, self.stops = self._under_way, None, why, False
        if under_way is not None:
            self._gave_up = under_way.left_out
            self._note_left_off([
                one for one in self._gave_up if one.node in under_way.shots and under_way.shots[one.node].success
            ])  # fmt: skip

    def _ready_at(self, under_way: UnderWay) -> float:
        """When no lease is left that those who are given up may have held when it was ordered."""
        node = self._node
        assert node.qraft is not None
        promised = node.qraft.promised_until
        return max(under_way.since + node.config.cluster.node_timeout, promised if promised < inf else -inf)

    @property
    def _database_stopped(self) -> bool:
        return self._node.config.database is None or self._node.keeper.stopped

    def _refound(self, under_way: UnderWay, now: float) -> None:
        node, qraft = self._node, self._node.qraft
        assert qraft is not None
        own = qraft.members.get(node.me)
        assert own is not None, "a voter stands in its list"
        entries = qraft.entries_after(node.state.applied)
        try:
            state = force.carried(node.state, entries)
        except commands.MalformedCommand as fault:
            self._abandon(f"the end of the log here cannot be carried over: {fault}")
            return
        view = self._view(under_way.request, now)
        planned, wall = force.plan(view), node.wall(now)
        body = commands.Forced(
            founding=force.founding_number(node.cluster, wall, node.me), former=node.cluster, node=node.me,
            index=qraft.last_index, term=qraft.last_term, reign=state.reign.number if state.reign else 0,
            left_out=tuple((one.node, one.ip) for one in under_way.left_out), named=under_way.named,
            fenced=tuple(sorted(under_way.shots)), at=wall, by=under_way.request.by,
        )  # fmt: skip
        members = force.members_after(planned, own, qraft.members)
        last = qraft.last_index, qraft.last_term
        begun = force.refound(state, members, qraft.term + 1, last, body, node.uid)
        node.leave(
            f"quorum is forced: founding {body.founding} goes on from founding {body.former} with entry {last[0]} of "
            f"term {last[1]}, without {', '.join(f'node {number} ({ip})' for number, ip in body.left_out) or 'nobody'}",
            rejoin=True, refound=begun,
        )  # fmt: skip

    # --- a founding that goes on from this one -----------------------------------------------

    def meets(self, cluster: int, lineage: tuple[int, ...] | None, source: Address, now: float) -> bool:
        """A member of a later founding speaks; None: it did not say from where its founding came. True: that is known.

        Then it is asked: only a founding that goes on from this one may void a database.
        """
        node = self._node
        if self._voided or node.stopping:
            return False
        if lineage is None:
            if now >= self._asked_at + node.config.hello_retry_interval:
                self._asked_at = now
                node.tell(node.entering.hello(), source, now)
            return False
        if force.succeeds(node.cluster, node.state.lineage, cluster, lineage):
            self._voided = f"joins founding {cluster}, which goes on by force from founding {node.cluster}"
            log.error("founding-voided own=%d by=%d hint=an operator forced a quorum elsewhere; the database stops "
                      "and follows the one there", node.cluster, cluster)  # fmt: skip
            self._under_way, self.stops = None, True
            node.stir()
        return True

    def _give_in(self) -> None:
        if self._database_stopped:
            self._node.leave(self._voided, rejoin=True, refound=Refound())

    # --- what a leader of the new founding waits for ---------------------------------------------

    def withheld(self, now: float) -> str:
        """Why no primary is chosen yet: nodes that were counted on have their say in it. "" when it is time."""
        state, settled = self._node.state, self._node.settled
        if not state.forced_open:
            self._named_since = None
            return ""
        back = settled.voters
        missing = [
            one.node for one in settled
            if one.node in state.forced[-1].named and one.node not in back and one.db_port is not None
        ]  # fmt: skip
        if self._named_since is None:
            self._named_since = now
        if not missing or now >= self._named_until:
            return ""
        names = ", ".join(map(str, missing))
        return f"node {names}, counted on by the operator who forced the quorum, is to have its say in who is primary"

    @property
    def _named_until(self) -> float:
        patience = max(2 * self._node.config.cluster.node_timeout, NAMED_SECONDS)
        return inf if self._named_since is None else self._named_since + patience

    # --- looks --------------------------------------------------------------------------------------

    @property
    def wake_at(self) -> float:
        """When something here is due without an event."""
        times = [self._named_until if self._node.state.forced_open else inf]
        if self._under_way is not None:
            times.append(self._ready_at(self._under_way))
        now = self._node.settled_at
        return min((time for time in times if time > now), default=inf)

    @property
    def status(self) -> str:
        """What is under way, or how the last attempt came to nothing, for people."""
        if self._voided:
            return self._voided
        if self._under_way is None:
            return f"quorum was not forced: {self.outcome}" if self.outcome else ""
        if any(shot.ended_at is None for shot in self._under_way.shots.values()):
            return "quorum is being forced: hosts are being fenced"
        return "quorum is being forced: leases run out, and the database here stops"

