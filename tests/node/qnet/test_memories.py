"""What the arbiter forgets to make room, because it is void, or as somebody asks; and what it never forgets."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from msgspec.structs import replace
from qluster.qnet.memories import FOUNDINGS_MAX, MEMORIES_MAX, SOURCE_MAX, Memories
from qluster.qnet.memory import GONE, Kept
from qluster.qnet.names import Refusal
from qluster.qnet.own import MemoryAnswer, MemoryOpen, MemoryOpened, MemoryShown
from qnet.test_memory import ASK, OPEN, SHOW, answers, conversation, join, memories


def full_of_foundings(**kept: int) -> Memories:
    return memories({(b"qlab", number): Kept(number, **kept) for number in range(1, FOUNDINGS_MAX + 1)})


def test_there_are_only_so_many_foundings_of_a_name_and_an_older_one_takes_no_place() -> None:
    full = full_of_foundings(term=3)
    stage = conversation(full)
    join(stage, "one", 1)
    stage.say("one", replace(OPEN, founding=0), ASK, SHOW, replace(OPEN, founding=1))
    opened, answer, shown, again = answers(stage, "one")
    assert isinstance(opened, MemoryOpened) and opened.refusal is Refusal.FULL
    assert isinstance(answer, MemoryAnswer) and (answer.granted, answer.refusal) == (False, Refusal.NOT_OPEN)
    assert isinstance(shown, MemoryShown) and (shown.index, shown.refusal) == (0, Refusal.NOT_OPEN)
    assert isinstance(again, MemoryOpened) and again.uid == 1
    assert len(list(full)) == FOUNDINGS_MAX and not stage.kept


def test_newer_founding_takes_the_place_of_the_oldest_that_nobody_speaks_of() -> None:
    """A cluster that was founded anew sixteen times is remembered all the same."""
    full = full_of_foundings(term=3)
    stage = conversation(full)
    join(stage, "old", 1)
    join(stage, "new", 2)
    stage.say("old", replace(OPEN, founding=1))
    stage.say("new", replace(OPEN, founding=FOUNDINGS_MAX + 1), ASK)
    assert isinstance(answers(stage, "new")[0], MemoryOpened)
    assert {founding for (_, founding), _ in full} == {1, *range(3, FOUNDINGS_MAX + 2)}
    assert stage.kept[0] == ((b"qlab", 2), GONE), "what was forgotten must not come back with a start"
    assert stage.kept[1][0] == (b"qlab", FOUNDINGS_MAX + 1)


def test_memory_that_was_never_used_is_forgotten_first_and_leaves_nothing_on_the_disk() -> None:
    mixed = memories({(b"qlab", number): Kept(number, term=number % 2) for number in range(1, FOUNDINGS_MAX + 1)})
    opened = mixed.open((b"qlab", 99), OPEN)
    assert opened.refusal is Refusal.NONE and (b"qlab", 2) not in dict(mixed)
    assert mixed.take_gone() == [((b"qlab", 2), GONE)], "it was found there: other versions keep it"
    mixed.forget([(b"qlab", 99)])
    assert mixed.take_gone() == [], "of one that was made since then nothing is there"


def test_strangers_take_no_place_that_matters() -> None:
    """All from one address, as many as they like; then from many, until nothing is left that nobody misses."""
    ours = (b"ours", 7)
    crowd = memories({ours: Kept(5, term=9, vote=1)})
    for number in range(3 * SOURCE_MAX):
        assert crowd.open((b"made up %d" % number, 1), OPEN, "198.51.100.7").refusal is Refusal.NONE
    assert len(list(crowd)) == SOURCE_MAX + 1
    for key in [key for key, _ in crowd if key != ours]:
        crowd.answer(key, ASK, 0.0)
    assert crowd.open((b"one more", 1), OPEN, "198.51.100.7").refusal is Refusal.FULL
    assert crowd.open((b"another", 1), OPEN, "198.51.100.8").refusal is Refusal.NONE
    assert crowd.open((b"proven", 1), OPEN, "").refusal is Refusal.NONE
    number = 0
    while len(list(crowd)) < MEMORIES_MAX:
        number += 1
        key = (b"%d" % number, 1)
        crowd.open(key, OPEN)
        crowd.answer(key, ASK, 0.0)
    assert crowd.open((b"late", 1), OPEN).refusal is Refusal.NONE, "in the place of one that was never used"
    crowd.answer((b"late", 1), ASK, 0.0)
    for name in (b"another", b"proven"):
        crowd.open((name, 1), OPEN)
        crowd.answer((name, 1), ASK, 0.0)
    while (refusal := crowd.open((b"%d later" % number, 1), OPEN).refusal) is Refusal.NONE:
        crowd.answer((b"%d later" % number, 1), ASK, 0.0)
        number += 1
    assert refusal is Refusal.FULL and crowd.uid(ours) == 5


def test_what_is_spoken_of_is_never_forgotten() -> None:
    full = full_of_foundings(term=3)
    spoken = {(b"qlab", number) for number in range(2, FOUNDINGS_MAX)}
    assert full.open((b"qlab", 99), OPEN, in_use=spoken).refusal is Refusal.NONE and not full.uid((b"qlab", 1))
    assert full.open((b"qlab", 100), OPEN, in_use={*spoken, (b"qlab", 99)}).refusal is Refusal.FULL, (
        "the newest founding that was ever used is nobody's to forget, though nobody speaks of it now")


def test_operator_has_a_cluster_forgotten_that_is_not_connected() -> None:
    others = {(b"qlab", 8): Kept(4), (b"other", 9): Kept(6, term=1)}
    stage = conversation(memories({(b"qlab", 9): Kept(5, term=7), **others}))
    join(stage, "one", 1, cluster=b"other")
    assert stage.arbiter.forget("other") == -1, "who is connected relies on it"
    assert stage.arbiter.forget("qlab") == 2 and stage.arbiter.forget("qlab") == 0
    stage.perform()
    assert stage.kept == [((b"qlab", 9), GONE), ((b"qlab", 8), GONE)]
    assert stage.arbiter.memories is not None and [key for key, _ in stage.arbiter.memories] == [(b"other", 9)]


def test_memory_that_a_client_finds_gone_back_is_made_anew_and_nobody_takes_its_word_for_the_former_ones() -> None:
    stage = conversation(memories({(b"qlab", 9): Kept(5, term=7, vote=2)}))
    for name, node in (("one", 1), ("two", 2)):
        join(stage, name, node)
        stage.say(name, OPEN)
        stage.raw(name)
    stage.say("one", replace(OPEN, void=4))
    [same] = answers(stage, "one")
    assert isinstance(same, MemoryOpened) and same.uid == 5, "of another one it may say what it likes"
    stage.say("one", replace(OPEN, void=5))
    [opened] = answers(stage, "one")
    assert isinstance(opened, MemoryOpened) and opened.uid not in (0, 5) and opened.term == 0
    assert stage.kept == [((b"qlab", 9), GONE)]
    assert "two" in stage.closed and "one" not in stage.closed


def test_founding_that_was_forced_has_those_before_it_forgotten() -> None:
    """Whoever is still in one of them counts a memory that nobody answers for any more."""
    stage = conversation(memories({(b"other", 9): Kept(6, term=1), (b"qlab", 7): Kept(7, term=1)}))
    join(stage, "one", 1)
    stage.say("one", OPEN, ASK, SHOW)
    former = answers(stage, "one")[0]
    assert isinstance(former, MemoryOpened) and former.uid
    join(stage, "two", 2)
    stage.say("two", MemoryOpen(seq=3, founding=20, lineage=(8, 9, 20, 30)))
    [opened] = answers(stage, "two")
    assert isinstance(opened, MemoryOpened) and opened.refusal is Refusal.NONE
    assert stage.kept[-1] == ((b"qlab", 9), GONE) and stage.order[-2:] == ["keep", "send"]
    stage.say("one", replace(ASK, term=3), replace(SHOW, term=3))
    assert [one.refusal for one in answers(stage, "one")] == [Refusal.NOT_OPEN] * 2  # type: ignore[attr-defined]
    stage.say("one", OPEN)
    [again] = answers(stage, "one")
    assert isinstance(again, MemoryOpened) and again.uid not in (0, former.uid, opened.uid) and again.term == 0
    assert {key for key, _ in stage.kept} == {(b"qlab", 9)}, "of those that nobody has used yet nothing is kept"
