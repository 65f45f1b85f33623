"""One round: a cluster is founded, clients write, faults strike one after the other, and the ledger is checked.

After each fault somebody must acknowledge again within a bound, and when it is taken back the cluster must be whole
again without anybody's help. Then the primary is asked which rows it has.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from edge.daemon_world import wait_for
from faults.cluster import NODE_TIMEOUT
from ledger import book as books
from ledger.cluster import SEGMENT_BYTES, WAL_BYTES_MOST, DatabaseCluster
from ledger.strokes import STROKES, Scene, Stroke, nothing
from ledger.wire import Refused

SERVED_SECONDS = 30.0
"""From a fault that leaves an electing quorum with a database, or from the end of one that does not, to a commit."""
WHOLE_SECONDS = 90.0
"""From the end of a fault until all follow again: a rewind or a copy of a small database, twice over."""
STEADY_SECONDS = 0.5
"""Commits flow so long before each fault."""
WAITED_FOR = 0.7
"""How often the cluster may become whole before the next fault; else that strikes as soon as somebody acknowledges."""
SHORT = 0.25
"""How often a fault is taken back before anybody can have taken over."""
VERIFIED_EACH = 5
"""Faults between two looks at the rows; with asynchronous replication each is looked at by itself."""
ROW_BYTES = 96
"""WAL that a transaction of one row writes at least: its record in the table, and its commit."""
ISLANDS = (
    "select min(row), max(row) + 1, count(*) from "
    "(select row, row - row_number() over (order by row) as island from ledger) as one group by island"
)


@dataclass
class Struck:
    """One fault and what came of it."""

    kind: str
    outage: float = 0.0
    """The longest time without an acknowledgement, from the fault until all was well."""
    after: float = 0.0
    """The same, from the moment on when the fault was being taken back."""
    changes: int = 0
    """How often another server, or the same on a new timeline, went on."""
    reigns: int = 0
    missing: int = 0
    """Rows that were acknowledged and are gone: looked for after the fault, or after a few of them together."""
    missing_bytes: int = 0
    recorded_bytes: int = 0
    """What the reigns say is known to be left behind."""
    bound_bytes: int | None = None
    """What the reigns say can be missing at most; None: not every reign was seen, or one could not tell."""


@dataclass
class Round:
    """What was drawn, and what came of it."""

    seed: int
    mode: str = "quorum"
    hosts: int = 3
    rate: float = 4000.0
    seconds: float = 0.0
    commits: int = 0
    struck: list[Struck] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What is known not to hold, and happened."""

    @property
    def failovers(self) -> int:
        """Changes of who acknowledges."""
        return sum(one.changes for one in self.struck)

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return asdict(self)


def drawn(seed: int) -> Round:
    """How the round of a seed is set up."""
    random = Random(seed)
    mode = random.choice(("quorum", "quorum", "quorum", "quorum", "all", "off"))
    return Round(seed, mode, random.choice((3, 3, 3, 3, 3, 5)))


