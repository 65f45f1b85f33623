"""Decides what the cluster's state is after each committed entry.

Must not know how entries are agreed on, nor who asks. The same entries give the same
bytes on every node: nothing here depends on time, chance, or the order of a set.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import islice

import msgspec
from msgspec import Struct, field

from qluster.clients import Done, Refused
from qluster.cluster import commands, database_settings
from qluster.cluster.commands import (
    Bound,
    FencingBegun,
    FencingConfirmed,
    FencingEnded,
    Forced,
    Founded,
    Guarantee,
    Guaranteed,
    LossAccepted,
    LossMeasured,
    NodeExpected,
    NodeMarked,
    Paused,
    Reign,
    Resumed,
    SettingsChanged,
    SwitchoverBegun,
    SwitchoverEnded,
    SwitchoverPlanned,
    ValueWritten,
    Yielded,
)
from qluster.cluster.database_settings import DatabaseSettings
from qluster.cluster.fencing import Fencings
from qluster.cluster.pause import Pause
from qluster.cluster.switchover import Switching
from qluster.cluster.values import Values
from qluster.config import silent_default
from qluster.config.addresses import lists_peers
from qluster.events import Entry
from qluster.tasks import bodies
from qluster.tasks.board import Board

KEYS_MAX = 65_536
"""Idempotency keys remembered: a write is unconfirmed for ten seconds at most before its client repeats it, and
thousands a second may come with a key meanwhile. They take 10 MB then."""

KEYS_FORGOTTEN = 4096
"""The oldest go so many at a time: taking the first out of a dictionary gets slower each time."""

GROUP = "udp.socket.group"


class MalformedState(ValueError):
    """Bytes that are no state, or that of another entry: they come from a newer version, or are damaged."""


REIGNS_MAX = 64
"""Past reigns kept for the history; older ones are in the logs of the daemons."""


SYNCHRONOUS = "cluster.synchronous"
"""The setting with which an operator gives up what is guaranteed, at once and for all nodes: ``off``."""


FORCED_MAX = 64
"""Foundings before this one that are remembered: so many times a quorum was forced. Nodes of older ones are not known
any more when they come back, and an operator must empty them."""


STANDBY_OF = "cluster.standby-of"
"""The setting that names databases outside: while it stands, no reign holds a primary."""


class Setting(Struct, array_like=True):
    """A shared setting: the value in force, and the one that the configuration files began with."""

    value: str
    founded: str


class State(Struct):
    """The replicated state. Changed only by :meth:`apply` and :meth:`note_members`."""

    applied: int = 0
    name: str = ""
    settings: dict[str, Setting] = field(default_factory=dict)
    reigns: list[Reign] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)
    down: list[int] = field(default_factory=list)
    highest_node: int = 0
    """Largest node number ever given: numbers are never given twice."""
    keys: dict[str, int] = field(default_factory=dict)
    """Idempotency key → index of the entry that carried it first."""
    fingerprints: dict[int, bytes] = field(default_factory=dict)
    """That index → fingerprint of the request. Missing for entries of older versions: any request may be theirs."""
    store: Values = field(default_factory=Values)
    """The key-value store of operators and their scripts."""
    guarantees: tuple[Guarantee, ...] = ()
    """Each acknowledged transaction is covered by one of these; the last belongs to what is acknowledged now."""
    database: DatabaseSettings = DatabaseSettings()
    """What all databases are told of their parameters and restarts."""
    switching: Switching = Switching()
    """Switchovers: planned, under way, the last one."""

    loss_accepted: int = 0
    """The reign after which the next one may lack what was acknowledged, because an operator said so; 0: none."""
    pause: Pause = field(default_factory=Pause)
    fencings: Fencings = Fencings()
    """Whose host was fenced, when, by whom and with what outcome."""
    forced: tuple[Forced, ...] = ()
    """How this founding came from the ones before it, oldest first; empty: it came from none."""

    tasks: Board = field(default_factory=Board)
    """All tasks, with templates and schedules."""

    @property
    def lineage(self) -> tuple[int, ...]:
        """The foundings whose logs this one voids and goes on from."""
        return tuple(one.former for one in self.forced)

    @property
    def forced_open(self) -> bool:
        """Quorum was forced, and no reign has begun since."""
        return bool(self.forced_since)

    @property
    def forced_since(self) -> tuple[Forced, ...]:
        """How quorum was forced since the reign in force, oldest first."""
        reign = self.reign.number if self.reign is not None else 0
        return tuple(one for one in self.forced if one.reign >= reign)

    @property
    def reign(self) -> Reign | None:
        """The reign in force."""
        return self.reigns[-1] if self.reigns else None

    @property
    def reigned_since(self) -> int:
        """First of the unbroken row of reigns of the node that reigns; 0 where none has begun.

        A gap in the numbers breaks it: quorum was forced there, and others may have reigned meanwhile.
        """
        since = 0
        for reign in reversed(self.reigns):
            if reign.node != self.reigns[-1].node or (since and reign.number != since - 1):
                break
            since = reign.number
        return since

    @property
    def system_id(self) -> int | None:
        """System identifier of the cluster's database; None before it was founded."""
        return self.reigns[-1].system_id if self.reigns else None

    @property
    def follows_outside(self) -> bool:
        """Nothing is written here: an installation outside is followed."""
        setting = self.settings.get(STANDBY_OF)
        return setting is not None and bool(setting.value)

    def values(self) -> dict[str, str]:
        """Shared settings in force: key → text."""
        return {key: setting.value for key, setting in self.settings.items()}

    def accepts(self, shared: dict[str, str]) -> dict[str, str]:
        """The settings that a configuration file must agree with, given what it says.

        A file may still hold the value of the founding for a setting that was changed since:
        then the value in force is not held against it. A list of peers may be another one: it says only whom
        this node sends to, and grows host by host before the next one joins. What a cluster follows outside need
        not stand in the file any more once it was founded. A setting that the cluster does
        not have yet came with a newer version: nodes are brought to it one after the other. One that is not said
        while it is at its default has that where the log says nothing, and may be at it in a file.
        """
        newer = {key: value for key, value in shared.items() if key not in self.settings}
        if STANDBY_OF in newer and self.name:
            newer[STANDBY_OF] = ""  # a cluster that was founded without it has a primary of its own
        wanted = newer | {
            key: setting.founded if shared.get(key) == setting.founded else setting.value
            for key, setting in self.settings.items()
        }
        wanted |= {key: default for key in newer if self.name and (default := silent_default(key)) is not None}
        wanted = {key: value for key, value in wanted.items() if key in shared or silent_default(key) is None}
        mine = shared.get(GROUP)
        if mine and GROUP in wanted and lists_peers(mine) and lists_peers(wanted[GROUP]):
            wanted[GROUP] = mine
        if not shared.get(STANDBY_OF) and STANDBY_OF in shared:
            wanted[STANDBY_OF] = ""  # said for a founding alone: a site is not promoted by a file
        return wanted

    def apply(self, entry: Entry) -> Refused | Done | None:
        """Apply a committed entry; None when it happened, else what stood against it, or where it happened before."""
        return self.perform(entry, commands.decode(entry.payload) if entry.kind == "command" else None)

    def perform(self, entry: Entry, command: commands.Command | None) -> Refused | Done | None:
        """The same with the command that was decoded already."""
        assert entry.index == self.applied + 1, (entry.index, self.applied)
        self.applied = entry.index
        if command is None:
            return None
        # A request may have been sent again while the first one was still under way.
        before = self.happened(command.key, command.fingerprint)
        if before is not None:
            return before
        body = command.body
        if isinstance(body, bodies.Body):
            outcome = self.tasks.apply(body, entry.index)
        else:
            outcome = self._perform(body, entry.index)
        if command.key and not isinstance(outcome, Refused):
            self._remember(command, entry.index)
        return outcome

    def happened(self, key: str, fingerprint: bytes) -> Refused | Done | None:
        """Where the request with this idempotency key happened, or that another one did; None for a new key."""
        index = self.keys.get(key)
        if index is None:
            return None
        if fingerprint and self.fingerprints.get(index, fingerprint) != fingerprint:
            reason = f"entry {index} carried the key {key}"
            return Refused("Idempotency-Key", reason, "key-reused")
        tasks = self.tasks.batches.get(index)
        return Done(index, {"repeated": True} | ({"tasks": list(tasks)} if tasks is not None else {}))

    def note_members(self, nodes: list[int]) -> None:
        """A membership entry was applied: the largest number ever given may have grown."""
        self.highest_node = max([self.highest_node, *nodes])
        self.down = [node for node in self.down if node in nodes]
        self.fencings = self.fencings.among(nodes)
        self.tasks.note_members(nodes)

    def note_forced(self, forced: Forced) -> None:
        """This founding goes on from another one: so it began, and so its first entry says."""
        if forced not in self.forced:
            self.forced = (*self.forced, forced)[-FORCED_MAX:]

    def _remember(self, command: commands.Command, index: int) -> None:
        self.keys[command.key] = index
        if command.fingerprint:
            self.fingerprints[index] = command.fingerprint
        if len(self.keys) > KEYS_MAX:
            for forgotten in list(islice(self.keys, KEYS_FORGOTTEN)):
                self.fingerprints.pop(self.keys.pop(forgotten), None)

    def _perform(self, body: commands.Body, index: int) -> Refused | None:
        match body:
            case ValueWritten():
                return self.store.write(body.name, body.value, body.cas, index)
            case database_settings.DatabaseConfigured() | database_settings.RestartWanted() | (
                database_settings.RestartTurn() | database_settings.RestartEnded()
            ):
                changed = database_settings.after(self.database, body, index)
                if isinstance(changed, Refused):
                    return changed
                self.database = changed
            case Founded(name, settings):
                self.name = name
                self.settings = {key: Setting(value, value) for key, value in sorted(settings.items())}
            case SettingsChanged(changes):
                self._change_settings(changes)
            case Reign() | Guaranteed() | LossAccepted() | LossMeasured():
                return self._rule(body)
            case NodeExpected(ip, role):
                self.expected[ip] = role
            case NodeMarked(node, down):
                self.down = sorted({*self.down, node} if down else {*self.down} - {node})
            case SwitchoverPlanned() | SwitchoverBegun() | Yielded() | SwitchoverEnded():
                return self._switch(body, index)
            case Paused() | Resumed() | Bound():
                self.pause = self.pause.after(body, index, self.reign)
            case FencingBegun() | FencingEnded() | FencingConfirmed():
                self.fencings = self.fencings.after(body, index, self.reign)
            case Forced():
                self.note_forced(body)
        return None

    def _rule(self, body: Reign | Guaranteed | LossAccepted | LossMeasured) -> Refused | None:
        match body:
            case Reign():
                self._begin(body)
            case Guaranteed(reign, guarantees):
                # Where nothing is guaranteed the first step is that of a primary alone. Any other was proposed before
                # it was switched off: what has been acknowledged since is covered by none of these.
                fits = self.guarantees or not any(one.needed for one in guarantees)
                if self.reign is not None and self.reign.number == reign and fits:
                    self.guarantees = guarantees
            case LossAccepted(reign):
                return self._accept_loss(reign)
            case LossMeasured(reign, left):
                self.reigns = [
                    msgspec.structs.replace(one, left_bytes=left) if one.number == reign else one for one in self.reigns
                ]
        return None

    def _accept_loss(self, reign: int) -> Refused | None:
        if self.reign is None or self.reign.number != reign:
            now = self.reign.number if self.reign is not None else 0
            return Refused("reign", f"reign {reign} is not in force, {now} is: look at GET /failover again")
        self.loss_accepted = reign
        return None

    def _change_settings(self, changes: dict[str, str]) -> None:
        for key, value in sorted(changes.items()):
            founded = self.settings[key].founded if key in self.settings else value
            self.settings[key] = Setting(value, founded)
        if changes.get(SYNCHRONOUS) == "off":
            self.guarantees = ()

    def _switch(
        self, body: SwitchoverPlanned | SwitchoverBegun | Yielded | SwitchoverEnded, index: int
    ) -> Refused | None:
        reign = self.reign.number if self.reign is not None else 0
        match body:
            case SwitchoverPlanned():
                changed = self.switching.plan(body, index)
            case SwitchoverBegun():
                changed = self.switching.begin(body, index, reign)
            case Yielded():
                changed = self.switching.yields(body, reign)
            case SwitchoverEnded():
                changed = self.switching.end(body)
        if isinstance(changed, Refused):
            return changed
        self.switching = changed
        return None

    def _begin(self, reign: Reign) -> None:
        # A reign that was proposed before another one was committed is void: its number is taken.
        last = self.reign
        if last is not None and (reign.number <= last.number or reign.system_id != last.system_id):
            return
        if self.follows_outside and not reign.standby:
            return  # it was proposed by who did not know that nothing is written here
        if not self.pause.allows(reign.node):
            return  # the primary of the last one may run without a lease
        self.reigns = [*self.reigns, reign][-REIGNS_MAX:]
        self.switching = self.switching.reigned(reign)
        self.loss_accepted = 0
        if reign.accepted:
            self.guarantees = ()
        if reign.standbys is None:
            self.guarantees = ()
        elif not self.guarantees or self.guarantees[-1].primary != reign.node:
            begun = Guarantee(reign.number, reign.node, reign.standbys, reign.needed)
            self.guarantees = (*self.guarantees, begun)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(State)


def encode(state: State) -> bytes:
    """The state as bytes, for a snapshot."""
    return _encoder.encode(state)


def decode(text: bytes, index: int | None = None) -> State:
    """The state in a snapshot (of entry ``index``, where it is known); raises :class:`MalformedState`."""
    try:
        state = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise MalformedState(f"the snapshot holds no cluster state ({fault}); is a newer version needed?") from fault
    if index is not None and state.applied != index:
        raise MalformedState(f"the snapshot of entry {index} holds the state of entry {state.applied}")
    return state
