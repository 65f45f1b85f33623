"""Decides whether a node may go on without the majority of its cluster, with whom, and with what log it then begins.

Must not know how anybody is heard, fenced or told.

No rule makes a smaller list of members safe: the majority may be alive behind a cut link. So this is a founding of its
own, with a later number, that begins with the log of one node; and an operator answers for the nodes that are given
up: their hosts are off, or fence agents switch them off. What is certain without his word: a founding's messages count
in no other, so nobody of the former one votes, commits or leads here, and its nodes join as new ones when they hear
of this one. What rests on his word alone: that no database of the former founding takes writes beside the new one.

All entries of the log are carried over, committed or not: what the majority committed with this node's confirmation
and did not live to tell is then kept.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from qluster.cluster.commands import Forced, decode, encode
from qluster.cluster.pause import Pause
from qluster.cluster.state import Setting, State
from qluster.cluster.state import decode as decode_state
from qluster.cluster.state import encode as encode_state
from qluster.consensus.members import MEMBERS_MAX, Member, Members
from qluster.events import Entry, Identity, Refound, Snapshot

EXPECTED_VOTES = "quorum.expected_votes"
"""The setting that says how many votes votequorum expects at least; 0: those of the list of members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the node knows when an operator asks."""

    me: int
    name: str
    asked: str
    """The cluster's name as the operator wrote it."""
    others: tuple[Member, ...]
    """All other members of the lists that may be in force."""
    alive: frozenset[int]
    """Whom it hears."""
    named: tuple[int, ...] | None
    """Whom the operator counts on; None: all that are heard and could vote."""
    confirmed: tuple[str, ...]
    """Addresses of hosts that he says are off."""
    agents: frozenset[str]
    """Addresses of hosts that the agents here could fence."""
    leader: int | None
    votes: bool
    """This node is a voter by its own log."""
    enough: bool
    """Those who are heard could elect."""
    loose: int = 0
    """Node whose database may take writes without a lease, after a pause; 0: none."""
    entries: int = 0
    """Index of the last entry of the log."""
    fault: str = ""
    """What else stands against it, for people."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is in the new founding beside this node, and who is given up."""

    named: tuple[Member, ...]
    listeners: tuple[Member, ...]
    """Hosts that never vote: they hold no primary, and are members as before."""
    left_out: tuple[Member, ...]

    def to_fence(self, confirmed: Sequence[str]) -> tuple[Member, ...]:
        """Those whose hosts no operator has seen off."""
        return tuple(one for one in self.left_out if one.ip not in confirmed)


def plan(view: View) -> Plan:
    """Who stays and who goes, by what was asked for."""
    able = [one for one in view.others if one.role == "node"]
    named = tuple(one for one in able if one.node in (view.alive if view.named is None else view.named))
    return Plan(
        named=named, listeners=tuple(one for one in view.others if one.role != "node"),
        left_out=tuple(one for one in able if one not in named),
    )  # fmt: skip


def against(view: View) -> list[str]:
    """Everything that stands against it; each with what to do."""
    found = [fault for fault in (view.fault, *_of_the_cluster(view)) if fault]
    planned = plan(view)
    numbers = {one.node: one for one in view.others}
    for number in view.named or ():
        member = numbers.get(number)
        if number != view.me and (member is None or member.role != "node"):
            found.append(f"node {number} is no member that could vote: do not name it")
    for one in planned.named:
        if one.node not in view.alive:
            found.append(f"node {one.node} ({one.ip}) is not heard: do not name it, it joins when it is back")
        if one.node == view.loose:
            found.append(f"node {one.node} may run the primary without a lease since a pause: force the quorum there")
    for one in planned.left_out:
        found += _of_left_out(one, view)
    given_up = {one.ip for one in planned.left_out}
    found += [
        f"{ip} is the address of no node that would be given up: take the confirmation away"
        for ip in view.confirmed if ip not in given_up
    ]  # fmt: skip
    return found


