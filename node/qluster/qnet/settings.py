"""What an arbiter can be told, and its limits.

Must not know where settings come from.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec

from qluster.qnet.framing import SIZE_DEFAULT
from qluster.qnet.names import TlsSupported

SILENCE_BEFORE_INIT = 180.0
"""Seconds a client may be silent before it has said its heartbeat: those of the longest heartbeat."""

CLUSTER_CLIENTS_MAX = 384
"""Clients of one cluster: as many as corosync can have members. The work of a decision grows with their number."""

REFUSALS_TOLD_MAX = 16
"""Refused messages of one connection that are told one by one. A client that sends nothing else must not fill a log."""


OF_REAL_CLIENTS = 32768, 16_777_216
"""Bytes of a message: a corosync-qdevice gives up for good where it may send less, or is to receive more."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How an arbiter serves. The defaults are those of corosync-qnetd, but for the number of clients."""

    tls: TlsSupported = TlsSupported.SUPPORTED
    client_certificate_required: bool = True
    clients_max: int = 1000
    """Connections at once; a host gives a process about so many descriptors. 0: no limit, as corosync-qnetd."""
    request_size_max: int = SIZE_DEFAULT
    reply_size_max: int = SIZE_DEFAULT
    outstanding_max: int = 32
    """Messages that wait for a client that does not read; with one more it is disconnected."""
    heartbeat_min: int = 1000
    heartbeat_max: int = 120_000
    dead_peer_detection: bool = True
    dead_peer_coefficient: float = 1.5
    """So many heartbeats of silence make a client dead."""
    keep_active_partition: bool = False
    """What holds for a client that does not say."""

    def __post_init__(self) -> None:
        """Refuses what no client could live with."""
        least, most = OF_REAL_CLIENTS
        rules = (
            (self.request_size_max >= least, f"request_size_max is {self.request_size_max}: clients need {least}"),
            (least <= self.reply_size_max <= most, f"reply_size_max is {self.reply_size_max}: use {least} to {most}"),
            (self.outstanding_max >= 2, f"outstanding_max is {self.outstanding_max}: one answer can be two messages"),
            (self.clients_max >= 0, f"clients_max is {self.clients_max}: use 0 for no limit"),
            (
                1 <= self.heartbeat_min <= self.heartbeat_max,
                f"heartbeats from {self.heartbeat_min} to {self.heartbeat_max} ms: there is none between",
            ),
            (
                1 <= self.dead_peer_coefficient <= 1000,
                f"dead_peer_coefficient is {self.dead_peer_coefficient:g}: use 1 to 1000, 1.5 as a rule",
            ),
        )
        for kept, text in rules:
            if not kept:
                raise ValueError(text)
