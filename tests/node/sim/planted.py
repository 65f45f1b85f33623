"""Faults planted into the node on purpose: the simulator must find each of them, else it is blind.

Each is a few lines that change the product's code for the time of a ``with`` block, in the way somebody
might get it wrong. ``SEEDS`` names for each a seed that found it and how many fresh ones may be needed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace as replace_struct
from planting import Plants
from qluster import node as node_module
from qluster import switching
from qluster.clients import Outcome
from qluster.cluster import fencing
from qluster.cluster import reign as reigning
from qluster.cluster.pause import Pause
from qluster.cluster.state import State
from qluster.cluster.synchronous import Synchrony
from qluster.consensus.electorate import Electorate
from qluster.consensus.lease import Rounds
from qluster.consensus.members import Members
from qluster.consensus.office import Office
from qluster.database import plan
from qluster.database.plan import Wanted
from qluster.entering import Entering
from qluster.events import Repoint, SaveEntries
from qluster.handing import Handing
from qluster.holding import Holding
from qluster.hosting import Hosting
from qluster.joining import Joining
from qluster.keeper import Keeper, Position
from qluster.requests import Requests

from sim.disk import SimDisk
from sim.host import Host
from sim.world import World

PLANTS = Plants()
plant = PLANTS.plant


# --- the database ------------------------------------------------------------------------


@plant("replicas go on following in a later term")
def _fence_ignored() -> Iterator[None]:
    sound = Hosting.wanted

    def wanted(self: Hosting, now: float) -> Wanted:
        found, reign = sound(self, now), self._node.state.reign
        if found.kind == "detached" and reign is not None and reign.node != self._node.me:
            return replace(found, kind="follow", upstream=self._database_of(reign.node))
        return found

    with patch.object(Hosting, "wanted", wanted):
        yield


@plant("a primary begins without asking for positions")
def _nobody_asked() -> Iterator[None]:
    sound = reigning.Succession.decide

    def decide(self: reigning.Succession, view: reigning.View) -> reigning.Decision:
        reign = view.reign
        if reign is not None and view.intact and (reign.node, reign.term) != (view.me, view.term):
            standbys = reigning._standbys_before(view)
            return reigning.Begin(reigning._next(view, reign, reign.timeline, reign.position, standbys))
        return sound(self, view)

    with patch.object(reigning.Succession, "decide", decide):
        yield


@plant("a primary is chosen without the proof that it has what was acknowledged")
def _unproven() -> Iterator[None]:
    with patch.object(reigning, "shortfall", lambda *given: ""):
        yield


@plant("a copy of a replica that was behind proves what the lost database had confirmed")
def _copy_proves() -> Iterator[None]:
    sound = Keeper.position

    def position(self: Keeper, now: float) -> Position | None:
        found = sound(self, now)
        return replace(found, owed=None) if found is not None else None

    with patch.object(Keeper, "position", position):
        yield


@plant("another node takes over after a pause without the word of the one that ran without a lease")
def _pause_unproven() -> Iterator[None]:
    def after(self: Pause, body: Any, index: int, reign: Any) -> Pause:
        found = sound(self, body, index, reign)
        return found if found.active else replace_struct(found, loose=0)

    sound = Pause.after
    with patch.object(Pause, "after", after):
        yield


@plant("a node counts as bound as soon as it has heard of the resume")
def _bound_too_early() -> Iterator[None]:
    def bound(self: Hosting, now: float) -> int:
        pause = self._node.state.pause
        return pause.since if pause.loose == self._node.me and not pause.active else 0

    with patch.object(Hosting, "bound", bound):
        yield


@plant("the log forgets a guarantee before its successor covers what was acknowledged")
def _guarantee_forgotten() -> Iterator[None]:
    with patch.object(Synchrony, "_settled", lambda self, last, scene: True):
        yield


@plant("a restarted primary shows what its standbys do not have yet")
def _shown_too_early() -> Iterator[None]:
    with patch.object(plan, "_closed", lambda terms: terms):
        yield


@plant("positions are answered while WAL still comes in")
def _position_not_final() -> Iterator[None]:
    def position(self: Keeper, now: float) -> Position | None:
        facts = self.facts
        if facts is None or self.wanted.kind != "detached" or facts.system_id is None:
            return None
        return Position(facts.system_id, facts.timeline or 0, facts.position or 0, "", facts.last_reign)

    with patch.object(Keeper, "position", position):
        yield


@plant("timeline and position alone choose the primary")
def _branches_confused() -> Iterator[None]:
    with patch.object(reigning, "_of_newest_line", lambda able, reigns: able):
        yield


@plant("a primary goes on when its lease has ended")
def _no_deadline() -> Iterator[None]:
    with patch.object(Hosting, "alive_until", lambda self, now: inf):
        yield


@plant("the lease is counted from the arrival of an answer, and too long")
def _lease_too_long() -> Iterator[None]:
    sound = Rounds.lease_until
    with patch.object(Rounds, "lease_until", lambda self, configuration: sound(self, configuration) + 2.0):
        yield


@plant("a reign of an older term counts")
def _old_reign_counts() -> Iterator[None]:
    def reigns(self: Hosting) -> bool:
        qraft, reign = self._node.qraft, self._node.state.reign
        leads = qraft is not None and qraft.role == "leader" and qraft.ready
        return leads and reign is not None and reign.node == self._node.me

    with patch.object(Hosting, "reigns", reigns):
        yield


@plant("a primary starts without a reign")
def _primary_without_reign() -> Iterator[None]:
    sound = Hosting.wanted

    def wanted(self: Hosting, now: float) -> Wanted:
        found = sound(self, now)
        own = self._node.state.reign is not None and self._node.state.reign.node == self._node.me
        return replace(found, kind="primary") if found.kind == "detached" and own else found

    with patch.object(Hosting, "wanted", wanted):
        yield


@plant("the pool is pointed at a standby")
def _pool_too_early() -> Iterator[None]:
    def point(self: Hosting, now: float) -> None:
        node, reign = self._node, self._node.state.reign
        if node.config.pool is not None and reign is not None:
            order = Repoint(self._database_of(reign.node), reign.number, node.cluster)
            node.start(node.pointing.step(order, None, node.job_number(), now))

    with patch.object(Hosting, "_point", point):
        yield


@plant("facts of before an order are taken as fresh")
def _stale_facts() -> Iterator[None]:
    sound = Keeper.ended

    def ended(self: Keeper, event: Any, now: float) -> bool:
        mine = sound(self, event, now)
        self._stale = False
        return mine

    with patch.object(Keeper, "ended", ended):
        yield


# --- joining --------------------------------------------------------------------------------


@plant("a node founds although a cluster answers")
def _founds_beside() -> Iterator[None]:
    with patch.object(Joining, "_answered", lambda self, now: False):
        yield


@plant("the file add_node is ignored")
def _invitation_ignored() -> Iterator[None]:
    sound = Joining.__init__

    def begin(self: Joining, saved: Any, **others: Any) -> None:
        sound(self, saved, **others)
        self._may_found = self._may_found or others["founder"]

    with patch.object(Joining, "__init__", begin):
        yield


@plant("an old identity goes on after its votes and log were lost")
def _identity_reused() -> Iterator[None]:
    sound = World.lose_state

    def lose(self: World, host: Host) -> None:
        before = host.disk
        sound(self, host)
        host.disk._saved.uid, host.disk._saved.identity = before.uid, before.identity
        host.disk._saved.boot = before._saved.boot

    with patch.object(World, "lose_state", lose):
        yield


# --- the disk ---------------------------------------------------------------------------------


@plant("what is to be saved is sent first")
def _sent_before_saved() -> Iterator[None]:
    with patch.object(Holding, "wait_for", lambda self, saves, *, unbound=False: 0):
        yield


@plant("entries are confirmed and never written")
def _save_lost() -> Iterator[None]:
    sound = SimDisk._save

    def save(self: SimDisk, one: Any) -> None:
        if not (isinstance(one, SaveEntries) and self.saves % 7 == 0):
            sound(self, one)

    with patch.object(SimDisk, "_save", save):
        yield


@plant("the primary is handed over without its last record")
def _unproven_hand_over() -> Iterator[None]:
    with patch.object(switching, "_has", lambda report, end: True), patch.object(
        reigning, "_has_all", lambda own, yielded, reign: own.fit
    ):
        yield


@plant("a primary goes on in a reign whose end it has proposed")
def _reign_not_given_up() -> Iterator[None]:
    with patch.object(Handing, "given_up", lambda self, reign: False):
        yield


@plant("a vote is forgotten at a restart")
def _vote_forgotten() -> Iterator[None]:
    sound = SimDisk.load
    with patch.object(SimDisk, "load", lambda self: replace(sound(self), vote=None)):
        yield


@plant("the snapshot's state is not taken up at a start")
def _snapshot_ignored() -> Iterator[None]:
    sound = Entering.begin

    def begin(self: Entering, saved: Any, now: float) -> None:
        sound(self, saved, now)
        self._node.state = State()

    with patch.object(Entering, "begin", begin):
        yield


# --- consensus ------------------------------------------------------------------------------------


@plant("an entry counts as committed with one copy too few")
def _commit_too_early() -> Iterator[None]:
    sound = Electorate.of

    def of(members: Members) -> Electorate:
        one = sound(members)
        return replace(one, needs=replace(one.needs, commit=max(1, one.needs.commit - 1)))

    with patch.object(Electorate, "of", of):
        yield


@plant("members are changed while another change is under way")
def _two_changes() -> Iterator[None]:
    sound = Office.change_members

    def change(self: Office, *arguments: Any, **others: Any) -> Any:
        me = self._me
        kept, me.commit_index = me.commit_index, max(me.commit_index, me.membership.index)
        try:
            return sound(self, *arguments, **others)
        finally:
            me.commit_index = max(kept, min(me.commit_index, kept))

    with patch.object(Office, "change_members", change), patch("qluster.leading.Scene.idle", True):
        yield


@plant("a read is answered by whoever is asked")
def _unconfirmed_read() -> Iterator[None]:
    def read(
        node: node_module.Node, ticket: int, consistency: str, outcome: Callable[[], Outcome], now: float
    ) -> Outcome:
        return outcome()

    with patch("qluster.serving._read", read):
        yield


# --- what clients are told, and the state -------------------------------------------------------------


@plant("a write is called superseded that was applied")
def _wrongly_superseded() -> Iterator[None]:
    sound = Requests.committed

    def committed(self: Requests, entry: Any, *others: Any) -> None:
        wrong = entry.index % 5 == 0 and entry.kind == "command"
        sound(self, replace(entry, term=entry.term + 1) if wrong else entry, *others)

    with patch.object(Requests, "committed", committed):
        yield


@plant("the state depends on the node")
def _state_differs() -> Iterator[None]:
    sound, calls = State.note_members, itertools.count()

    def note(self: State, nodes: list[int]) -> None:
        sound(self, nodes)
        self.highest_node += next(calls) % 3

    with patch.object(State, "note_members", note):
        yield


# --- fencing -------------------------------------------------------------------------------------


@plant("fencing that failed counts")
def _failed_fencing_counts() -> Iterator[None]:
    with patch.object(fencing, "succeeded", lambda view: view.shot is not None and view.shot.ended_at is not None):
        yield


@plant("fencing that was ordered before the last contact counts")
def _fencing_before_contact_counts() -> Iterator[None]:
    with patch.object(fencing, "_heard_since", lambda view, shot: False):
        yield


@plant("nobody is fenced who gave no word")
def _nobody_fenced() -> Iterator[None]:
    with patch.object(fencing, "decide", lambda view: fencing.Go("its lease has ended")):
        yield


@plant("an attempt that failed is the last one")
def _one_attempt() -> Iterator[None]:
    sound = fencing.decide

    def decide(view: fencing.View) -> fencing.Decision:
        failed = view.shot is not None and view.shot.ended_at is not None and not view.shot.success
        return fencing.Go("its lease has ended") if failed else sound(view)

    with patch.object(fencing, "decide", decide):
        yield
