"""Decides how leadership, and with it the primary, goes to another node: step by step, and back where a step fails.

Must not know how a pool is paused, a server stopped or an entry agreed on: it sees what has come of each step.

By plan: a checkpoint while clients go on, so that the stop is short; the pools let transactions end and begin no
new ones; the primary stops; its successor shows that it has the very last record; the log says so, and from then
on nobody writes in this reign any more; leadership is transferred. Whatever fails before that, the primary comes
back where it was. Without that care (``at_once``) the primary stops now and leadership goes to whoever was named:
for a primary that cannot serve anyway.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from qluster.clients import Done, Outcome, Refused
from qluster.cluster.commands import Reign, SwitchoverBegun, SwitchoverEnded, Yielded
from qluster.cluster.messages import Report
from qluster.cluster.switchover import Switching
from qluster.database.orders import Checkpoint
from qluster.leading import Propose, Transfer
from qluster.status import PoolStatus

CHECKPOINT_PATIENCE = 30.0
"""Seconds for the checkpoint before: one that takes longer would not be the last one either, and writes go on."""
TRANSACTION_PATIENCE = 5.0
"""Seconds that open transactions get at the pools, unless the request says another number."""
TRANSACTION_PATIENCE_MAX = 600
STOP_PATIENCE = 40.0
"""Seconds for the clean stop: the server itself is ended by force before."""
PROOF_PATIENCE = 2.0
"""Seconds until the successor has shown the last record: it was streaming, and has it by the time the server ends."""
COMMIT_PATIENCE = 5.0
"""Seconds for an entry of this leader to be committed."""
TAKE_PATIENCE = 10.0
"""Seconds at least until somebody must reign; or two node-timeouts."""
POOLS_PATIENCE = 5.0
"""Seconds until the pools follow; then the switchover is done without them."""


class Phase(StrEnum):
    """Where a switchover is; the words stand in the answer."""

    CHECKPOINT = "checkpoint"
    PAUSE = "pause"
    STOP = "stop"
    PROOF = "proof"
    COMMIT = "commit"
    TRANSFER = "transfer"
    PROMOTE = "promote"
    RESUME = "resume"
    FAILING = "failing"
    DONE = "done"
    FAILED = "failed"


STOPPED = (Phase.STOP, Phase.PROOF, Phase.COMMIT, Phase.TRANSFER)
"""The primary here is to be stopped."""
OVER = (Phase.DONE, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    node: int
    force: bool = False
    """Transactions that do not end in time are broken off."""
    patience: float = TRANSACTION_PATIENCE
    plan: int = 0
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What there is to see now."""

    now: float
    wall: float
    leads: bool
    term: int
    leader: int | None
    reign: Reign | None
    switching: Switching
    checkpointed: str | None
    """How the checkpoint ended: "" well, None: not yet."""
    quiet: bool
    """No primary runs here, and none is being started."""
    end: tuple[int, int] | None
    """Timeline, and where the last record begins, of a server that was shut down in order."""
    successor: Report | None
    address: str
    """The successor's database, as pools name it."""
    pools: Mapping[int, PoolStatus | None]
    """What the pools say whose hosts are alive."""
    transferring: bool
    node_timeout: float
    retry: float


Duty = Propose | Transfer | Checkpoint


