"""What must never happen among participants, looked at where it would happen. Each rule is named by its number.

Must not know faults, except that a node with a lying disk is excused from what nobody without a memory can keep.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from qluster.consensus.electorate import Electorate
from qluster.consensus.membership import Configuration
from qluster.consensus.messages import AppendReply
from qluster.events import Entry, Save, SaveEntries, SaveVote, Snapshot

if TYPE_CHECKING:
    from swarm.host import Host
    from swarm.world import World

LOOK_BACK = 400
"""Committed entries a new leader is checked for: far more than any cluster here has under way."""


GONE_MAX = 3
"""Hosts lost last whose confirmations may still be under way."""


class Violated(AssertionError):
    """A rule did not hold."""


class Rules:
    """The history that the rules speak of, seen from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leader_of: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._terms: dict[int, int] = {}
        self.committed: dict[int, tuple[int, str, bytes]] = {}
        self._committed_in: dict[int, int] = {}
        self.newest = 0
        self._match: dict[tuple[int, int, int], int] = {}
        self._office: dict[int, int] = {}

    # --- saves -----------------------------------------------------------------------

    def before_save(self, host: Host, save: Save) -> None:
        """What becomes durable must not undo what anybody relies on."""
        if isinstance(save, SaveVote) and not host.lied:
            term = self._terms.get(host.node, 0)
            require(save.term >= term, "S2", f"node {host.node}: term {term} to {save.term}")
            self._terms[host.node] = save.term
            if save.vote is not None:
                before = self._votes.setdefault((host.node, save.term), save.vote)
                require(before == save.vote, "S3", f"node {host.node} votes {before} and {save.vote} in {save.term}")
                self._log_is_not_older(host, save)
        elif isinstance(save, SaveEntries):
            for entry in save.entries:
                held, committed = host.entry(entry.index), self.committed.get(entry.index)
                if held is not None and committed is not None and held.term == committed[0]:
                    same = entry.term == held.term
                    require(same, "S6", f"node {host.node} replaces committed entry {entry.index}")

    def started(self, host: Host) -> None:
        """A node that starts goes on with exactly what is durable."""
        assert host.qraft is not None
        journal = host.qraft._me.journal
        found, held = (journal.last_index, journal.last_term), (host.last_index, host.term_at(host.last_index) or 0)
        require(found == held, "S12", f"node {host.node} starts with a log to {found}, {held} is durable")
        me, now = host.qraft._me, host.clock(self._world.now)
        bound = me.promised_until >= now + me.settings.node_timeout
        require(bound, "D1", f"node {host.node} starts free to vote, whatever it promised before")

    def _log_is_not_older(self, host: Host, save: SaveVote) -> None:
        """S5: the candidate's log is as new as the voter's: the last term first, then the length."""
        candidate = self._world.hosts.get(save.vote or 0)
        if host.qraft is None or candidate is None or candidate.qraft is None or candidate.lied:
            return
        if candidate.qraft.role == "candidate" and candidate.qraft.term == save.term:
            own, theirs = host.qraft._me.journal, candidate.qraft._me.journal
            newer = (theirs.last_term, theirs.last_index) >= (own.last_term, own.last_index)
            require(newer, "S5", f"node {host.node} votes for {candidate.node}, whose log is older")

    # --- messages ----------------------------------------------------------------------

    def confirmed(self, host: Host, message: AppendReply) -> None:
        """S7: a confirmation says no more than what is durable and equal to the leader's log."""
        match = message.match
        if host.qraft is not None and message.term < host.qraft.term:
            # It was held for a save in which another leader's entries took the place of what it speaks of: to its
            # own leader that is the same as if it had left before and been late.
            return
        if host.last_index < match:
            fail("S7", f"node {host.node} confirms {match}, has {host.last_index}")
        leader = self._world.hosts.get(self._leader_of.get(message.term, 0))
        if leader is None or leader.qraft is None or leader.qraft.term != message.term or match == 0:
            return
        journal = leader.qraft._me.journal
        if leader.qraft._office is not None and match > journal.last_index:
            fail("S7", f"node {host.node} confirms {match}, the leader has {journal.last_index} entries")
        own, theirs = host.term_at(match), journal.term_at(match)
        if own is not None and theirs is not None and own != theirs:
            fail("S7", f"node {host.node} confirms {match}/{own}, the leader has /{theirs}")

    # --- after an output -----------------------------------------------------------------

    def applied(self, host: Host, entry: Entry) -> None:
        """S12: every index once, in order, the same everywhere."""
        assert host.qraft is not None
        if entry.index != host.applied + 1:
            fail("S12", f"node {host.node} applies {entry.index} after {host.applied}")
        content = (entry.term, entry.kind, entry.payload)
        known = self.committed.setdefault(entry.index, content)
        if known != content:
            fail("S12", f"entry {entry.index} is {content} on node {host.node}, was {known}")
        if entry.index > self.newest:
            self.newest = entry.index
            self._committed_in[entry.index] = host.qraft.term

    def confirmed_after(self, host: Host, asked_at: float) -> None:
        """S13: a read is served when a quorum answered something that was sent after it was asked for."""
        assert host.qraft is not None and host.qraft._office is not None
        contact = host.qraft._office.rounds.contact_at(host.qraft._me.configuration)
        require(contact >= asked_at, "S13", f"node {host.node} serves a read that nobody confirmed")

    def restored(self, host: Host, snapshot: Snapshot) -> None:
        """A snapshot that took the place of a log is where the log goes on from."""
        assert host.qraft is not None
        term = host.qraft._me.journal.term_at(snapshot.index)
        facts = f"node {host.node} installs {snapshot.index}/{snapshot.term} beside a log with /{term} there"
        require(term == snapshot.term, "S12", facts)

    def after(self, host: Host) -> None:
        """Look at the node that just did something. It is looked at after every event: facts are put in words late."""
        qraft = host.qraft
        assert qraft is not None
        me, office = qraft._me, qraft._office
        commit = me.commit_index
        if (me.term, me.vote) != host.promised:
            fail("S3", f"node {host.node} knows term and vote {me.term, me.vote}, ordered to save {host.promised}")
        if me.saved_index > host.last_index:
            fail("S11", f"node {host.node} counts {me.saved_index} as durable, and has {host.last_index}")
        if commit < host.commit:
            fail("S8", f"node {host.node}: commit {host.commit} to {commit}")
        if me.role == "candidate":
            self._votes_are_true(host)
        if office is None:
            host.commit = commit
            return
        if commit < office._opening_index < qraft.members_index:
            fail("S13", f"node {host.node} changes members before an entry of term {me.term} is committed")
        if self._office.get(host.node) != me.term:
            self._elected(host)
        elif commit > host.commit:
            self._commits(host, commit)
        host.commit = commit
        self._lease(host)

    def _elected(self, host: Host) -> None:
        qraft = host.qraft
        assert qraft is not None
        self._office[host.node] = qraft.term
        known = self._leader_of.setdefault(qraft.term, host.node)
        require(known == host.node, "S1", f"nodes {known} and {host.node} lead in term {qraft.term}")
        journal = qraft._me.journal
        for index in range(max(1, self.newest - LOOK_BACK, journal.base_index + 1), self.newest + 1):
            if self._committed_in.get(index, 0) >= qraft.term or index not in self.committed:
                continue
            complete = journal.term_at(index) == self.committed[index][0]
            require(complete, "leader completeness", f"node {host.node} leads in {qraft.term} without entry {index}")
        for other in self._world.leaders():
            left = other.lease_left(self._world.now) if other is not host and other.qraft.term < qraft.term else 0.0
            require(left <= 0, "D1", f"node {host.node} is elected, node {other.node} has a lease for {left:.3f}s")

    def _votes_are_true(self, host: Host) -> None:
        """S4: whom a candidate counts has given it this term's vote."""
        assert host.qraft is not None
        term = host.qraft.term
        for node in host.qraft._election._granted:
            other = self._world.hosts.get(node)
            if node != host.node and other is not None and not other.lied:
                given = self._votes.get((node, term))
                require(given == host.node, "S4", f"node {host.node} counts {node} in term {term}, voted for {given}")

    def _commits(self, host: Host, index: int) -> None:
        qraft = host.qraft
        assert qraft is not None
        term = qraft._me.journal.term_at(index)
        own = term == qraft.term or index == qraft.members_index
        require(own, "S10", f"node {host.node} commits {index}/{term} in term {qraft.term}")
        disks = [*self._world.hosts.values(), *self._world.gone[-GONE_MAX:]]
        holders = {other.node for other in disks if other.holds(index, term or 0) or other.lied}
        members = qraft._me.membership.at(index)
        electorate = Electorate.of(members)
        voting = [one for one in members if one.voter]
        twice, total = 2 * sum(one.votes for one in voting if one.node in holders), sum(one.votes for one in voting)
        half = not members.quorum_replication and members.replication_factor > 0
        half = half or twice > total or (twice == total and members.tie in holders)
        copies = len(holders & members.voters) >= min(members.replication_factor, len(voting))
        enough = half and copies and Configuration((electorate,)).commits(holders)
        require(enough, "S11", f"entry {index} is committed and on {sorted(holders)} of {sorted(members.voters)}")

    def answered(self, host: Host, node: int) -> None:
        """S9: what the leader believes of a node that just answered is true and only grows."""
        qraft = host.qraft
        if qraft is None or qraft._office is None:
            return
        peer, other = qraft._office.replication.peer(node), self._world.hosts.get(node)
        if peer is None or other is None:
            return
        if peer.next <= peer.match:
            fail("S9", f"next {peer.next} of node {node}, match {peer.match}")
        if other.lied:
            return
        key = (qraft.term, host.node, node)
        if peer.match < self._match.get(key, 0):
            fail("S9", f"match of node {node} goes back to {peer.match}")
        self._match[key] = peer.match
        if other.saved.term > qraft.term or not peer.match:
            return
        own, theirs = qraft._me.journal.term_at(peer.match), other.term_at(peer.match)
        differs = own is not None and theirs is not None and own != theirs
        if differs or other.last_index < peer.match:
            fail("S9", f"node {node} is counted for {peer.match} and has {other.last_index}")

    def _lease(self, host: Host) -> None:
        """D1: one lease at a time."""
        leaders = self._world.leaders()
        if len(leaders) < 2:
            return
        mine = host.lease_left(self._world.now)
        for other in leaders:
            left = min(mine, other.lease_left(self._world.now)) if other is not host else 0.0
            require(left <= 0, "D1", f"nodes {host.node} and {other.node} hold a lease for {left:.3f}s")


def require(held: bool, rule: str, facts: str) -> None:
    """Raise unless it held."""
    if not held:
        fail(rule, facts)


def fail(rule: str, facts: str) -> NoReturn:
    """It did not hold."""
    raise Violated(f"{rule}: {facts}")
