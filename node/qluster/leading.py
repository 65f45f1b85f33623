"""Decides what a leader does beside replicating: admit nodes, find a primary, hand over.

Must not know how messages travel, nor how entries are agreed on: it is given a view of
both and says what is to be proposed, changed, sent or transferred.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import msgspec

from qluster.cluster import fencing, synchronous
from qluster.cluster import reign as reigning
from qluster.cluster.commands import Body, Guaranteed, LossMeasured, Reign
from qluster.cluster.messages import (
    COUNTS_VOTES,
    Hello,
    Message,
    PositionQuery,
    PositionReply,
    Refusal,
    Report,
    Welcome,
)
from qluster.cluster.published import End
from qluster.cluster.reign import Succession
from qluster.cluster.state import State
from qluster.cluster.synchronous import Standby, Synchrony, node_named
from qluster.config import Synchronous, differences
from qluster.config.tags import NONE
from qluster.consensus.members import MEMBERS_MAX, Member, Members
from qluster.database.facts import Facts
from qluster.events import Address
from qluster.fencing import Fencer, Seen
from qluster.status import DatabaseStatus

HELLOS_MAX = 64
"""Hellos remembered between two steps; a joining node repeats its own anyway."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Put this command into the log."""

    body: Body


@dataclass(frozen=True, slots=True)
class Change:
    """Change the membership."""

    members: Members
    newcomer: tuple[int, int] | None = None
    """Who is new in it, and whether its version counts votes."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand the leadership to this node."""

    node: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this message to an address; None: to all."""

    message: Message
    to: Address | None = None


@dataclass(frozen=True, slots=True)
class Fire:
    """Run the fence agents of this node, as the entry ``index`` ordered."""

    node: int
    index: int


Duty = Propose | Change | Transfer | Tell | Fire


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the leader sees when it decides."""

    now: float
    me: int
    cluster: int
    term: int
    state: State
    members: Members
    """Membership in force, committed or not."""
    settled: Members
    """Membership as applied."""
    alive: frozenset[int]
    own: PositionReply | None
    intact: bool
    system_id: int | None
    awaits_founding: bool
    """The leader has a database to found before others may join."""
    node_timeout: float
    retry: float
    mode: Synchronous
    """For whom transactions wait."""
    strict: bool
    maximum_lag: int
    end: Callable[[int, int], End | None]
    """Where the WAL of a node ended by its word as a primary since a reign, and when."""
    wal_rate: Callable[[int], float]
    report: Callable[[int], Report | None]
    answering: frozenset[int] = frozenset()
    """Members that have answered this leader something."""
    own_database: DatabaseStatus | None = None
    """The database of this node."""
    given_up: bool = False
    """The reign in force was declared over by this node, which may not go on with it."""
    found_at: tuple[int, int] = (1, 0)
    """Timeline and position of a database that was recovered for a founding."""
    standby: bool = False
    """Nothing is written here: an installation outside is followed."""
    withheld: str = ""
    """Why no reign is begun here, for people: a pause."""
    served: int = 0
    """The last reign in which the database here was the primary; 0: none."""
    seen: Seen | None = None
    """What there is to know of the former primary, and of the agents that could fence it."""

    @property
    def idle(self) -> bool:
        """No membership change is under way."""
        return self.members == self.settled


