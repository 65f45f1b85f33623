"""One whole node, and its peers played by hand: every effect is performed and looked at.

Must not know what is to be told to the node.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import ip_address
from random import Random

from fuzz import examples
from qluster.clients import ClientRequest, Outcome
from qluster.cluster import commands
from qluster.cluster import messages as telling
from qluster.config import Config, shared
from qluster.consensus import messages as agreeing
from qluster.consensus.members import Member, Members
from qluster.database.facts import Facts
from qluster.database.orders import Initialise
from qluster.events import (
    CancelJob,
    DatagramReceived,
    Effects,
    Entry,
    Event,
    FactsRead,
    Identity,
    Job,
    JobEnded,
    Leave,
    Save,
    SaveEnded,
    SaveEntries,
    SaveIdentity,
    SaveVote,
    Send,
    TimePassed,
)
from qluster.hearing import CLUSTER, CONSENSUS
from qluster.node import Node
from qluster.transport.envelope import DIRECT, UNICAST
from qluster.transport.link import Link, LinkSettings
from qluster.transport.seal import Sealer
from sim.disk import SimDisk
from sim.host import KEY
from sim.world import configuration

FOUNDING = 1000
UID = 0xAAAA_0000
"""The uid of node n is this and n."""
BEGINNING = 1000.0
DATAGRAM_SIZE = 60_000
"""What peers send whole: how messages are cut is tried elsewhere."""
MEMBERS = Members(
    tuple(Member(n, UID + n, f"10.0.0.{n}", 8080, 7400, 5432 if n < 4 else None, n < 4) for n in range(1, 5)),
    configured=3,
)
HEARD_MAX = 64
"""What the node said lately is kept for whoever answers."""


class Lone:
    """A node of a cluster of four, node 4 without a vote."""

    def __init__(self, disk: SimDisk, config: Config) -> None:
        self.disk = disk
        self.config = config
        self.now = BEGINNING
        self.asked = 0
        self.answers: dict[int, Outcome] = {}
        self.saves_end = True
        """Whether the disk answers at once; else :meth:`save_ended` says when."""
        self._ear = Link("sim", 1, 1, [KEY], LinkSettings(), Random(3), self.now)
        self._mouths: dict[int, Sealer] = {}
        self._said = 0
        self.start()

    def start(self, founding: int = 0) -> None:
        """The daemon starts, or dies and starts again: what was not durable is gone."""
        self.left: Leave | None = None
        self.jobs: dict[int, Job] = {}
        self.tickets: set[int] = set()
        self.heard: list[agreeing.AnyMessage | telling.Message] = []
        self._saving: list[tuple[int, list[Save]]] = []
        saved = self.disk.load()
        link = Link("sim", saved.uid, saved.boot, [KEY], LinkSettings(), Random(1), self.now)
        self.node = Node(self.config, saved, link, random=Random(2), wall=2e9, now=self.now, founding=founding)
        self.tell(TimePassed())

    def goes_on(self) -> bool:
        """Whether the daemon runs, if need be as another node: it sets its state aside where it said so."""
        if self.left is None:
            return True
        if not self.left.rejoin:
            return False
        self.disk.set_aside(UID + self.disk.uid % 1000 + 1000)
        self.start(self.left.founding)
        return True

    # --- in -----------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """An event; whatever comes of it is performed."""
        if self.left is None:
            self._perform(self.node.handle(event, self.now))

    def ask(self, request: ClientRequest) -> None:
        """A client asks; the answer comes to stand in ``answers``."""
        self.asked += 1
        self.tickets.add(request.ticket)
        self.tell(request)

    def say(self, uid: int, text: bytes, *, to_all: bool = True) -> None:
        """A message well sealed by ``uid``."""
        mouth = self._mouths.get(uid)
        if mouth is None:
            mouth = self._mouths[uid] = Sealer("sim", uid, 1, KEY)
        self._said += 1
        datagram = mouth.seal(0 if to_all else UNICAST | DIRECT, self._said, 0, 1, text)
        self.tell(DatagramReceived(datagram, (f"10.0.0.{uid % 100}", 7400)))

    def agree(self, uid: int, message: agreeing.AnyMessage) -> None:
        """A message of consensus."""
        self.say(uid, CONSENSUS + agreeing.encode(message))

    def report(self, uid: int, message: telling.Message) -> None:
        """A message of the cluster beside the log."""
        self.say(uid, CLUSTER + telling.encode(message))

    def wait(self, seconds: float, wakes_max: int = 20) -> None:
        """Time passes; the node is woken as often as it asks for, but not without end."""
        end = self.now + seconds
        for _ in range(wakes_max):
            if self.left is not None or self._wake_at >= end:
                break
            self.now = max(self.now, self._wake_at)
            self.tell(TimePassed())
        self.now = end
        self.tell(TimePassed())

    def look(self, facts: Facts) -> None:
        """The hand looked at the database."""
        self.tell(FactsRead(facts))

    def save_ended(self) -> None:
        """All that was ordered is durable."""
        saving, self._saving = self._saving, []
        for _, saves in saving:
            self.disk.save(saves)
        if saving and self.left is None:
            self.tell(SaveEnded(saving[-1][0]))

    def end_job(self, number: int, result: object, error: str | None) -> None:
        """A job ended."""
        self.jobs.pop(number, None)
        self.tell(JobEnded(number, result, error))

    # --- out ----------------------------------------------------------------

    def _perform(self, effects: Effects) -> None:
        assert effects.wake_at == effects.wake_at, "a time is a number"
        self._wake_at = effects.wake_at
        if effects.save:
            self._saving.append((effects.number, effects.save))
        for send in effects.send:
            self._hear(send)
        for job in effects.start:
            assert job.number not in self.jobs, f"job {job.number} runs already"
            if not isinstance(job.order, CancelJob):
                # A job may have ended while the word to cancel it waited for the disk.
                self.jobs[job.number] = job
        for answer in effects.answer:
            assert answer.ticket in self.tickets, f"ticket {answer.ticket} was answered twice, or never given"
            self.tickets.remove(answer.ticket)
            self.answers[answer.ticket] = answer.outcome
        self.left = effects.leave or self.left
        if effects.save and self.saves_end:
            self.save_ended()

    def _hear(self, send: Send) -> None:
        if send.to is not None:
            host, port = send.to
            assert ip_address(host) and 1 <= port <= 65_535, f"a datagram cannot be sent to {send.to}"
        for received in self._ear.receive(send.datagram, ("10.0.0.1", 7400), self.now):
            text = received.message
            message = agreeing.decode(text[1:]) if text[:1] == CONSENSUS else telling.decode(text[1:])
            self.heard.append(message)
        del self.heard[:-HEARD_MAX]

    # --- peers that do what they should ----------------------------------------

    def cooperate(self, uid: int) -> None:
        """Node ``uid - UID`` answers what was said last, as a good peer would."""
        me = uid - UID
        heard, self.heard = self.heard, []
        for message in heard:
            answer = self._answer(me, message)
            if isinstance(answer, agreeing.Message):
                self.agree(uid, answer)  # type: ignore[arg-type]
            elif answer is not None:
                self.report(uid, answer)

    def _answer(self, me: int, message: agreeing.AnyMessage | telling.Message) -> object:
        cluster, term = self.node.cluster, message.term if hasattr(message, "term") else 0
        match message:
            case agreeing.PreVote():
                return agreeing.PreVoteReply(cluster, me, max(0, term - 1), term, True)
            case agreeing.Vote():
                return agreeing.VoteReply(cluster, me, term, True, message.node)
            case agreeing.Append():
                return agreeing.AppendReply(cluster, me, term, message.round, message.last_index)
            case telling.PositionQuery():
                return telling.PositionReply(cluster, me, term, examples.SYSTEM_ID, 1, 4096, True, "")
            case telling.Hello() if not message.node:
                return telling.Welcome(FOUNDING, me, message.uid, 1)
        return None


# --- beginnings -------------------------------------------------------------------


def _log(config: Config) -> list[Entry]:
    reign = commands.Reign(1, 2, 2, 1, 0, examples.SYSTEM_ID)
    return [
        Entry(1, 1, "members", MEMBERS.encode()),
        Entry(2, 1, "command", commands.encode(commands.Founded("sim", shared(config)))),
        Entry(3, 2, "noop", (2).to_bytes(8, "big")),
        Entry(4, 2, "command", commands.encode(reign)),
    ]


def _member(number: int, pool: bool = False) -> Lone:
    config = configuration(number, pool)
    disk = SimDisk(UID + number)
    disk.save([SaveIdentity(Identity(UID + number, FOUNDING, number)), SaveVote(2, None)])
    disk.save([SaveEntries(tuple(_log(config)))])
    return Lone(disk, config)


STANDBY = Facts(
    directory="initialised", system_id=examples.SYSTEM_ID, server="running", in_recovery=True, standby=True,
    timeline=1, position=4096, replayed=4096, upstream=None, receiver="none",
)  # fmt: skip


def outside() -> Lone:
    """An empty host that may found."""
    return Lone(SimDisk(UID + 1), configuration(1, pool=False))


def invited() -> Lone:
    """An empty host that may not."""
    return Lone(SimDisk(UID + 2), configuration(2, pool=False))


def follower() -> Lone:
    """Node 1 follows node 2."""
    lone = _member(1)
    lone.look(STANDBY)
    lone.agree(UID + 2, agreeing.Append(FOUNDING, 2, 2, 1, 2.0, 4, 2, 4))
    return lone


def pool_host() -> Lone:
    """Node 4 listens, and points a pool."""
    lone = _member(4, pool=True)
    lone.agree(UID + 2, agreeing.Append(FOUNDING, 2, 2, 1, 2.0, 4, 2, 4))
    return lone


def leader() -> Lone:
    """Node 1 leads; nodes 2 and 3 agreed."""
    lone = _member(1)
    lone.look(STANDBY)
    lone.wait(2.0, wakes_max=100)
    for _ in range(40):
        lone.wait(0.1)
        lone.cooperate(UID + 2)
        if lone.node.qraft is not None and lone.node.qraft.ready:
            return lone
    raise AssertionError("node 1 was not elected")


def founder() -> Lone:
    """Node 1 has founded a cluster and is alone in it; its database is being made."""
    lone = outside()
    lone.look(Facts(directory="empty"))
    lone.wait(8.0, wakes_max=200)
    assert any(isinstance(job.order, Initialise) for job in lone.jobs.values()), "the founder makes its database"
    return lone


BEGINNINGS = (outside, invited, follower, pool_host, leader, founder)
