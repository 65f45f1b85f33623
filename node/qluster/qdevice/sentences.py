"""What operators read when an arbiter refuses something: what is wrong, and what to do.

Must not know what follows for the connection, but for whether time alone can help.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import msgspec

from qluster.qnet.names import ErrorCode


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Why a connection came to nothing. ``lasting``: it will again, until somebody changes something."""

    reason: str
    lasting: bool = False


_OURS = "That is a fault in this daemon or in the arbiter: report it with both versions"

REFUSALS: dict[ErrorCode, Fault] = {
    ErrorCode.NO_ERROR: Fault(f"the arbiter refused a message with error 0, which means none. {_OURS}", True),
    ErrorCode.UNSUPPORTED_NEEDED_MESSAGE: Fault(
        "the arbiter lacks a message that is needed. Use a newer version of it", True),
    ErrorCode.UNSUPPORTED_NEEDED_OPTION: Fault(
        "the arbiter lacks an option that is needed. Use a newer version of it", True),
    ErrorCode.TLS_REQUIRED: Fault(
        "the arbiter requires TLS, and device.tls is off. Set device.tls: required, with the certificates", True),
    ErrorCode.UNSUPPORTED_MESSAGE: Fault(
        "the arbiter does not know a message that it was sent. Use a newer version of it", True),
    ErrorCode.MESSAGE_TOO_LONG: Fault(
        "a message was longer than the arbiter allows. Raise its maximum request size", True),
    ErrorCode.PREINIT_REQUIRED: Fault(f"the arbiter misses the first message of the connection. {_OURS}", True),
    ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION: Fault(f"the arbiter misses an option in a message. {_OURS}", True),
    ErrorCode.UNEXPECTED_MESSAGE: Fault(f"the arbiter did not expect a message that it was sent. {_OURS}", True),
    ErrorCode.ERROR_DECODING_MSG: Fault(f"the arbiter cannot read a message that it was sent. {_OURS}", True),
    ErrorCode.INTERNAL_ERROR: Fault("the arbiter had an internal error. Its own log says which"),
    ErrorCode.INIT_REQUIRED: Fault(f"the arbiter does not know this node on this connection. {_OURS}", True),
    ErrorCode.UNSUPPORTED_DECISION_ALGORITHM: Fault(
        "the arbiter does not decide by device.algorithm for this cluster. Use ffsplit, or 2nodelms with exactly two "
        "nodes", True),
    ErrorCode.INVALID_HEARTBEAT_INTERVAL: Fault(
        "the arbiter does not allow the heartbeat, which is 0.8 times device.timeout. Change device.timeout, or the "
        "arbiter's limits", True),
    ErrorCode.UNSUPPORTED_DECISION_ALGORITHM_MESSAGE: Fault(
        f"the arbiter's algorithm has no use for a message that it was sent. {_OURS}", True),
    ErrorCode.TIE_BREAKER_DIFFERS_FROM_OTHER_NODES: Fault(
        "device.tie-breaker differs from that of the other nodes, who are connected. Make it the same on all nodes"),
    ErrorCode.ALGORITHM_DIFFERS_FROM_OTHER_NODES: Fault(
        "device.algorithm differs from that of the other nodes, who are connected. Make it the same on all nodes"),
    ErrorCode.DUPLICATE_NODE_ID: Fault(
        "the arbiter still has a connection of this node's number. After a crash that passes when the arbiter gives "
        "the old connection up; if it stays, another cluster uses the same cluster.name at this arbiter"),
    ErrorCode.INVALID_CONFIG_NODE_LIST: Fault(
        "the arbiter refused the list of configured nodes: this node is not in it. Add the node to the cluster", True),
    ErrorCode.INVALID_MEMBERSHIP_NODE_LIST: Fault(
        "the arbiter refused the membership: this node is not in it. It is sent again after a pause", True),
}
assert set(REFUSALS) == set(ErrorCode), "every refusal has its sentence"


def refusal(code: int | None) -> Fault:
    """What a refusal with this code means."""
    if code in tuple(ErrorCode):
        known = ErrorCode(code)
        fault = REFUSALS[known]
        return Fault(f"{fault.reason} (error {int(known)}, {known.name.lower().replace('_', ' ')})", fault.lasting)
    number = "without saying why" if code is None else f"with error {code}, which this version does not know"
    return Fault(f"the arbiter refused a message {number}. Look into its log", True)


def closed(reason: str, *, greeted: bool, secured: bool) -> Fault:
    """The connection ended from outside. ``greeted``: the arbiter had taken this node in."""
    if secured and not greeted:
        return Fault(
            f"{reason}: with TLS an arbiter ends a connection without a word when it does not take the client's "
            "certificate. Issue device.certificate-file by the arbiter's authority for the name of this cluster", True)
    return Fault(reason)
