"""How a node speaks to its arbiter, and the times that follow from that.

Must not know where the settings come from in detail: :func:`settings_of` is the one place that reads them.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

from qluster.config import Device
from qluster.qnet.names import DecisionAlgorithm, TieBreakerMode
from qluster.qnet.tlv import TieBreaker

HEARTBEAT_MIN, HEARTBEAT_MAX = 1.0, 120.0
"""Seconds between which an arbiter allows heartbeats."""

ALGORITHMS = {
    "test": DecisionAlgorithm.TEST,
    "ffsplit": DecisionAlgorithm.FFSPLIT,
    "2nodelms": DecisionAlgorithm.TWO_NODE_LMS,
    "lms": DecisionAlgorithm.LMS,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection after the other is made with. Times are seconds."""

    cluster_name: str
    node: int
    algorithm: DecisionAlgorithm = DecisionAlgorithm.FFSPLIT
    tie_breaker: TieBreaker = TieBreaker(TieBreakerMode.LOWEST)
    tls: Literal["off", "on", "required"] = "on"
    certificate: bool = True
    """Whether this node has one to show."""
    keep_active: bool = True
    """The half that had the vote keeps it in a tie."""
    timeout: float = 10.0
    sync_timeout: float = 30.0
    connect_timeout: float | None = None
    """None: one heartbeat."""
    wait_for_all: bool = False
    heuristics: Literal["off", "sync", "on"] = "off"
    heuristics_timeout: float | None = None
    """None: half the timeout; the same for the two after it: half the sync timeout, three times the timeout."""
    heuristics_sync_timeout: float | None = None
    heuristics_interval: float | None = None
    founding: int = 0
    """Of the consensus whose memory is asked for; 0: of none."""
    lineage: tuple[int, ...] = ()
    """The foundings from which that one went on by force."""
    arbiter: int = 0
    """Which arbiter it is, see :func:`arbiter_number`; 0: it is not known."""

    @property
    def heartbeat(self) -> float:
        """Pause between two echoes."""
        return min(HEARTBEAT_MAX, max(HEARTBEAT_MIN, 0.8 * self.timeout))

    @property
    def connecting(self) -> float:
        """For TCP, TLS and the greeting together."""
        return self.heartbeat if self.connect_timeout is None else self.connect_timeout

    @property
    def poll_interval(self) -> float:
        """Pause between two words to votequorum."""
        return 0.5 * self.timeout

    @property
    def check_limit(self) -> float:
        """For the checks at the start, after connecting, and in between."""
        return 0.5 * self.timeout if self.heuristics_timeout is None else self.heuristics_timeout

    @property
    def sync_check_limit(self) -> float:
        """For the checks while a membership changes."""
        return 0.5 * self.sync_timeout if self.heuristics_sync_timeout is None else self.heuristics_sync_timeout

    @property
    def check_interval(self) -> float:
        """Pause between two regular checks."""
        return 3 * self.timeout if self.heuristics_interval is None else self.heuristics_interval


def settings_of(
    device: Device, cluster_name: str, node: int, founding: int = 0, lineage: tuple[int, ...] = ()
) -> Settings:
    """The settings of a node whose configuration has this section. What `test` says is worth nothing."""
    checks = device.heuristics
    mode = checks.mode if checks is not None and checks.exec else "off"
    return Settings(
        cluster_name=cluster_name,
        node=node,
        algorithm=ALGORITHMS[device.algorithm],
        tie_breaker=tie_breaker_of(device.tie_breaker),
        tls=device.tls,
        certificate=device.certificate_file is not None,
        keep_active=device.keep_active_partition_tie_breaker,
        timeout=device.timeout,
        sync_timeout=device.sync_timeout,
        connect_timeout=device.connect_timeout,
        heuristics=mode,
        heuristics_timeout=checks.timeout if checks is not None else None,
        heuristics_sync_timeout=checks.sync_timeout if checks is not None else None,
        heuristics_interval=checks.interval if checks is not None else None,
        founding=0 if device.algorithm == "test" else founding,
        lineage=lineage,
        arbiter=arbiter_number(device.host, device.port, cluster_name),
    )


def arbiter_number(host: str, port: int, cluster_name: str) -> int:
    """The same for all who ask one arbiter for one cluster, 1 to 2^64 - 1; it says nothing of it by itself.

    An arbiter of corosync's has no name of its own, so it goes by where it is: who writes its name and who writes its
    address take each other's for another one. That is safe, and the reverse would not be.
    """
    place = f"{host.strip('[]').rstrip('.').lower()}\n{port}\n{cluster_name}"
    return max(1, int.from_bytes(blake2b(place.encode(), digest_size=8).digest(), "big"))


def tie_breaker_of(text: str) -> TieBreaker:
    """`lowest`, `highest` or a node's number."""
    if text in ("lowest", "highest"):
        return TieBreaker(TieBreakerMode[text.upper()])
    return TieBreaker(TieBreakerMode.NODE_ID, int(text))
