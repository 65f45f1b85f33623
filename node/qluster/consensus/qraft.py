"""One participant of QRaft: what it is told goes to the part that decides, and what it wants is gathered.

Must not know clocks, sockets or files: time and chance are arguments. Decides only which part is asked.

:meth:`QRaft.take` gives what is wanted done since the last call. Its order is law: what is to be saved is
durable before anything is sent that ``holding.py`` does not exempt. So a follower confirms in the same output in
which it asks for the save; a leader sends its entries before, and counts its own copy when it is told that it is
durable: :meth:`QRaft.saving` gives the number of what was taken, :meth:`QRaft.saved` is to be called with it.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from random import Random

from msgspec.structs import replace as with_fields

from qluster.consensus.arbitration import Syncing
from qluster.consensus.election import Election
from qluster.consensus.electorate import device_key
from qluster.consensus.following import Following
from qluster.consensus.looks import Looks
from qluster.consensus.members import MEMBERS_MAX, MEMORY, MalformedMembers, Members
from qluster.consensus.membership import with_device
from qluster.consensus.messages import (
    NUMBER_MAX,
    AnyMessage,
    Append,
    AppendRefusal,
    AppendReply,
    Expelled,
    Goodbye,
    LeaderQuery,
    PreVote,
    PreVoteReply,
    SnapshotOffer,
    SyncQuery,
    SyncReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from qluster.consensus.office import Office
from qluster.consensus.output import Fetch, Output
from qluster.consensus.participant import CANDIDATE, LEADER, PRE_CANDIDATE, Participant
from qluster.consensus.refusals import (
    ChangeRefused,
    NotLeading,
    Overloaded,
    Refusal,
    TooLarge,
    TransferRefused,
)
from qluster.consensus.settings import Settings
from qluster.consensus.standing import Standing
from qluster.events import (
    DeviceAnswered,
    DeviceClosed,
    DeviceOpened,
    DeviceShown,
    DeviceWord,
    Saved,
    Snapshot,
)

HEARD_MAX = 4 * MEMBERS_MAX
"""Nodes of which the last sign of life is remembered: members, former ones and those that join."""

__all__ = [
    "ChangeRefused",
    "Fetch",
    "NotLeading",
    "Output",
    "Overloaded",
    "QRaft",
    "Refusal",
    "Settings",
    "TooLarge",
    "TransferRefused",
]


class QRaft(Looks):
    """One node's part in the consensus."""

    def __init__(self, node: int, settings: Settings, saved: Saved, random: Random, now: float) -> None:
        """Begin from what was saved. Raises :class:`JournalDamaged` when that is no log."""
        self._me = Participant(node, settings, saved, random, now)
        self._election = Election(self._me)
        self._following = Following(self._me)
        self._syncing = Syncing(self._me)
        self._office: Office | None = None
        self._election.start(now)

    @classmethod
    def found(
        cls, node: int, settings: Settings, saved: Saved, random: Random, now: float, members: Members
    ) -> QRaft:
        """Begin a new cluster: the log's first entry is the list of its members."""
        assert not saved.entries and saved.snapshot is None, "a founder has an empty log"
        qraft = cls(node, settings, saved, random, now)
        me = qraft._me
        members = with_fields(
            members,
            quorum_replication=settings.quorum_replication,
            replication_factor=settings.replication_factor,
            configured=len(members.voters),
        )
        assert node in members.voters and not members.fault(), members.fault() or "a founder votes"
        me.adopt(max(1, me.term + 1))
        me.append("members", members.encode())
        me.role = me.resting_role
        me.say("founds", cluster=me.cluster, voters=sorted(members.voters))
        qraft._election.start(now)
        return qraft

    # --- what happens ---------------------------------------------------------

    def hear(self, node: int, now: float) -> None:
        """A node was heard otherwise than by a message of consensus: it is alive."""
        heard = self._me.heard
        heard[node] = max(now, heard.get(node, -inf))
        if len(heard) > HEARD_MAX:
            members = {member.node for member in self._me.membership.latest}
            del heard[min(heard, key=lambda other: (other in members, heard[other]))]

    def receive(self, message: AnyMessage, now: float) -> None:
        """A message of this cluster came in."""
        me = self._me
        assert message.cluster == me.cluster, f"message of cluster {message.cluster} in {me.cluster}"
        if message.node == me.node:
            return
        me.now = now
        self.hear(message.node, now)
        match message:
            case PreVote():
                self._election.pre_vote(message, now)
                if self._office is not None:
                    self._office.show(message.node, now)
            case Vote():
                if self._election.vote(message, now):
                    self._end_office("another is elected", now)
            case Append() | SnapshotOffer():
                self._receive_from_leader(message, now)
            case TimeoutNow():
                self._election.timeout_now(message, now)
            case Goodbye():
                self._election.goodbye(message, now)
            case Expelled():
                self._expelled(message)
            case _:
                self._receive_answer(message, now)
        self._settle(now)

    def _receive_from_leader(self, message: Append | SnapshotOffer, now: float) -> None:
        me = self._me
        if message.term < me.term:
            self._following.refuse_old_term(message)
            return
        if message.term > me.term:
            me.adopt(message.term)
            self._end_office("another leads", now)
        promise = message.promise if isinstance(message, Append) else 0.0
        self._following.hear_leader(message, promise, now)
        self._election.wait_for_leader(now)
        if isinstance(message, Append):
            self._following.append(message, now)
        else:
            self._following.snapshot_offer(message, now)

    def _receive_answer(
        self,
        message: PreVoteReply | VoteReply | AppendReply | AppendRefusal | LeaderQuery | SyncQuery | SyncReply,
        now: float,
    ) -> None:
        me = self._me
        if message.term > me.term:
            self._learn_term(message, now)
            return
        match message:
            case PreVoteReply():
                self._election.pre_vote_reply(message, now)
            case VoteReply():
                self._election.vote_reply(message, now)
            case LeaderQuery() if self._office:
                self._office.show(message.node, now)
            case AppendReply() | AppendRefusal() if self._office and not self._office.replication.peer(message.node):
                # Who was removed while it was away hears what is sent to all, and would follow for ever.
                self._office.expel(message.node)
            case AppendReply() if self._office and message.term == me.term:
                self._office.append_reply(message, now)
            case AppendRefusal() if self._office and message.term == me.term:
                self._office.append_refusal(message, now)
            case SyncQuery() if self._office and message.term == me.term:
                self._office.ringed.query(message)
            case SyncReply():
                self._syncing.reply(message)

    def _learn_term(self, message: AnyMessage, now: float) -> None:
        """A member is in a newer term. Whoever stands or leads in an older one cannot win it over (B27)."""
        me = self._me
        if me.membership.latest.get(message.node) is None:
            return
        self._move_to(message.term, f"node {message.node} is in term {message.term}", now)

    def _move_to(self, term: int, reason: str, now: float) -> None:
        me = self._me
        me.adopt(term)
        if me.role in (PRE_CANDIDATE, CANDIDATE):
            me.role = me.resting_role
            self._election.hurry(now)
        self._end_office(reason, now)

    def _expelled(self, message: Expelled) -> None:
        me = self._me
        if message.former != me.node:
            return
        newer = message.index > me.membership.index
        # A list that came with a snapshot is known by the snapshot's index: the leader's own one may be lower.
        led = message.term == me.term and message.node == me.leader
        known = message.index == me.membership.index or led
        if newer or (known and me.membership.latest.get(me.node) is None):
            if not me.removed:
                me.say("expelled", by=message.node, index=message.index)
            me.expelled_at = max(me.expelled_at, message.index)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._me.now = now
        if self._office is not None:
            self._office.tick(now)
        else:
            self._election.tick(now)
            if not self._election.won:
                self._following.tick(now)
                self._syncing.tick(now)
        self._settle(now)

    # --- wishes ---------------------------------------------------------------

    def propose(self, kind: str, payload: bytes, now: float, *, urgent: bool = False) -> tuple[int, int]:
        """Append an entry; ``urgent``: others are to apply it as soon as it is committed. Raises NotLeading, Overloaded
        or TooLarge."""
        assert kind != "members", "members change by change_members"
        self._me.now = now
        place = self._need_office().propose(kind, payload, now, urgent=urgent)
        self._settle(now)
        return place

    def change_members(self, members: Members, now: float) -> tuple[int, int]:
        """Append a list of members. Raises NotLeading or ChangeRefused."""
        self._me.now = now
        place = self._need_office().change_members(members, now)
        self._settle(now)
        return place

    def rest(self, node: int, now: float) -> None:
        """Do not count this voter until it is back. Raises NotLeading or ChangeRefused."""
        self._me.now = now
        self._need_office().rest(node, now)
        self._settle(now)

    def device(self, uid: int, votes: int | None, now: float, way: str = MEMORY) -> None:
        """Count the memory with this uid (0: none any more), or a device in another way, which has none.

        Raises NotLeading or ChangeRefused.
        """
        self._me.now = now
        office, latest = self._need_office(), self._me.membership.latest
        wanted = with_device(latest, uid, votes, way)
        if wanted != latest:
            office.change_members(wanted, now, automatic=True)
        self._settle(now)

    def stand(self, standing: Standing, now: float) -> bool:
        """In which ring this node is now, and what its arbiter says of that; whether that is news."""
        me = self._me
        if standing == me.standing:
            return False
        me.now = now
        if self._office is not None:
            self._office.stand(standing, now)
        else:
            me.standing = standing
            self._election.recount(now)
        self._settle(now)
        return True

    def hear_device(self, word: DeviceWord, now: float) -> None:
        """The link of this node to an arbiter says something. Only the memory that a list names counts."""
        me = self._me
        me.now = now
        match word:
            case DeviceOpened(uid):
                me.device, me.device_owes_since = device_key(uid), inf
                me.judged(behind=False)
                if self._office is not None:
                    self._office.witness.opened()
            case DeviceClosed():
                me.device, me.device_owes_since = 0, inf
            case DeviceAnswered() | DeviceShown():
                self._device_answers(word, now)
        self._settle(now)

    def _device_answers(self, answer: DeviceAnswered | DeviceShown, now: float) -> None:
        me = self._me
        if device_key(answer.uid) != me.device:
            return
        me.device_owes_since = inf
        if not me.device_counts:
            return
        if isinstance(answer, DeviceAnswered):
            me.judged(behind=answer.behind)
        if answer.term > me.term:
            refused = not (answer.granted if isinstance(answer, DeviceAnswered) else answer.kept)
            if refused:
                self._move_to(answer.term, f"the device has seen term {answer.term}", now)
        elif isinstance(answer, DeviceAnswered):
            self._election.device_answered(answer, now)
        elif self._office is not None:
            self._office.device_shown(answer, now)

    def fenced(self, node: int, ordered_at: float, now: float) -> None:
        """The host of a node is off for certain, by a fencing that was ordered then."""
        self._me.now = now
        self._me.claim.fenced(node, ordered_at)
        self._election.claim(now)
        self.tick(now)

    def counts(self, node: int, level: int) -> None:
        """A node said how much of a list of members its version understands."""
        levels = self._me.levels
        levels[node] = level
        if len(levels) > HEARD_MAX:
            self._me.levels = {one.node: levels[one.node] for one in self._me.membership.latest if one.node in levels}

    def transfer(self, target: int, now: float) -> None:
        """Hand leadership to a node; the lease ends when it is told. Raises NotLeading or TransferRefused."""
        self._me.now = now
        self._need_office().begin_transfer(target, now)
        self._settle(now)

    def request_read(self, ticket: int, now: float) -> None:
        """Answer in ``reads`` whether what is committed now may be read here."""
        self._me.now = now
        if self._office is None or not self._office.rounds.ask(ticket):
            self._me.answer_read(ticket, False)

    def resign(self, now: float) -> None:
        """Stop leading and tell the others: they need not wait for the time-out.

        Only with the database here stopped: the lease ends at once. A node that has just started, or leads
        no longer, may do the same: if it led in its last term, the others still keep their promise to it.
        """
        me = self._me
        me.now = now
        if self._office is None:
            if me.vote == me.node and me.leader is None and me.role not in (PRE_CANDIDATE, CANDIDATE):
                me.send(None, Goodbye(me.cluster, me.node, me.term, 0))
            return
        successor = self._office.successor(now) or 0
        self._office.rounds.give_up()
        me.send(None, Goodbye(me.cluster, me.node, me.term, successor))
        self._end_office("resigns", now)
        self._election.wait_for_leader(now)
        self._settle(now)

    def compact(self, index: int, state: bytes) -> None:
        """The applied state at this index: entries up to it are needed no longer."""
        me = self._me
        assert self.snapshot_index < index <= me.applied_index, (self.snapshot_index, index, me.applied_index)
        term = me.journal.term_at(index)
        assert term is not None, f"entry {index} is no longer in the journal"
        wanted = self._office.replication.wanted(me.now) if self._office is not None else None
        me.compact(Snapshot(index, term, me.membership.at(index).encode(), state), wanted)
        me.check()

    def install(self, snapshot: Snapshot, now: float) -> None:
        """A snapshot that was fetched. One that is no newer than what is committed here changes nothing (B14)."""
        me = self._me
        me.now = now
        self._following.fetch_ended()
        if snapshot.index <= me.commit_index or self._office is not None:
            return
        try:
            members = Members.decode(snapshot.members)
        except MalformedMembers as error:
            me.say("refuses", snapshot=snapshot.index, reason=repr(str(error)))
            return
        if not max(1, me.commit_term) <= snapshot.term <= NUMBER_MAX or snapshot.index > NUMBER_MAX:
            here = f"{me.commit_index}/{me.commit_term}"
            me.say("refuses", snapshot=f"{snapshot.index}/{snapshot.term}", committed=here)
            return
        me.restore(snapshot, members)
        me.say("installs", snapshot=f"{snapshot.index}/{snapshot.term}")
        if me.leader is not None:
            me.send(me.leader, AppendReply(me.cluster, me.node, me.term, 0, snapshot.index))
        self._settle(now)

    def fetch_failed(self) -> None:
        """The snapshot could not be fetched: the next offer counts again."""
        self._following.fetch_ended()

    def take(self) -> Output:
        """What is wanted done since the last call."""
        if self._office is not None:
            self._office.cast(self._me.now)
        return self._me.take()

    def saving(self) -> int:
        """All saves that were taken so far are on their way to the disk; call :meth:`saved` with this number."""
        return self._me.saving()

    def saved(self, number: int, now: float) -> None:
        """All saves up to this number are durable."""
        self._me.now = now
        self._me.saved(number)
        if self._office is not None:
            self._office.saved(now)
        self._settle(now)

    # --- changes of role ------------------------------------------------------

    def _need_office(self) -> Office:
        if self._office is None:
            raise NotLeading(self._me.leader)
        return self._office

    def _settle(self, now: float) -> None:
        """Whatever an event changed: take or leave the office, and check what must hold."""
        me = self._me
        if self._office is not None and self._office.ended:
            self._end_office(self._office.ended, now)
        if self._election.won:
            self._election.won = False
            self._take_office(now)
        self._syncing.step()
        if self._office is None and (me.role not in (PRE_CANDIDATE, CANDIDATE) or not me.votes):
            before, me.role = me.role, me.resting_role
            if me.role != before and me.role == "follower":
                self._election.start(now)
        me.check()

    def _take_office(self, now: float) -> None:
        me = self._me
        assert me.role == CANDIDATE and self._office is None, f"a {me.role} takes office"
        me.role, me.leader = LEADER, me.node
        self._office = Office(me, now, self._election.granted)

    def _end_office(self, reason: str, now: float) -> None:
        """Stop leading. Until its lease would have ended this node helps nobody else to lead:
        its database may need that time to stop."""
        office, me = self._office, self._me
        if office is None:
            return
        me.promise(me.node, office.held_until)
        for ticket in office.rounds.abandon():
            me.answer_read(ticket, False)
        self._office = None
        me.role = me.resting_role
        me.leader = None if me.leader == me.node else me.leader
        me.say("steps-down", term=me.term, reason=repr(reason))
        self._following.query_at = now + me.settings.heartbeat_interval
        if me.vote in (None, me.node):
            self._election.hurry(now)
        else:
            # It has just helped another: the others still promise themselves to this one, and it would win them back.
            self._election.wait_for_outcome(now)