@dataclass(slots=True)
class Switchover:
    """One switchover, as the leader that gives up its office sees it, until somebody has taken over."""

    wish: Wish
    began: float
    term: int
    reign: int
    """The reign that is to end; 0 in a cluster without databases."""
    phase: Phase = Phase.CHECKPOINT
    reason: str = ""
    number: int = 0
    gave_up: bool = False
    """The end of the reign was proposed: it may not be gone on with, whether that is committed or not."""
    _since: float = 0.0
    _told_at: float = -inf
    _paused_at: float | None = None
    _times: dict[str, float] = field(default_factory=dict)
    _gap: float | None = None
    _new_reign: int = 0
    _wake_at: float = inf

    def __post_init__(self) -> None:
        self.phase = Phase.STOP if self.wish.at_once or not self.reign else Phase.CHECKPOINT
        self._since = self.began

    @property
    def stops_primary(self) -> bool:
        """The primary here is to be stopped."""
        return self.phase in STOPPED

    @property
    def over(self) -> bool:
        """Nothing is left to be done or seen."""
        return self.phase in OVER

    @property
    def wake_at(self) -> float:
        """When :meth:`step` is needed without an event; a time that has passed was used by it."""
        return inf if self.over else self._wake_at

    def give_way(self, reason: str) -> None:
        """Something more urgent takes its place."""
        self.phase, self.reason = Phase.FAILED, reason

    def outcome(self) -> Outcome | None:
        """What its client is told; None while it goes on."""
        if self.phase == Phase.FAILED:
            return Refused("node", self.reason)
        if self.phase != Phase.DONE:
            return None
        detail: dict[str, object] = {"leader": self.wish.node, "changed": True}
        if self._new_reign:
            detail["reign"] = self._new_reign
        if self._gap is not None:
            detail["write_gap_ms"] = round(self._gap * 1000)
            detail["phases_ms"] = {name: round(seconds * 1000) for name, seconds in self._times.items()}
        if self.reason:
            detail["remark"] = self.reason
        return Done(0, detail)

    def step(self, sight: Sight) -> list[Duty]:
        """What is to be done now."""
        duties: list[Duty] = []
        self._wake_at = inf
        while True:
            before = self.phase
            if not sight.leads and before not in (Phase.PROMOTE, Phase.RESUME, *OVER):
                self._enter(Phase.PROMOTE, sight)
            duties += _STEPS[self.phase](self, sight)
            if self.phase == before:
                return duties

    def _enter(self, phase: Phase, sight: Sight) -> None:
        if self.phase not in (Phase.FAILING, *OVER):
            self._times[self.phase] = sight.now - self._since
        self.phase, self._since, self._told_at, self._wake_at = phase, sight.now, -inf, inf

    def _fail(self, sight: Sight, reason: str) -> list[Duty]:
        self.reason = reason
        self._enter(Phase.FAILING, sight)
        return []

    def _late(self, sight: Sight, limit: float) -> bool:
        """Whether this phase has lasted longer than it may."""
        self._wake_at = min(self._wake_at, self._since + limit)
        return sight.now >= self._since + limit

    def _again(self, sight: Sight) -> bool:
        """Whether something is to be said, the first time or again."""
        due = sight.now >= self._told_at + sight.retry
        if due:
            self._told_at = sight.now
        self._wake_at = min(self._wake_at, self._told_at + sight.retry)
        return due

    # --- while this node leads --------------------------------------------------------

    def _checkpoint(self, sight: Sight) -> list[Duty]:
        if sight.checkpointed is None:
            if self._late(sight, CHECKPOINT_PATIENCE):
                if self.wish.force:
                    return self._to(Phase.PAUSE, sight)
                text = f"the checkpoint before it did not end within {CHECKPOINT_PATIENCE:g} s"
                return self._fail(sight, f"{text}; try again when less is written, or force it")
            if self._told_at > -inf:
                return []
            self._told_at = sight.now
            return [Checkpoint()]
        if sight.checkpointed and not self.wish.force:
            return self._fail(sight, f"the checkpoint before it failed: {sight.checkpointed}")
        return self._to(Phase.PAUSE, sight)

    def _to(self, phase: Phase, sight: Sight) -> list[Duty]:
        self._enter(phase, sight)
        return []

    def _pause(self, sight: Sight) -> list[Duty]:
        under_way = sight.switching.under_way
        mine = under_way is not None and under_way.reign == self.reign and under_way.node == self.wish.node
        if not mine:
            if self._late(sight, COMMIT_PATIENCE):
                return self._fail(sight, f"its begin was not committed within {COMMIT_PATIENCE:g} s")
            if not self._again(sight):
                return []
            return [Propose(SwitchoverBegun(
                self.wish.node, self.reign, self.wish.patience, self.wish.plan, sight.wall
            ))]  # fmt: skip
        assert under_way is not None
        if self._paused_at is None:
            self.number, self._paused_at, self._since = under_way.number, sight.now, sight.now
        open_at = sorted(node for node, pool in sight.pools.items() if pool is None or pool.held != self.number)
        if not open_at or (self._late(sight, self.wish.patience) and self.wish.force):
            return self._to(Phase.STOP, sight)
        if self._late(sight, self.wish.patience):
            return self._fail(sight, _still_open(open_at, sight.pools, self.wish.patience))
        return []

    def _stop(self, sight: Sight) -> list[Duty]:
        if sight.quiet:
            return self._to(Phase.PROOF if self.reign else Phase.TRANSFER, sight)
        if self._late(sight, STOP_PATIENCE):
            return self._fail(sight, f"the primary did not stop within {STOP_PATIENCE:g} s")
        return []

    def _proof(self, sight: Sight) -> list[Duty]:
        if sight.end is not None and _has(sight.successor, sight.end):
            return self._to(Phase.COMMIT, sight)
        if sight.end is not None and not self._late(sight, PROOF_PATIENCE):
            return []
        if self.wish.at_once:
            return self._to(Phase.TRANSFER, sight)
        if sight.end is None:
            return self._fail(sight, "the primary did not stop in order: its log says why")
        return self._fail(sight, (
            f"node {self.wish.node} did not show within {PROOF_PATIENCE:g} s that it has the last record "
            f"of the primary; nothing is lost, the primary goes on where it was"
        ))  # fmt: skip

    def _commit(self, sight: Sight) -> list[Duty]:
        yielded = sight.switching.yielded
        if yielded is not None and yielded.reign == self.reign:
            return self._to(Phase.TRANSFER, sight)
        if self._late(sight, COMMIT_PATIENCE):
            return self._fail(sight, f"the end of the reign was not committed within {COMMIT_PATIENCE:g} s")
        if not self._again(sight):
            return []
        assert sight.end is not None, "the proof was about it"
        self.gave_up = True
        return [Propose(Yielded(self.reign, self.wish.node, *sight.end))]

    def _transfer(self, sight: Sight) -> list[Duty]:
        if self._late(sight, self._patience(sight)):
            return self._fail(sight, f"node {self.wish.node} did not take over leadership")
        return [Transfer(self.wish.node)] if not sight.transferring and self._again(sight) else []

    def _failing(self, sight: Sight) -> list[Duty]:
        """The log is told; the pools are let go by that."""
        planned, under_way = sight.switching.planned, sight.switching.under_way
        begun = under_way is not None and under_way.number == self.number
        scheduled = self.wish.plan and planned is not None and planned.number == self.wish.plan
        if not begun and not scheduled:
            return self._to(Phase.FAILED, sight)
        if not self._again(sight):
            return []
        return [Propose(SwitchoverEnded(self.number, self.wish.plan, self.reason[:1000], sight.wall))]

    # --- when it does not lead any more -------------------------------------------------

    def _promote(self, sight: Sight) -> list[Duty]:
        reign = sight.reign
        number, node = (reign.number, reign.node) if reign is not None else (0, sight.leader)
        new = number > self.reign if reign is not None else sight.term > self.term and node is not None
        if not new:
            if self._late(sight, self._patience(sight)):
                self.reason = f"nobody took over from this node within {self._patience(sight):g} s"
                self._enter(Phase.FAILED, sight)
            return []
        if node != self.wish.node:
            self.reason = f"node {node} took over instead of node {self.wish.node}"
            return self._to(Phase.FAILED, sight)
        self._new_reign = number
        writes = sight.successor is not None and sight.successor.writable and sight.successor.reign >= number
        if not self.reign or writes:
            return self._to(Phase.RESUME, sight)
        if self._late(sight, self._patience(sight)):
            self.reason = f"node {node} reigns, and does not take writes yet"
            return self._to(Phase.DONE, sight)
        return []

    def _resume(self, sight: Sight) -> list[Duty]:
        behind = sorted(
            node for node, pool in sight.pools.items()
            if pool is None or pool.target != sight.address or pool.reign < self._new_reign
        )  # fmt: skip
        if behind and self.reign and not self._late(sight, POOLS_PATIENCE):
            return []
        if behind and self.reign:
            self.reason = f"the pools of nodes {', '.join(map(str, behind))} do not point at the new primary yet"
        begun = self._paused_at if self._paused_at is not None else self.began
        self._gap = (sight.now if not behind else self._since) - begun if self.reign else None
        return self._to(Phase.DONE, sight)

    def _patience(self, sight: Sight) -> float:
        return max(TAKE_PATIENCE, 2 * sight.node_timeout)

    def _rest(self, sight: Sight) -> list[Duty]:
        return []


