"""What one participant knows whatever its role: term, vote, log, members, promises, and what it wants done.

Decides nothing about elections or replication; keeps what they share consistent and in order.
Must not know who performs the output.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from random import Random

from qluster.consensus.claim import Claim, other_of
from qluster.consensus.electorate import FORMULA_KEY, episode_key
from qluster.consensus.journal import JournalDamaged, opened
from qluster.consensus.members import MalformedMembers, Members
from qluster.consensus.membership import Configuration, Membership
from qluster.consensus.messages import AnyMessage
from qluster.consensus.output import Output
from qluster.consensus.settings import Settings
from qluster.consensus.standing import NOBODY_SAYS, Standing
from qluster.events import DeviceQuestion, Entry, Saved, SaveEntries, SaveSnapshot, SaveVote, Snapshot

LISTENER, FOLLOWER, PRE_CANDIDATE, CANDIDATE, LEADER = ROLES = (
    "listener",
    "follower",
    "pre-candidate",
    "candidate",
    "leader",
)


LEFT_MAX = 128
"""Former leaders remembered: as many as a cluster has members."""

NOOP_BYTES = 8
"""An index, which a no-op carries: what its leader knew to be committed when it was appended."""


def committed_by(entry: Entry) -> int:
    """What must be committed if this entry is in a log at all, 0 when it says nothing.

    Its leader knew it; and a log that has this entry equals that leader's log up to here.
    So a list of members that was committed is known to be, even when all nodes that knew it restarted.
    """
    if entry.kind != "noop" or len(entry.payload) != NOOP_BYTES:
        return 0
    index = int.from_bytes(entry.payload, "big")
    assert index < entry.index, f"entry {entry.index} says that {index} is committed"
    return index


@dataclass(slots=True)
class Saving:
    """Saves under way: since when, and up to where the log is durable once they are."""

    number: int
    index: int
    since: float


class Participant:
    """State that is common to all roles."""

    def __init__(self, node: int, settings: Settings, saved: Saved, random: Random, now: float) -> None:
        assert saved.identity is not None, "a node without identity takes no part"
        assert saved.identity.node == node, f"identity of node {saved.identity.node} used for node {node}"
        self.node = node
        self.cluster = saved.identity.cluster
        self.settings = settings
        self.random = random
        self.now = now
        self.started_at = now
        self.term = saved.term
        self.vote = saved.vote
        self.leader: int | None = None
        self.snapshot = saved.snapshot
        index, term = (saved.snapshot.index, saved.snapshot.term) if saved.snapshot else (0, 0)
        self.journal = opened(index, term, saved.entries)
        self.membership = Membership()
        self._open_membership()
        if self.term < self.journal.last_term:
            raise JournalDamaged(f"the log has term {self.journal.last_term}, the saved term is {self.term}")
        self.commit_index = max(index, *map(committed_by, self.journal.between(index, self.journal.last_index)), 0)
        self.applied_index = index
        self.leader_commit: int | None = None
        """Up to where a leader last said that entries are committed; None: none has since the start."""
        self.heard: dict[int, float] = {}
        self.levels: dict[int, int] = {}
        """How much of a list of members a node's version understands, by its own word: see :attr:`Members.level`."""
        self.claim = Claim(self.journal.last_index)
        self.veto = ""
        """Why this node must not stand in an election, "" when it may. It grants its vote and leads all the same:
        what somebody else calculates may forbid, and never makes anything easier."""
        self.left: dict[int, int] = {}
        """Leader → the last term in which it gave up its office by its own word, as far as this node heard."""
        self.device = 0
        """Key of the memory that the link of this node has open; 0: none."""
        self.device_owes_since = inf
        """Since when it owes an answer."""
        self._refused_with: tuple[int, int] | None = None
        """How this log ended when the device last said that it has seen a later entry."""
        self.standing: Standing = NOBODY_SAYS
        """Its ring, and what its arbiter says of it."""
        self.expelled_at = 0
        """Index of the list of members that expelled this node, as it was told."""
        self.belonged = self.membership.contained(node, self.commit_index)
        """Whether a committed list of members had this node."""
        self.timeout_index = index
        """Whoever has the log up to here knows how long promises last now: node-timeout was not raised after it."""
        self.promised_to = 0
        self.promised_until = now + settings.node_timeout
        """A node that restarts cannot know what it promised before: it keeps to it all the same."""
        self.role = LISTENER
        self.role = self.resting_role
        self._output = Output()
        self.short = False
        """Whether the disk is full: what is under way still fits, nothing new should be taken on."""
        self._unsaved: list[Entry] = []
        self.saved_index = self.journal.last_index
        """Up to here this node's own copy is durable."""
        self._taken_index = self.saved_index
        """Up to here the log was given out to be saved."""
        self._savings: deque[Saving] = deque()
        self._saving_number = 0

    def _open_membership(self) -> None:
        try:
            if self.snapshot is not None:
                self.membership.restart_at(self.snapshot.index, Members.decode(self.snapshot.members))
            for entry in self.journal.between(self.journal.base_index, self.journal.last_index):
                if entry.kind == "members":
                    self.membership.append(entry.index, Members.decode(entry.payload))
        except MalformedMembers as error:
            raise JournalDamaged(f"a list of members in the log: {error}") from error

    # --- what it is -----------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """Whose votes and copies count, as far as this node knows."""
        return self.membership.configuration(self.commit_index)

    @property
    def votes(self) -> bool:
        """Whether this node may stand in an election. It answers vote requests in any case."""
        return self.node in self.configuration.voters and not self.removed

    @property
    def removed(self) -> bool:
        """Whether this node was a member and is one no longer, by a committed list."""
        if self.membership.latest.get(self.node) is not None:
            return self.expelled_at > self.membership.index
        certain = self.membership.index <= self.commit_index
        return self.expelled_at > 0 or (certain and self.belonged)

    @property
    def resting_role(self) -> str:
        """What this node is when it is no candidate and no leader."""
        return FOLLOWER if self.votes else LISTENER

    def alone(self) -> bool:
        """Whether this node is the only voter: nobody to ask, nobody to hold a promise to."""
        return self.configuration.voters == {self.node}

    @property
    def device_counts(self) -> bool:
        """Whether what the link has open is the device of a list in force."""
        return self.device in self.configuration.devices

    @property
    def behind(self) -> bool:
        """Whether the device has seen an entry that this node lacks: it will never vote for this log."""
        return self._refused_with == (self.journal.last_term, self.journal.last_index)

    def judged(self, *, behind: bool) -> None:
        """What the device thinks of this log as it ends now."""
        self._refused_with = (self.journal.last_term, self.journal.last_index) if behind else None

    @property
    def episodes(self) -> frozenset[int]:
        """Keys of the devices by episode of the lists in force that are the arbiter which this node asks."""
        return self.configuration.devices & {episode_key(0), episode_key(self.standing.arbiter)}

    def devices(self, present: Collection[int]) -> set[int]:
        """The devices without a memory that count for this node, beside these who have said so in its ring."""
        listed = self.configuration.devices
        found: set[int] = set()
        if self.standing.by_episode({*present, self.node}):
            found |= self.episodes
        if FORMULA_KEY in listed and self.standing.by_formula and self.configuration.slot(self.node):
            found.add(FORMULA_KEY)
        return found

    @property
    def claimable(self) -> int:
        """The other one of two, without whom this node may go on once that one's host is off; 0: nobody."""
        latest, index = self.membership.latest, self.membership.index
        return other_of(latest, self.node) if self.claim.unbroken(latest, index, self.commit_index) else 0

    def off(self, node: int) -> bool:
        """Whether the host of that node is known to be off."""
        return self.claim.off(node, self.heard.get(node))

    @property
    def claimed(self) -> set[int]:
        """Whose vote and copy count as given."""
        other = self.claimable
        return {other} if other and self.off(other) else set()

    def alive(self, now: float) -> set[int]:
        """This node, all that it heard within node-timeout, and the device whose vote counts here, if that answers."""
        limit = now - self.settings.node_timeout
        found = {self.node} | {node for node, at in self.heard.items() if at > limit}
        found |= self.devices(found)
        return found | {self.device} if self.device and self.device_owes_since > limit else found

    def newer_here(self, last_term: int, last_index: int) -> bool:
        """Whether this log is newer than one that ends so (S5)."""
        return (self.journal.last_term, self.journal.last_index) > (last_term, last_index)

    def promised_to_another(self, candidate: int, now: float) -> bool:
        """Whether this node heard a leader too lately to help anybody else."""
        return now < self.promised_until and self.promised_to != candidate and not self.alone()

    # --- what changes ---------------------------------------------------------

    def promise(self, leader: int, until: float) -> None:
        """Vote for nobody but this leader until then: its lease rests on it."""
        if self.promised_to != leader:
            self.promised_to, self.promised_until = leader, until
        self.promised_until = max(self.promised_until, until)

    def note_left(self, leader: int, term: int) -> None:
        """A leader says that its lease is over."""
        self.left[leader] = max(term, self.left.get(leader, 0))
        if len(self.left) > LEFT_MAX:
            del self.left[min(self.left, key=lambda node: self.left[node])]

    def release(self) -> None:
        """The leader itself gave back the promise."""
        self.promised_until = -inf

    def adopt(self, term: int) -> None:
        """Move to a newer term, in which nobody was voted for and nobody is known to lead (B24)."""
        assert term > self.term, f"term {self.term} would go to {term}"
        self.term, self.vote, self.leader = term, None, None
        self.save_vote()

    def vote_for(self, candidate: int) -> None:
        """Give this term's one vote (S3)."""
        assert self.vote in (None, candidate), f"term {self.term}: voted for {self.vote}, now {candidate}"
        if self.vote is None:
            self.vote = candidate
            self.save_vote()

    def append(self, kind: str, payload: bytes) -> Entry:
        """As leader: add an entry of this term."""
        entry = Entry(self.journal.last_index + 1, self.term, kind, payload)
        self.journal.append([entry])
        self._appended([entry])
        return entry

    def append_noop(self) -> Entry:
        """As leader: add an entry that only says what is committed, for whoever finds it in its log."""
        return self.append("noop", self.commit_index.to_bytes(NOOP_BYTES, "big"))

    def merge(self, entries: Sequence[Entry]) -> None:
        """As follower: take over a leader's entries."""
        last_before = self.journal.last_index
        fresh = self.journal.merge(entries, self.commit_index)
        if not fresh:
            return
        if fresh[0].index <= last_before:
            self.say("cuts", entries=last_before - fresh[0].index + 1, at=fresh[0].index)
            self.membership.cut_from(fresh[0].index)
            self._unsave_from(fresh[0].index)
        self._appended(fresh)

    def _appended(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind == "members":
                self.membership.append(entry.index, Members.decode(entry.payload))
        self._save_entries(entries)
        self.commit_to(max(self.commit_index, *map(committed_by, entries)))

    def commit_known(self, index: int, term: int) -> None:
        """Somebody knows this entry to be committed: whoever has it knows as much. A leader counts by itself."""
        if self.role != LEADER and index > self.commit_index and self.journal.term_at(index) == term:
            self.commit_to(index)

    @property
    def commit_term(self) -> int:
        """Term of the newest entry that is known to be committed."""
        return self.journal.term_at(self.commit_index) or 0

    def commit_to(self, index: int) -> None:
        """Entries up to this index are committed. Never goes back (S8)."""
        assert index <= self.journal.last_index, f"commit {index}, the log ends at {self.journal.last_index}"
        self.commit_index = max(self.commit_index, index)
        self.belonged = self.belonged or self.membership.contained(self.node, self.commit_index)

    def compact(self, snapshot: Snapshot, wanted: int | None = None) -> None:
        """This snapshot covers what was applied; somebody may still want the entries after ``wanted``."""
        self.snapshot = snapshot
        self.journal.forget_up_to(snapshot.index, wanted)
        self.membership.forget_up_to(self.journal.base_index)
        self._save_snapshot(snapshot, reset=False)

    def restore(self, snapshot: Snapshot, members: Members) -> None:
        """This snapshot of a leader replaces what was applied, and the log where that does not go on from it."""
        goes_on = self.journal.term_at(snapshot.index) == snapshot.term
        if snapshot.term > self.term:
            self.adopt(snapshot.term)
        if goes_on:
            self.compact(snapshot)
        else:
            self.snapshot = snapshot
            self.journal.restart_at(snapshot.index, snapshot.term)
            self.membership.restart_at(snapshot.index, members)
            self._unsave_from(1)
            self._save_snapshot(snapshot, reset=True)
        self.commit_to(max(self.commit_index, snapshot.index))
        self.applied_index = self.timeout_index = snapshot.index
        self.claim.taken_over(snapshot.index)
        self._output.restored = snapshot

    # --- what is wanted done --------------------------------------------------

    def send(self, to: int | None, message: AnyMessage) -> None:
        """To one node, or to all."""
        self._output.send.append((to, message))

    def ask_device(self, question: DeviceQuestion, now: float) -> None:
        """To the memory that the link of this node has open."""
        self.device_owes_since = min(self.device_owes_since, now)
        self._output.device.append(question)

    def in_sync(self, ring: tuple[int, int], asked_at: float) -> None:
        """This node has in this ring all that the others have, as an answer shows to what was asked then."""
        self._output.synced.append((ring, asked_at))

    def answer_read(self, ticket: int, confirmed: bool) -> None:
        """A read may be served, or not."""
        self._output.reads.append((ticket, confirmed))

    @property
    def output(self) -> Output:
        """What has gathered since :meth:`take`."""
        return self._output

    @property
    def restless(self) -> bool:
        """Whether something is wanted, or an entry waits to be applied or saved."""
        return self.commit_index > self.applied_index or bool(self._unsaved) or not self._output.empty

    def say(self, event: str, **facts: object) -> None:
        """One line for people."""
        words = " ".join(f"{name.replace('_', '-')}={value}" for name, value in facts.items())
        self._output.log.append(f"{event} {words}".rstrip())

    def save_vote(self) -> None:
        """Make term and vote durable."""
        self._close_entries()
        saves = self._output.save
        if saves and isinstance(saves[-1], SaveVote):
            saves.pop()
        saves.append(SaveVote(self.term, self.vote))

    def _save_entries(self, entries: Sequence[Entry]) -> None:
        if self._unsaved and self._unsaved[-1].index + 1 != entries[0].index:
            self._close_entries()
        self._unsaved.extend(entries)

    def _save_snapshot(self, snapshot: Snapshot, reset: bool) -> None:
        self._close_entries()
        self._output.save.append(SaveSnapshot(snapshot, reset))

    def _close_entries(self) -> None:
        if self._unsaved:
            self._output.save.append(SaveEntries(tuple(self._unsaved)))
            self._unsaved.clear()

    def _unsave_from(self, index: int) -> None:
        """What was saved, or is being saved, from this index on is replaced."""
        self.saved_index = min(self.saved_index, index - 1)
        self._taken_index = min(self._taken_index, index - 1)
        for saving in self._savings:
            saving.index = min(saving.index, index - 1)

    def saving(self) -> int:
        """All saves taken so far are on their way to the disk; their number."""
        self._saving_number += 1
        self._savings.append(Saving(self._saving_number, self._taken_index, self.now))
        return self._saving_number

    def saved(self, number: int) -> None:
        """All saves up to this number are durable."""
        while self._savings and self._savings[0].number <= number:
            self.saved_index = max(self.saved_index, self._savings.popleft().index)

    @property
    def saving_since(self) -> float:
        """Since when the oldest save is on its way; inf when none is."""
        return self._savings[0].since if self._savings else inf

    @property
    def stalled_at(self) -> float:
        """When this node's disk has been at one save for so long that somebody else should lead."""
        return self.saving_since + self.settings.node_timeout / 2

    def take(self) -> Output:
        """What is wanted done, with the entries that became committed. Begins a new output."""
        self._close_entries()
        self._taken_index = self.journal.last_index
        output, self._output = self._output, Output()
        output.committed = self.journal.between(self.applied_index, self.commit_index)
        self.applied_index = self.commit_index
        return output

    def check(self) -> None:
        """What must hold after every event. A node that is wrong stops; the others go on."""
        snapshot_index = self.snapshot.index if self.snapshot else 0
        assert self.journal.base_index <= snapshot_index <= self.applied_index
        assert self.applied_index <= self.commit_index <= self.journal.last_index
        assert self.journal.last_term <= self.term
        assert self.saved_index <= self.journal.last_index
        assert self.role in ROLES
        if self.role in (CANDIDATE, LEADER):
            assert self.vote == self.node, f"{self.role} of term {self.term} voted for {self.vote}"
        assert (self.role == LEADER) == (self.leader == self.node)
