"""The memory votes as a voter with a log would, also when it was ended at any moment."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from msgspec.structs import replace
from qluster.qnet.memories import MEMORIES_MAX, NAME_MAX, UID_MAX, Memories
from qluster.qnet.memory import PROMISE_MAX, Kept, Memory
from qluster.qnet.messages import KINDS, InitReply, MalformedMessage, Message, Preinit, ServerError, encode
from qluster.qnet.names import SUPPORTED_MESSAGES, ErrorCode, OwnMessage, OwnOption, Refusal, Stage
from qluster.qnet.own import (
    OWN_KINDS,
    MemoryAnswer,
    MemoryAsk,
    MemoryOpen,
    MemoryOpened,
    MemoryShow,
    MemoryShown,
    decode_any,
)
from qluster.qnetd.keeping import SIZE_MAX, _batch
from qnet.recorded import frames
from qnet.stage import Stage as Conversation
from qnet.stage import init

BOTH = {*KINDS, *OWN_KINDS}
YES = (True, Refusal.NONE)
VOTE, PRE_VOTE, BY_TRANSFER = Stage.VOTE, Stage.PRE_VOTE, Stage.VOTE_BY_TRANSFER


def fresh(**kept: int) -> Memory:
    return Memory(Kept(77, **kept), None)


# --- a vote ----------------------------------------------------------------------


def test_one_vote_a_term_and_the_same_one_when_asked_again() -> None:
    memory = fresh()
    assert memory.ask(VOTE, 3, 1, (2, 9), 0.0) == YES
    assert memory.ask(VOTE, 3, 2, (2, 99), 0.0) == (False, Refusal.VOTED)
    assert memory.ask(VOTE, 3, 1, (2, 9), 0.0) == YES
    assert memory.kept == Kept(77, term=3, vote=1)
    again = Memory(memory.kept, 100.0)
    assert again.ask(VOTE, 3, 2, (2, 99), 100.0) == (False, Refusal.VOTED)
    assert again.ask(VOTE, 4, 2, (2, 9), 100.0) == YES
    assert again.ask(VOTE, 3, 1, (2, 9), 100.0) == (False, Refusal.OLD_TERM)


@pytest.mark.parametrize(("last", "granted"), [
    ((4, 10), True), ((4, 11), True), ((5, 1), True), ((4, 9), False), ((3, 999), False), ((0, 0), False),
])  # fmt: skip
@pytest.mark.parametrize("stage", Stage)
def test_no_vote_for_a_log_that_ends_before_what_was_shown(
    stage: Stage, last: tuple[int, int], granted: bool
) -> None:
    memory = fresh()
    assert memory.show(4, 1, 10, 0, 0.0) is Refusal.NONE
    found = memory.ask(stage, 7, 2, last, 1.0)
    assert found == (YES if granted else (False, Refusal.OLD_LOG))
    assert memory.kept.term == (4 if stage is PRE_VOTE else 7), "a pre-vote changes nothing, a refused vote the term"


def test_pre_vote_changes_nothing_and_is_for_a_later_term() -> None:
    memory = fresh(term=5, vote=1)
    assert memory.ask(PRE_VOTE, 6, 2, (1, 1), 0.0) == YES
    assert memory.ask(PRE_VOTE, 5, 1, (1, 1), 0.0) == (False, Refusal.OLD_TERM)
    assert memory.kept == Kept(77, term=5, vote=1)


# --- a leader ----------------------------------------------------------------------


def test_leader_is_kept_with_what_it_shows() -> None:
    memory = fresh()
    assert memory.show(4, 1, 0, 900, 0.0) is Refusal.NONE
    assert memory.kept == Kept(77, term=4, vote=1, promise=900)
    assert memory.show(4, 1, 12, 500, 0.0) is Refusal.NONE
    assert memory.show(4, 1, 8, 0, 0.0) is Refusal.NONE, "late, and harmless"
    assert memory.kept == Kept(77, term=4, vote=1, last_term=4, index=12, promise=900)
    assert memory.show(6, 2, 3, 0, 0.0) is Refusal.NONE
    assert (memory.kept.last_term, memory.kept.index) == (6, 3), "the newer term wins, its log may be shorter"
    assert memory.show(5, 1, 99, 0, 0.0) is Refusal.OLD_TERM
    assert memory.ask(VOTE, 6, 3, (6, 9), 1.0) == (False, Refusal.VOTED), "who leads has this term's vote"


def test_leader_that_won_without_this_vote_is_heard_all_the_same() -> None:
    memory = fresh()
    assert memory.ask(VOTE, 4, 2, (1, 1), 0.0) == YES
    assert memory.show(4, 1, 5, 0, 0.0) is Refusal.NONE
    assert memory.kept == Kept(77, term=4, vote=2, last_term=4, index=5)


def test_promise_holds_against_others_and_ends() -> None:
    memory = fresh()
    memory.show(4, 1, 5, 1500, 10.0)
    for stage in (PRE_VOTE, VOTE):
        assert memory.ask(stage, 5, 2, (4, 5), 11.4) == (False, Refusal.PROMISED)
    assert memory.kept.term == 4, "who was promised against changes no term"
    assert memory.ask(VOTE, 5, 1, (4, 5), 11.4) == YES, "not against the leader itself"
    memory.show(5, 1, 0, 1000, 11.0)
    assert memory.ask(VOTE, 6, 2, (4, 5), 11.99) == (False, Refusal.PROMISED), "a shorter one ends no longer one"
    assert memory.ask(BY_TRANSFER, 6, 2, (4, 5), 11.5) == YES, "the leader itself asked for this"
    memory.show(6, 2, 0, 1000, 12.0)
    assert memory.ask(VOTE, 7, 3, (4, 5), 13.0) == YES


def test_restart_keeps_to_the_longest_promise() -> None:
    memory = fresh()
    memory.show(4, 1, 5, 1500, 10.0)
    memory.show(4, 1, 5, 200, 11.299)
    again = Memory(memory.kept, 20.0)
    for candidate in (1, 2):
        assert again.ask(VOTE, 5, candidate, (4, 5), 21.4) == (False, Refusal.PROMISED)
    assert again.ask(VOTE, 5, 2, (4, 5), 21.5) == YES
    endless = fresh()
    endless.show(1, 1, 0, 2**32 - 1, 0.0)
    assert endless.kept.promise == PROMISE_MAX


def test_promise_that_is_over_is_forgotten_when_shorter_ones_are_given() -> None:
    """An operator who lowers node-timeout does not wait for the old one after each start of the arbiter."""
    memory = fresh()
    memory.show(4, 1, 5, 60_000, 10.0)
    memory.show(4, 1, 5, 3_000, 66.9)
    assert memory.kept.promise == 60_000, "0.1 s longer than the shorter one it still stands"
    memory.show(4, 1, 5, 3_000, 67.0)
    assert memory.kept.promise == 3_000


@pytest.mark.parametrize("seed", range(20))
def test_no_restart_ends_a_promise_early(seed: int) -> None:
    """Whatever was promised in whichever order, and whenever it starts anew."""
    random, now = Random(seed), 0.0
    memory, until = fresh(), 0.0
    for _ in range(400):
        now += random.choice([0.0, 0.001, 0.3, 2.0, 20.0]) * random.random()
        if random.random() < 0.1:
            memory = Memory(memory.kept, now)
        else:
            length = random.choice([0, 1, 700, 3_000, 30_000])
            assert memory.show(4, 1, 5, length, now) is Refusal.NONE
            until = max(until, now + length / 1000)
        if now < until:
            late = now + random.random() * (until - now) * 0.999
            again = Memory(memory.kept, late)  # its daemon was gone until then
            assert again.ask(VOTE, 5, 2, (4, 5), late) == (False, Refusal.PROMISED)


# --- it is a witness ------------------------------------------------------------------


@dataclass
class Node:
    """A log holder, with the rules of Raft that a witness meets."""

    log: list[int] = field(default_factory=list)
    """The term of each entry."""
    term: int = 0
    vote: int = 0

    @property
    def last(self) -> tuple[int, int]:
        return (self.log[-1], len(self.log)) if self.log else (0, 0)

    def grants(self, term: int, candidate: int, last: tuple[int, int]) -> bool:
        if term > self.term:
            self.term, self.vote = term, 0
        if term != self.term or self.vote not in (0, candidate) or last < self.last:
            return False
        self.vote = candidate
        return True


FORGETS, COUNTS_OLD_TERMS = "forgets", "counts entries of other terms"


@dataclass
class Walk:
    """Elections and commits of two nodes and the witness, in any order."""

    random: Random
    weakening: str = ""
    nodes: dict[int, Node] = field(default_factory=lambda: {1: Node(), 2: Node()})
    memory: Memory = field(default_factory=fresh)
    leaders: dict[int, int] = field(default_factory=dict)
    committed: list[tuple[int, int]] = field(default_factory=list)
    lost: str = ""

    def run(self, steps: int = 60) -> str:
        """What was lost, "" when nothing was."""
        for _ in range(steps):
            me = self.random.choice((1, 2))
            leads = self.leaders.get(self.nodes[me].term) == me
            step = self.random.choice([self.elect, self.restart, *[self.append, self.both, self.show] * leads])
            step(me)
        return self.lost

    def elect(self, me: int) -> None:
        mine = self.nodes[me]
        mine.term, mine.vote = max(mine.term, self.memory.kept.term) + 1, me
        asked = self.random.choice((("witness",), ("other",), ("witness", "other")))
        votes = 1
        if "witness" in asked:
            votes += self.memory.ask(VOTE, mine.term, me, mine.last, 0.0)[0]
        if "other" in asked:
            votes += self.nodes[3 - me].grants(mine.term, me, mine.last)
        if votes < 2:
            return
        if mine.term in self.leaders:
            self.lost = "two leaders in one term"
        self.leaders[mine.term] = me
        if any(index > len(mine.log) or mine.log[index - 1] != term for term, index in self.committed):
            self.lost = "an elected leader lacks what was committed"
        mine.log.append(mine.term)

    def append(self, me: int) -> None:
        self.nodes[me].log.append(self.nodes[me].term)

    def both(self, me: int) -> None:
        mine, other = self.nodes[me], self.nodes[3 - me]
        if other.term <= mine.term:
            other.log, other.term, other.vote = list(mine.log), mine.term, me
            self.committed.append(mine.last)

    def show(self, me: int) -> None:
        mine = self.nodes[me]
        if self.weakening == COUNTS_OLD_TERMS and self.memory.kept.term <= mine.term:
            index = self.random.randint(1, len(mine.log))
            entry = mine.log[index - 1], index
            self.memory.kept = replace(self.memory.kept, term=mine.term, last_term=entry[0], index=index)
            self.committed.append(entry)
        elif self.memory.show(mine.term, me, len(mine.log), 0, 0.0) is Refusal.NONE:
            self.committed.append(mine.last)

    def restart(self, _: int) -> None:
        self.memory = Memory(Kept(78) if self.weakening == FORGETS else self.memory.kept, 0.0)


def test_two_nodes_and_a_witness_lose_nothing() -> None:
    assert {Walk(Random(seed)).run() for seed in range(3000)} == {""}


@pytest.mark.parametrize("weakening", [FORGETS, COUNTS_OLD_TERMS])
def test_weakened_witness_loses(weakening: str) -> None:
    assert any(Walk(Random(seed), weakening).run() for seed in range(3000))


# --- in the protocol --------------------------------------------------------------------


def conversation(memories: Memories | None) -> Conversation:
    stage = Conversation()
    stage.arbiter = type(stage.arbiter)(stage.arbiter.settings, memories)
    return stage


def join(stage: Conversation, name: str, node: int, *, ours: bool = True, cluster: bytes = b"qlab") -> InitReply:
    stage.connect(name)
    stage.say(name, Preinit(seq=1, cluster_name=cluster))
    listed = (*SUPPORTED_MESSAGES, *OWN_KINDS) if ours else SUPPORTED_MESSAGES
    stage.say(name, replace(init(2, node, "1.8"), supported_messages=listed))
    reply = stage.take(name)[-1]
    assert isinstance(reply, InitReply)
    return reply


def answers(stage: Conversation, name: str) -> list[Message]:
    return [decode_any(frame.kind, frame.body) for data in stage.raw(name) for frame in frames(data, BOTH)]


def memories(kept: dict[tuple[bytes, int], Kept] | None = None) -> Memories:
    return Memories(kept or {}, Random(1), 0.0)


OPEN = MemoryOpen(seq=3, founding=9)
ASK = MemoryAsk(seq=4, stage=VOTE, term=2, candidate=1, last_term=1, index=5)
SHOW = MemoryShow(seq=5, term=2, leader=1, index=6, round=40, promise=900)


def test_every_message_survives_the_way_there_and_back() -> None:
    found: list[Message] = [
        OPEN, replace(OPEN, lineage=(2, 2**63)), ASK, SHOW,
        MemoryOpened(seq=3, uid=2**64 - 1, term=1, last_term=1, index=4, refusal=Refusal.FULL),
        MemoryAnswer(seq=4, stage=PRE_VOTE, term=3, asked=2, granted=False, refusal=Refusal.OLD_LOG),
        MemoryShown(seq=5, term=2, index=6, round=40, refusal=Refusal.NONE),
    ]  # fmt: skip
    assert {type(one) for one in found} == set(OWN_KINDS.values())
    for message in found:
        [frame] = frames(encode(message), BOTH)
        assert decode_any(frame.kind, frame.body) == message


def test_client_opens_it_is_voted_for_and_shows_its_log() -> None:
    stage = conversation(memories())
    assert set(OwnMessage) <= set(join(stage, "one", 1).supported_messages or ())
    stage.say("one", OPEN, ASK, SHOW)
    opened, answer, shown = answers(stage, "one")
    assert isinstance(opened, MemoryOpened) and opened.uid and opened.refusal is Refusal.NONE
    assert answer == MemoryAnswer(seq=4, stage=VOTE, term=2, asked=2, granted=True, refusal=Refusal.NONE)
    assert shown == MemoryShown(seq=5, term=2, index=6, round=40, refusal=Refusal.NONE)
    expected = Kept(opened.uid, term=2, vote=1, last_term=2, index=6, promise=900)
    assert stage.kept[-1] == ((b"qlab", 9), expected)
    # The other half of the cluster meets the same memory.
    join(stage, "two", 2)
    stage.say("two", OPEN, replace(ASK, candidate=2, term=3))
    assert answers(stage, "two")[1] == MemoryAnswer(
        seq=4, stage=VOTE, term=2, asked=3, granted=False, refusal=Refusal.PROMISED
    )


def test_what_changes_is_kept_before_the_answer_and_nothing_else_is() -> None:
    stage = conversation(memories())
    join(stage, "one", 1)
    stage.say("one", OPEN, OPEN, ASK, ASK, SHOW, SHOW, replace(SHOW, round=41))
    assert stage.order.count("keep") == 2, "a memory that nobody has used yet is not worth a place on the disk"
    assert stage.order[-9:] == ["send", "send", "keep", "send", "send", "keep", "send", "send", "send"]


def test_memory_that_was_kept_goes_on_where_it_was() -> None:
    stage = conversation(memories({(b"qlab", 9): Kept(5, term=7, vote=2, last_term=6, index=8)}))
    join(stage, "one", 1)
    stage.say("one", OPEN, replace(ASK, term=7, last_term=9))
    opened, answer = answers(stage, "one")
    assert opened == MemoryOpened(seq=3, uid=5, term=7, last_term=6, index=8, refusal=Refusal.NONE)
    assert isinstance(answer, MemoryAnswer) and answer.refusal is Refusal.VOTED


def test_clusters_and_foundings_have_memories_of_their_own() -> None:
    stage = conversation(memories())
    join(stage, "one", 1)
    join(stage, "two", 1, cluster=b"other")
    join(stage, "three", 2)
    uids = set()
    for name, founding in (("one", 9), ("two", 9), ("three", 10)):
        stage.say(name, replace(OPEN, founding=founding), replace(ASK, candidate=len(uids) + 1))
        opened, answer = answers(stage, name)
        assert isinstance(opened, MemoryOpened) and isinstance(answer, MemoryAnswer) and answer.granted
        uids.add(opened.uid)
    assert len(uids) == 3


def test_row_of_foundings_that_is_cut_off_is_refused() -> None:
    whole = encode(replace(OPEN, lineage=(2, 3)))
    [frame] = frames(whole, BOTH)
    place = frame.body.index(OwnOption.LINEAGE.to_bytes(2, "big"))
    body = frame.body[: place + 2] + (15).to_bytes(2, "big") + frame.body[place + 4 : place + 19]
    with pytest.raises(MalformedMessage, match="no row of numbers"):
        decode_any(frame.kind, body)


def test_no_memory_has_a_name_that_would_fill_the_disk() -> None:
    stage = conversation(memories())
    join(stage, "longest", 1, cluster=b"n" * NAME_MAX)
    join(stage, "longer", 1, cluster=b"n" * (NAME_MAX + 1))
    stage.say("longest", OPEN)
    stage.say("longer", OPEN, ASK)
    [taken] = answers(stage, "longest")
    refused, answer = answers(stage, "longer")
    assert isinstance(taken, MemoryOpened) and taken.refusal is Refusal.NONE
    assert isinstance(refused, MemoryOpened) and (refused.uid, refused.refusal) == (0, Refusal.LONG_NAME)
    assert isinstance(answer, MemoryAnswer) and (answer.granted, answer.refusal) == (False, Refusal.NOT_OPEN)
    largest = {(b"n" * NAME_MAX, UID_MAX): Kept(*[UID_MAX] * 6)}
    assert MEMORIES_MAX * len(_batch(largest)) < SIZE_MAX, "or the file would be written anew each time"


def test_who_has_not_listed_these_messages_or_is_not_told_of_them_meets_a_stock_arbiter() -> None:
    for kept, ours in ((memories(), False), (None, True)):
        stage = conversation(kept)
        assert join(stage, "one", 1, ours=ours).supported_messages == SUPPORTED_MESSAGES
        stage.say("one", OPEN)
        assert answers(stage, "one") == [ServerError(reply_error_code=ErrorCode.UNSUPPORTED_MESSAGE)]


@pytest.mark.parametrize("part", ["founding", "stage", "term", "candidate", "leader", "index", "round", "promise"])
def test_message_that_lacks_a_part_is_refused_and_changes_nothing(part: str) -> None:
    stage = conversation(memories())
    join(stage, "one", 1)
    stage.say("one", OPEN)
    stage.raw("one")
    kept = len(stage.kept)
    for message in (OPEN, ASK, SHOW):
        if hasattr(message, part):
            stage.say("one", replace(message, **{part: None}))
            assert answers(stage, "one") == [
                ServerError(seq=message.seq, reply_error_code=ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION)
            ]
    assert len(stage.kept) == kept


def test_answers_of_the_arbiter_are_no_questions() -> None:
    stage = conversation(memories())
    join(stage, "one", 1)
    stage.say("one", MemoryShown(seq=1, term=1, index=1, round=1, refusal=Refusal.NONE))
    assert answers(stage, "one") == [ServerError(seq=1, reply_error_code=ErrorCode.UNEXPECTED_MESSAGE)]
