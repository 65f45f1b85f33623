"""What must never happen among participants of QRaft, checked after every event of a simulated world.

Each check is named by the rule it stands for. A violation raises :class:`Violated`.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import TYPE_CHECKING

from qluster.consensus.electorate import Electorate, device_key, episode_key
from qluster.consensus.members import EPISODE, MEMORY
from qluster.consensus.membership import Configuration
from qluster.consensus.messages import AppendReply, Message
from qluster.consensus.output import Output
from qluster.events import Entry, Save, SaveEntries, SaveVote

if TYPE_CHECKING:
    from consensus.world import Host, World


class Violated(AssertionError):
    """A rule did not hold."""


def require(held: bool, rule: str, facts: str) -> None:
    """Raise unless it held."""
    if not held:
        raise Violated(f"{rule}: {facts}")


class Invariants:
    """The whole history that the rules speak of, seen from outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._leader_of: dict[int, int] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self.committed: dict[int, tuple[int, str, bytes]] = {}
        """Every entry that any node saw committed."""
        self._committed_in: dict[int, int] = {}
        """The term in which that was first seen."""
        self._commit: dict[int, int] = {}
        self._term: dict[int, int] = {}
        self._led: dict[int, int] = {}
        self._match: dict[tuple[int, int, int], int] = {}
        self._looked: dict[int, tuple[int, int]] = {}

    # --- while an output is performed ------------------------------------------

    def before_save(self, host: Host, save: Save) -> None:
        """What becomes durable now must not undo what this node or anybody relies on."""
        if isinstance(save, SaveVote):
            self.s2_term_never_decreases(host, save)
            self.s3_one_vote_a_term(host, save)
        if isinstance(save, SaveEntries):
            self.s6_committed_entries_stay(host, save)

    def s2_term_never_decreases(self, host: Host, save: SaveVote) -> None:
        require(save.term >= host.saved.term, "S2", f"node {host.node}: term {host.saved.term} to {save.term}")

    def s3_one_vote_a_term(self, host: Host, save: SaveVote) -> None:
        if save.vote is not None:
            before = self._votes.setdefault((host.node, save.term), save.vote)
            require(before == save.vote, "S3", f"node {host.node} voted {before} and {save.vote} in {save.term}")

    def s6_committed_entries_stay(self, host: Host, save: SaveEntries) -> None:
        """What others know to be committed may still be replaced here: this copy was not counted for it."""
        for entry in save.entries:
            held = host.entry(entry.index)
            if held is not None and entry.index <= self._commit.get(host.node, 0):
                require(entry.term == held.term, "S6", f"node {host.node} replaces committed entry {entry.index}")

    def sent(self, host: Host, message: Message) -> None:
        """A confirmation says no more than what is durable and equal (S7, B2)."""
        if not isinstance(message, AppendReply) or message.match == 0:
            return
        leader = self._world.hosts.get(self._leader_of.get(message.term, 0))
        if leader is None or leader.qraft is None or leader.qraft.term != message.term:
            return
        own, theirs = host.term_at(message.match), leader.term_at(message.match)
        if own is not None and theirs is not None:
            require(own == theirs, "S7", f"node {host.node} confirms {message.match}/{own}, leader has /{theirs}")
        held = host.last_index >= message.match
        require(held, "S7", f"node {host.node} confirms {message.match}, has {host.last_index}")

    # --- after an output was performed ----------------------------------------

    def after(self, host: Host, output: Output) -> None:
        """Look at the node that just did something."""
        assert host.qraft is not None
        if host.qraft.role == "leader":
            self.s10_own_term_is_committed(host)
        self.s8_commit_never_goes_back(host)
        for entry in output.committed:
            self.s12_same_entry_everywhere(host, entry)
        if host.qraft.role == "leader":
            self.s1_one_leader_a_term(host)
            self.s9_match_is_true(host)
            self.s11_committed_is_on_a_quorum(host)
            self.d1_one_lease_at_a_time(host)

    def s1_one_leader_a_term(self, host: Host) -> None:
        assert host.qraft is not None
        term = host.qraft.term
        known = self._leader_of.setdefault(term, host.node)
        require(known == host.node, "S1", f"nodes {known} and {host.node} lead in term {term}")
        if self._term.get(host.node) != term:
            self._term[host.node] = term
            self.leader_has_all_committed(host)
            self.d1_nobody_is_elected_during_a_lease(host)

    def leader_has_all_committed(self, host: Host) -> None:
        assert host.qraft is not None
        for index, (term, _, _) in self.committed.items():
            if self._committed_in[index] >= host.qraft.term:
                continue
            held = host.term_at(index)
            require(
                index <= host.last_index and held in (None, term),
                "leader completeness",
                f"node {host.node} leads in {host.saved.term} without entry {index}/{term}",
            )

    def s8_commit_never_goes_back(self, host: Host) -> None:
        assert host.qraft is not None
        before = self._commit.get(host.node, 0)
        require(host.qraft.commit_index >= before, "S8", f"node {host.node}: {before} to {host.qraft.commit_index}")
        self._commit[host.node] = host.qraft.commit_index

    def s10_own_term_is_committed(self, host: Host) -> None:
        """A list of members may be committed before what follows it: other quorums hold behind it."""
        assert host.qraft is not None
        index = host.qraft.commit_index
        if self._led.get(host.node) == host.qraft.term and index > self._commit.get(host.node, 0):
            own = host.term_at(index) == host.qraft.term or index == host.qraft.members_index
            require(own, "S10", f"node {host.node} commits {index}/{host.term_at(index)} in {host.qraft.term}")
        self._led[host.node] = host.qraft.term

    def s9_match_is_true(self, host: Host) -> None:
        assert host.qraft is not None and host.qraft._office is not None
        for peer in host.qraft._office.replication.peers:
            require(peer.next > peer.match, "S9", f"next {peer.next} of node {peer.node}, match {peer.match}")
            key = (host.qraft.term, host.node, peer.node)
            require(peer.match >= self._match.get(key, 0), "S9", f"match of node {peer.node} went back")
            self._match[key] = peer.match
            other = self._world.hosts.get(peer.node)
            if other is not None and peer.match and other.saved.term <= host.qraft.term:
                own, theirs = host.term_at(peer.match), other.term_at(peer.match)
                known = other.last_index >= peer.match and (own is None or theirs is None or own == theirs)
                require(known, "S9", f"node {peer.node} is counted for {peer.match} and has {other.last_index}")

    def s11_committed_is_on_a_quorum(self, host: Host) -> None:
        assert host.qraft is not None
        index = host.qraft.commit_index
        term = host.term_at(index)
        if term != host.qraft.term:
            return
        holders = {
            other.node
            for other in self._world.hosts.values()
            if other.last_index >= index and other.term_at(index) in (None, term)
        }
        members = host.qraft._me.membership.at(index)
        if members.device:
            nodes = holders & members.voters
            enough = len(nodes) >= max(1, min(members.replication_factor, len(members.voters)))
            require(enough, "S11", f"entry {index} is on {nodes}, beside the device")
        if members.way == EPISODE:
            # The vote counts in the moment of the commit, and may be gone in the next one.
            if self._looked.get(host.node) == (term, index):
                return
            self._looked[host.node] = term, index
            if host.qraft._me.standing.by_episode(holders):
                holders.add(episode_key(members.device_uid))
        arbiter = self._world.arbiter
        if members.way == MEMORY and arbiter is not None and arbiter.has_seen(members.device_uid, index, term):
            holders.add(device_key(members.device_uid))
        configuration = Configuration((Electorate.of(members),))
        require(configuration.commits(holders), "S11", f"entry {index} is on {holders} of {members.voters}")

    def s12_same_entry_everywhere(self, host: Host, entry: Entry) -> None:
        content = (entry.term, entry.kind, entry.payload)
        assert host.qraft is not None
        known = self.committed.setdefault(entry.index, content)
        self._committed_in.setdefault(entry.index, host.qraft.term)
        require(known == content, "S12", f"entry {entry.index} is {content} on node {host.node}, was {known}")
        require(entry.index == host.applied + 1, "S12", f"node {host.node} applies {entry.index} after {host.applied}")

    def d1_one_lease_at_a_time(self, host: Host) -> None:
        for other in self._world.hosts.values():
            if other is not host:
                left = min(self._lease_left(host), self._lease_left(other))
                require(left <= 0, "D1", f"nodes {host.node} and {other.node} hold a lease for {left:.3f}s")

    def d1_nobody_is_elected_during_a_lease(self, host: Host) -> None:
        """A candidate that stood still may count its votes when all others are in a newer term: it gets no lease."""
        for other in self._world.hosts.values():
            older = other is not host and other.saved.term < host.saved.term
            left = self._lease_left(other) if older else 0
            require(left <= 0, "D1", f"node {host.node} is elected, node {other.node} holds a lease for {left:.3f}s")

    def _lease_left(self, host: Host) -> float:
        if host.qraft is None:
            return 0
        return (host.qraft.lease_until - host.clock_offset) / host.clock_rate - self._world.now

    def restarted(self, host: Host) -> None:
        """What is in memory only is gone."""
        self._commit[host.node] = host.saved.snapshot.index if host.saved.snapshot else 0
