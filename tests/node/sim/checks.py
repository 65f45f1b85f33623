"""What must hold in every simulated cluster, one function for each invariant, named by it.

What asynchronous replication promises, exactly: when a node is chosen to be the primary, it has every
row of every database that answered the leader's question for positions in the term of that choice, as
fit and is still there to take over. A row that was acknowledged and reached no such database may be lost;
the reign then says how many bytes are known to be left behind.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from qluster.cluster.commands import Yielded
from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import DEAF_SHARE
from qluster.cluster.state import encode
from qluster.cluster.synchronous import waits_for
from qluster.database.orders import Adjust, Promote, StartPrimary
from qluster.events import Entry, Repoint
from qluster.node import Node

from sim.electing import DEVICE, enough
from sim.fences import unfenced
from sim.wal import Wal

if TYPE_CHECKING:
    from sim.host import Host
    from sim.world import World

WAKES_MAX = 150
"""Wakings by timers in a second: heartbeats, retries and reports of a busy node are a third of this."""


class Violated(AssertionError):
    """An invariant does not hold: the run's story says how it came to that."""


class Checks:
    """Checks at every turn of a host, with what they must remember of earlier ones."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leaders: dict[tuple[int, int], str] = {}
        self.committed: dict[tuple[int, int], Entry] = {}
        self._states: dict[tuple[int, int], bytes] = {}
        self._terms: dict[tuple[int, int], int] = {}
        self._reigns: dict[int, tuple[int, int]] = {}
        self._commits: dict[int, int] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._checked: dict[str, tuple[int, int]] = {}
        self._choices: dict[tuple[int, int], dict[int, PositionReply]] = {}
        self._line: dict[int, Wal] = {}
        """The WAL of the last primary, as long as it became."""
        self._promised: dict[int, tuple[int, int]] = {}
        """Up to where the WAL was acknowledged under a guarantee: position, digest of what lies before it."""
        self._invited: dict[str, bool] = {}
        self._roles: dict[str, object] = {}

    # --- at each turn -----------------------------------------------------------------

    def started(self, host: Host, founding: int) -> None:
        """A daemon started; ``founding`` is the number of a founding that was decided before."""
        self._invited[host.name] = host.disk.invited and not founding
        self._checked.pop(host.name, None)
        if host.node is not None and host.node.qraft is not None:
            # Who starts with an identity founds nothing, also where an operator forced a quorum here.
            self._numbers.setdefault((host.node.cluster, host.node.me), host.node.uid)
            self.remembers(host, host.node)

    def remembers(self, host: Host, node: Node) -> None:
        """S2, S3, D5: a node that starts again knows its term, its vote and its log."""
        assert node.qraft is not None
        me = node.qraft._me
        term, vote, last = host.disk.promises
        if (me.term, me.vote) != (term, vote) or me.journal.last_index < last:
            raise Violated(f"S3, D5: {host.name} starts with {me.term, me.vote}, saved is {term, vote}")

    def after_turn(self, host: Host, node: Node) -> None:
        """A host has carried out what its node wanted."""
        self.bounded_queues(host, node)
        if node.qraft is None:
            return
        self.identity_is_unique(host, node)
        self.election_safety(host, node)
        self.terms_and_reigns_only_grow(host, node)
        self.one_change_of_members(host, node)
        if self._checked.get(host.name) != (node.cluster, node.state.applied):
            self.state_machine_safety(host, node)
        self.committed_is_durable(host, node)
        self.one_claims_to_be_written_to(host, node)
        self.former_is_fenced(host, node)
        self.all_were_asked(host, node)
        self.pool_is_let_go(host, node)
        self.one_lease(host, node)

    def identity_is_unique(self, host: Host, node: Node) -> None:
        """S15: a node's number belongs to one uid for ever; who has ``add_node`` never founds."""
        key = (node.cluster, node.me)
        if node.me == 1 and not any(cluster == node.cluster for cluster, _ in self._numbers):
            self.founds_rightly(host, node)
        if self._numbers.setdefault(key, node.uid) != node.uid:
            raise Violated(f"S15: {host.name} is node {node.me} with another uid than the one before")

    def founds_rightly(self, host: Host, node: Node) -> None:
        """Nobody founds who was invited, or who can hear a cluster."""
        if self._invited[host.name]:
            raise Violated(f"{host.name} founds although the file add_node was there")
        if host.database is not None and host.database.directory == "initialised":
            raise Violated(f"{host.name} founds although it holds a database")
        for other in self._world.hosts.values():
            if other is not host and self._world.hears_well(host, other) and other.disk.identity is not None:
                if other.disk.identity.cluster == node.cluster:
                    continue
                raise Violated(f"{host.name} founds although {other.name} of a cluster answers")

    def election_safety(self, host: Host, node: Node) -> None:
        """S1: at most one leader in a term of a founding."""
        qraft = node.qraft
        assert qraft is not None
        role = (qraft.role, qraft.term)
        if self._roles.get(host.name) != role:
            self._roles[host.name] = role
            self._world.tell(f"{host.name} is {qraft.role} of term {qraft.term} (node {node.me})")
        if qraft.role == "leader":
            name = self._leaders.setdefault((node.cluster, qraft.term), host.name)
            if name != host.name:
                raise Violated(f"S1: {name} and {host.name} both lead term {qraft.term}")

    def terms_and_reigns_only_grow(self, host: Host, node: Node) -> None:
        """S2, I2: on a node neither a term nor a reign ever goes back.

        Over restarts only what was saved is held against it; the disk sees to that.
        """
        qraft, reign = node.qraft, node.state.reign
        assert qraft is not None
        start = (node.uid, node.entering._boot)
        if self._terms.get(start, 0) > qraft.term:
            raise Violated(f"S2: {host.name} goes from term {self._terms[start]} to {qraft.term}")
        self._terms[start] = qraft.term
        if reign is not None:
            before, known = self._reigns.get(node.cluster, (0, 0))
            if reign.number > before:
                self._reigns[node.cluster] = (reign.number, reign.term)
                self._world.tell(f"reign {reign.number} of node {reign.node}, term {reign.term}, {reign.position}")
                if reign.term < known:
                    raise Violated(f"I2: reign {reign.number} is of term {reign.term}, the one before of {known}")

    def one_change_of_members(self, host: Host, node: Node) -> None:
        """S14: at most one list of members waits for its commit."""
        qraft = node.qraft
        assert qraft is not None
        committed = max(qraft.commit_index, self._commits.get(node.cluster, 0))
        if qraft.members_index <= committed:
            return
        entries = (entry_of(node, index) for index in range(committed + 1, qraft.members_index + 1))
        waiting = [entry.index for entry in entries if entry is not None and entry.kind == "members"]
        if len(waiting) > 1 and qraft.role == "leader":
            raise Violated(f"S14: {host.name} has changes of members under way at {waiting}")

    def state_machine_safety(self, host: Host, node: Node) -> None:
        """S12: an index is applied with the same bytes everywhere, and makes the same state."""
        qraft, cluster = node.qraft, node.cluster
        assert qraft is not None
        applied = node.state.applied
        if not qraft.snapshot_index <= applied <= qraft.commit_index <= qraft.last_index:
            raise Violated(f"S12: {host.name} {qraft.snapshot_index} {applied} {qraft.commit_index} {qraft.last_index}")
        known, first = self._checked.get(host.name, (cluster, 0))
        for index in range((first if known == cluster else 0) + 1, applied + 1):
            entry = entry_of(node, index)
            if entry is not None and self.committed.setdefault((cluster, index), entry) != entry:
                raise Violated(f"S12: {host.name} applies another entry {index} than others did")
        self._checked[host.name] = (cluster, applied)
        state = encode(node.state)
        if self._states.setdefault((cluster, applied), state) != state:
            raise Violated(f"S12: {host.name} has another state at {applied} than others had")

    def committed_is_durable(self, host: Host, node: Node) -> None:
        """S11, D4: what a leader calls committed lies on a commit quorum of disks."""
        qraft = node.qraft
        assert qraft is not None
        index = qraft.commit_index
        if qraft.role != "leader" or index <= self._commits.get(node.cluster, 0):
            return
        self._commits[node.cluster] = index
        entry = entry_of(node, index)
        if entry is None:
            return
        holders = {
            disk.identity.node
            for disk in self._world.disks()
            if disk.identity is not None and disk.identity.cluster == node.cluster and disk.holds(index, entry.term)
        }
        members = qraft.members if qraft.members_index <= index else node.settled
        arbiter = self._world.arbiter
        if arbiter is not None and arbiter.holds(node, members, holders, index, entry.term):
            holders.add(DEVICE)
        if not enough(members, holders):
            raise Violated(f"S11: entry {index} is called committed, and only {sorted(holders)} have it")

    def bounded_queues(self, host: Host, node: Node) -> None:
        """Law 6: what waits has a limit."""
        if node.link.queued > node.link.settings.send_buffer_capacity:
            raise Violated(f"law 6: {host.name} has {node.link.queued} messages waiting")
        if len(host.jobs) > JOBS_MAX:
            raise Violated(f"law 6: {host.name} has {len(host.jobs)} jobs under way")

    def woken(self, host: Host) -> None:
        """Nobody spins."""
        if self._world.now >= host.wakes_since + 1.0:
            host.wakes, host.wakes_since = 0, self._world.now
        host.wakes += 1
        if host.wakes > WAKES_MAX:
            raise Violated(f"{host.name} wakes more than {WAKES_MAX} times a second")

    # --- the database -----------------------------------------------------------------

    def one_claims_to_be_written_to(self, host: Host, node: Node) -> None:
        """``GET /is-leader`` says 200 on one node at most."""
        if not node.hosting.may_write(host.clock()):
            return
        for other in self._world.hosts.values():
            claims = other is not host and other.node is not None and not other.frozen
            if claims and other.node is not None and other.node.hosting.may_write(other.clock()):
                raise Violated(f"{host.name} and {other.name} both say that they may be written to")

    def one_lease(self, host: Host, node: Node) -> None:
        """D1: nobody leads while a leader of an earlier term still may by its lease."""
        mine = node.qraft
        for other in self._world.hosts.values() if mine is not None and mine.role == "leader" else ():
            theirs = other.node.qraft if other.node is not None and other.node.cluster == node.cluster else None
            if theirs is not None and theirs.term < mine.term and theirs.lease_until > other.clock():
                raise Violated(f"D1: {host.name} leads, and {other.name} has its lease")

    def one_writer(self) -> None:
        """D1: at most one database can acknowledge a write."""
        writers = [host.name for host in self._world.hosts.values() if host.writes]
        if len(writers) > 1:
            raise Violated(f"D1: {' and '.join(writers)} can both be written to")

    def ordered(self, host: Host, order: object) -> None:
        """An order has taken effect."""
        if isinstance(order, (Promote, StartPrimary)) and host.database is not None and host.node is not None:
            self.one_writer()
            self._line[host.node.cluster] = host.database.wal
            reign = host.node.state.reign if host.node else None
            if reign is None or order.reign > reign.number:
                raise Violated(f"I1: {host.name} becomes primary of reign {order.reign}, which is not committed")
            if self.committed_reign(host.node, order.reign) != host.node.me:  # type: ignore[union-attr]
                raise Violated(f"I1: {host.name} becomes primary of reign {order.reign} of another node")
        self._shown(host, order)

    def _shown(self, host: Host, order: object) -> None:
        """I10: what the clients of a new or restarted primary read counts as much as what they were told."""
        database = host.database
        if isinstance(order, (Promote, StartPrimary, Adjust)) and host.writes and database is not None:
            self.acknowledged(host, database.recovered or 0)

    def committed_reign(self, node: Node, number: int) -> int:  # type: ignore[valid-type]
        """Whose reign it is, as far as this node knows."""
        return next((reign.node for reign in node.state.reigns if reign.number == number), 0)

    def former_is_fenced(self, host: Host, node: Node) -> None:
        """Where there are agents, nobody reigns after a node that gave no word before it is off."""
        leading, reigns = node.governing.leading, node.state.reigns
        if leading is None or not leading._begun or (node.cluster, leading._begun) in self._choices:
            return
        last = next((one for one in reversed(reigns) if one.number < leading._begun), None)
        if last is not None and (reason := unfenced(host, node, last)):
            raise Violated(f"fencing: {host.name} begins reign {leading._begun} although {reason}")

    def all_were_asked(self, host: Host, node: Node) -> None:
        """I7: before another node than the last primary reigns, all living databases answered, or had their time.

        Who has answered nothing at all to this leader hears nothing, or is gone: it has less of it.
        """
        leading, reign = node.governing._leading, node.state.reign
        if leading is None or not leading._begun or node.qraft is None:
            return
        key = (node.cluster, leading._begun)
        if key in self._choices:
            return
        replies = self._choices[key] = dict(leading._succession.replies)
        yielded = node.state.switching.yielded
        if yielded is not None and (yielded.reign + 1, yielded.node) == (leading._begun, node.me):
            self.last_record_is_here(host, yielded)
            return
        begun = reign is not None and reign.number == leading._begun
        last = (node.state.reigns[-2] if len(node.state.reigns) > 1 else None) if begun else reign
        patience, waited = node.config.cluster.node_timeout, host.clock() - leading.began
        # The node waits until a sum of two times, and here one is taken from the other (seed 100124).
        if last is None or last.node == node.me or waited >= patience - 1e-6:
            return
        for member in node.settled:
            asked = member.voter and member.db_port is not None and member.node not in (node.me, *node.state.down)
            asked = asked and member.node in node.qraft.members.voters
            asked = asked and (node.qraft.answers(member.node) or waited < patience / DEAF_SHARE)
            if asked and node.alive(member.node, host.clock()) and member.node not in replies:
                raise Violated(f"I7: {host.name} begins reign {leading._begun} without asking node {member.node}")

    def last_record_is_here(self, host: Host, yielded: Yielded) -> None:
        """Who begins to reign without asking has the last record of the primary that handed over to it."""
        last, database = self._line.get(host.node.cluster), host.database  # type: ignore[union-attr]
        assert database is not None
        if len(database.wal) <= yielded.position:
            raise Violated(f"{host.name} reigns by a record at {yielded.position}, and has {len(database.wal)}")
        if last is not None and database.wal.common(last) < len(last):
            raise Violated(f"{host.name} was handed {len(last)} rows and has {database.wal.common(last)} of them")
        self._world.count("reign handed over in order", fault=False)

    def pool_is_let_go(self, host: Host, node: Node) -> None:
        """A pool is not held for ever: its hold has an end of its own."""
        held = self._world.now - max(host.pool_held_since, host.up_since)
        if node.config.pool is not None and held > HELD_MAX and not host.frozen:
            raise Violated(f"the pool on {host.name} is held for {held:.1f} s")

    def after_event(self, host: Host, node: Node) -> None:
        """What is wanted of a database here fits what this node knows of term, reign and lease."""
        kind, reign, qraft = node.keeper.wanted.kind, node.state.reign, node.qraft
        if kind not in ("follow", "primary") or qraft is None or host.database is None:
            return
        if node.keeper.wanted.paused:
            self.nothing_is_ordered(host, node)
            return
        if reign is None or reign.term != qraft.term:
            raise Violated(f"fence: {host.name} is to {kind} in term {qraft.term} by a reign of another term")
        if kind == "primary" and (reign.node != node.me or qraft.role != "leader"):
            raise Violated(f"I1: {host.name} is to be primary in reign {reign.number}, which is not its own")
        if kind == "primary" and host.alive_until > self._longest_lease(host, node):
            raise Violated(f"S18: {host.name} gives its primary more time than node-timeout")

    def nothing_is_ordered(self, host: Host, node: Node) -> None:
        """In a pause a primary belongs to the node of the reign, and no other may run without a lease."""
        reign, pause = node.state.reign, node.state.pause
        assert reign is not None
        kind = node.keeper.wanted.kind
        if (kind == "primary") != (reign.node == node.me):
            raise Violated(f"I1: {host.name} is to {kind} in a pause, the reign is node {reign.node}'s")
        if node.keeper.primary_possible and reign.node != node.me and host.alive_until == inf:
            raise Violated(f"I1: {host.name} may run a primary in a pause that is node {pause.loose}'s")

    def _longest_lease(self, host: Host, node: Node) -> float:
        alone = node.qraft is not None and len(node.qraft.members.voters) == 1
        return inf if alone or not node.keeper.primary_possible else host.clock() + node.config.cluster.node_timeout

    def acknowledged(self, host: Host, position: int) -> None:
        """Clients here were told that everything up to a position is durable."""
        node, database = host.node, host.database
        if node is None or database is None or database.terms is None:
            return
        if not node.state.guarantees or node.state.reign is None or node.state.reign.standbys is None:
            return  # nothing is promised (yet)
        told = database.terms.standbys, database.terms.needed
        alone = not all(one.needed for one in node.state.guarantees)  # else only the primary itself can go on
        known = node.qraft is not None and node.qraft.caught_up  # in a pause a daemon may start with an older state
        if known and not alone and told not in {waits_for(guarantee) for guarantee in node.state.guarantees}:
            raise Violated(f"I6: {host.name} acknowledges for {told}, the log has {node.state.guarantees}")
        known = self._promised.get(node.cluster)
        if known is None or position > known[0]:
            self.has_what_was_acknowledged(host, "acknowledges more")
            digest = database.wal.digest(position)
            assert digest is not None
            self._promised[node.cluster] = position, digest

    def has_what_was_acknowledged(self, host: Host, what: str) -> None:
        """D2: whoever serves has every transaction that was acknowledged under a guarantee."""
        node, database = host.node, host.database
        assert node is not None and database is not None
        if node.state.reign is not None and (node.state.reign.standbys is None or node.state.reign.accepted):
            self._promised.pop(node.cluster, None)  # somebody gave up the guarantee
        position, digest = self._promised.get(node.cluster, (0, 0))
        if position and database.wal.digest(position) != digest:
            raise Violated(f"D2: {host.name} {what} with {len(database.wal)} rows, {position} were acknowledged")

    def before_promotion(self, host: Host, reign: int) -> None:
        """I7, I8: of the rows of the last primary, the chosen one has all that any of those has who answered."""
        node, database = host.node, host.database
        assert node is not None and database is not None
        self.has_what_was_acknowledged(host, "is promoted")
        last = self._line.get(node.cluster)
        if last is None:
            return
        mine = database.wal.common(last)
        chosen_for = _chosen_for(node, reign)
        for number, reply in self._choices.get((node.cluster, chosen_for), {}).items():
            other = self._world.host_of(node.cluster, number)
            if not reply.fit or other is None or other is host or other.database is None:
                continue
            theirs = other.database
            if theirs.directory != "initialised" or theirs.system_id != database.system_id:
                continue
            follows = theirs.upstream is not None and theirs.upstream[0] == host.ip
            # It may have streamed from the chosen one, before that serves.
            if chosen_for == reign and len(theirs.wal) != reply.position and not follows:
                raise Violated(f"I7: {other.name} answered position {reply.position} and is at {len(theirs.wal)}")
            away = other.node is None or other.frozen or not self._world.network.connected(host, other)
            if theirs.wal.common(last) > mine and not away:
                raise Violated(
                    f"I7, I8: {other.name} answered {reply.timeline}/{reply.position} and has {len(theirs.wal)} rows, "
                    f"{theirs.wal.common(last)} of the last primary's; {host.name} is promoted with {mine} of these"
                )

    def before_start(self, host: Host) -> None:
        """A primary that starts where it was, without asking anybody, has every row it ever confirmed."""
        node, database = host.node, host.database
        assert node is not None and database is not None
        self.has_what_was_acknowledged(host, "starts as primary")
        last = self._line.get(node.cluster)
        if last is not None and database.wal.common(last) < len(last):
            raise Violated(f"I5: {host.name} starts with {database.wal.common(last)} of {len(last)} confirmed rows")

    def repointed(self, host: Host, order: Repoint) -> None:
        """The pool points at nobody, or at a server that was a primary in this reign or later."""
        if order.primary is None:
            return
        target = self._world.hosts[order.primary[0]].database
        if target is None or max(target.served, default=0) < order.reign:
            raise Violated(f"the pool on {host.name} is pointed at {order.primary[0]}, which is no primary")