@dataclass(slots=True)
class Leading:
    """The duties of one leader in one term."""

    term: int
    began: float
    reason: str = ""
    """Why there is no primary yet."""
    fencer: Fencer = field(default_factory=Fencer)
    _succession: Succession = field(init=False)
    _hellos: dict[int, Hello] = field(default_factory=dict)
    _synchrony: Synchrony = field(default_factory=Synchrony)
    _proposed: tuple[Guaranteed, float] | None = None
    """The last change of the guarantees, and when it was proposed."""
    _begun: int = 0
    _measured: int = 0
    """The reign for which it was proposed to note what was left behind."""
    _wake_at: float = inf
    _void: bool = False
    """The reign in force is that of a standby, and its time is over."""

    def __post_init__(self) -> None:
        self._succession = Succession(self.term, self.began)

    def hello(self, hello: Hello) -> None:
        """A node said hello."""
        if hello.uid in self._hellos or len(self._hellos) < HELLOS_MAX:
            self._hellos[hello.uid] = hello

    def position(self, reply: PositionReply) -> None:
        """A database node answered the question for its position."""
        self._succession.receive(reply)

    @property
    def succession(self) -> Succession:
        """The search for a primary in this term."""
        return self._succession

    def put_off(self, node: int, *, voter: bool) -> None:
        """Leadership could not be offered just now, while members change: to a voter that was no attempt."""
        if voter and self._succession.offered.get(node, 0):
            self._succession.offered[node] -= 1

    @property
    def wake_at(self) -> float:
        """When a question is to be repeated."""
        return self._wake_at

    def step(self, scene: Scene, *, handing_over: bool) -> list[Duty]:
        """What is to be done now."""
        duties = [] if handing_over else self._seek_primary(scene)
        hellos, self._hellos = self._hellos, {}
        for hello in hellos.values():
            duty = self._admit(hello, scene)
            if duty is not None:
                duties.append(duty)
        return duties + self._measure(scene)

    def _measure(self, scene: Scene) -> list[Duty]:
        """A former primary that came back knows what it gave up for the reign in force."""
        reign = scene.state.reign
        if reign is None or reign.left_bytes is not None or self._measured == reign.number:
            return []
        for member in scene.settled:
            report = scene.report(member.node)
            found = report.database.left_behind if report is not None and report.database is not None else None
            if found is not None and found[0] == reign.number:
                self._measured = reign.number
                return [Propose(LossMeasured(*found))]
        return []

    def _seek_primary(self, scene: Scene) -> list[Duty]:
        self._wake_at = inf
        if scene.withheld:
            self.reason = scene.withheld
            # Whoever is heard from then on has as much time to answer as at the begin of a term.
            self._succession.began = scene.now
            return []
        self._void = self._begin_anew(scene)
        match self._succession.decide(self.view(scene)):
            case reigning.Wait(reason, until):
                self.reason, self._wake_at = reason, until
            case reigning.Ask():
                self._wake_at = scene.now + scene.retry
                if scene.now < self._succession.until:
                    self._wake_at = min(self._wake_at, self._succession.until)
                return [Tell(PositionQuery(scene.cluster, scene.me, self.term))]
            case reigning.HandOver(node):
                self.reason = f"node {node} has the newest database and is to lead"
                self._wake_at = scene.now + scene.retry
                return [Transfer(node)]
            case reigning.Begin(reign):
                return [] if reign.number == self._begun else self._begin(reign, scene)
        return []

    def _begin(self, reign: Reign, scene: Scene) -> list[Duty]:
        """Begin to reign, once nothing is to be feared from the former primary any more."""
        former = scene.state.reign
        match self.fencer.decide(scene, self._succession):
            case fencing.Hold(reason, until):
                self.reason, self._wake_at = reason, min(until, scene.now + scene.retry)
                if scene.now < self._succession.asked_at + scene.retry:
                    return []
                self._succession.asked_at = scene.now  # it may have come back, and give word
                return [Tell(PositionQuery(scene.cluster, scene.me, self.term))]
            case fencing.Order():
                return [Propose(self.fencer.order(scene))]
            case fencing.Fire(index):
                assert former is not None
                self.reason = f"node {former.node}, the former primary, is being fenced"
                return [Fire(former.node, index)]
        self._begun, self.reason = reign.number, ""
        return [Propose(reign)]

    def _begin_anew(self, scene: Scene) -> bool:
        """Whether the reign in force binds nobody any more, because nothing outside is followed now.

        Then all are asked anew, in the same term: what they said before was said while they followed.
        """
        reign = scene.state.reign
        void = reign is not None and reign.standby and not scene.standby
        if void and not self._void:
            self._succession = Succession(self.term, scene.now)
        return void

    def primary_away(self) -> None:
        """The primary of this reign does not run now."""
        self._synchrony.interrupted()

    def guarantee(self, facts: Facts, scene: Scene, seen_at: float = inf, *, settled: bool = True) -> Propose | None:
        """What is to be changed in the guarantees while a primary runs here, seen by ``facts`` at ``seen_at``.

        Without ``settled`` an order is under way that may tell the server something else.
        """
        reign = scene.state.reign
        assert reign is not None and reign.node == scene.me, "asked only while this node reigns"
        changed = self._synchrony.step(synchronous.Scene(
            now=scene.now, mode=scene.mode, strict=scene.strict, me=scene.me, reign=reign.number,
            guarantees=scene.state.guarantees, databases=databases_of(scene), standbys=_standbys(facts, scene),
            position=facts.position, waitable=waited_for(scene),
            told=(facts.terms.standbys, facts.terms.needed) if facts.terms is not None and settled else None,
            seen_at=seen_at, patience=scene.node_timeout, silent=databases_of(scene) - (scene.alive & scene.answering),
        ))  # fmt: skip
        if changed is None:
            return None
        body = Guaranteed(reign.number, changed)
        if self._proposed is not None and self._proposed[0] == body and scene.now < self._proposed[1] + scene.retry:
            return None
        self._proposed = body, scene.now
        return Propose(body)

    def view(self, scene: Scene) -> reigning.View:
        reign, databases = scene.state.reign, databases_of(scene)
        return reigning.View(
            now=scene.now,
            term=self.term,
            me=scene.me,
            reign=reign,
            reigns=tuple(scene.state.reigns),
            guarantees=scene.state.guarantees,
            mode=scene.mode,
            standby=scene.standby,
            databases=databases,
            waitable=waited_for(scene),
            priorities={member.node: member.tags.priority for member in scene.members if member.tags},
            own=scene.own,
            intact=scene.intact,
            system_id=scene.system_id,
            asked=(databases & scene.alive) - {scene.me},
            deaf=databases - scene.answering,
            patience=scene.node_timeout,
            retry=scene.retry,
            primary_seen=_primary_seen(scene, reign),
            yielded=scene.state.switching.yielded,
            given_up=scene.given_up,
            found_at=scene.found_at,
            maximum_lag=scene.maximum_lag,
            accepted=reign is not None and scene.state.loss_accepted == reign.number,
            unseen=_unseen(scene, reign),
            wal_rate=scene.wal_rate(reign.node) if reign is not None else 0.0,
            unserved=_unserved(scene),
            forced=scene.state.forced_since,
        )

    def _admit(self, hello: Hello, scene: Scene) -> Duty | None:
        """Answer a hello: welcome, refuse, or change the membership so that it can be welcomed."""
        address = (hello.ip, hello.udp_port)
        wrong = differences(hello.shared, scene.state.accepts(hello.shared))
        if wrong:
            return Tell(Refusal(scene.cluster, scene.me, hello.uid, " ".join(wrong)[:1000]), address)
        known = _by_uid(scene.settled, hello.uid)
        if known is not None:
            changed = _changed(known, hello)
            if changed != known:
                return _change(scene, scene.members.with_member(changed))
            return Tell(Welcome(scene.cluster, scene.me, hello.uid, known.node), address)
        if not scene.idle or (scene.awaits_founding and scene.state.reign is None):
            return None
        if hello.cluster == scene.cluster and hello.ip not in scene.state.expected:
            return Tell(
                Refusal(
                    scene.cluster,
                    scene.me,
                    hello.uid,
                    f"node {hello.node} was removed from the cluster; set its state directory aside to join anew",
                ),
                address,
            )
        return self._enlist(hello, scene)

    def _enlist(self, hello: Hello, scene: Scene) -> Duty | None:
        """Add the node; a member that had this address before has lost its state and goes first."""
        before = next((one for one in scene.members if (one.ip, one.udp_port) == (hello.ip, hello.udp_port)), None)
        if before is not None:
            return _change(scene, scene.members.without(before.node)) if before.node != scene.me else None
        if hello.counting < scene.members.level:
            text = "its version counts nodes, and this cluster counts votes: install the version of the other nodes"
            if hello.counting:
                text = "its version does not know by which rule this cluster counts: install the version of the others"
            return Tell(Refusal(scene.cluster, scene.me, hello.uid, text), (hello.ip, hello.udp_port))
        if len(scene.members) >= MEMBERS_MAX:
            text = f"the cluster has {MEMBERS_MAX} members, more are not possible"
            return Tell(Refusal(scene.cluster, scene.me, hello.uid, text), (hello.ip, hello.udp_port))
        role = scene.state.expected.get(hello.ip, hello.role)
        member = Member(
            node=scene.state.highest_node + 1,
            uid=hello.uid,
            ip=hello.ip,
            api_port=hello.api_port,
            udp_port=hello.udp_port,
            db_port=hello.db_port,
            role="listener" if hello.role == "listener" else role,
            pool=hello.pool,
            tags=hello.tags,
            votes=hello.votes,
        )
        change = _change(scene, scene.members.with_member(member))
        return change and replace(change, newcomer=(member.node, hello.counting))


