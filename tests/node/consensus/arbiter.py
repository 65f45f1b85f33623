"""The arbiter of a simulated cluster: the production memory, its disk, and a link of each node to it.

Must not know the arbiter's protocol. Chance is its own, so that worlds without it stay what they were.
A link loses and delays words in each direction, is cut in one or both, and is opened anew afterwards; the arbiter
crashes at its seams and comes back with its memory, or with another where its disk was lost.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.events import (
    AskDevice,
    DeviceAnswered,
    DeviceClosed,
    DeviceOpened,
    DeviceQuestion,
    DeviceShown,
    DeviceWord,
)
from qluster.holding import Holding, unbound
from qluster.qnet.memory import Kept, Memory
from qluster.qnet.names import Refusal, Stage

if TYPE_CHECKING:
    from consensus.world import Host, World


@dataclass(slots=True)
class Storm:
    """How often what happens, at each change of weather."""

    aimed: float = 0.35
    """That the leader is cut off from all but the device."""
    crash: float = 0.25
    lost: float = 0.25
    """That a crash loses the disk as well."""
    cut: float = 0.3
    """That a node does not reach it, or is not reached."""
    dies: float = 0.1
    """At each question: that it dies before it keeps, or before it answers."""


def questions(qraft: QRaft, output: Output) -> tuple[list[DeviceQuestion], list[DeviceQuestion]]:
    """What goes to the device before the saves are durable, and what after."""
    before = Holding()
    waits = [before.wait_for(output.save, unbound=unbound(one, qraft.saved_index)) for one in output.device]
    early = [one for one, number in zip(output.device, waits, strict=True) if not number]
    return early, [one for one, number in zip(output.device, waits, strict=True) if number]


def answer(memory: Memory, question: DeviceQuestion, now: float) -> DeviceWord:
    """What the memory says, as the link would tell it."""
    if isinstance(question, AskDevice):
        last = question.last_term, question.last_index
        granted, refusal = memory.ask(Stage(question.stage), question.term, question.candidate, last, now)
        return DeviceAnswered(
            memory.kept.uid, question.stage, memory.kept.term, question.term, granted, refusal is Refusal.OLD_LOG
        )
    refusal = memory.show(question.term, question.leader, question.index, question.promise, now)
    kept = memory.kept
    index = kept.index if kept.last_term == question.term and refusal is Refusal.NONE else 0
    return DeviceShown(kept.uid, kept.term, index, question.round, refusal is Refusal.NONE)


class Arbiter:
    """One arbiter."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = Random(f"arbiter {seed}")
        self.storm = Storm()
        self.votes: int | None = None
        """What leaders give it; None: as usual."""
        self._kept = Kept(self._random.getrandbits(63) + 1)
        self.memory: Memory | None = Memory(self._kept, None)
        self._seen: dict[int, tuple[int, int]] = {}
        """By uid: the newest entry that it has kept."""
        self._deaf: set[int] = set()
        """Nodes that it does not hear."""
        self._dumb: set[int] = set()
        """Nodes that do not hear it."""
        self._votes: dict[tuple[int, int], int] = {}
        self._aimed = False
        """Something aimed is still to happen."""
        self._rate = 1.0
        self.counts = {"crash": 0, "lost": 0, "votes": 0, "shown": 0}

    @property
    def uid(self) -> int:
        """Of its memory."""
        return self._kept.uid

    def has_seen(self, uid: int, index: int, term: int) -> bool:
        """Whether the memory with this uid has kept that a leader of this term has this entry."""
        last_term, newest = self._seen.get(uid, (0, 0))
        return last_term > term or (last_term == term and newest >= index)

    def clock(self) -> float:
        """What its clock says; it runs as wrong as those of nodes may."""
        return self._world.now * self._rate + 7.0

    # --- links ----------------------------------------------------------------

    def connect(self, host: Host) -> None:
        """A node has started, or its link is well again."""
        if self.memory is not None:
            self._tell(host, DeviceOpened(self.uid))

    def asked(self, host: Host, question: DeviceQuestion) -> None:
        """A node says something to it."""
        faults, qraft = self._world.faults, host.qraft
        if self._random.random() < faults.loss / 2:
            return
        self._world.at(self._world.now + self._delay(), lambda: self._arrive(host, qraft, question))

    def _delay(self) -> float:
        faults = self._world.faults
        if faults.long_delay and self._random.random() < faults.long_delay:
            return self._random.uniform(0.01, 0.5)
        return self._random.uniform(0.0005, faults.delay_max)

    def _arrive(self, host: Host, qraft: QRaft | None, question: DeviceQuestion) -> None:
        if self.memory is None or host.node in self._deaf:
            return
        memory = self.memory
        dies = self._world.faults.crash and self._random.random() < self._world.faults.crash * self.storm.dies * 20
        if dies and self._random.random() < 0.5:
            self.crash()
            return
        word = answer(memory, question, self.clock())
        self._keep(memory.kept)
        if dies:
            self.crash()
        elif host.qraft is qraft and self._random.random() >= self._world.faults.loss / 2:
            self._tell(host, word)

    def _tell(self, host: Host, word: DeviceWord) -> None:
        qraft = host.qraft
        self._world.at(self._world.now + self._delay(), lambda: self._heard(host, qraft, word))

    def _heard(self, host: Host, qraft: QRaft | None, word: DeviceWord) -> None:
        if qraft is None or host.qraft is not qraft or host.node in self._dumb:
            return
        if self._world.now < host.hung_until:
            self._world.at(host.hung_until + 1e-4, lambda: self._heard(host, qraft, word))
            return
        if isinstance(word, DeviceOpened) and (self.memory is None or word.uid != self.uid):
            return
        self.counts["votes"] += isinstance(word, DeviceAnswered) and word.granted
        self.counts["shown"] += isinstance(word, DeviceShown) and word.index > 0
        qraft.hear_device(word, host.clock(self._world.now))
        self._world.perform(host)

    # --- its disk -------------------------------------------------------------

    def _keep(self, kept: Kept) -> None:
        before = self._votes.setdefault((kept.uid, kept.term), kept.vote) if kept.vote else kept.vote
        assert before == kept.vote, f"S3: the device votes for {before} and {kept.vote} in term {kept.term}"
        self._kept = kept
        self._seen[kept.uid] = max(self._seen.get(kept.uid, (0, 0)), (kept.last_term, kept.index))

    def crash(self, *, lost: bool = False, down: float = 0.0) -> None:
        """It is gone for a while."""
        if self.memory is None:
            return
        self.counts["crash"] += 1
        self.memory = None
        if lost:
            self.counts["lost"] += 1
            self._kept = Kept(self._random.getrandbits(63) + 1)
        for host in self._world.hosts.values():
            self._tell(host, DeviceClosed())
        self._world.at(self._world.now + (down or self._random.uniform(0.01, 0.8)), self.start)

    def start(self) -> None:
        """It comes back with what it has kept."""
        if self.memory is None:
            self.memory = self.load()
            for host in self._world.hosts.values():
                self.connect(host)

    def load(self) -> Memory:
        """What is on its disk, read at a start."""
        return Memory(self._kept, self.clock())

    # --- weather --------------------------------------------------------------

    def change_weather(self) -> None:
        """Links are cut and mended; it crashes; a leader sees to its place in the list."""
        random, storm = self._random, self.storm
        drift = self._world.faults.drift
        self._rate = 1.0 + random.uniform(-drift, drift) if drift and self._rate == 1.0 else self._rate
        if random.random() < storm.aimed:
            self._aim()
            return
        away = self._deaf | self._dumb
        self._deaf = {node for node in self._world.hosts if random.random() < storm.cut / 2}
        self._dumb = {node for node in self._world.hosts if random.random() < storm.cut / 2}
        if random.random() < storm.cut / 3:
            # Nobody but the leader reaches it, or everybody but the leader.
            leader = {host.node for host in self._world.leaders()[-1:]}
            others = self._world.hosts.keys() - leader
            self._deaf = self._dumb = leader if random.random() < 0.5 else others
        for node in away - self._deaf - self._dumb:
            self.connect(self._world.hosts[node])
        for node in self._deaf & self._dumb:
            if random.random() < 0.5:
                self._lose_link(node)
        if self.memory is not None and random.random() < storm.crash:
            self.crash(lost=random.random() < storm.lost)
        self.see_to_list()

    def _aim(self) -> None:
        """The leader has nobody but the device, the others have it too; it may forget something in that moment."""
        world, random = self._world, self._random
        leader = world.leader()
        world.cut.clear()
        self.heal()
        self.see_to_list()
        if leader is None:
            return
        self._aimed = True
        self._later(random.uniform(0.1, 0.3), lambda: world.isolate(leader.node))
        if random.random() < 0.7:
            lost, down = random.random() < self.storm.lost, random.uniform(0.001, 0.1)
            self._later(random.uniform(0.3, 0.8), lambda: self.crash(lost=lost, down=down))

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._world.at(self._world.now + seconds, lambda: what() if self._aimed else None)

    def _lose_link(self, node: int) -> None:
        host = self._world.hosts[node]
        if host.qraft is not None:
            host.qraft.hear_device(DeviceClosed(), host.clock(self._world.now))
            self._world.perform(host)

    def see_to_list(self) -> None:
        """A leader that reaches it puts it into the list, and another in its place where that was lost."""
        host = self._world.leader()
        if host is None or host.qraft is None or not host.qraft.device_uid:
            return
        if host.qraft.members.device_uid != host.qraft.device_uid:
            self._world.device(host, host.qraft.device_uid, self.votes)

    def heal(self) -> None:
        """It is there, and everybody reaches it."""
        self._deaf, self._dumb, self._aimed = set(), set(), False
        self.start()
        for host in self._world.hosts.values():
            self.connect(host)