def _chosen_for(node: Node, reign: int) -> int:
    """The first of the unbroken row of its reigns: for that one it was chosen, later it goes on and asks nobody."""
    for one in reversed([one for one in node.state.reigns if one.number < reign]):
        if one.node != node.me:
            break
        reign = one.number
    return reign


def entry_of(node: Node, index: int) -> Entry | None:
    """The entry at an index in a node's log, durable or not."""
    assert node.qraft is not None
    journal = node.qraft._me.journal
    return journal.between(index - 1, index)[0] if journal.base_index < index <= journal.last_index else None


JOBS_MAX = 6
"""One order for the database, one for the pool, one snapshot, one that is being cancelled, one look, one checkpoint."""

HELD_MAX = 60.0
"""Longer than any hold and the job that ends it, also when that one hangs."""


def converged(world: World) -> str:
    """Liveness, once faults have stopped: what is still missing, "" when nothing is."""
    return _databases_converged(world) or _members_converged(world)


def _databases_converged(world: World) -> str:
    hosts = [host for host in world.hosts.values() if host.database is not None]
    writers = [host for host in hosts if host.node and host.node.hosting.may_write(host.clock())]
    if len(writers) != 1:
        return f"{len(writers)} nodes may be written to"
    first = writers[0]
    assert first.database is not None and first.node is not None
    if first.node.state.pause.active or first.node.state.pause.loose:
        return f"the pause is not over: {first.node.state.pause}"
    for host in hosts:
        reason = host.node.status(host.clock()).own.message if host.node else "down"
        assert host.database is not None
        if host is not first and not (host.database.running and host.database.fits(first.database)):
            return f"the database of {host.name} does not follow that of {first.name}: {reason}"
        if host is not first and len(host.database.wal) + BEHIND_MAX < len(first.database.wal):
            return f"the database of {host.name} is far behind that of {first.name}: {reason}"
    if world.synchronous != "off":
        others = {host.node.me for host in hosts if host.node is not None} - {first.node.me, *first.node.state.down}
        if [set(guarantee.standbys) for guarantee in first.node.state.guarantees] != [others]:
            return f"the guarantees are {first.node.state.guarantees}, the standbys {sorted(others)}"
    return ""


def _members_converged(world: World) -> str:
    first = next(host for host in world.hosts.values() if host.node and host.node.hosting.may_write(host.clock()))
    assert first.node is not None
    for host in world.hosts.values():
        if host.node is None or host.node.cluster != first.node.cluster:
            return f"{host.name} is no member of the cluster: {host.left or 'on its way'}"
        if host.node.state.applied != first.node.state.applied:
            return f"{host.name} has not applied what {first.name} has"
        if first.node.settled.get(host.node.me) is None:
            return f"{host.name} is no member of the cluster"
        if (host.database is not None) != (host.node.me in first.node.settled.voters):
            return f"{host.name} does not vote, or votes and should not"
        member = first.node.settled.get(host.node.me)
        if host.database is not None and member is not None and member.votes != host.config.votes:
            return f"{host.name} has {member.votes} votes, and is to have {host.config.votes}"
        if host.database is None and (host.pool_target is None or host.pool_target[0] != first.ip):
            return f"the pool on {host.name} points at {host.pool_target}"
    return world.arbiter.right_list(first.node) if world.arbiter is not None else ""


BEHIND_MAX = 20
"""Rows a replica may be behind while clients write: less than a second of them."""
