"""Decides what a leader does while it leads. Begins with an election and dies with the office.

Must not know how it was elected, nor what it becomes afterwards.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from math import inf

from msgspec.structs import replace

from qluster.consensus.arbitration import Ringed
from qluster.consensus.claim import as_two
from qluster.consensus.electorate import by_episode
from qluster.consensus.lease import Rounds
from qluster.consensus.members import LEVEL_MAX, NODE_MAX, Members
from qluster.consensus.membership import (
    fault_of_change,
    fault_of_version,
    next_promotion,
    tie_breaker,
    with_usual_votes,
)
from qluster.consensus.messages import AppendRefusal, AppendReply, Expelled, Goodbye, Ring, TimeoutNow
from qluster.consensus.participant import Participant
from qluster.consensus.progress import Progress
from qluster.consensus.refusals import ChangeRefused, NotLeading, Overloaded, TooLarge, TransferRefused
from qluster.consensus.replication import Replication
from qluster.consensus.settings import UNCOMMITTED_BYTES_MAX, UNCOMMITTED_ENTRIES_MAX
from qluster.consensus.silence import Silence
from qluster.consensus.standing import Standing
from qluster.consensus.transfer import Step, Transfer
from qluster.consensus.witness import Witness
from qluster.events import DeviceShown

STEADY_ANSWERS = 3
"""Answers without a gap that a listener gives before it is made a voter."""

STEADY_LAG_ENTRIES = 64
"""A listener this close to the commit index keeps up: more can be under way in a busy cluster."""


class Office:
    """One leader in one term."""

    def __init__(self, me: Participant, now: float, granted: Collection[int] = ()) -> None:
        self._me = me
        self.rounds = Rounds(me.node, now)
        self.ringed = Ringed(me, self.rounds)
        self.rounds.device = self.ringed.rounds
        self.replication = Replication(me, self.rounds)
        self.witness = Witness(me, self.rounds, self.replication.match, granted, now)
        self.transfer: Transfer | None = None
        self.ended = ""
        """Why the office ends, "" while it goes on."""
        self._held_until = -inf
        self._removed_at = now
        self._silence = Silence(me, self.replication, now)
        self._departing: dict[int, float] = {}
        self._rested: dict[int, float] = {}
        """When voters that stop were taken out of the count: they are not promoted while they do."""
        self._tend_at = now
        self._refused = ""
        self._rule_differs_since = inf
        """Since when the settings ask for another commit rule than the list of members has."""
        self._claimed = next(iter(me.claimed.intersection(granted)), 0)
        """The other one of two, whose host is off: what is to be committed counts its copy."""
        if self._claimed:
            me.append("members", as_two(me.membership.latest.rested({self._claimed}), wanted=True).encode())
            me.say("claims", term=me.term, without=self._claimed)
        self._follow_membership()
        self._opening_index = me.append_noop().index
        me.say("leads", term=me.term, opening=self._opening_index)
        self._advance(now)

    # --- looks ----------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether an entry of its own term is committed (S13)."""
        return self._me.commit_index >= self._opening_index

    @property
    def lease_until(self) -> float:
        """Until when this node may act as leader on its own."""
        return self.rounds.lease_until(self._me.configuration)

    @property
    def held_until(self) -> float:
        """Until when it may have acted as leader on its own, by a vote that has ended since."""
        return -inf if self.rounds.given_up else max(self.lease_until, self._held_until)

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        me = self._me
        step_down_at = self.rounds.contact_at(me.configuration) + me.settings.node_timeout
        sending = self.replication
        times = [sending.heartbeat_at, sending.notice_at, sending.retry_at, step_down_at, me.stalled_at]
        times.append(self.witness.wake_at)
        if self.transfer:
            times.append(self.transfer.wake_at)
        if self._waiting_listeners():
            times.append(self._tend_at)
        return min(times)

    # --- wishes ---------------------------------------------------------------

    def propose(self, kind: str, payload: bytes, now: float, *, urgent: bool = False) -> tuple[int, int]:
        """Append an entry; when it is committed, all are told at once where it is ``urgent``. Raises what
        :mod:`refusals` names."""
        me = self._me
        if len(payload) > me.settings.max_log_size:
            raise TooLarge(f"{len(payload)} bytes, max-log-size is {me.settings.max_log_size}")
        if self.transfer is not None:
            raise NotLeading(None, f"leadership is being handed to node {self.transfer.target}")
        waiting = me.journal.last_index - me.commit_index
        waiting_bytes = me.journal.size_between(me.commit_index, me.journal.last_index)
        if waiting >= UNCOMMITTED_ENTRIES_MAX or waiting_bytes >= UNCOMMITTED_BYTES_MAX:
            raise Overloaded(f"{waiting} entries ({waiting_bytes} bytes) wait for their commit")
        # Nothing is committed by it before somebody has saved it, this node's own disk included.
        entry = me.append(kind, payload)
        if urgent:
            self.replication.urgent_index = entry.index
        return entry.index, entry.term

    def change_members(self, members: Members, now: float, automatic: bool = False) -> tuple[int, int]:
        """Append a list of members. Raises :class:`ChangeRefused`."""
        me = self._me
        if not self.ready:
            raise ChangeRefused("this leader has not committed an entry of its term yet")
        if me.membership.index > me.commit_index:
            raise ChangeRefused(f"the change at entry {me.membership.index} is not committed yet")
        if self.transfer is not None:
            raise ChangeRefused(f"leadership is being handed to node {self.transfer.target}")
        latest = me.membership.latest
        members = replace(members, configured=latest.configured if automatic else len(members.voters))
        members = self._with_tie_breaker(with_usual_votes(latest, members))
        fault = self._fault_of_version(members) or fault_of_change(latest, members, self._me.alive(now))
        if fault:
            raise ChangeRefused(fault)
        payload = members.encode()
        if len(payload) > me.settings.max_log_size:
            raise ChangeRefused(f"the list has {len(payload)} bytes, max-log-size is {me.settings.max_log_size}")
        entry = me.append("members", payload)
        me.say("changes-members", index=entry.index, voters=sorted(members.voters))
        self._follow_membership()
        for node in latest.voters - members.voters:
            peer = self.replication.peer(node)
            if peer is not None:
                # What it answered before it was lost says nothing of its being back.
                peer.steady_since, peer.steady_answers = inf, 0
        self._advance(now)
        return entry.index, entry.term

    def _fault_of_version(self, members: Members) -> str:
        return fault_of_version(self._me.membership.latest, members, {**self._me.levels, self._me.node: LEVEL_MAX})

    def _with_tie_breaker(self, members: Members) -> Members:
        """With what breaks ties by the settings; where a version would not know it, with the one of before."""
        settings = self._me.settings
        wanted = as_two(replace(members, tie=tie_breaker(members, settings.tie_breaker)), wanted=settings.two_node)
        if self._fault_of_version(wanted):
            before = self._me.membership.latest.tie
            return replace(members, tie=before if before in members.voters else 0, two_node=False)
        return wanted

    def rest(self, node: int, now: float) -> None:
        """This voter stops in order and is not to be counted until it is back. Raises :class:`ChangeRefused`."""
        latest = self._me.membership.latest
        if node in latest.voters:
            self._rested[node] = now
            self.change_members(latest.rested({node}), now, automatic=True)

    def begin_transfer(self, target: int, now: float) -> None:
        """Hand leadership to this node. Raises :class:`TransferRefused`."""
        me = self._me
        if not self.ready:
            raise TransferRefused("this leader has not committed an entry of its term yet")
        if target == me.node:
            raise TransferRefused(f"node {target} leads already")
        if self.transfer is not None:
            raise TransferRefused(f"leadership is being handed to node {self.transfer.target}")
        if target not in me.configuration.voters:
            raise TransferRefused(f"node {target} does not vote and cannot lead")
        if me.membership.index > me.commit_index:
            raise TransferRefused(f"the change of members at entry {me.membership.index} is not committed yet")
        if target not in self._me.alive(now):
            raise TransferRefused(f"node {target} was not heard for {me.settings.node_timeout:g}s")
        self._transfer_to(target, now)

    def _transfer_to(self, target: int, now: float) -> None:
        limit = self._me.settings.leader_voting_timeout
        self.transfer = Transfer(target, limit, now + limit)
        self._me.say("hands-over", to=target, term=self._me.term)
        self._go_on_with_transfer(now)

    # --- answers --------------------------------------------------------------

    def append_reply(self, message: AppendReply, now: float) -> None:
        """A node has the entries."""
        self._answered(message.node, message.round, message.match, message.ring)
        self.replication.confirm(message, now)
        peer = self.replication.peer(message.node)
        if peer is not None:
            self._judge_steadiness(peer, now)
        self._advance(now)

    def _answered(self, node: int, number: int, match: int, ring: Ring) -> None:
        """A node that starts keeps a promise for as long as its own log says: the lease rests on who has that entry."""
        has = max(match, self.replication.match(node)) >= self._me.timeout_index
        self.rounds.answer(node, number, lasting=has)
        self.ringed.answered(node, ring, number, match)

    def stand(self, standing: Standing, now: float) -> None:
        """This node is in another ring, or its arbiter says something else.

        A lease that ends by that ends at once, and what it protects is still to be stopped: for as long as it was
        promised this node helps nobody else, and does not say that it is gone.
        """
        me = self._me
        if any(map(self.ringed.counts, me.episodes)):
            self._held_until = max(self._held_until, self.rounds.promised_until(me.configuration))
        me.standing = standing
        self.ringed.stand()
        self._advance(now)

    def device_shown(self, answer: DeviceShown, now: float) -> None:
        """The device has seen this leader."""
        self.witness.shown(answer)
        self._advance(now)

    def saved(self, now: float) -> None:
        """This node's own copy has grown."""
        self._advance(now)

    def append_refusal(self, message: AppendRefusal, now: float) -> None:
        """A node lacks entries; it heard its leader all the same."""
        self._answered(message.node, message.round, 0, message.ring)
        self.replication.refuse(message, now)
        self._advance(now)

    def show(self, node: int, now: float) -> None:
        """Somebody does not hear its leader: answer it alone, or say that it is no member."""
        if self._me.membership.latest.two_node and self._me.journal.last_index == self._me.commit_index:
            self._me.append_noop()  # it may have started anew: with what is committed now it has an unbroken episode
        if self.replication.peer(node) is not None:
            self.replication.probe(node, now)
        else:
            self.expel(node)

    def expel(self, node: int) -> None:
        """Tell somebody who is no member so, once that is certain."""
        me = self._me
        certain = self.ready and me.membership.index <= me.commit_index
        if certain and me.membership.latest.get(node) is None:
            me.send(node, Expelled(me.cluster, me.node, me.term, me.membership.index, node))

    # --- what follows ---------------------------------------------------------

    def cast(self, now: float) -> None:
        """Send what is due to all."""
        self.replication.cast(now)
        if self._claims(self._claimed):  # nobody is there who could lead beside this one
            self.rounds.answer(self._claimed, self.rounds.newest.number)
        self.witness.step(now)
        self._confirm_reads()

    def _advance(self, now: float) -> None:
        """See what is committed now (S10, S11), and go on with what waited for it."""
        me = self._me
        while (index := self._committed()) > me.commit_index:
            change_pending = me.commit_index < me.membership.index
            me.commit_to(index)
            if change_pending and me.commit_index >= me.membership.index:
                self._members_committed(now)
        self._confirm_reads()
        self.ringed.step(now)
        self._go_on_with_transfer(now)

    def _committed(self) -> int:
        """The newest index that may count as committed, up to a pending change of members.

        An older term's entry rides along with one of this term (S10); behind a pending change
        other quorums hold, so it is looked at again.
        """
        me = self._me
        index = int(me.configuration.committed(self._match))
        if me.journal.term_at(index) != me.term:
            return me.commit_index
        return min(index, me.membership.index) if me.commit_index < me.membership.index else index

    def _match(self, voter: int) -> int:
        """Up to where a voter has this leader's log, and the device has seen it, or all have it that it stands for."""
        if by_episode(voter):
            return self.ringed.match(voter)
        if self._claims(voter):
            return self._me.journal.last_index
        return self.replication.match(voter) if voter <= NODE_MAX else self.witness.match(voter)

    def _claims(self, voter: int) -> bool:
        return voter > 0 and voter == self._claimed and self._me.off(voter)

    def _confirm_reads(self) -> None:
        if self.ready:
            for ticket in self.rounds.confirmed(self._me.configuration):
                self._me.answer_read(ticket, True)

    def _members_committed(self, now: float) -> None:
        me = self._me
        gone = me.membership.previous.voters | me.membership.previous.listeners
        gone -= {member.node for member in me.membership.latest} | {me.node}
        for node in gone:
            self._departing[node] = now + me.settings.node_timeout
        self._follow_membership()
        if me.membership.quorums_changed or me.membership.latest.two_node:
            # From here on nobody who has this entry needs a quorum of the former list, after a restart either.
            me.append_noop()
        if me.node not in me.membership.latest.voters:
            self._leave(now)

    def _leave(self, now: float) -> None:
        """This leader is no voter any more: the best of the others goes on."""
        best = self.successor(now)
        if best is None:
            self.ended = "removed"
        elif self.transfer is None:
            self._transfer_to(best, now)

    def successor(self, now: float) -> int | None:
        """The voter that is best prepared to lead."""
        alive = self._me.alive(now)
        peers = [
            (peer.match, -peer.node)
            for peer in self.replication.peers
            if peer.node in alive and peer.verified and peer.node in self._me.membership.latest.voters
        ]
        return -max(peers)[1] if peers else None

    def _follow_membership(self) -> None:
        me = self._me
        nodes = {member.node for member in me.membership.latest} | set(self._departing)
        if me.membership.index > me.commit_index:
            nodes |= {member.node for member in me.membership.previous}
        self.replication.follow_membership(nodes - {me.node})

    def _go_on_with_transfer(self, now: float) -> None:
        transfer, me = self.transfer, self._me
        if transfer is None:
            return
        caught_up = self.replication.match(transfer.target) == me.journal.last_index
        match transfer.next_step(caught_up, now):
            case Step.TELL:
                transfer.tell(now)
                self.rounds.give_up()
                me.send(transfer.target, TimeoutNow(me.cluster, me.node, me.term))
            case Step.ABORT:
                me.say("keeps-office", term=me.term, reason=f"node {transfer.target} did not catch up")
                self.transfer = None
                if me.node not in me.membership.latest.voters:
                    self.ended = "removed"
            case Step.STEP_DOWN:
                self.ended = f"node {transfer.target} did not take over"

    # --- time -----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed."""
        me = self._me
        if now >= self.rounds.contact_at(me.configuration) + me.settings.node_timeout:
            self.ended = "no quorum answers"
            self._release(now)
            return
        if now >= me.stalled_at:
            # The others could commit without this disk, and nobody would ever notice that it is gone.
            self.ended = f"its disk has not saved for {now - me.saving_since:.2f}s"
            return
        self._go_on_with_transfer(now)
        if self.ended:
            return
        self.replication.tick(now)
        self._dismiss_departed(now)
        self._tend_members(now)

    def _release(self, now: float) -> None:
        """Who does not hear may still be heard, and the others would wait for its time-out once more.

        It may be heard only when all that was promised is over: then the lease ended as long before as it does
        when a leader falls silent, and what it protects has stopped.
        """
        me = self._me
        if now >= max(self._held_until, self.rounds.promised_until(me.configuration)):
            me.send(None, Goodbye(me.cluster, me.node, me.term, 0))

    def _dismiss_departed(self, now: float) -> None:
        for node, until in list(self._departing.items()):
            told = self.replication.match(node) >= self._me.membership.index
            if told or now >= until:
                self.expel(node)
                del self._departing[node]
                self._follow_membership()

    def _tend_members(self, now: float) -> None:
        """Changes that nobody has to ask for; one at a time."""
        me = self._me
        if now < self._tend_at:
            return
        self._tend_at = now + self._steady_time / STEADY_ANSWERS
        for peer in self._waiting_listeners():
            if peer.steady_answers and now >= peer.probed_at + self._steady_time / STEADY_ANSWERS:
                self.replication.probe(peer.node, now)
        if not self.ready or self.transfer or me.membership.index > me.commit_index:
            return
        wanted = self._next_members(now)
        if wanted is not None:
            self._change_unasked(wanted, now)

    def _change_unasked(self, wanted: Members, now: float) -> None:
        removal = len(wanted.voters) < len(self._me.membership.latest.voters)
        try:
            self.change_members(wanted, now, automatic=removal)
        except ChangeRefused as refusal:
            if refusal.reason != self._refused:
                self._me.say("no-change", reason=repr(refusal.reason))
            self._refused = refusal.reason
        else:
            self._refused = ""
            self._removed_at = now if removal else self._removed_at

    def _next_members(self, now: float) -> Members | None:
        me = self._me
        latest, settings = me.membership.latest, me.settings
        rule = (settings.quorum_replication, settings.replication_factor)
        if rule == (latest.quorum_replication, latest.replication_factor):
            self._rule_differs_since = inf
        else:
            self._rule_differs_since = min(self._rule_differs_since, now)
            if now >= self._rule_differs_since + self._steady_time:
                return replace(latest, quorum_replication=rule[0], replication_factor=rule[1])
        steady = {
            peer.node
            for peer in self._waiting_listeners()
            if peer.steady_answers >= STEADY_ANSWERS and now >= peer.steady_since + self._steady_time
        }
        promotion = next_promotion(latest, steady & self._promotable(now))
        if promotion is not None:
            return latest.promoted(promotion.node)
        tied = self._with_tie_breaker(latest)
        if tied != latest and not fault_of_change(latest, tied, self._me.alive(now)):
            return tied
        return self._silence.list_without_the_lost(self._removed_at, now)

    # --- listeners ----------------------------------------------

    @property
    def _steady_time(self) -> float:
        """How long a listener must keep up: within it a promoted node could not be lost unnoticed."""
        return self._me.settings.heartbeat_interval / 2

    def _waiting_listeners(self) -> list[Progress]:
        latest = self._me.membership.latest
        found = [
            self.replication.peer(member.node)
            for member in latest
            if not member.voter and member.role == "node"
        ]
        return [peer for peer in found if peer is not None]

    def _judge_steadiness(self, peer: Progress, now: float) -> None:
        late = now > peer.answered_at + 2 * self._me.settings.heartbeat_interval
        peer.answered_at = now
        if peer.match + STEADY_LAG_ENTRIES < self._me.commit_index:
            peer.steady_since, peer.steady_answers = inf, 0
            return
        if late or peer.steady_since == inf:
            peer.steady_since, peer.steady_answers = now, 0
        peer.steady_answers += 1

    def _promotable(self, now: float) -> set[int]:
        """Listeners whose vote would not leave the cluster without a quorum of living nodes, and that do not stop."""
        latest, alive = self._me.membership.latest, self._me.alive(now)
        stopping = {node for node, at in self._rested.items() if now < at + self._me.settings.node_timeout}
        return {
            peer.node
            for peer in self._waiting_listeners()
            if peer.node not in stopping and not self._stands_against(latest.promoted(peer.node), alive)
        }

    def _stands_against(self, wanted: Members, alive: set[int]) -> str:
        """Why this list would be refused now."""
        wanted = self._with_tie_breaker(with_usual_votes(self._me.membership.latest, wanted))
        return self._fault_of_version(wanted) or fault_of_change(self._me.membership.latest, wanted, alive)
