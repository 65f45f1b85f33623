"""Decides what a committed entry, or a snapshot in its place, changes on this node.

Must not know how entries are agreed on; what the state becomes is decided in ``cluster/state.py``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qluster import pausing, tuning
from qluster.cluster import commands
from qluster.cluster.state import MalformedState, State
from qluster.cluster.state import decode as decode_state
from qluster.config import differences, shared, shared_digest
from qluster.consensus.members import Members
from qluster.consensus.qraft import QRaft
from qluster.consensus.remarks import remarks
from qluster.events import Entry, FetchSnapshot, Job, JobEnded, Snapshot
from qluster.overview import consensus_settings, link_settings
from qluster.tasks import bodies as tasks
from qluster.tasks.bodies import Ended, Failed, Gone, Step, TasksMoved
from qluster.tasks.life import State as TaskState

if TYPE_CHECKING:
    from qluster.node import Node

log = logging.getLogger("qluster.applying")


class Applying:
    """One node's hand on its state."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.checked = False
        """Whether the file was held against the log."""
        self.to_be_kept = 0
        """Index of an entry that a snapshot must cover, so that the node knows of it from its next start on."""
        self._kept_with = (0, 0)
        """Such an entry, and the save with which it is on the disk."""
        self._remarked: list[str] = []
        """What was last said of how the votes are distributed."""
        self._fetching: int | None = None
        self._legible: tuple[Snapshot, State] | None = None
        """A snapshot that was fetched and is being installed, and the state in it: reading one takes a tenth of a
        second with a full board of tasks."""
        self._illegible = False
        """A committed command was not understood: nothing after it may be applied until the daemon has left."""
        self.told_up_to = 0
        """The last entry that the disk had at the start: who ran before has told of what ended by it."""

    def kept(self, index: int) -> bool:
        """Whether a snapshot on the disk covers this entry: at its next start this node will know of it."""
        node = self._node
        if node.qraft is None or node.qraft.snapshot_index < index:
            return False
        if self._kept_with[0] != index:
            self._kept_with = index, node.outstanding
        return node.durable >= self._kept_with[1]

    def apply(self, entries: Iterable[Entry], now: float) -> None:
        """These entries are committed."""
        if self._illegible:
            return
        try:
            for entry in entries:
                self._apply(entry, now)
        except commands.MalformedCommand as fault:
            self._illegible = True
            self._node.leave(
                f"{fault} Nothing was lost: install the version of the other nodes and start this one again"
            )

    def _apply(self, entry: Entry, now: float) -> None:
        node = self._node
        if entry.kind == "members":
            members = Members.decode(entry.payload)
            node.state.note_members([member.node for member in members])
            self.settle_members(members)
        command = commands.decode(entry.payload) if entry.kind == "command" else None
        other = node.state.perform(entry, command)
        if command is not None and isinstance(command.body, tasks.Body):
            node.tasking.stir()
        elif command is None or not isinstance(command.body, commands.ValueWritten):
            node.stir()
        if command is not None:
            self._applied(command.body, entry.index, now)
        node.requests.committed(entry, other)

    def settle_members(self, members: Members) -> None:
        """These are the members, for certain. A state knows them, wherever it came from."""
        node = self._node
        node.settled = members
        node.reports.forget({member.node for member in members})
        log.info("members %s", " ".join(f"{one.node}={one.ip}{'' if one.voter else '(listener)'}" for one in members))
        found = remarks(members, node.config.cluster.auto_tie_breaker)
        for remark in found:
            if remark not in self._remarked:
                log.warning("votes %s", remark)
        self._remarked = found

    def _applied(self, body: commands.Body, index: int, now: float) -> None:
        match body:
            case commands.Paused() | commands.Resumed() | commands.Bound():
                self.to_be_kept = index
                self.take_settings(now)
                pausing.tell(self._node.state.pause, body)
            case commands.Founded() | commands.SettingsChanged():
                self.take_settings(now)
            case commands.Reign(number, node, term, timeline, position):
                log.info(
                    "reign number=%d node=%d term=%d timeline=%d position=%X/%X lost-bytes=%d bound-bytes=%s%s",
                    number, node, term, timeline, position >> 32, position & 0xFFFFFFFF, body.lost_bytes,
                    body.bound_bytes, " loss-accepted" if body.accepted else "",
                )  # fmt: skip
            case commands.FencingBegun(number, reign, by):
                log.warning("fencing-begun node=%d reign=%d by=%d%s", number, reign, by,
                            " asked-for=yes" if body.asked else "")  # fmt: skip
            case commands.FencingEnded(number, begun, success, said):
                log.warning("fencing-ended node=%d entry=%d success=%s said=%s", number, begun, success, said)
            case commands.FencingConfirmed(number, reign):
                log.warning("fencing-confirmed node=%d reign=%d hint=an operator says that its host is off",
                            number, reign)  # fmt: skip
            case commands.LossAccepted(reign):
                log.warning("loss-accepted reign=%d hint=an operator would rather lose something than wait", reign)
            case TasksMoved(_, steps) if index > self.told_up_to:
                self._tell_of(steps)
            case commands.LossMeasured(reign, left):
                log.info("loss-measured reign=%d left-bytes=%d", reign, left)
            case commands.Guaranteed(reign, guarantees) if guarantees == self._node.state.guarantees:
                log.info("guarantee reign=%d %s", reign, " then ".join(map(_text, guarantees)) or "none")

    def _tell_of(self, steps: tuple[Step, ...]) -> None:
        """Tasks that ended so that somebody may want to look; all else stands with the task."""
        board = self._node.state.tasks
        for step in steps:
            if not isinstance(step, Ended | Gone | Failed) or step.task in board.live:
                continue
            task = board.find(step.task)
            if task is not None and task.state in (TaskState.FAILED, TaskState.LOST):
                name = ascii(task.spec.name or task.spec.template)
                log.warning("task-%s task=%d name=%s node=%d attempts=%d reason=%s", task.state.name.lower(), task.id,
                            name, task.node, task.claims, task.reason)  # fmt: skip

    def take_settings(self, now: float) -> None:
        """The settings in force are those of the log."""
        node = self._node
        node.config, fault = tuning.in_force(node.file, node.state.values())
        if fault and fault != node.untaken:
            log.error("settings-passed-over reason=%s", fault)
        node.untaken = fault
        node.digest = shared_digest(node.config)
        node.link.adjust(link_settings(node.link.settings, node.config), now)
        if node.qraft is not None:
            node.qraft.settings = consensus_settings(node.config, node.state.pause)

    def check_file(self) -> None:
        """A file that contradicts the log ends the daemon, at its start.

        Only once all of the log is applied: a value that was changed since the founding contradicts its beginning.
        """
        node = self._node
        mine = shared(node.file)
        wrong = differences(mine, node.state.accepts(mine))
        if wrong:
            node.leave(" ".join(wrong))
        self.checked = True

    def restore(self, snapshot: Snapshot, now: float) -> None:
        """A snapshot takes the place of all that was applied."""
        node = self._node
        node.stir()
        legible, self._legible = self._legible, None
        known = legible is not None and legible[0] is snapshot
        node.state = legible[1] if legible is not None and known else decode_state(snapshot.state)
        self.settle_members(Members.decode(snapshot.members))
        node.requests.replaced(snapshot.index)
        self.take_settings(now)

    def fetch(self, number: int, index: int) -> None:
        """Have a snapshot with at least this index fetched from a node, one at a time."""
        node = self._node
        if self._fetching is not None:
            return
        assert node.qraft is not None
        member = node.qraft.members.get(number)
        known = node.hearing.source(number)
        # A node that has no log yet knows the leader by its datagrams only; all nodes use one REST port by default.
        host, port = (member.ip, member.api_port) if member else (known[0] if known else "", node.config.api_port)
        if not host:
            return
        self._fetching = node.job_number()
        node.start(Job(self._fetching, FetchSnapshot((host, port), index)))

    def fetched(self, event: JobEnded, now: float) -> None:
        """A job ended: was it this one?"""
        node = self._node
        if event.number == self._fetching:
            self._fetching = None
            if isinstance(event.result, Snapshot) and node.qraft is not None:
                self._install(node.qraft, event.result, now)
            elif node.qraft is not None:
                node.qraft.fetch_failed()
                log.warning("snapshot-failed %s", event.error)

    def _install(self, qraft: QRaft, snapshot: Snapshot, now: float) -> None:
        try:
            self._legible = snapshot, decode_state(snapshot.state, snapshot.index)
        except MalformedState as fault:
            qraft.fetch_failed()
            log.warning("snapshot-refused %s", fault)
            return
        qraft.install(snapshot, now)
        if qraft.snapshot is not snapshot:
            self._legible = None  # it was not wanted any more


def _text(guarantee: commands.Guarantee) -> str:
    """A guarantee in the log's words."""
    return f"needed={guarantee.needed} standbys={','.join(map(str, guarantee.standbys)) or 'none'}"
