"""Decides whether this node is quorate, by votequorum's rules.

Must not know sockets, the log, or what quorum is used for. It is told the membership, what the other members say of
themselves, what the device says, and what an operator wants; it says what to tell the others, and when quorum is
gained or lost.

A change of the membership is worked out in steps, as corosync synchronises: every member tells all others of itself;
one with a living device then waits for what that says about the new membership; when all have been heard and none
waits, each calculates and says the result. Until then the answer of before stands, and `settled` is false: an answer
that is not settled is no ground to begin anything on, as another part may have been given the device's vote meanwhile.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from qluster.config.document import Fault
from qluster.votes import calculation, operator
from qluster.votes.device import Device
from qluster.votes.information import NO_RING, Change, Flag, Kind, Message, NodeInformation, Ring, State
from qluster.votes.options import NODES_MAX, Options, faults, faults_of_change
from qluster.votes.roll import Entry, Roll
from qluster.votes.view import NodeView, QuorumChanged, View, Why

RETELL = 1.0
"""Seconds after which a node that has not heard of every member tells of itself again."""


@dataclass(frozen=True, slots=True)
class Output:
    """What is to be done, in this order."""

    track: int | None = None
    """The highest number of expected votes, to be kept durably before anything else is done."""
    tell: tuple[Message, ...] = ()
    """To all members of the ring that each names."""
    events: tuple[QuorumChanged, ...] = ()


class Votequorum:
    """The votes as one node sees them. ``tracked`` is what an earlier life was told to keep by ``Output.track``."""

    def __init__(self, options: Options, node: int, now: float, *, tracked: int = 0) -> None:
        found = faults(options)
        assert not found, f"options with faults: {found[0].sentence('quorum')}"
        self.options = options
        self.node = node
        me = Entry(node, options.votes_of(node), options.expected, State.MEMBER, Flag.FIRST)
        self._roll = Roll(me)
        self._device = Device(me, options.device)
        self._device_votes = options.device_votes
        self._master_wins = False
        self._counts_nodes = options.last_man_standing
        self._waiting = False
        self._quorum = 0
        self._why = Why.TOO_FEW
        self._total = 0
        self._quorate_nodes: frozenset[int] = frozenset()
        self._ring = NO_RING
        self._members: frozenset[int] = frozenset()
        self._before: frozenset[int] = frozenset()
        self._settled = False
        self._heard: dict[int, NodeInformation] = {}
        self._early: dict[int, NodeInformation] = {}
        self._window_ends_at = inf
        self._retell_at = inf
        self._announced = False
        self._out: tuple[list[Message], list[QuorumChanged]] = ([], [])
        self._tracked, self._track = tracked, False
        if options.tracks_expected:
            me.expected = max(me.expected, tracked)
        self._barrier = me.expected
        self._wait(options.waits_for_all)
        self._recalculate(now)

    # What happens

    def membership(self, ring: Ring, members: Collection[int], now: float) -> None:
        """These are the members from now on. The ring is the same on all of them, and larger than the one before."""
        if ring == self._ring:
            return
        assert self.node in members, f"node {self.node} is no member of its own membership {ring}"
        assert ring.seq > self._ring.seq, f"ring {ring} after {self._ring}"
        if len(members) > 1:
            self._me.mark(Flag.FIRST, False)
        left = self._members.difference(members)
        self._roll.bury(left)
        self._open_window(len(members), bool(left), now)
        self._before, self._members, self._ring = self._members, frozenset(members), ring
        self._heard, self._settled = {}, False
        self._device.await_poll(now)
        self._tell(now)
        early, self._early = self._early, {}
        for message in early.values():
            self.heard(message, now)

    def heard(self, message: Message, now: float) -> str:
        """A member said something. "" or why it does not count."""
        fault = message.fault()
        if fault:
            return fault
        if message.ring != self._ring:
            if isinstance(message, NodeInformation) and message.ring.seq > self._ring.seq:
                return self._keep(message)
            return f"it is about ring {message.ring}, and the current one is {self._ring}"
        if isinstance(message, Change):
            self._change(message, now)
            return ""
        if message.node == self.node or message.node not in self._members:
            return f"node {message.node} is no other member of ring {self._ring}"
        self._heard[message.node] = message
        self._take_in(message, now)
        if message.asking and self._settled:
            self._out[0].append(self._information())
        self._settle(now)
        return ""

    def tick(self, now: float) -> None:
        """Time passed."""
        if now >= self._device.ends_at:
            self._device.lost()
            self._tell(now)
        if now >= self._window_ends_at:
            self._window_ends_at = inf
            if self.quorate_inside:
                self._recalculate(now, may_fall=True, by_members=True)
        if now >= self._retell_at and not self._settled:
            self._tell(now)

    # The device

    def register(self, name: str, now: float) -> str:
        """This node has a device of that name. "" or why it cannot have it."""
        fault = self._device.register(name, self._roll.device_name)
        if not fault:
            self._tell(now)
        return fault

    @property
    def has_device(self) -> bool:
        """Whether a device is registered on this node."""
        return self._device.registered

    def unregister(self, now: float) -> None:
        """This node has no device any more."""
        if self._device.registered:
            self._device.unregister()
            self._tell(now)

    def device(self, alive: bool, cast: bool, ring: Ring, now: float) -> str:
        """The device speaks of a ring, or contact with it was lost. "" or why this does not count."""
        if not alive:
            if self._device.alive:
                self._device.lost()
                self._tell(now)
            return ""
        fault = self._device.fault_of_poll(ring, self._ring)
        if fault:
            return fault
        before = self._me.flags, self._device.awaited
        self._device.polled(cast, now)
        if (self._me.flags, self._device.awaited) != before:
            self._tell(now)
        return ""

    def master_wins(self, allow: bool, now: float) -> str:
        """Whether a partition with the device's vote is quorate whatever its votes. "" or why this cannot be said."""
        if not self._device.registered:
            return "no device is registered on this node: register it first"
        self._master_wins = allow
        if bool(self._me.flags & Flag.MASTER_WINS) != allow:
            self._me.mark(Flag.MASTER_WINS, allow)
            self._tell(now)
        return ""

    # The operator

    def set_expected(self, votes: int, now: float) -> str:
        """So many votes are expected from now on. "" or why not."""
        return (operator.fault_of_expected(votes, self._total_now, self.quorate_inside, self._two_node_here)
                or self._order(Change(self._ring, Kind.EXPECTED, 0, votes), now))

    def set_votes(self, node: int, votes: int, now: float) -> str:
        """A node has so many votes from now on. "" or why not."""
        entry = self._roll.get(node)
        if entry is None:
            known = ", ".join(str(one.node) for one in self._roll)
            return f"node {node} is not known here. Name one of {known}."
        total = self._total_now - (entry.votes - votes if entry.state is State.MEMBER else 0)
        return (operator.fault_of_votes(node, votes, self._roll.highest_expected, total, self._two_node_here)
                or self._order(Change(self._ring, Kind.VOTES, node, votes), now))

    def cancel_waiting(self, now: float) -> None:
        """Wait no longer for votes that will not come, on all members."""
        self._order(Change(self._ring, Kind.CANCEL_WAITING), now)

    def leave(self, now: float) -> None:
        """This node is about to be stopped in order."""
        if self.options.allow_downscale:
            self._me.mark(Flag.LEAVING, True)
            self._me.state = State.LEAVING
            self._out[0].append(self._information())

    def reload(self, options: Options, now: float) -> list[Fault]:
        """The configuration changed. Nothing changes where there are faults."""
        found = faults_of_change(self.options, options)
        if self._device.registered and options.device is None:
            found.append(Fault("device", "is taken away while it is registered. Stop it first."))
        if found:
            return found
        self.options, self._device.options = options, options.device
        self._device_votes = options.device_votes
        self._barrier = max(options.expected, self._tracked if options.tracks_expected else 0)
        if not options.waits_for_all:
            self._wait(False)
        self._tell(now)
        votes = options.votes_of(self.node)
        if votes != self._me.votes:
            self._order(Change(self._ring, Kind.VOTES, self.node, votes), now)
        if self._barrier != self._me.expected:
            self._order(Change(self._ring, Kind.EXPECTED, 0, self._barrier), now)
        return []

    # What there is to see

    @property
    def quorate(self) -> bool:
        """As it was last said to everybody."""
        return self._announced

    @property
    def quorate_inside(self) -> bool:
        """As the calculation stands, before a change of the membership has been worked out."""
        return bool(self._me.flags & Flag.QUORATE)

    @property
    def why(self) -> Why:
        """By what it is quorate or not, as the calculation stands."""
        return self._why

    @property
    def reason(self) -> str:
        """The same as a sentence with the figures."""
        return self._reason()

    @property
    def settled(self) -> bool:
        """Whether everything is known of the current membership."""
        return self._settled

    @property
    def wake_at(self) -> float:
        """When `tick` next has something to do."""
        return min(self._device.ends_at, self._window_ends_at, inf if self._settled else self._retell_at)

    def take(self) -> Output:
        """What is to be done since this was last asked."""
        tell, events = self._out
        output = Output(self._tracked if self._track else None, tuple(tell), tuple(events))
        self._out, self._track = ([], []), False
        return output

    def view(self) -> View:
        """Everything at this moment."""
        return View(
            node=self.node, ring=self._ring,
            nodes=tuple(NodeView(one.node, one.votes, one.expected, one.state, one.flags, one.node in self._members)
                        for one in self._roll),
            quorate=self._announced, settled=self._settled, why=self._why, reason=self._reason(),
            expected=self._me.expected, highest_expected=self._roll.highest_expected,
            total=self._total_now, quorum=self._quorum, flags=self._words(),
            device_name=self._roll.device_name, device_votes=self._device_votes, device_casts=self._device.casts,
        )

    def _words(self) -> tuple[str, ...]:
        options = self.options
        words = (
            (options.two_node, "2Node"), (self._announced, "Quorate"), (options.waits_for_all, "WaitForAll"),
            (self._counts_nodes, "LastManStanding"), (options.tie_breaker is not None, "AutoTieBreaker"),
            (options.allow_downscale, "AllowDownscale"), (self._device.registered, "Qdevice"),
        )
        return tuple(word for shown, word in words if shown)

    # How it is worked out

    @property
    def _me(self) -> Entry:
        return self._roll.me

    @property
    def _total_now(self) -> int:
        return self._roll.present + (self._device_votes if self._device.casts else 0)

    @property
    def _two_node_here(self) -> bool:
        return self.options.two_node and len(self._roll.members) + self._device.casts <= 2

    def _wait(self, on: bool) -> None:
        self._waiting = on
        self._me.mark(Flag.WAITS_FOR_ALL, on)

    def _information(self) -> NodeInformation:
        return NodeInformation(
            self._ring, self.node, self._me.votes, self._me.expected, int(self._me.flags), self._device_votes,
            self._me.device_name, not self._device.awaited, not self._settled and not self._everybody_ready,
        )

    def _tell(self, now: float) -> None:
        """Tell all members of this node, and draw the conclusions that they will draw."""
        if self._ring != NO_RING:
            self._out[0].append(self._information())
            self._retell_at = now + RETELL
        self._recalculate(now)
        self._settle(now)

    def _keep(self, message: NodeInformation) -> str:
        """It is about a membership that this node is not in yet, and may be in soon."""
        if message.node not in self._early and len(self._early) >= NODES_MAX:
            return f"more than {NODES_MAX} nodes speak of memberships to come"
        self._early[message.node] = message
        return ""

    def _take_in(self, message: NodeInformation, now: float) -> None:
        """The rules for one member's words about itself."""
        entry = self._roll.entry(message.node)
        facts = entry.facts()
        entry.flags, entry.votes, entry.device_name = Flag(message.flags), message.votes, message.device_name
        leaving = bool(entry.flags & Flag.LEAVING)
        its_quorate = bool(entry.flags & Flag.QUORATE)
        entry.state = State.LEAVING if leaving else State.MEMBER
        follows = its_quorate and not self.quorate_inside
        if follows:
            self._me.expected = message.expected
        knows = its_quorate or self.options.tracks_expected
        entry.expected = message.expected if knows else self._me.expected
        if message.votes > 1 and self._counts_nodes:
            self._counts_nodes, self._window_ends_at = False, inf
        if entry.facts() != facts or entry.flags & Flag.FIRST:
            self._recalculate(now, may_fall=leaving or follows, by_members=leaving)
        if its_quorate and not entry.flags & Flag.WAITS_FOR_ALL and self._waiting:
            self._wait(False)
        before = self._device_votes
        obeys = its_quorate and not self.quorate_inside
        self._device_votes = message.device_votes if obeys else max(before, message.device_votes)
        if self._device_votes != before:
            self._recalculate(now)

    @property
    def _everybody_ready(self) -> bool:
        return len(self._heard) == len(self._members) - 1 and all(one.ready for one in self._heard.values())

    def _settle(self, now: float) -> None:
        """The membership is worked out when all were heard and nobody waits for a device."""
        if not self._settled and self._ring != NO_RING and not self._device.awaited and self._everybody_ready:
            self._settled = True
            self._recalculate(now)

    def _open_window(self, members: int, left: bool, now: float) -> None:
        """Last man standing: what is left becomes what is expected when it has stayed so for a while."""
        if not self._counts_nodes:
            return
        lowest_here = any(entry.node == min(self._quorate_nodes, default=0) for entry in self._roll.members)
        by_tie = members <= self._quorum and self.options.tie_breaker is not None and lowest_here
        if (members >= self._quorum and left) or by_tie:
            self._window_ends_at = now + self.options.last_man_standing_window

    def _order(self, change: Change, now: float) -> str:
        self._out[0].append(change)
        self._change(change, now)
        return ""

    def _change(self, change: Change, now: float) -> None:
        """An operator's change, here and on all members."""
        if change.kind is Kind.CANCEL_WAITING:
            self._wait(False)
            self._recalculate(now)
            return
        entry = self._roll.get(change.node)
        if change.kind is Kind.EXPECTED:
            self._roll.expect(change.value)
            self._barrier = change.value
            if self.options.tracks_expected:
                self._me.expected = max(self._me.expected, self._tracked)
        elif entry is not None:
            entry.votes = change.value
        self._recalculate(now, may_fall=True)

    def _recalculate(self, now: float, *, may_fall: bool = False, by_members: bool = False) -> None:
        me = self._me
        me.expected = max(me.expected, self._roll.present + self._device_votes)
        if self.options.tracks_expected and me.expected > self._tracked:
            self._tracked, self._track = me.expected, True
        members = self._roll.members
        forced = 0
        if by_members:
            forced = len(members) + bool(self._device_votes)
            # A number of nodes below what was configured is a failure of the others, not a smaller cluster.
            forced = max(forced, self._barrier) if self.options.allow_downscale else forced
        self._total = self._total_now
        self._quorum = calculation.next_quorum(
            forced or self._roll.highest_expected, self._total, before=self._quorum, may_fall=may_fall,
            two_node=self.options.two_node, voters=len(members) + self._device.casts,
        )
        if forced:
            self._roll.expect(forced)
        self._judge(now)

    def _judge(self, now: float) -> None:
        """From votes to the answer."""
        if self.options.waits_for_all and self._waiting:
            if self._total != self._me.expected:
                assert not self.quorate_inside, "a quorate node waits for all"
                self._why = Why.WAITING
                self._announce(now)
                return
            self._wait(False)
        if self._total >= self._quorum:
            self._quorate_nodes = frozenset(entry.node for entry in self._roll.members)
            self._why = Why.VOTES
        elif self._tie_is_broken():
            self._why = Why.TIE_BREAKER
        elif self._master_wins and self._roll.master_wins:
            self._why = Why.MASTER_WINS
        else:
            self._why = Why.TOO_FEW
        self._me.mark(Flag.QUORATE, self._why.quorate)
        if self.options.waits_for_all and (self._why.quorate or self._settled):
            # While members are still to be heard, missing votes are no loss of quorum yet.
            self._wait(not self._why.quorate)
        self._announce(now)

    def _tie_is_broken(self) -> bool:
        breaker = self.options.tie_breaker
        lost = len(self._before) - len(self._members)
        if breaker is None or not calculation.is_half(self._total, self._me.expected, lost, self._quorum):
            return False
        mode_here = self._members if breaker.nodes else {entry.node for entry in self._roll.members}
        return breaker.chooses(mode_here, self._before, self._quorate_nodes)

    def _announce(self, now: float) -> None:
        """Say the answer, unless a change of the membership is still being worked out."""
        if self._settled and self._announced != self.quorate_inside:
            self._announced = self.quorate_inside
            self._out[1].append(QuorumChanged(self._announced, self._why, self._reason(), self._ring, now))

    def _reason(self) -> str:
        votes = f"{self._total} of {self._me.expected} expected votes are here"
        if self._why is Why.WAITING:
            return f"{votes}, and all are waited for"
        if self._why is Why.TIE_BREAKER:
            return f"{votes}, one half, and the tie-breaker {self.options.tie_breaker} is for it"
        if self._why is Why.MASTER_WINS:
            return f"{votes}, {self._quorum} are needed, and the device lets its master win"
        return f"{votes} and {self._quorum} are needed"