_STEPS: dict[Phase, Callable[[Switchover, Sight], list[Duty]]] = {
    Phase.CHECKPOINT: Switchover._checkpoint,
    Phase.PAUSE: Switchover._pause,
    Phase.STOP: Switchover._stop,
    Phase.PROOF: Switchover._proof,
    Phase.COMMIT: Switchover._commit,
    Phase.TRANSFER: Switchover._transfer,
    Phase.FAILING: Switchover._failing,
    Phase.PROMOTE: Switchover._promote,
    Phase.RESUME: Switchover._resume,
    Phase.DONE: Switchover._rest,
    Phase.FAILED: Switchover._rest,
}


def _has(report: Report | None, end: tuple[int, int]) -> bool:
    """Whether a standby has replayed the record that begins there: it has replayed beyond its begin."""
    database = report.database if report is not None else None
    if database is None or database.role not in ("replica", "detached") or database.replayed is None:
        return False
    return database.timeline == end[0] and database.replayed > end[1]


def _still_open(nodes: list[int], pools: Mapping[int, PoolStatus | None], patience: float) -> str:
    names = ", ".join(map(str, nodes))
    errors = [f"node {node}: {pool.error}" for node in nodes if (pool := pools[node]) is not None and pool.error]
    why = f" ({'; '.join(errors)})" if errors else ""
    return (
        f"the pool of node {names} did not come to rest within {patience:g} s{why}: a transaction or session is open; "
        f"wait for its end, give it more patience, or force the switchover, which breaks it off"
    )