def _of_the_cluster(view: View) -> list[str]:
    found = []
    if view.asked != view.name:
        found.append(f"this cluster is called {view.name}, not {view.asked}")
    if not view.entries:
        found.append("this node has no log yet from which a cluster could go on: ask another one")
    elif not view.votes:
        found.append("this node does not vote in its cluster, so its log may be old: ask one that votes")
    if view.leader is not None:
        who = "this node leads" if view.leader == view.me else f"node {view.leader} leads"
        found.append(f"{who}: no quorum is missing, use the commands that ask the leader")
    elif view.enough:
        found.append("the nodes that are heard are enough to elect: wait for them; `qluster status` says what they do")
    return found


def _of_left_out(one: Member, view: View) -> list[str]:
    who = f"node {one.node} ({one.ip})"
    if one.node in view.alive:
        return [f"{who} is heard: count on it with --nodes, or switch its host off"]
    if one.ip in view.confirmed or one.ip in view.agents:
        return []
    return [
        f"{who} may be alive behind a cut link, and its database with it: switch its host off, see that it is off, and "
        f"say so with --confirm-off {one.ip}"
    ]


# --- what the new founding begins with ----------------------------------------------------


def founding_number(former: int, wall: float, node: int) -> int:
    """A number later than the former one. Two nodes that are told so in the same second get different ones."""
    least = max(int(wall), former + 1)
    return least + (node - least) % MEMBERS_MAX


def carried(state: State, entries: Sequence[Entry]) -> State:
    """The state after all these entries, in a copy. Raises ``MalformedCommand`` for what a newer version wrote."""
    state = decode_state(encode_state(state))
    for entry in entries:
        if entry.kind == "members":
            state.note_members([member.node for member in Members.decode(entry.payload)])
        state.perform(entry, decode(entry.payload) if entry.kind == "command" else None)
    return state


def members_after(planned: Plan, own: Member, before: Members) -> Members:
    """Who is a member: this node alone votes, the others do when they are back and have its log.

    A tie-breaker and a device are put back by the leader when there is somebody to count them for.
    """
    me = replace(own, voter=True, role="node", votes=max(1, own.votes))
    others = [replace(one, voter=False) for one in (*planned.named, *planned.listeners)]
    return Members(
        tuple(sorted([me, *others], key=lambda one: one.node)), before.quorum_replication, before.replication_factor,
        configured=1,
    )  # fmt: skip


def refound(state: State, members: Members, term: int, last: tuple[int, int], body: Forced, uid: int) -> Refound:
    """What this node's directory holds from then on; ``state`` is that of :func:`carried`, ``last`` (index, term)."""
    # Who ran without a lease is this node itself, whose database was stopped, or was given up.
    state.pause = Pause()
    expected = state.settings.get(EXPECTED_VOTES)
    if expected is not None:
        # It counted those who are given up, and would keep who is left from ever standing.
        state.settings[EXPECTED_VOTES] = Setting("0", expected.founded)
    state.note_members([member.node for member in members])
    # Known from the first moment: who is asked for it before it has led would say that this is another cluster.
    state.note_forced(body)
    index, last_term = last
    assert state.applied == index, (state.applied, index)
    return Refound(
        identity=Identity(uid, body.founding, body.node), term=term,
        snapshot=Snapshot(index, last_term, members.encode(), encode_state(state)),
        entries=(Entry(index + 1, term, "command", encode(body)),),
    )  # fmt: skip


def succeeds(own: int, lineage: Sequence[int], heard: int, theirs: Sequence[int]) -> bool:
    """Whether the founding ``heard``, which goes on from ``theirs``, voids the founding ``own`` with its lineage.

    Of two that were forced from one and the same the later one goes on: there was only ever one database, and it can
    have one history.
    """
    return heard > own and not {own, *lineage}.isdisjoint(theirs)
