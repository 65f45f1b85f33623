"""The state directory of a node: who may use it, what is in it, and when a save is durable.

    lock            held while a daemon uses the directory
    reserve         space that is given up when the disk is full
    add_node        this node belongs to a cluster, or is to join one
    current/        node.json, ring.json, log/, snapshot/
    current.next/   what takes its place, while that is being made: see refounding.py
    old.1/ ...      states that were set aside, the newest few

``current`` appears by one rename and goes by one rename, so it is there whole or not at all.
All methods block; they are called from one thread at a time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Sequence
from typing import TypeGuard

import msgspec

from qluster.events import (
    Refound,
    Save,
    Saved,
    SaveEntries,
    SaveIdentity,
    SaveRing,
    SaveSnapshot,
    SaveVote,
    Snapshot,
)

from .. import clock
from . import identity, refounding, rings, snapshots
from .files import NO_SPACE, flush_directory, make_directory, remove_temporary, replace_file
from .identity import NodeFile
from .log import SEGMENT_SIZE, Log
from .records import ENTRY_KINDS, RESET, SNAPSHOT, VOTE, Record
from .replay import Contradiction
from .reserve import Reserve
from .trouble import DiskFailed, DiskFull, DiskTrouble, LogDamaged, StateLocked, StateRefused

logger = logging.getLogger(__name__)

OLD_STATES_KEPT = 3
"""States set aside that are kept: enough to look back, few enough not to fill the disk."""

JOINS = b"This node is to join a cluster that is there. With this file the node never founds one.\n"
"""What ``add_node`` says before the node has a number."""


class Disk:
    """The durable part of a node."""

    def __init__(self, state_dir: str, cluster_name: str = "", *, segment_size: int = SEGMENT_SIZE) -> None:
        """``cluster_name``: a state of another cluster is refused; "" does not look at it."""
        self._cluster_name = cluster_name
        self._root = state_dir
        self._current = os.path.join(state_dir, "current")
        self._next = os.path.join(state_dir, "current.next")
        self._log_dir = os.path.join(self._current, "log")
        self._snapshot_dir = os.path.join(self._current, "snapshot")
        self._segment_size = segment_size
        self._lock = -1
        self._log: Log | None = None
        self._node: NodeFile | None = None
        self._failure: DiskFailed | None = None
        self._reserve = Reserve(state_dir)
        self._background = snapshots.Background(self._snapshot_dir)
        self._snapshot: tuple[Snapshot, str] | None = None
        """Written, and to be named by the log with the next save."""
        self._segments_to_drop = False
        self._logged = 0
        """So many of the saves that are to be tried again stand in the log already: only an identity found no space."""
        self._wanted = 0
        """Bytes for which there was no space."""

    # --- start ----------------------------------------------------------------

    def load(self) -> Saved:
        """Everything this node saved; an empty state is made on the first start.

        Raises LogDamaged, StateLocked, StateRefused, DiskFull or DiskFailed.
        """
        self._refuse_after_failure()
        try:
            self._lock_directory()
            refounding.settle(self._next, self._current)
            if not os.path.isdir(self._current):
                self._make_current()
            return self._load_with_reserve()
        except OSError as error:
            raise self._trouble(error) from error
        except DiskFailed as failure:
            self._failure = failure
            raise

    def hold(self) -> None:
        """Keep daemons away from the directory; raises :class:`StateLocked` when one runs. :meth:`close` ends it."""
        try:
            self._lock_directory()
        except OSError as error:
            raise self._trouble(error) from error

    def _lock_directory(self) -> None:
        if self._lock >= 0:
            return
        make_directory(self._root)
        lock = os.open(os.path.join(self._root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 32).decode("ascii", "replace").strip()
            os.close(lock)
            raise StateLocked(self._root, owner) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _make_current(self) -> None:
        """An empty state with a new uid, whole before it has its name."""
        unfinished = self._current + ".new"
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in ("", "log", "snapshot"):
            os.mkdir(os.path.join(unfinished, part), mode=0o700)
        uid = clock.seed() % 2**64 or 1
        identity.write(unfinished, NodeFile(uid=f"{uid:016x}", boot=0, name=self._cluster_name))
        log = Log(os.path.join(unfinished, "log"), uid)
        log.create()
        log.close()
        flush_directory(unfinished)
        os.rename(unfinished, self._current)
        flush_directory(self._root)

    def _load_with_reserve(self) -> Saved:
        self._reserve.take()
        try:
            return self._load_current()
        except DiskFull as full:
            if not self._yield_reserve(full):
                raise
            return self._load_current()

    def _load_current(self) -> Saved:
        self._close_log()
        for directory in (self._current, self._snapshot_dir, self._log_dir):
            remove_temporary(directory)
        node = identity.read(self._current)
        ring = rings.read(self._current)
        self._refuse_other_cluster(node)
        log = Log(self._log_dir, node.number, self._segment_size)
        log.load()
        # A name that a crash left between its appearance and its flush could still go.
        flush_directory(self._root)
        if log.sequence < node.sequence:
            raise LogDamaged(self._log_dir, 0, (
                f"the log ends with group {log.sequence}, but group {node.sequence} was durable"))
        snapshot = self._load_snapshot(log)
        try:
            entries = log.replay.take_entries()
        except Contradiction as error:
            raise LogDamaged(self._log_dir, 0, str(error)) from None
        node = msgspec.structs.replace(node, format=identity.FORMAT, boot=node.boot + 1, sequence=log.sequence,
                                       name=node.name or self._cluster_name)
        identity.write(self._current, node)
        self._log, self._node = log, node
        return Saved(
            uid=node.number, boot=node.boot, invited=os.path.exists(self._add_node), identity=node.identity,
            term=log.replay.term, vote=log.replay.vote, snapshot=snapshot, entries=entries,
            ring=ring.seq, expected=ring.expected,
        )

    def _refuse_other_cluster(self, node: NodeFile) -> None:
        if node.name and self._cluster_name and node.name != self._cluster_name:
            raise StateRefused(
                f"{self._root}: holds the state of a node of the cluster {node.name}, but cluster.name is "
                f"{self._cluster_name}. Nothing was changed. Correct cluster.name or state-dir; or, where this "
                f"node is to leave {node.name} for good: `qluster set-aside --config FILE`.")

    def _load_snapshot(self, log: Log) -> Snapshot | None:
        record = log.replay.snapshot
        name = record.payload.decode() if record else None
        snapshot = snapshots.read(self._snapshot_dir, name) if name else None
        if snapshot and record and (snapshot.index, snapshot.term) != (record.index, record.term):
            raise LogDamaged(os.path.join(self._snapshot_dir, str(name)), 0, (
                f"the snapshot is of entry {snapshot.term}/{snapshot.index}, the log says "
                f"{record.term}/{record.index}"))
        snapshots.remove_others(self._snapshot_dir, {name} if name else set())
        return snapshot

    @property
    def _add_node(self) -> str:
        return os.path.join(self._root, "add_node")

    # --- saving ---------------------------------------------------------------

    def save(self, saves: Sequence[Save]) -> None:
        """Make all of ``saves`` durable, in their order, with one flush for the log.

        Raises DiskFull (nothing is acknowledged; the next call begins with the same saves) or DiskFailed (final).
        """
        self._refuse_after_failure()
        assert self._log is not None, "load() comes before save()"
        try:
            self._save_in_what_room_there_is(self._log, saves)
        except DiskFailed as failure:
            self._failure = failure
            raise
        except OSError as error:
            self._failure = DiskFailed(error.filename or self._root, f"saving failed ({error.strerror})")
            raise self._failure from error

    def _save_in_what_room_there_is(self, log: Log, saves: Sequence[Save]) -> None:
        given_back = False
        while True:
            try:
                self._save(log, saves)
                return
            except DiskFull as full:
                # What is held for later goes first.
                if not given_back and log.give_back():
                    given_back = True
                elif not self._yield_reserve(full):
                    raise

    def _save(self, log: Log, saves: Sequence[Save]) -> None:
        records, fresh = self._named_snapshot(log), saves[self._logged:]
        for save in fresh:
            if isinstance(save, SaveSnapshot):
                records.extend(self._save_snapshot(log, save))
            else:
                records.extend(_records(save))
        if records:
            log.append(records)
        self._logged = len(saves)
        for save in fresh:
            # Not before the entries that it covers are durable: the log could name it before them.
            if _beside_the_log(save):
                self._background.write(save.snapshot, snapshots.file_name(save.snapshot, log.sequence + 1))
        if any(record.kind in (SNAPSHOT, RESET) for record in records):
            self._snapshot = None
            self._forget_covered(log)
        elif self._segments_to_drop:
            self._segments_to_drop = log.drop_unneeded()
        # Last, because the identity, and after it add_node, say that the rest is there.
        for save in saves:
            if isinstance(save, SaveIdentity):
                self._save_identity(save)
            if isinstance(save, SaveRing):
                rings.write(self._current, save)
        self._logged = 0

    def _save_snapshot(self, log: Log, save: SaveSnapshot) -> list[Record]:
        """The file first, the record that names it with the group: without it, the file does not count."""
        if _beside_the_log(save):
            return []
        snapshot = save.snapshot
        name = snapshots.file_name(snapshot, log.sequence + 1)
        try:
            snapshots.write(self._snapshot_dir, name, snapshot)
        except DiskFull as full:
            if save.reset:
                raise
            self._go_without_snapshot(full)
            return []
        return [_named(RESET if save.reset else SNAPSHOT, snapshot, name)]

    def _named_snapshot(self, log: Log) -> list[Record]:
        """The record for a snapshot that has been written beside the log, unless a newer one is in force."""
        try:
            self._snapshot = self._background.written() or self._snapshot
        except DiskFull as full:
            self._go_without_snapshot(full)
        if self._snapshot is None:
            return []
        in_force = log.replay.snapshot
        if in_force is not None and in_force.index >= self._snapshot[0].index:
            self._snapshot = None
            return []
        return [_named(SNAPSHOT, *self._snapshot)]

    def _go_without_snapshot(self, full: DiskFull) -> None:
        """The log still has what the snapshot would have covered, so nothing depends on it."""
        self._wanted = max(self._wanted, full.wanted)
        logger.warning("snapshot-not-kept bytes=%d reason=no-space", full.wanted)

    def _forget_covered(self, log: Log) -> None:
        in_force = log.replay.snapshot
        assert in_force is not None, "a snapshot was named just now"
        snapshots.remove_others(self._snapshot_dir, {in_force.payload.decode()} | self._background.names())
        self._segments_to_drop = log.drop_unneeded()

    # --- space ----------------------------------------------------------------

    @property
    def short(self) -> bool:
        """Whether space is so short that nothing new should be taken on; ``relieve`` ends it."""
        return not self._reserve.held or self._wanted > 0

    def relieve(self) -> bool:
        """Look whether there is space again; True when it is short no longer."""
        if self.short and self._log is not None:
            self._log.give_back()
        if self.short and self._reserve.take(self._wanted):
            self._wanted = 0
            logger.info("space-back path=%s", self._root)
        return not self.short

    def _yield_reserve(self, full: DiskFull) -> bool:
        self._wanted = max(self._wanted, full.wanted)
        if not self._reserve.release():
            return False
        logger.error("space-short %s The reserve is used for what is under way; this node takes on nothing new.", full)
        return True

    def _save_identity(self, save: SaveIdentity) -> None:
        assert self._node is not None
        who = save.identity
        assert who.uid == self._node.number, "an identity belongs to the uid of its directory"
        self._node = msgspec.structs.replace(self._node, cluster=who.cluster, node=who.node)
        identity.write(self._current, self._node)
        text = (f"Node {who.node} of founding {who.cluster}.\n"
                f"With this file the node never founds a cluster. Remove it on one node, with its daemon "
                f"stopped and its database directory empty, to start a cluster anew.\n")
        replace_file(self._add_node, [text.encode()])

    # --- end ------------------------------------------------------------------

    def set_aside(self, reason: str, *, joins: bool = False, refound: Refound | None = None) -> str:
        """Put the whole state away, with the reason in it; ``load`` then begins an empty one, or with ``refound``.

        The file ``add_node`` stays, and is written with ``joins``: who knows that there is a cluster never
        founds another one, also when it finds nobody after its next start. Returns where the old state lies.
        """
        self._refuse_after_failure()
        try:
            self._lock_directory()
            self._abandon_snapshots()
            self._close_log()
            if not os.path.isdir(self._current):
                raise StateRefused(f"{self._root}: holds no state that could be set aside.")
            if joins and not os.path.exists(self._add_node):
                replace_file(self._add_node, [JOINS])
            if refound is not None:
                refounding.write(self._next, self._current, refound)
            numbers = self._old_numbers()
            target = os.path.join(self._root, f"old.{numbers[-1] + 1 if numbers else 1}")
            self._write_reason(reason)
            os.rename(self._current, target)
            if refound is not None:
                flush_directory(self._root)
                os.rename(self._next, self._current)
        except OSError as error:
            raise self._trouble(error) from error
        flush_directory(self._root)
        for number in self._old_numbers()[:-OLD_STATES_KEPT]:
            shutil.rmtree(os.path.join(self._root, f"old.{number}"), ignore_errors=True)
        logger.warning("state-set-aside path=%s reason=%s", target, reason)
        return target

    def _write_reason(self, reason: str) -> None:
        # For people only: a full disk must not keep a node from beginning anew.
        with contextlib.suppress(OSError), \
                open(os.path.join(self._current, "reason"), "w", encoding="utf-8") as file:
            file.write(reason + "\n")

    def _trouble(self, error: OSError) -> DiskTrouble:
        path = str(error.filename or self._root)
        if error.errno in NO_SPACE:
            return DiskFull(path, 0)
        if isinstance(error, PermissionError):
            return StateRefused(f"{path}: {error.strerror}. Give the directory to the user that runs this "
                                f"service.")
        return StateRefused(f"{path}: {error.strerror}. Check state-dir and the disk below it.")

    def _old_numbers(self) -> list[int]:
        names = (re.fullmatch(r"old\.([0-9]{1,9})", name) for name in os.listdir(self._root))
        return sorted(int(name.group(1)) for name in names if name)

    def close(self) -> None:
        """Give the directory free. What was saved is durable already."""
        if self._log is not None and self._node is not None and self._failure is None:
            with contextlib.suppress(DiskTrouble, OSError):
                self._snapshot = self._background.written(wait=True) or self._snapshot
                self._save(self._log, [])
            # What is known to be there at a clean end must be there at the next start.
            node = msgspec.structs.replace(self._node, sequence=self._log.sequence)
            with contextlib.suppress(DiskTrouble):
                identity.write(self._current, node)
        self._abandon_snapshots()
        self._close_log()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    def _abandon_snapshots(self) -> None:
        self._background.close()
        self._background = snapshots.Background(self._snapshot_dir)
        self._snapshot, self._logged = None, 0

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _beside_the_log(save: Save) -> TypeGuard[SaveSnapshot]:
    """Whether this is a snapshot that takes too long to write while a vote may wait."""
    return isinstance(save, SaveSnapshot) and not save.reset and len(save.snapshot.state) >= snapshots.BACKGROUND_SIZE


def _named(kind: int, snapshot: Snapshot, name: str) -> Record:
    return Record(kind, snapshot.term, snapshot.index, name.encode())


def _records(save: Save) -> list[Record]:
    if isinstance(save, SaveVote):
        return [Record(VOTE, save.term, save.vote or 0)]
    if isinstance(save, SaveEntries):
        assert save.entries, "an append of nothing"
        kinds = ENTRY_KINDS
        return [Record(kinds[entry.kind], entry.term, entry.index, entry.payload) for entry in save.entries]
    return []
