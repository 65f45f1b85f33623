"""What a participant refuses to do, named for what the caller can do about it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class Refusal(Exception):
    """Not done, and it will not be done later either; ``reason`` is a sentence for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotLeading(Refusal):
    """This node does not lead: ask ``leader``, or wait for an election when it is None."""

    def __init__(self, leader: int | None, reason: str = "") -> None:
        super().__init__(reason or ("nobody leads" if leader is None else f"node {leader} leads"))
        self.leader = leader


class Overloaded(Refusal):
    """Too much waits for its commit: try again later."""


class TooLarge(Refusal):
    """The payload exceeds max-log-size: send less."""


class ChangeRefused(Refusal):
    """The members cannot be changed like this, or not now."""


class TransferRefused(Refusal):
    """Leadership cannot be handed to this node, or not now."""
