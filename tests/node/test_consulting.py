"""A node with a section ``device``: when it asks, and what it shows."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import msgspec
import pytest
from config.test_device_section import config as device_config
from qluster.cluster.commands import Forced
from qluster.config import Config
from qluster.consulting import NO_VOTER, Consulting
from qluster.events import DeviceHeard, Effects, Event, Saved, SaveEnded, ShowDevice, TimePassed
from qluster.node import Node
from qluster.qdevice.orders import Came, Check, Checked, Close, Ended, Open, Opened, Poll, Say
from qluster.qdevice.settings import arbiter_number
from qluster.qnet.memories import Memories
from qluster.qnet.memory import Kept
from qluster.qnet.messages import encode
from qluster.qnet.names import Refusal, TlsSupported
from qluster.qnet.names import Stage as Asking
from qluster.qnet.own import MemoryAnswer, MemoryOpened, MemoryShown
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import RingId
from qluster.transport.link import Link, LinkSettings
from qluster.votes.information import Ring, State
from qnet.stage import Stage
from sim.host import KEY
from sim.world import World

RING, NEXT = Ring(1, 8), Ring(1, 12)


def configured(section: str = "tls: off") -> Config:
    proper = next(iter(World(3).hosts.values())).proper
    return msgspec.structs.replace(proper, database=None, device=device_config(section).device)


class Lone:
    """A node that has founded its cluster, beside an arbiter."""

    def __init__(self, section: str = "tls: off", settings: Settings | None = None, rings: bool = False,
                 memories: Memories | None = None) -> None:  # fmt: skip
        """``rings``: the node finds its own; else the test says what they are."""
        config = configured(section)
        self.stage = Stage(settings or Settings(tls=TlsSupported.UNSUPPORTED), memories)
        link = Link(config.cluster.name, 5, 1, [KEY], LinkSettings(), Random(1), 50.0)
        self.now = 50.0
        self.node = Node(config, Saved(5, 1), link, random=Random(2), wall=1.8e9, now=50.0)
        if not rings:
            # What votequorum is to hear stays where the tests look for it.
            self.node.voting.step = self.node.voting.consulted = lambda now: None  # type: ignore[method-assign]
        self.attempt = 0
        self.checks: list[int] = []
        self.opened: list[int] = []
        self.arbiter_is_there = True

    def give(self, event: Event) -> Effects:
        effects = self.node.handle(event, self.now)
        while effects.save or effects.device:
            more = self.node.handle(SaveEnded(effects.number), self.now) if effects.save else Effects()
            for order in effects.device:
                more.device += self.perform(order)
            effects = more
        return effects

    def perform(self, order: object) -> list[object]:
        match order:
            case Open(attempt):
                self.attempt = attempt
                self.opened.append(attempt)
                if not self.arbiter_is_there:
                    return self.hear(Ended(attempt, "connection refused"))
                self.stage.connect(f"c{attempt}")
                return self.hear(Opened(attempt))
            case Say(attempt, data):
                name = f"c{attempt}"
                self.stage.give(name, data)
                return [more for data in self.stage.raw(name) for more in self.hear(Came(attempt, data))]
            case Close(attempt):
                if f"c{attempt}" in self.stage.numbers:
                    self.stage.close(f"c{attempt}")
            case Check(number, _):
                self.checks.append(number)
        return []

    def perform_all(self, orders: list[object]) -> None:
        while orders:
            orders = [more for order in orders for more in self.perform(order)]

    def hear(self, what: object) -> list[object]:
        return self.node.handle(DeviceHeard(what), self.now).device

    def live(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            self.stage.wait(0.1)
            self.give(TimePassed())

    def lead(self) -> None:
        for _ in range(2000):
            self.live(0.1)
            if self.node.leads:
                return
        raise AssertionError(self.node.message)

    @property
    def shown(self):  # type: ignore[no-untyped-def]
        device = self.node.status(self.now).own.device
        assert device is not None
        return device


@pytest.fixture
def lone() -> Lone:
    lone = Lone()
    assert lone.shown.reason == lone.shown.state == NO_VOTER
    lone.lead()
    return lone


def test_without_a_section_nothing_is_asked_and_nothing_shown() -> None:
    consulting = Consulting(None, "qlab", Random(1))
    consulting.step(1, {1}, 5, 0.0)
    consulting.membership(RING, {1}, 0.0)
    consulting.handle(Checked(1), 0.0)
    assert consulting.take() == [] and consulting.status(0.0, "", "") is None and consulting.wake_at == float("inf")


def test_it_asks_from_the_first_ring_on_and_shows_what_it_is_told(lone: Lone) -> None:
    assert lone.opened == [] and "not found together" in lone.shown.reason
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    shown = lone.shown
    assert (shown.state, shown.connected, shown.error, shown.tls) == ("connected", True, "", False)
    assert (shown.ring, shown.answer, shown.vote, shown.vote_ring) == ("1.8", "ack", "ack", "1.8")
    assert shown.vote_ago is not None and shown.vote_ago < 1.0
    assert (shown.algorithm, shown.way, shown.counts) == ("ffsplit", "episode", False)
    assert "restarted" in shown.episode and "it has no votes" in shown.reason, "alone there is nothing to halve"
    assert lone.node.consulting.polls() == [Poll(RingId(1, 8), True)]
    lone.node.consulting.in_sync(RING, lone.now, lone.now)
    assert lone.shown.episode == ""


def test_its_own_rings_are_asked_for_although_votequorum_counts_nothing() -> None:
    lone = Lone(rings=True)
    assert lone.node.config.quorum.provider == "none"
    lone.lead()
    lone.live(5.0)
    shown = lone.shown
    assert (shown.state, shown.answer, shown.vote) == ("connected", "ack", "ack")
    [client] = lone.stage.arbiter.clients
    assert [node.node_id for node in client.config] == [1]
    assert str(shown.ring).startswith("1.") and shown.ring == shown.vote_ring
    voting = lone.node.voting
    assert (voting.view, voting.veto, voting.reason) == (None, "", "quorum.provider is none"), "it forbids nothing"
    assert not voting.changes


def test_what_votequorum_does_not_ask_for_does_not_pile_up(lone: Lone) -> None:
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(600.0)
    polls = lone.node.consulting.polls()
    assert 1 < len(polls) <= 16 and set(polls) == {Poll(RingId(1, 8), True)}
    assert lone.node.consulting.polls() == []


def test_the_arbiter_hears_of_ring_and_quorum(lone: Lone) -> None:
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    lone.node.consulting.quorum(True, {1: State.MEMBER, 2: State.DEAD}, lone.now)
    lone.node.consulting.membership(NEXT, {1}, lone.now)
    lone.live(0.5)
    [client] = lone.stage.arbiter.clients
    assert str(client.ring) == "1.c" and [node.node_id for node in client.config] == [1]
    assert lone.shown.vote_ring == "1.c"


def test_it_comes_back_when_the_arbiter_does(lone: Lone) -> None:
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    lone.arbiter_is_there = False
    lone.hear(Ended(lone.attempt, "closed by the arbiter"))
    lone.stage.close(f"c{lone.attempt}")
    lone.live(60.0)
    shown = lone.shown
    assert not shown.connected and shown.error == "connection refused" and shown.answer is None
    assert shown.vote == "ack" and len(lone.opened) > 5
    lone.arbiter_is_there = True
    lone.live(9.0)
    assert lone.shown.connected and "lost its connection" in lone.shown.episode


def test_who_has_no_vote_any_more_does_not_ask(lone: Lone) -> None:
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    before = lone.attempt
    lone.node.consulting.step(1, set(), 5, lone.now)
    assert [type(order) for order in lone.node.consulting.take()] == [Close]
    assert lone.shown.reason == NO_VOTER
    lone.stage.close(f"c{before}")
    lone.live(1.0)
    assert lone.attempt == before + 1, "its numbers go on: what still comes of the former connection is void"
    assert lone.shown.connected


def test_checks_run_and_are_shown() -> None:
    lone = Lone("tls: off, heuristics: {mode: sync, exec: {one: /bin/true}}")
    lone.lead()
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    assert lone.shown.heuristics == "undefined" and not lone.shown.connected
    lone.perform_all(lone.hear(Checked(lone.checks[-1], "one: it failed")))
    lone.live(0.5)
    assert (lone.shown.heuristics, lone.shown.heuristics_error) == ("fail", "one: it failed")
    assert lone.shown.connected


def test_alone_it_changes_no_election_and_no_commit(lone: Lone) -> None:
    without = Lone()
    without.lead()
    lone.node.consulting.membership(RING, {1}, lone.now)
    lone.live(0.5)
    ours, theirs = lone.node.status(lone.now).cluster, without.node.status(without.now).cluster
    assert (ours.voters, ours.quorum, ours.quorate) == (theirs.voters, theirs.quorum, theirs.quorate)
    assert lone.shown.counts is False


def remembering(seed: int = 7) -> Memories:
    return Memories({}, Random(seed), 0.0)


def members(lone: Lone):  # type: ignore[no-untyped-def]
    assert lone.node.qraft is not None
    return lone.node.qraft.members


def test_an_arbiter_that_remembers_is_put_into_the_list_and_one_that_lost_its_memory_in_its_place() -> None:
    lone = Lone(rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    [(key, kept)] = list(lone.stage.memories)
    assert key == (b"sim", lone.node.cluster), "one for this founding"
    assert (members(lone).way, members(lone).device_uid, members(lone).device) == ("memory", kept.uid, 0)
    assert (lone.shown.way, lone.shown.counts) == ("memory", False) and "cannot be halved" in lone.shown.reason
    lone.arbiter_is_there = False
    lone.stage.close(f"c{lone.attempt}")
    lone.perform_all(lone.hear(Ended(lone.attempt, "the arbiter went away")))
    lone.live(1.0)
    assert lone.node.qraft is not None and lone.node.qraft.device_uid == 0
    assert members(lone).device_uid == kept.uid, "it may come back"
    lone.stage, lone.arbiter_is_there = Stage(Settings(tls=TlsSupported.UNSUPPORTED), remembering(8)), True
    lone.live(60.0)
    [(_, other)] = list(lone.stage.memories)
    assert other.uid != kept.uid and members(lone).device_uid == other.uid


@pytest.mark.parametrize("copied", [Kept(0), Kept(0, term=1), Kept(0, term=9, vote=1, last_term=9, index=8)], ids=str)
def test_memory_that_was_brought_back_from_an_older_copy_is_not_believed_and_made_anew(copied: Kept) -> None:
    lone = Lone(rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    client = lone.node.consulting._client
    assert client is not None and client.conversation is not None
    client.ask(ShowDevice(9, 1, 12, 1, 500), lone.now)
    lone.perform_all(client.take())
    [(key, kept)] = list(lone.stage.memories)
    assert (kept.term, kept.index) == (9, 12)

    def restart(memory: Kept) -> None:
        lone.stage = Stage(Settings(tls=TlsSupported.UNSUPPORTED), Memories({key: memory}, Random(3), 0.0))
        lone.perform_all(lone.hear(Ended(lone.attempt, "the arbiter went away")))
        lone.live(60.0)

    restart(kept)
    assert client.memory.uid == kept.uid and not client.memory.fault, "one that knows what it has said is the same"
    restart(msgspec.structs.replace(copied, uid=kept.uid))
    [(_, other)] = list(lone.stage.memories)
    assert other.uid not in (0, kept.uid) and client.memory.uid == other.uid == members(lone).device_uid


def test_memory_that_has_gone_back_and_is_not_made_anew_stays_without_a_word() -> None:
    """By an arbiter of an older version, which does not know that wish."""
    lone = Lone(rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    client = lone.node.consulting._client
    assert client is not None and client.conversation is not None
    uid = client.memory.uid
    back = MemoryOpened(seq=9, uid=uid, term=0, last_term=0, index=0, refusal=Refusal.NONE)
    client.ask(ShowDevice(9, 1, 12, 1, 500), lone.now)
    lone.perform_all(client.take())
    for said in (1, 1, 1):
        client.memory.heard(back, client.conversation)
        assert client.memory.uid == 0 and "brought back from an older copy" in client.memory.fault
        assert len(client.conversation.out) == said, "it is asked once to make it anew"
    assert "empty its memory-dir" in lone.shown.reason


def test_the_list_has_no_device_any_more_when_no_node_asks_one() -> None:
    lone = Lone(rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    assert members(lone).way == "memory"
    lone.hear(Ended(lone.attempt, "the arbiter went away"))
    lone.arbiter_is_there = False
    lone.live(5.0)
    assert members(lone).way == "memory", "its file still names one"
    lone.node.consulting.asks = False
    lone.live(5.0)
    assert (members(lone).way, members(lone).device_uid) == ("", 0)


def test_an_arbiter_is_not_asked_to_remember_for_the_algorithm_test() -> None:
    lone = Lone("tls: off, algorithm: test", rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    assert lone.shown.connected and not list(lone.stage.memories) and members(lone).way == ""


def test_an_arbiter_without_memories_is_asked_for_none() -> None:
    lone = Lone(rings=True)
    lone.lead()
    lone.live(5.0)
    assert lone.shown.connected and (members(lone).way, members(lone).device) == ("episode", 0)
    asked = lone.node.config.device
    assert asked is not None
    assert members(lone).device_uid == arbiter_number(asked.host, asked.port, lone.node.config.cluster.name)
    assert lone.shown.way == "episode" and not lone.node.consulting.words()


def test_an_arbiter_forgets_the_founding_from_which_this_one_went_on_by_force() -> None:
    memories = Memories({(b"sim", number): Kept(number, term=3) for number in (7, 8)}, Random(1), 0.0)
    lone = Lone(rings=True, memories=memories)
    lone.node.state.note_forced(Forced(1_800_000_000, 7, 1, 5, 3, 0, ((2, "10.0.0.2"),), (), (), 1.8e9))
    lone.lead()
    lone.live(5.0)
    kept, there = dict(lone.stage.kept), dict(lone.stage.memories)
    assert lone.shown.connected and set(there) == {(b"sim", 8), (b"sim", lone.node.cluster)}
    assert kept[b"sim", 7].uid != 7 and kept[b"sim", 7].term == 0 and (b"sim", 8) not in kept


def test_a_full_arbiter_says_so() -> None:
    memories = Memories({(b"sim", 2**62 + number): Kept(number, term=1) for number in range(1, 17)}, Random(1), 0.0)
    lone = Lone(rings=True, memories=memories)
    lone.lead()
    lone.live(5.0)
    assert lone.shown.connected and not lone.shown.counts and "no room for another memory" in lone.shown.reason


@pytest.mark.parametrize("term", [2**63 - 1, 2**64 - 1, 2**40])
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "shown"])
def test_a_memory_that_speaks_of_a_term_that_nobody_reached_is_not_followed(term: int, asked: bool) -> None:
    """Terms never go back: who took this one over could never send a message again, after a restart either."""
    lone = Lone(rings=True, memories=remembering())
    lone.lead()
    lone.live(5.0)
    assert lone.node.qraft is not None
    uid, before = lone.node.qraft.device_uid, lone.node.qraft.term
    assert uid
    client = lone.node.consulting._client
    assert client is not None and client.conversation is not None
    client.ask(ShowDevice(before, 1, 0, 1, 1), lone.now)
    no = Refusal.OLD_TERM
    word = (
        MemoryAnswer(seq=9, stage=Asking.VOTE, term=term, asked=before, granted=False, refusal=no) if asked
        else MemoryShown(seq=9, term=term, index=0, round=1, refusal=no)
    )  # fmt: skip
    lone.hear(Came(lone.attempt, encode(word)))
    assert (lone.node.qraft.term, lone.node.qraft.device_uid) == (before, 0)
    lone.live(5.0)
    assert lone.node.leads and lone.shown.connected and f"has seen term {term}" in lone.shown.reason
