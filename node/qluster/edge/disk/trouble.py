"""What can be wrong with the disk, one class for each thing that the reader can do about it.

Each message says what is wrong, where, and what to do.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class DiskTrouble(Exception):
    """Nothing more was made durable. The classes below say why."""


class LogDamaged(DiskTrouble):
    """What was acknowledged cannot be read any more. Nothing was deleted.

    The node must not vote with what is left: set the state aside and join anew.
    """

    def __init__(self, path: str, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(
            f"{path}: damaged at byte {offset}: {reason}. Nothing was deleted. Check the disk, then let this "
            f"node join anew with an empty state: `qluster set-aside --config FILE`, and start it again.")


class DiskFull(DiskTrouble):
    """No space is left. What was there before is untouched, and saving may be tried again."""

    def __init__(self, path: str, wanted: int) -> None:
        self.path = path
        self.wanted = wanted
        super().__init__(f"{path}: no space left for {wanted} bytes. Free some space on this file system.")


class DiskFailed(DiskTrouble):
    """Writing or flushing failed: nobody knows what is on the disk. End the process; the next
    start reads what is really there."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}. Check the disk (dmesg), then start the service again.")


class StateLocked(DiskTrouble):
    """Another daemon uses this state directory."""

    def __init__(self, path: str, owner: str) -> None:
        who = f"process {owner}" if owner else "another process"
        super().__init__(f"{path}: {who} uses this state directory. Stop it, or give this node a "
                         f"state-dir of its own.")


class StateRefused(DiskTrouble):
    """The state directory cannot be used as it is: no rights, or written by a newer version."""
