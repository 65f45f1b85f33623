"""The client: what the node knows and what happens go in, what is to be done comes out.

Must not know sockets, TLS, processes or the clock, nor what the vote is used for.

It connects when it knows a first membership, and again whenever the connection ends, for as long as it lives. A vote is
taken only when it is for the membership that was last sent and that still is the present one. Every VOTE_INFO is
confirmed all the same, and a refusal breaks the episode whatever it is for: with its confirmation the arbiter may
acknowledge others. That is why orders are to be performed only after what follows from a step has been done.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random

from qluster.events import DeviceQuestion
from qluster.qdevice.backoff import Backoff
from qluster.qdevice.checks import Checks, Reason
from qluster.qdevice.conversation import Conversation, Numbers, OfMemory, Stage, Word
from qluster.qdevice.counting import why_not
from qluster.qdevice.episode import Episode, Held
from qluster.qdevice.memory import MemoryLink
from qluster.qdevice.orders import (
    Checked,
    Close,
    Ended,
    Happening,
    Open,
    Opened,
    Order,
    Say,
    Secure,
    Secured,
    StopCheck,
    Told,
)
from qluster.qdevice.sentences import Fault
from qluster.qdevice.settings import Settings
from qluster.qdevice.voting import Voting
from qluster.qnet.messages import (
    HeuristicsChange,
    InitReply,
    NodeList,
    NodeListReply,
    SetOption,
    VoteInfo,
    VoteInfoReply,
)
from qluster.qnet.names import DecisionAlgorithm, Heuristics, NodeListType, NodeState, Option, Vote
from qluster.qnet.tlv import NodeInfo, RingId

Nodes = tuple[NodeInfo, ...]


class Client:
    """One node's side."""

    def __init__(self, settings: Settings, random: Random, first: int = 0) -> None:
        """``first``: numbers up to this one were those of a former client, of which something may still come."""
        self.settings = settings
        self.episode = Episode()
        self.checks = Checks(settings, first)
        self.voting = Voting(settings.algorithm, settings.poll_interval)
        self.memory = MemoryLink(settings.founding, settings.lineage)
        self.conversation: Conversation | None = None
        self.fault: Fault | None = None
        """Why the last connection ended; None: there was none, or the present one is of use."""
        self.stopped = False
        self._orders: list[Order] = []
        self._numbers = Numbers()
        self._backoff = Backoff(random, settings.heartbeat)
        self._attempts = first
        self._open_at = inf
        self._configured: Nodes = ()
        self._version: int | None = None
        self._members: Nodes = ()
        self._quorum: tuple[bool, Nodes] | None = None
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._listed = False
        """The lists were sent over this connection."""
        self._sent_ring: RingId | None = None
        """Of the last INIT or membership that was sent over it."""
        self._answered = False
        """The arbiter answered a membership over it: since then it knows this node and would refuse it."""
        self._sent_result = Heuristics.UNDEFINED

    # what the node knows

    def configured(self, nodes: Sequence[int], version: int | None, now: float) -> None:
        """All nodes that should exist."""
        changed = tuple(NodeInfo(node) for node in nodes)
        if (changed, version) == (self._configured, self._version):
            return
        self._configured, self._version = changed, version
        if self._listed and self.conversation is not None:
            self._say_config(self.conversation, NodeListType.CHANGED_CONFIG)
        self._go_on(now)

    def membership(self, ring: RingId, members: Sequence[int], now: float) -> None:
        """The nodes that this one sees now. Rings grow: one that was left does not come back."""
        former = self.voting.ring
        if ring == former:
            return
        assert former is None or ring.seq > former.seq, f"ring {ring} after {former}: a ring must never come again"
        assert self.settings.node in members, f"ring {ring} without this node {self.settings.node}"
        self._members, self._quorum = tuple(NodeInfo(node) for node in members), None
        self._orders += self.voting.membership(ring, self._connected, now)
        if former is None:
            self._orders += self.checks.begin(Reason.START, now)
            self._open_at = now
        elif self._listed and self.conversation is not None:
            if self.checks.enabled:
                self._orders += self.checks.begin(Reason.MEMBERSHIP, now)
            else:
                self._say_membership(self.conversation)
        self._go_on(now)

    def quorum(self, quorate: bool, nodes: Sequence[tuple[int, NodeState]], now: float) -> None:
        """What votequorum says of the present membership."""
        said = quorate, tuple(NodeInfo(node, 0, state) for node, state in nodes)
        if said == self._quorum:
            return
        self._quorum = said
        if self._listed and self._sent_ring == self.voting.ring and self.conversation is not None:
            self._say_quorum(self.conversation)
        self._go_on(now)

    def in_sync(self, ring: RingId, asked_at: float, now: float) -> None:
        """This node has all that the other side has, as :meth:`Episode.in_sync` means it."""
        self.episode = self.episode.in_sync(ring, asked_at, self.held)

    def ask(self, question: DeviceQuestion, now: float) -> None:
        """For the arbiter's memory."""
        if self.conversation is not None:
            self.memory.ask(self.conversation, question)
            self._go_on(now)

    def stop(self, now: float) -> None:
        """The node stops: the arbiter sees it go at once."""
        if self.stopped:
            return
        if self.conversation is not None:
            self._orders.append(Close(self.conversation.attempt))
            self._lost(now)
        self._orders += self.checks.stop()
        self._open_at, self.stopped = inf, True

    # what happens

    def handle(self, what: Happening, now: float) -> None:
        """One thing happened."""
        if isinstance(what, Checked):
            self._checked(what, now)
        elif self.conversation is not None and self.conversation.attempt == what.attempt:
            self._of_connection(self.conversation, what, now)
        self._go_on(now)

    def tick(self, now: float) -> None:
        """So late it is."""
        if self.stopped:
            return
        overdue, regular = self.checks.tick(now)
        if overdue is not None:
            self._orders.append(StopCheck(overdue.number))
            self._checked(overdue, now)
        elif regular and self._listed:
            self._orders += self.checks.begin(Reason.REGULAR, now)
        if self.conversation is not None:
            self.conversation.tick(now)
        elif now >= self._open_at:
            self._open(now)
        self._orders += self.voting.tick(now)
        self._go_on(now)

    def take(self) -> list[Order]:
        """What is to be done since the last call, in order."""
        orders, self._orders = self._orders, []
        return orders

    # look

    @property
    def wake_at(self) -> float:
        """When ``tick`` has something to do."""
        if self.stopped:
            return inf
        conversation = self.conversation.wake_at if self.conversation is not None else self._open_at
        checks = self.checks.wake_at if self._listed or self.checks.running else inf
        return min(conversation, self.voting.wake_at, checks)

    @property
    def held(self) -> Held | None:
        """The acknowledgement that stands for the present membership."""
        said = self.voting.said
        if said is None or said.vote is not Vote.ACK or not self._answered:
            return None
        return Held(said.ring, said.at)

    @property
    def known(self) -> bool:
        """Whether the arbiter has answered a membership over the connection that stands."""
        return self._answered

    @property
    def forgetful(self) -> bool:
        """Whether the arbiter over the connection that stands keeps no memories."""
        return self.conversation is not None and not self.conversation.remembers

    @property
    def numbers(self) -> int:
        """The highest number of a connection or a check so far."""
        return max(self._attempts, self.checks.number)

    @property
    def state(self) -> str:
        """In a few words."""
        if self.stopped:
            return "stopped"
        if self.conversation is not None:
            return self.conversation.stage.value
        return "waiting for a membership" if self.voting.ring is None else "waiting to connect again"

    @property
    def reason(self) -> str:
        """Why the vote does not count, "" when it may."""
        connection = "" if self._answered else self.fault.reason if self.fault is not None else self.state
        return why_not(self.settings.algorithm, connection, self.voting.ring, self.voting.said, self.episode)

    # inside: one connection

    @property
    def _connected(self) -> bool:
        return self.conversation is not None and self.conversation.stage is Stage.JOINED

    def _open(self, now: float) -> None:
        self._attempts += 1
        self._open_at = inf
        self.conversation = Conversation(self.settings, self._attempts, self._numbers, now)
        self._orders.append(Open(self._attempts))

    def _of_connection(self, conversation: Conversation, what: Happening, now: float) -> None:
        ring = self.voting.ring
        assert ring is not None, "a connection before a membership"
        match what:
            case Opened():
                conversation.opened(now)
            case Secured():
                conversation.secured(ring, now)
                self._note_init(conversation, ring)
            case Ended():
                conversation.ended(what.reason, what.lasting)
            case Checked():
                pass
            case _:
                words = conversation.received(what.data, ring, now)
                self._note_init(conversation, ring)
                for word in words:
                    self._hear(conversation, word, now)

    def _note_init(self, conversation: Conversation, ring: RingId) -> None:
        """With which ring it greeted."""
        if self._sent_ring is None and conversation.stage in (Stage.INIT, Stage.JOINED):
            self._sent_ring = ring

    def _hear(self, conversation: Conversation, word: Word, now: float) -> None:
        if isinstance(word, InitReply):
            self._orders += self.voting.waiting()
            self._tell("arbiter-connected", tls="on" if conversation.tls else "off")
            self.memory.joined(conversation)
            self._orders += self.checks.begin(Reason.CONNECT, now)
            if not self.checks.enabled:
                self._say_lists(conversation)
            return
        if isinstance(word, OfMemory):
            self._of_memory(conversation, word)
            return
        if isinstance(word, VoteInfo):
            conversation.answer(VoteInfoReply(seq=word.seq))
        if isinstance(word, NodeListReply) and word.node_list_type is NodeListType.MEMBERSHIP:
            self._answered, self.fault = True, None
            self._backoff.succeeded()
        assert word.vote is not None and word.ring_id is not None, "looked at before"
        self._vote(word.vote, word.ring_id, now)

    def _of_memory(self, conversation: Conversation, word: OfMemory) -> None:
        former = self.memory.uid, self.memory.fault
        self.memory.heard(word, conversation)
        if (self.memory.uid, self.memory.fault) != former:
            fault = self.memory.fault
            self._tell("arbiter-memory", loud=bool(fault), uid=f"{self.memory.uid:016x}", reason=fault)

    def _vote(self, vote: Vote, ring: RingId, now: float) -> None:
        if vote is Vote.NACK:
            self._break(self.episode.refused())
        if ring == self._sent_ring == self.voting.ring:
            former = self.voting.last
            self._orders += self.voting.heard(vote, now)
            if vote in (Vote.ACK, Vote.NACK) and (former is None or (former.vote, former.ring) != (vote, ring)):
                self._tell("arbiter-vote", loud=vote is Vote.NACK, vote=vote.name, ring=str(ring))

    def _break(self, episode: Episode) -> None:
        if self.episode.unbroken:
            self._tell("episode-broken", reason=episode.reason)
        self.episode = episode

    def _go_on(self, now: float) -> None:
        """What the conversation has to say, and its end."""
        conversation = self.conversation
        if conversation is None:
            return
        for data in conversation.out:
            attempt = conversation.attempt
            self._orders.append(Secure(attempt) if data is None else Say(attempt, data))
        conversation.out.clear()
        if conversation.fault is not None:
            fault, former = conversation.fault, self.fault
            self.fault = fault
            self._orders.append(Close(conversation.attempt))
            self._lost(now)
            pause = self._backoff.next(fault.lasting)
            self._open_at = now + pause
            if former is None or former.reason != fault.reason:
                # The same again and again would fill the log for as long as an arbiter is away; the status has it.
                self._tell("arbiter-lost", loud=True, reason=fault.reason, retry=f"{pause:.1f} s")

    def _lost(self, now: float) -> None:
        """No connection any more, whoever ended it."""
        joined, self.conversation = self._connected, None
        self._forget_connection()
        if self.checks.running in (Reason.CONNECT, Reason.MEMBERSHIP):
            self._orders += self.checks.stop()
        self.memory.lost()
        if joined:
            self._break(self.episode.lost())
        quorate = self._quorum is not None and self._quorum[0]
        self._orders += self.voting.lost(quorate, self.settings.wait_for_all, now)

    # inside: what is said

    def _say_lists(self, conversation: Conversation) -> None:
        kap = self.settings.keep_active
        asks = self.settings.algorithm is DecisionAlgorithm.FFSPLIT
        if asks and conversation.knows(Option.KEEP_ACTIVE_PARTITION_TIE_BREAKER):
            conversation.say(SetOption, keep_active_partition_tie_breaker=kap)
        self._listed = True
        self._say_config(conversation, NodeListType.INITIAL_CONFIG)
        self._say_membership(conversation)

    def _say_config(self, conversation: Conversation, kind: NodeListType) -> None:
        conversation.say(NodeList, node_list_type=kind, config_version=self._version, nodes=self._configured)

    def _say_membership(self, conversation: Conversation) -> None:
        result = self.checks.result
        self._sent_ring, self._sent_result = self.voting.ring, result
        conversation.say(
            NodeList, node_list_type=NodeListType.MEMBERSHIP, ring_id=self.voting.ring, nodes=self._members,
            heuristics=None if result is Heuristics.UNDEFINED else result,
        )  # fmt: skip
        if self._quorum is not None:
            self._say_quorum(conversation)

    def _say_quorum(self, conversation: Conversation) -> None:
        assert self._quorum is not None
        quorate, nodes = self._quorum
        conversation.say(NodeList, node_list_type=NodeListType.QUORUM, quorate=quorate, nodes=nodes)

    def _checked(self, checked: Checked, now: float) -> None:
        before = self.checks.result
        reason = self.checks.ended(checked, now)
        if reason is None:
            return
        result = self.checks.result
        if result is not before:
            self._tell("heuristics", loud=bool(checked.fault), result=result.name.lower(), reason=checked.fault)
        if self.conversation is None or not self._connected:
            return
        if reason is Reason.CONNECT:
            self._say_lists(self.conversation)
        elif reason is Reason.MEMBERSHIP:
            self._say_membership(self.conversation)
        elif self._listed and result is not self._sent_result:
            self._sent_result = result
            self.conversation.say(HeuristicsChange, heuristics=result)

    def _tell(self, word: str, *, loud: bool = False, **facts: str | int) -> None:
        self._orders.append(Told(word, facts, loud))