class Player:
    """Plays one round."""

    def __init__(self, round_: Round, node: Path | None = None, strokes: Sequence[Stroke] = ()) -> None:
        self.round = round_
        self.random = Random(round_.seed)
        self.strokes = strokes
        self.cluster = DatabaseCluster(f"{round_.seed}", round_.hosts, round_.mode, node)
        self.story: list[str] = []
        self._began = time.monotonic()
        self._lost: list[tuple[int, int]] = []
        self._since = 0
        """The first fault whose rows were not yet looked for."""

    # --- the round -----------------------------------------------------------------------

    def play(self, seconds: float, faults: int = 1_000_000) -> Round:
        """Found, strike, verify; what is wrong ends the round."""
        try:
            self.cluster.found_databases()
            self.cluster.begin_writing(self.round.rate)
            self._await_commits(SERVED_SECONDS, "the first commit")
            end = time.monotonic() + seconds
            while time.monotonic() < end and len(self.round.struck) < faults and not self.round.violations:
                self._strike(self._choose())
            if not self.round.violations:
                self._close()
        except AssertionError as error:
            self._violated(str(error))
        finally:
            self.round.seconds = round(time.monotonic() - self._began, 1)
            self.round.commits = self.cluster.book.commits
        return self.round

    def _choose(self) -> Stroke:
        if self.strokes:
            return self.strokes[len(self.round.struck) % len(self.strokes)]
        return self.random.choices(list(STROKES), weights=list(STROKES.values()))[0]

    def _strike(self, stroke: Stroke) -> None:
        cluster, struck = self.cluster, Struck(stroke.__name__)
        self.round.struck.append(struck)
        primary = self._some_primary()
        reigns, records = max(cluster.reigns, default=0), cluster.book.records
        began = time.monotonic()
        self.tell(f"{struck.kind} of host {primary}, reign {reigns}")
        undo = stroke(Scene(cluster, self.random, primary))
        try:
            self._hold(None if undo is nothing else primary)
        finally:
            back = time.monotonic()
            undo()
        self.tell("taken back")
        self._await_commits(SERVED_SECONDS, f"a commit after {struck.kind}")
        if self.random.random() < WAITED_FOR:
            cluster.wait_served(WHOLE_SECONDS)
            self._await_commits(SERVED_SECONDS, f"a commit of the whole cluster after {struck.kind}")
        ended = time.monotonic()
        self._some_primary()  # whoever is asked shows its reign, and what that says of the loss
        times = [one.at for one in cluster.book.read(records)]
        struck.outage = round(books.longest_pause(times, began, ended), 3)
        struck.after = round(books.longest_pause(times, back, ended), 3)
        struck.reigns = max(cluster.reigns, default=0) - reigns
        self._count(struck, reigns)
        self.tell(f"whole: outage {struck.outage}, {struck.changes} changes, {cluster.book.commits} commits")
        if self.round.mode == "off" or len(self.round.struck) - self._since >= VERIFIED_EACH:
            self._verify()
        time.sleep(STEADY_SECONDS)

    def _hold(self, struck: int | None) -> None:
        """Most faults outlive the failover to another host than the one that is struck, some do not."""
        if self.random.random() < SHORT:
            time.sleep(self.random.uniform(0.0, NODE_TIMEOUT))
            return
        begin, place = time.monotonic(), self.cluster.book.records
        end = begin + self.random.uniform(2.0, 4.0)
        while time.monotonic() < end:
            records = self.cluster.book.records
            news = self.cluster.book.read(place, records)
            if any(one.host != struck and one.sent > begin + NODE_TIMEOUT for one in news):
                break
            place = records
            time.sleep(0.02)
        if self.random.random() < SHORT:
            time.sleep(self.random.uniform(0, 1.5))

    def _count(self, struck: Struck, reigns: int) -> None:
        found = books.stints(self.cluster.book.read())
        struck.changes = books.changes(found) - sum(one.changes for one in self.round.struck[:-1])
        last = max(self.cluster.reigns, default=0)
        seen = [self.cluster.reigns.get(number, {}) for number in range(reigns + 1, last + 1)]
        struck.recorded_bytes = sum(reign.get("lost_bytes", 0) for reign in seen)
        bounds = [reign.get("bound_bytes") for reign in seen]
        struck.bound_bytes = None if None in bounds else sum(bounds)
        for former, later in books.overlaps(found):
            text = (
                f"two servers acknowledged: host {former.host} on timeline {former.timeline} a row sent "
                f"{former.sent - later.first:.3f} s after host {later.host} on timeline {later.timeline} had begun"
            )
            if text in (*self.round.left_out, *self.round.violations):
                continue  # the whole history is looked at after each fault: this one is told already
            if self._known(struck):
                self.round.left_out.append(text)
            else:
                self._violated(text)

    def _known(self, struck: Struck) -> bool:
        """Without replicas to ask, a host that slept and wakes may say something before it is ended there."""
        return self.round.mode == "off" and struck.kind == "host_stopped"

    def _await_commits(self, limit: float, what: str) -> None:
        """Wait for a commit that was sent from now on."""
        begin, place = time.monotonic(), self.cluster.book.records
        while time.monotonic() < begin + limit:
            records = self.cluster.book.records
            if any(one.sent >= begin for one in self.cluster.book.read(place, records)):
                return
            place = records
            time.sleep(0.02)
        raise AssertionError(f"not within {limit:g} s: {what}; {self.cluster.served()}")

    def _some_primary(self) -> int:
        """Whoever may be written to; it need not be whole around it."""
        found: list[int | None] = []
        wait_for("a primary", lambda: found.append(self.cluster.primary()) or found[-1], SERVED_SECONDS)
        assert found[-1] is not None
        return found[-1]

    # --- what must hold --------------------------------------------------------------------

    def _verify(self) -> None:
        """Every row that was acknowledged until now is there."""
        records = self.cluster.book.records
        told = books.acknowledged(self.cluster.book.read(0, records))
        rows = self._islands()
        there = sorted((int(first), int(behind)) for first, behind, _ in rows)
        assert all(int(count) == int(behind) - int(first) for first, behind, count in rows), "rows are there twice"
        missing = books.without(books.without(told, there), self._lost)
        struck = self.round.struck[-1]
        struck.missing = books.size(missing)
        self.tell(f"verified: {books.size(told)} acknowledged, {books.size(there)} there, {struck.missing} missing")
        if missing:
            self._lost = books.joined([*self._lost, *missing])
            struck.missing_bytes = struck.missing * ROW_BYTES
            since = [one.kind for one in self.round.struck[self._since :]]
            if self.round.mode != "off":
                self._violated(f"{struck.missing} acknowledged rows are missing after {since}: {missing[:5]}")
            elif struck.bound_bytes is not None and struck.missing_bytes > struck.bound_bytes:
                self._violated(f"{struck.missing} rows are missing after {since}, more than the bound of "
                               f"{struck.bound_bytes} bytes")  # fmt: skip
        self._since = len(self.round.struck)

    def _islands(self) -> list[tuple[str, ...]]:
        """The rows that are there, as ranges."""
        return self._ask(None, ISLANDS)

    def _ask(self, host: int | None, query: str) -> list[tuple[str, ...]]:
        """Ask a host's database, or the primary's. Whoever is asked may just be giving way to another."""
        end = time.monotonic() + SERVED_SECONDS
        while True:
            asked = host or self._some_primary()
            try:
                return self.cluster.sql(asked, query)
            except (OSError, Refused) as error:
                if time.monotonic() > end:
                    raise AssertionError(f"host {asked} does not answer {query!r}: {error}") from None
            time.sleep(0.1)

    def _close(self) -> None:
        """All is calm: rows, timelines, slots, WAL, and every standby has what the primary has."""
        cluster = self.cluster
        cluster.wait_served(WHOLE_SECONDS)
        cluster.end_writing()
        self._verify()
        [[rows]] = self._ask(None, "select count(*) from ledger")
        for number in cluster.numbers:
            self._same_rows(number, rows)
            known = ", ".join(f"'qluster_node{node}'" for node in cluster.members())
            slots = self._ask(number, f"select slot_name from pg_replication_slots where slot_name not in ({known})")
            if slots:
                self._violated(f"host {number} has replication slots of nobody in the cluster: {slots}")
            size = sum(file.stat().st_size for file in (cluster.data(number) / "pg_wal").iterdir() if file.is_file())
            if size > WAL_BYTES_MOST + SEGMENT_BYTES * len(cluster.reigns):
                self._violated(f"host {number} keeps {size >> 20} MiB of WAL")
        reigns = [reign for _, reign in sorted(cluster.reigns.items())]
        for one, other in pairwise(reigns):
            if other["timeline"] < one["timeline"] or other["term"] < one["term"]:
                self._violated(f"a reign goes back: {one} {other}")

    def _same_rows(self, number: int, rows: str) -> None:
        end = time.monotonic() + 20
        found = ""
        while time.monotonic() < end:
            with contextlib.suppress(OSError, Refused):
                [[found]] = self.cluster.sql(number, "select count(*) from ledger")
                if found == rows:
                    return
            time.sleep(0.1)
        self._violated(f"host {number} has {found} rows, the primary {rows}")

    # --- the story -------------------------------------------------------------------------

    def tell(self, what: str) -> None:
        """A line of the story."""
        self.story.append(f"{time.monotonic():.3f} {time.monotonic() - self._began:7.2f} {what}")

    def _violated(self, what: str) -> None:
        self.round.violations.append(what)
        self.tell(f"VIOLATED: {what}")

    def keep(self, folder: Path) -> None:
        """Everything that explains the round: story, ledger, logs, control files, what each node says."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "story").write_text("\n".join([repr(self.round), "", *self.story, "", *self._reigns()]) + "\n")
        with open(folder / "ledger", "w") as file:
            for one in self.cluster.book.read():
                file.write(f"{one.at:.4f} host {one.host} timeline {one.timeline} {one.first:#x}+{one.count} "
                           f"sent {one.sent:.4f}\n")  # fmt: skip
        shutil.copy(self.cluster.root / "writers", folder / "writers.log")
        for number in self.cluster.numbers:
            (folder / f"node{number}.log").write_text(self.cluster.log(number))
            (folder / f"node{number}.json").write_text(str(self.cluster.status(number)))
            for name in ("global/pg_control", "qluster.conf"):
                with contextlib.suppress(OSError):
                    shutil.copy(self.cluster.data(number) / name, folder / f"node{number}.{os.path.basename(name)}")

    def _reigns(self) -> list[str]:
        return [str(reign) for _, reign in sorted(self.cluster.reigns.items())]

    def end(self) -> None:
        """Take everything away."""
        self.cluster.end()


def play(
    round_: Round, seconds: float, *, keep: Path | None = None, node: Path | None = None,
    strokes: Sequence[Stroke] = (), faults: int = 1_000_000,
) -> Round:
    """Play a round and clear away; where something is wrong, what explains it is kept."""
    player = Player(round_, node, strokes)
    try:
        player.play(seconds, faults)
        if keep is not None:
            (keep / "stories").mkdir(parents=True, exist_ok=True)
            (keep / "stories" / f"seed{round_.seed}-{round_.mode}").write_text("\n".join(player.story) + "\n")
        if keep is not None and round_.violations:
            player.keep(keep / f"seed{round_.seed}-{round_.mode}")
    finally:
        player.end()
    return round_
