"""Decides when to stand in an election, and whom to vote for.

Must not know replication, nor what a leader does with its office.

Before an election a node asks whether it could win one (pre-vote); that changes nothing anywhere (S17),
so a node that was cut off cannot disturb the others when it comes back. Who heard a leader lately
helps nobody else ("stickiness"): the leader's lease rests on it. One exception: the request says
that the leader itself asked for the election, after it gave up its lease.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

from qluster.consensus.electorate import FORMULA_KEY, device_key
from qluster.consensus.members import SLOTS
from qluster.consensus.messages import Goodbye, PreVote, PreVoteReply, Ring, TimeoutNow, Vote, VoteReply
from qluster.consensus.participant import CANDIDATE, FOLLOWER, LEADER, LISTENER, PRE_CANDIDATE, Participant
from qluster.events import AskDevice, Asked, DeviceAnswered

RESENDS = 4
"""A stage asks so many times: requests and answers are datagrams and may be lost."""


class Election:
    """Timers and votes of one participant."""

    def __init__(self, me: Participant) -> None:
        self._me = me
        self.at = inf
        """When the next stage begins."""
        self._resend_at = inf
        self._override = False
        self._veto_said = ""
        self._granted: set[int] = set()
        self._refused: set[int] = set()
        self._rings: dict[int, Ring] = {}
        """In which ring each gave its vote."""
        self.won = False
        """Set when an election is won; who takes the office clears it."""
        self.count = 0
        """Elections begun here since the start."""

    @property
    def wake_at(self) -> float:
        """When :meth:`tick` is needed at the latest."""
        if self._me.role in (PRE_CANDIDATE, CANDIDATE):
            return min(self.at, self._resend_at)
        return self.at if self._me.role == FOLLOWER else inf

    # --- waiting ---------------------------------------------------------------

    def wait_for_leader(self, now: float) -> None:
        """A leader was heard: wait its whole time-out, and a little at random."""
        settings = self._me.settings
        self.at = now + settings.node_timeout + self._jitter(settings.pre_voting_timeout / 2)

    def wait_for_outcome(self, now: float) -> None:
        """Somebody else may be elected right now: let it."""
        settings = self._me.settings
        self.at = now + settings.leader_voting_timeout + self._jitter(settings.pre_voting_timeout / 2)

    def pause(self, now: float) -> None:
        """A stage failed: try again after a while that others do not share."""
        length = self._me.settings.pre_voting_timeout
        self._rest(now + length / 8 + self._jitter(length / 2))

    def claim(self, now: float) -> None:
        """The other one of two is off: nothing is to be waited for."""
        if self._me.role in (FOLLOWER, PRE_CANDIDATE) and self._me.claimed:
            self._rest(now)

    def hurry(self, now: float) -> None:
        """Nobody leads for certain: begin soon, and not all at once."""
        self._rest(now + self._jitter(self._me.settings.pre_voting_timeout / 8))

    def start(self, now: float) -> None:
        """The node starts, or became a voter."""
        if self._me.alone():
            self.at = now
        else:
            self.wait_for_leader(now)

    def _jitter(self, span: float) -> float:
        return self._me.random.uniform(0.0, span)

    def _rest(self, until: float) -> None:
        if self._me.role in (PRE_CANDIDATE, CANDIDATE):
            self._me.role = self._me.resting_role
        self.at = until

    # --- standing --------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed."""
        role = self._me.role
        if role in (PRE_CANDIDATE, CANDIDATE) and self._me.votes:
            if now >= self.at or self._vetoed():
                self.pause(now)
            elif now >= self._resend_at:
                self._ask(now)
        elif role == FOLLOWER and now >= self.at:
            if self._vetoed() or now >= self._me.stalled_at:
                # Its own vote could not be saved either; a cluster of one would elect itself again and again.
                self.pause(now)
            else:
                self._begin_pre_vote(now)

    def _vetoed(self) -> bool:
        """Whether somebody forbids this node to stand; said once for each reason."""
        if self._me.veto and self._me.veto != self._veto_said:
            self._me.say("does-not-stand", reason=repr(self._me.veto))
        self._veto_said = self._me.veto
        return bool(self._me.veto)

    def _begin_pre_vote(self, now: float) -> None:
        me = self._me
        me.role, me.leader = PRE_CANDIDATE, None
        me.say("pre-candidate", term=me.term + 1, last=f"{me.journal.last_index}/{me.journal.last_term}")
        self._begin_stage(now, me.settings.pre_voting_timeout, override=False)

    def begin_vote(self, now: float, override: bool) -> None:
        """Stand in an election of the next term."""
        me = self._me
        me.adopt(self._next_term())
        me.vote_for(me.node)
        me.role = CANDIDATE
        self.count += 1
        me.say("candidate", term=me.term, last=f"{me.journal.last_index}/{me.journal.last_term}")
        self._begin_stage(now, me.settings.leader_voting_timeout, override)

    def _next_term(self) -> int:
        """Where a device helps two that know nothing of each other, each of them stands in terms of its own."""
        me = self._me
        term = me.term + 1
        if FORMULA_KEY not in me.devices(()):
            return term
        return term + (me.configuration.slot(me.node) - term) % SLOTS

    def _devices(self) -> set[int]:
        """Devices without a memory that count for this stage."""
        me = self._me
        found = me.devices({node for node in self._granted if self._rings.get(node) == me.standing.ring})
        if me.role == CANDIDATE and (me.term - me.configuration.slot(me.node)) % SLOTS:
            found.discard(FORMULA_KEY)
        return found

    def recount(self, now: float) -> None:
        """What the arbiter says has changed."""
        if self._me.role in (PRE_CANDIDATE, CANDIDATE) and not self.won and self._me.votes:
            self._count(now)

    def _begin_stage(self, now: float, length: float, override: bool) -> None:
        self._granted, self._refused, self._override = {self._me.node} | self._me.claimed, set(), override
        self._rings = {}
        self.at = now + length
        self._count(now)
        if self._me.role in (PRE_CANDIDATE, CANDIDATE) and not self.won:
            self._ask(now)

    def _ask(self, now: float) -> None:
        me = self._me
        stage = me.settings.pre_voting_timeout if me.role == PRE_CANDIDATE else me.settings.leader_voting_timeout
        self._resend_at = now + min(stage / RESENDS, me.settings.replication_retry_interval)
        last_index, last_term = me.journal.last_index, me.journal.last_term
        if me.role == PRE_CANDIDATE:
            question = PreVote(
                me.cluster, me.node, me.term + 1, last_index, last_term, me.commit_index, me.commit_term
            )
            me.send(None, question)
        else:
            me.send(None, Vote(me.cluster, me.node, me.term, last_index, last_term, self._override))
        if me.device_counts:
            self._ask_device(last_term, last_index, now)

    def _ask_device(self, last_term: int, last_index: int, now: float) -> None:
        """Its vote counts for whom it says so by that one's own link (D6)."""
        me = self._me
        stage, term = Asked.VOTE_BY_TRANSFER if self._override else Asked.VOTE, me.term
        if me.role == PRE_CANDIDATE:
            stage, term = Asked.PRE_VOTE, me.term + 1
        me.ask_device(AskDevice(stage, term, me.node, last_term, last_index), now)

    def _count(self, now: float) -> None:
        me = self._me
        if me.configuration.elects(self._granted | self._devices()):
            if me.role == PRE_CANDIDATE and not self._vetoed():
                self.begin_vote(now, override=False)
            elif me.role == CANDIDATE:
                self.won = True
        elif me.role == CANDIDATE and not me.configuration.may_elect(self._refused):
            self.pause(now)

    # --- being asked -----------------------------------------------------------

    def pre_vote(self, message: PreVote, now: float) -> None:
        """Would this node vote so? It says so, and forgets the question (S17)."""
        me = self._me
        me.commit_known(message.commit, message.commit_term)
        granted = (
            message.term > me.term
            and not me.newer_here(message.last_term, message.last_index)
            and not self._sticks(message.node, now)
        )
        commit = me.commit_index, me.commit_term
        ring = me.standing.ring
        me.send(message.node, PreVoteReply(me.cluster, me.node, me.term, message.term, granted, *commit, ring))

    def vote(self, message: Vote, now: float) -> bool:
        """Give or refuse the vote. True when a leader here lost its office by it."""
        me = self._me
        if not message.override and self._sticks(message.node, now):
            me.send(message.node, VoteReply(me.cluster, me.node, me.term, False, message.node, me.standing.ring))
            return False
        deposed = message.term > me.term and me.role == LEADER
        if message.term > me.term:
            me.adopt(message.term)
            self._rest(self.at)
            if deposed:
                me.role = me.resting_role
        granted = (
            message.term == me.term
            and me.vote in (None, message.node)
            and not me.newer_here(message.last_term, message.last_index)
        )
        if granted:
            me.vote_for(message.node)
            self.wait_for_outcome(now)
        me.send(message.node, VoteReply(me.cluster, me.node, me.term, granted, message.node, me.standing.ring))
        return deposed

    def _sticks(self, candidate: int, now: float) -> bool:
        return self._me.role == LEADER or self._me.promised_to_another(candidate, now)

    # --- being answered --------------------------------------------------------

    def pre_vote_reply(self, message: PreVoteReply, now: float) -> None:
        """Count it, if it belongs to this stage."""
        me = self._me
        me.commit_known(message.commit, message.commit_term)
        if me.role != PRE_CANDIDATE or message.proposed != me.term + 1:
            return
        self._rings[message.node] = message.ring
        if message.granted:
            self._granted.add(message.node)
        else:
            self._granted.discard(message.node)
        self._count(now)

    def vote_reply(self, message: VoteReply, now: float) -> None:
        """Count it, if it is for this node and belongs to this term (S4, B9)."""
        me = self._me
        if me.role != CANDIDATE or message.term != me.term or message.candidate != me.node:
            return
        self._rings[message.node] = message.ring
        (self._granted if message.granted else self._refused).add(message.node)
        self._count(now)

    def device_answered(self, answer: DeviceAnswered, now: float) -> None:
        """Count it as a voter's, if it belongs to this stage of this term."""
        me, key = self._me, device_key(answer.uid)
        if me.role == PRE_CANDIDATE and (answer.stage, answer.asked) == (Asked.PRE_VOTE, me.term + 1):
            (self._granted.add if answer.granted else self._granted.discard)(key)
        elif me.role == CANDIDATE and answer.stage != Asked.PRE_VOTE and answer.asked == me.term:
            (self._granted if answer.granted else self._refused).add(key)
        else:
            return
        self._count(now)

    @property
    def granted(self) -> frozenset[int]:
        """Who gave its vote, or its word, in this stage."""
        return frozenset(self._granted)

    # --- being told by a leader that stops ------------------------------------

    def timeout_now(self, message: TimeoutNow, now: float) -> None:
        """The leader hands over to this node: stand at once, without pre-vote."""
        me = self._me
        me.note_left(message.node, message.term)
        if message.term != me.term or me.leader != message.node or not me.votes or self._vetoed():
            return
        me.say("takes-over", term=me.term, leader=message.node)
        me.release()
        self.begin_vote(now, override=True)

    def goodbye(self, message: Goodbye, now: float) -> None:
        """The leader stopped: its lease is over, and so is the promise."""
        me = self._me
        me.note_left(message.node, message.term)
        if message.term != me.term or me.promised_to != message.node or me.role == LEADER:
            return
        me.say("leader-left", term=me.term, leader=message.node, successor=message.successor)
        me.release()
        me.leader = None
        if me.role == LISTENER or not me.votes:
            return
        if message.successor == me.node and me.role != CANDIDATE and not self._vetoed():
            self.begin_vote(now, override=True)
        elif me.role == FOLLOWER:
            patience = min(me.settings.replication_retry_interval, me.settings.pre_voting_timeout / 4)
            self.at = now + patience + self._jitter(me.settings.pre_voting_timeout / 4)
