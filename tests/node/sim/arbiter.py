"""The arbiter of a simulated cluster: a host with the production memory, and a connection of each node to it.

Must not know the arbiter's protocol. Only seeds of :data:`WITNESSED` have one, and its chances are its own: all other
seeds stay what they are. A founding has a memory of its own. What a node says is lost with its connection.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING

from consensus.arbiter import answer
from qluster.consensus.members import Members
from qluster.consensus.membership import usual_votes
from qluster.events import DeviceAnswered, DeviceClosed, DeviceOpened, DeviceQuestion, DeviceShown, DeviceWord
from qluster.node import Node
from qluster.qnet.memory import Kept, Memory

from sim.electing import Electing

if TYPE_CHECKING:
    from sim.host import Host
    from sim.stock import Stock
    from sim.world import World

WITNESSED = range(200_000, 300_000)
"""Seeds of clusters with an arbiter that remembers."""

RECONNECT = (0.05, 0.6)
NOTICE = (0.5, 2.0)
"""Seconds until a connection that carries nothing any more is seen to be dead."""


def sizes(seed: int) -> Electing:
    """The cluster of such a seed: of even size mostly; some let voters rest."""
    random = Random(f"witnessed {seed}")
    databases = random.choice([2, 2, 2, 2, 4, 4, 3, 5])
    lasting = random.random() < 0.2
    factor = {2: 2, 4: 3}.get(databases, 0) if random.random() < 0.2 else 0
    return Electing(databases, (1,) * databases, "off", lasting, lasting and random.random() < 0.5, factor)


class Arbiter:
    """One arbiter."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.random = Random(f"arbiter {world.seed}")
        self._disk: dict[int, Kept] = {}
        """What is kept, by founding."""
        self._memories: dict[int, Memory] = {}
        self.up = True
        self._deaf: set[str] = set()
        """Hosts whose words do not reach it."""
        self._dumb: set[str] = set()
        """Hosts that its words do not reach."""
        self._open: dict[str, tuple[Node, int]] = {}
        """Connections: by host, the node at its other end and a number."""
        self._mine: set[int] = set()
        """Of these connections its own end is alive."""
        self._numbers = 0
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}
        self.rate = self.random.uniform(0.97, 1.03)

    # --- looks ----------------------------------------------------------------

    def uid(self, founding: int) -> int:
        """Of its memory of this founding; 0: it has none."""
        kept = self._disk.get(founding)
        return kept.uid if kept is not None else 0

    def has_seen(self, founding: int, uid: int, index: int, term: int) -> bool:
        """Whether the memory with this uid has kept that a leader of this term, or of a later one, has this entry."""
        last_term, newest = self._seen.get((founding, uid), (0, 0))
        return last_term > term or (last_term == term and newest >= index)

    def holds(self, node: Node, members: Members, holders: Collection[int], index: int, term: int) -> bool:
        """Whether it has seen this entry, by the memory that the list names."""
        return self.has_seen(node.cluster, members.device_uid, index, term)

    def right_list(self, node: Node) -> str:
        """Why the list of this leader does not count it as it should, "" when it does."""
        members, uid = node.settled, self.uid(node.cluster)
        if node.qraft is None or members.device_uid != uid or members.device != usual_votes(members):
            return f"the list counts device {members.device_uid} with {members.device} votes, it is {uid}"
        return node.qraft.device_fault(node.settled_at) if members.device else ""

    def clock(self) -> float:
        """What its clock says."""
        return self._world.now * self.rate

    # --- connections ----------------------------------------------------------

    def connect(self, host: Host) -> None:
        """A daemon tries until it is connected, and knows to which founding it belongs."""
        self._later(self.random.uniform(*RECONNECT), lambda: self._try(host, host.node))

    def _try(self, host: Host, node: Node | None) -> None:
        if node is None or host.node is not node or host.ip in self._open:
            return
        if not self.up or not node.cluster or node.qraft is None or host.frozen or not self._reached(host):
            self.connect(host)
            return
        self._numbers += 1
        self._open[host.ip] = node, self._numbers
        self._mine.add(self._numbers)
        founding = node.cluster
        for former in node.state.lineage:
            self._forget(former)
        if founding not in self._memories:
            self._memories[founding] = memory = Memory(Kept(self.random.getrandbits(63) + 1), None)
            self._disk[founding] = memory.kept
        self._tell(host, DeviceOpened(self.uid(founding)))

    def _forget(self, founding: int) -> None:
        """A later founding goes on from this one: its memory is another one, and its nodes have none open."""
        if founding in self._memories and self._memories[founding].kept.term:
            self._memories[founding] = Memory(Kept(self.random.getrandbits(63) + 1), None)
            self._keep(founding, self._memories[founding].kept)
            self._mine -= {number for node, number in self._open.values() if node.cluster == founding}

    def _reached(self, host: Host) -> bool:
        return host.ip not in self._deaf and host.ip not in self._dumb

    def lost(self, host: Host) -> None:
        """A daemon is gone, or its connection is: the other end hears nothing of it."""
        self._open.pop(host.ip, None)

    def _close(self, host: Host) -> None:
        """The daemon sees that the connection is dead, and begins anew."""
        node, _ = self._open.pop(host.ip, (None, 0))
        if node is not None and host.node is node:
            host.give(DeviceClosed())
            self.connect(host)

    def asked(self, host: Host, node: Node, question: DeviceQuestion) -> None:
        """A daemon says something to it."""
        connection = self._open.get(host.ip)
        if connection is not None and connection[0] is node:
            self._later(self._delay(), lambda: self._arrive(host, connection, question))

    def _arrive(self, host: Host, connection: tuple[Node, int], question: DeviceQuestion) -> None:
        if connection[1] not in self._mine or self._open.get(host.ip) != connection or host.ip in self._deaf:
            return
        faults, founding = self._world.faults, connection[0].cluster
        dies = faults.crash_at_seam and self.random.random() < faults.crash_at_seam
        if dies and self.random.random() < 0.5:
            self.crash()
            return
        memory = self._memories[founding]
        word = answer(memory, question, self.clock())
        self._keep(founding, memory.kept)
        if dies:
            self.crash()
        else:
            self._tell(host, word)

    def _tell(self, host: Host, word: DeviceWord) -> None:
        connection = self._open.get(host.ip)
        self._later(self._delay(), lambda: self._heard(host, connection, word))

    def _heard(self, host: Host, connection: tuple[Node, int] | None, word: DeviceWord) -> None:
        if connection is None or self._open.get(host.ip) != connection or host.ip in self._dumb:
            return
        if host.node is connection[0]:
            if isinstance(word, DeviceAnswered) and word.granted:
                self._world.count("vote of the device", fault=False)
            if isinstance(word, DeviceShown) and word.index:
                self._world.count("entry shown to the device", fault=False)
            host.give(word)

    def _delay(self) -> float:
        faults = self._world.faults
        if faults.late and self.random.random() < faults.late:
            return self.random.uniform(0.1, 1.5)
        return self.random.uniform(*faults.delay)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._world.at(self._world.now + seconds, what)

    # --- its disk -------------------------------------------------------------

    def _keep(self, founding: int, kept: Kept) -> None:
        self._disk[founding] = kept
        key = founding, kept.uid
        self._seen[key] = max(self._seen.get(key, (0, 0)), (kept.last_term, kept.index))

    def load(self) -> dict[int, Memory]:
        """What is on its disk, read at a start."""
        return {founding: Memory(kept, self.clock()) for founding, kept in self._disk.items()}

    def crash(self, *, lost: bool = False, down: float | None = None) -> None:
        """It is gone for a while, ``lost``: with its disk."""
        if not self.up:
            return
        self._world.tell(f"the arbiter crashes{' and its disk is lost' if lost else ''}")
        self.up, self._memories = False, {}
        self._mine.clear()
        if lost:
            self._disk = {}
        self._later(self.random.uniform(0.02, 3.0) if down is None else down, self.start)
        for ip, connection in list(self._open.items()):
            self._notice(self._world.hosts[ip], connection, 0.0, 0.3)

    def start(self) -> None:
        """It comes back with what it has kept."""
        if not self.up:
            self._world.tell("the arbiter starts")
            self.up, self._memories = True, self.load()

    def _notice(self, host: Host, connection: tuple[Node, int], least: float, most: float) -> None:
        def see() -> None:
            if self._open.get(host.ip) == connection:
                self._close(host)

        self._later(self.random.uniform(least, most), see)

    # --- links ----------------------------------------------------------------

    def cut(self, host: Host, *, to: bool, back: bool) -> None:
        """Words of the host, or to it, are lost."""
        self._world.tell(f"{host.name} {'does not reach' if to else 'is not reached by'} the arbiter")
        if to:
            self._deaf.add(host.ip)
        if back:
            self._dumb.add(host.ip)
        if host.ip in self._open:
            self._notice(host, self._open[host.ip], *NOTICE)

    def mend(self) -> None:
        """Everybody reaches it."""
        self._deaf.clear()
        self._dumb.clear()

    def heal(self) -> None:
        """It is there."""
        self.mend()
        self.start()


