"""Faults planted into how one of two nodes goes on alone: the simulator must find each."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf
from typing import Any

from planting import Plants
from qluster.consensus.claim import Claim, other_of
from qluster.consensus.office import Office
from qluster.consensus.participant import Participant

from sim.host import Host
from sim.jobs import Jobs, Running

PLANTS = Plants()

PLANTS.method("q-one: one of two goes on without a shot at the other", Participant, "off", lambda self, node: True)
PLANTS.method(
    "lease-for-fencing: the other's lease is waited out instead", Participant, "off",
    lambda self, node: self.heard.get(node, -inf) < self.now - self.settings.node_timeout,
)


def _lies(self: Jobs, running: Running, target: Host, ends: float) -> None:
    target.lied_at, running.done = ends, True


PLANTS.method("fabric-fencing: an agent says off, and the host lives on", Jobs, "_misbehave", _lies)
PLANTS.method(
    "claim-after-restart: who was switched off goes on as if it had not been", Claim, "unbroken",
    lambda self, members, members_index, commit_index: members.two_node and commit_index >= members_index,
)


def _seen(self: Participant) -> int:
    """The other one of two, once it was heard since the start."""
    latest = self.membership.latest
    other = other_of(latest, self.node) if latest.two_node and self.membership.index <= self.commit_index else 0
    return other if other in self.heard else 0


PLANTS.method(
    "seen-is-synced: to have seen the other is enough for an episode", Participant, "claimable", property(_seen)
)
PLANTS.method(
    "old-fencing: a fencing counts after contact", Claim, "off", lambda self, node, heard_at: node == self._fenced
)

_committed = Office._committed


def _one_copy(self: Office) -> int:
    """An entry is committed by one of two, whatever the other one has."""
    me: Any = self._me
    return int(me.saved_index) if me.membership.latest.two_node else _committed(self)


PLANTS.method("claim-after-one-copy: one of two confirms entries alone", Office, "_committed", _one_copy)