def databases_of(scene: Scene) -> frozenset[int]:
    """The nodes whose databases may take over."""
    databases = {
        member.node
        for member in scene.members
        if member.db_port is not None and member.voter
        and (member.node == scene.me or not (member.tags or NONE).no_failover)
    }
    return frozenset(databases - set(scene.state.down))


def waited_for(scene: Scene) -> frozenset[int]:
    """The nodes for whose databases a transaction may wait: they could take over at once, and follow the primary."""
    tagged = {member.node: member.tags for member in scene.members if member.tags is not None}
    aside = {node for node, tags in tagged.items() if tags.no_sync or tags.replicate_from}
    reports = {node: scene.report(node) for node in databases_of(scene)}
    barred = {node for node, report in reports.items() if report and report.database and report.database.barred}
    return databases_of(scene) - aside - barred


def _standbys(facts: Facts, scene: Scene) -> dict[int, Standby]:
    """Who replicates from the primary here, by the names that the cluster gave.

    A server goes on calling a standby streaming that it has not heard for ten seconds. Its node is missed sooner,
    and says sooner that its database does not answer. In a pause daemons are away for a while on purpose.
    """
    found: dict[int, Standby] = {}
    for replica in facts.replicas:
        node = node_named(replica.name)
        if node is not None and replica.position is not None:
            report = scene.report(node)
            hangs = report is not None and report.database is not None and report.database.role == "stopped"
            here = (node in scene.alive or scene.state.pause.active) and not hangs
            found[node] = Standby(here and replica.state == "streaming", replica.position)
    return found


