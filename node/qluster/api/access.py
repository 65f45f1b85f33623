"""What the token of a request allows.

This file must not know where tokens are kept; it is given them, and never logs one.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

TOKEN_LENGTH_MAX = 512
"""Longer ones are refused without a look: ours have under a hundred characters."""


class Rights(IntEnum):
    """What the sender may do; each includes those before it."""

    UNKNOWN = -1
    """A token was sent, and it is none of ours."""
    NONE = 0
    READ = 1
    OPERATE = 2
    DEPLOY = 3
    """Write what the cluster runs by itself: templates, and schedules of other tasks."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of the cluster. Of the one for deploying there is only the SHA-256: who looks into a node's files does
    not get it. "": nobody deploys."""

    read: str = field(repr=False)
    operate: str = field(repr=False)
    deploy_sha256: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        assert self.read and self.operate, "an empty token would let everybody in"
        assert self.read != self.operate, "one token for both would let every reader operate"


def rights_of(authorization: str | None, tokens: Tokens) -> Rights:
    """Rights by the header Authorization; compared in constant time, all tokens always."""
    if authorization is None:
        return Rights.NONE
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_LENGTH_MAX:
        return Rights.UNKNOWN
    sent = token.encode("utf-8", "surrogateescape")
    reads = hmac.compare_digest(sent, tokens.read.encode())
    operates = hmac.compare_digest(sent, tokens.operate.encode())
    deploys = hmac.compare_digest(sha256(sent).hexdigest(), tokens.deploy_sha256) if tokens.deploy_sha256 else False
    if deploys:
        return Rights.DEPLOY
    if operates:
        return Rights.OPERATE
    return Rights.READ if reads else Rights.UNKNOWN