# --- strikes -------------------------------------------------------------------------------------


def _arbiter(world: World) -> Arbiter | Stock:
    assert world.arbiter is not None
    return world.arbiter


def crash(world: World) -> None:
    """It restarts."""
    _arbiter(world).crash()


def lose(world: World) -> None:
    """It comes back with another memory."""
    _arbiter(world).crash(lost=True)


def cut(world: World) -> None:
    """A node and it do not hear each other, or one of them does not."""
    arbiter = _arbiter(world)
    host = arbiter.random.choice([host for host in world.hosts.values() if host.database is not None])
    way = arbiter.random.choice(["to", "back", "both"])
    arbiter.cut(host, to=way != "back", back=way != "to")


def mend(world: World) -> None:
    """All its links are well."""
    world.tell("all links to the arbiter are mended")
    _arbiter(world).mend()


def leader_alone(world: World) -> None:
    """The leader has nobody but the arbiter, which the others reach as well; it may restart, or the leader die."""
    arbiter, first = _arbiter(world), world.leader()
    arbiter.mend()
    if first is None:
        return
    world.tell(f"{first.name} is alone with the arbiter")
    world.disturbed()
    world.network.cut.clear()
    world.network.isolate(first)
    world.run(arbiter.random.uniform(0.5, 4.0))
    what = arbiter.random.choice(["restart", "restart for the others", "lose", "die", "stay"])
    if what == "restart for the others":
        arbiter.cut(first, to=True, back=True)
    if what not in ("die", "stay"):
        arbiter.crash(lost=what == "lose", down=arbiter.random.uniform(0.01, 0.3))
    elif what == "die" and first.node is not None:
        first.crash()
        world.network.cut.clear()
    world.run(arbiter.random.uniform(1.0, 6.0))


def half_dies(world: World) -> None:
    """Half of the databases' hosts die, the arbiter lives."""
    arbiter = _arbiter(world)
    hosts = [host for host in world.hosts.values() if host.database is not None and host.node is not None]
    arbiter.mend()
    for host in arbiter.random.sample(hosts, len(hosts) // 2):
        host.crash(held=True, power=True)
        world.at(world.now + arbiter.random.uniform(4.0, 12.0), lambda host=host: _again(host))  # type: ignore[misc]
    world.run(arbiter.random.uniform(1.0, 8.0))


def _again(host: Host) -> None:
    if host.node is None and host.held and not host.left:
        host.start()


DEVICE: list[tuple[str, float, Callable[[World], None]]] = [
    ("arbiter restarts", 4, crash),
    ("arbiter's disk lost", 1.5, lose),
    ("link to the arbiter cut", 5, cut),
    ("links to the arbiter mended", 5, mend),
    ("leader alone with the arbiter", 10, leader_alone),
    ("half dies", 3, half_dies),
]
"""Strikes of their own for such clusters."""
