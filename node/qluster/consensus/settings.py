"""What a participant of QRaft is told about times, copies and sizes, and the limits it sets itself.

Nothing here knows where a setting is written; all times are seconds.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import dataclass

LEASE_FRACTION = 2 / 3
"""Part of node-timeout for which a leader may act on a confirmed round.

The rest is the time in which its database must be stopped before anybody else can be elected.
"""

BATCH_ENTRIES_MAX = 512
"""Entries in one message: bounds the work for one datagram whatever the entries' size."""

ENTRY_OVERHEAD_BYTES = 32
"""What an entry costs in a message beside its payload, rounded up."""

INFLIGHT_MESSAGES_MAX = 32
"""Batches sent ahead of what is confirmed: a receiver's queue (recv-buffer-capacity) holds them all."""

INFLIGHT_BYTES_MAX = 1 << 20
"""Bytes sent ahead of what is confirmed: half of a receiver's usual socket buffer."""

UNCOMMITTED_ENTRIES_MAX = 16_384
"""Entries a leader takes on before they are committed: more would only wait longer."""

UNCOMMITTED_BYTES_MAX = 32 << 20
"""The same in bytes: bounds the leader's memory while a quorum is away."""

UNSAVED_ENTRIES_MAX = 16_384
"""Entries that a follower takes on ahead of its disk: the others commit without it, and its memory is not endless."""

UNSAVED_BYTES_MAX = 32 << 20
"""The same in bytes."""

SHORT_MESSAGE_BYTES_MAX = 2_048
"""New entries in one message that a node with a full disk still takes on: enough for what a new leader must say."""

SHORT_BYTES_MAX = 512 << 10
"""Of such entries in all while the disk is full: an eighth of the reserve, so that the rest is left for votes."""

READS_MAX = 4_096
"""Reads that wait for a round: beyond that a client is told to ask again."""

TAIL_ENTRIES_MAX = 1_024
"""Entries kept in memory behind a snapshot, so that who was away for a while in which little happened needs none.

For a node that is there and late more is kept (see FETCHED_BYTES_MAX), and in a cluster that writes thousands of
entries a second a few thousand more would not bridge any absence either."""

TAIL_BYTES_MAX = 8 << 20
"""The same in bytes."""


FETCHED_BYTES_MAX = 64 << 20
"""The same while a node fetches a snapshot or is repaired: else a busy cluster would always be ahead of it."""


DEVICE_PROMISE_MAX = 600.0
"""Seconds of the longest promise that a memory gives, whatever it is asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of config.yaml that consensus obeys; the defaults are those of config.yaml."""

    node_timeout: float = 30.0
    heartbeat_interval: float = 10.0
    pre_voting_timeout: float = 10.0
    leader_voting_timeout: float = 10.0
    quorum_replication: bool = True
    replication_factor: int = 0
    replication_retry_interval: float = 1.0
    commit_notice: float = 0.0
    """How long the word that entries are committed may wait for entries that carry it along."""
    max_log_size: int = 64_000
    autoremove_enabled: bool = False
    autoremove_minimum: int = 3
    remove_interval: float = 60.0
    tie_breaker: str = "off"
    """off, lowest, highest, or numbers of nodes."""
    last_man_standing: bool = False
    last_man_standing_window: float = 60.0
    two_node: bool = False
    """Whether one of two may go on alone, once the other one's host is switched off."""

    def __post_init__(self) -> None:
        assert 0 < self.heartbeat_interval < self.node_timeout, "a leader must be heard within node-timeout"
        assert self.pre_voting_timeout > 0 and self.leader_voting_timeout > 0, "a vote needs time"
        assert self.replication_retry_interval > 0, "a retry needs a pause"
        assert self.replication_factor >= 0 and self.autoremove_minimum >= 1, "counts are not negative"
        assert self.max_log_size > 0 and self.remove_interval > 0, "sizes and times are positive"