def best_successor(scene: Scene, members: Members, room: int = 0) -> int | None:
    """The living voter with the most WAL, by what it last reported; None when nobody can follow.

    ``room``: so many bytes must be free on its database's disk, as far as that is known.
    """
    able = []
    for member in members:
        report = scene.report(member.node)
        database = report.database if report else None
        if not member.voter or member.node == scene.me or member.node not in scene.alive or database is None:
            continue
        if report is not None and report.short:
            continue
        if member.node in scene.state.down or database.role not in ("replica", "detached"):
            continue
        # A detached one may be in trouble only because the primary whose successor is sought will not run.
        detached = database.role == "detached" and database.system_id == scene.system_id
        free = database.room_bytes
        if (database.error and not detached) or (free is not None and free < room):
            continue
        tags = member.tags or NONE
        if tags.no_failover or database.barred:
            continue
        able.append((not database.error, database.timeline or 0, database.position or 0, tags.priority, -member.node))
    return -max(able)[-1] if able else None


def _change(scene: Scene, members: Members) -> Change | None:
    return Change(members) if scene.idle else None


def _by_uid(members: Members, uid: int) -> Member | None:
    return next((member for member in members if member.uid == uid), None)


def _changed(member: Member, hello: Hello) -> Member:
    """As it says that it is. Its votes by themselves: such a change may be refused, and its address must not wait."""
    changed = _updated(member, hello)
    if changed == member and hello.counting >= COUNTS_VOTES:
        return msgspec.structs.replace(member, votes=hello.votes)
    return changed


def _updated(member: Member, hello: Hello) -> Member:
    return msgspec.structs.replace(
        member,
        ip=hello.ip,
        udp_port=hello.udp_port,
        api_port=hello.api_port,
        db_port=hello.db_port,
        pool=hello.pool,
        tags=hello.tags,
    )


def _unserved(scene: Scene) -> bool:
    """Whether the reign in force is this node's, as were those right before it, and it has served in none of them."""
    reign, since = scene.state.reign, scene.state.reigned_since
    if reign is None or reign.standby or reign.node != scene.me:
        return False
    return since > 1 and scene.served < since


def _last_word(scene: Scene, reign: Reign | None) -> End | None:
    """Where the WAL of the former primary ended when it last said so."""
    return scene.end(reign.node, scene.state.reigned_since) if reign is not None else None


def _unseen(scene: Scene, reign: Reign | None) -> float | None:
    """Seconds since then."""
    end = _last_word(scene, reign)
    return None if end is None else max(scene.now - end.at, 0.0)


def _primary_seen(scene: Scene, reign: Reign | None) -> tuple[int, int] | None:
    """Where the former primary's WAL ended when it was last heard; of a standby cluster: that of the one outside."""
    if reign is not None and reign.standby:
        report = scene.report(reign.node)
        database = scene.own_database if reign.node == scene.me else report.database if report else None
        known = database is not None and database.timeline is not None and database.ahead is not None
        return (database.timeline or 0, database.ahead or 0) if known and database is not None else None
    end = _last_word(scene, reign)
    return (end.timeline, end.position) if end is not None else None
