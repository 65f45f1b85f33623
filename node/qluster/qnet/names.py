"""The numbers of the protocol, under the names that the protocol gives them.

Must not know who sends what when.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import IntEnum


class MessageType(IntEnum):
    """What a message is: the first two bytes of it."""

    PREINIT = 0
    PREINIT_REPLY = 1
    STARTTLS = 2
    INIT = 3
    INIT_REPLY = 4
    SERVER_ERROR = 5
    SET_OPTION = 6
    SET_OPTION_REPLY = 7
    ECHO_REQUEST = 8
    ECHO_REPLY = 9
    NODE_LIST = 10
    NODE_LIST_REPLY = 11
    ASK_FOR_VOTE = 12
    ASK_FOR_VOTE_REPLY = 13
    VOTE_INFO = 14
    VOTE_INFO_REPLY = 15
    HEURISTICS_CHANGE = 16
    HEURISTICS_CHANGE_REPLY = 17


class Option(IntEnum):
    """What a TLV of a message is."""

    MSG_SEQ_NUMBER = 0
    CLUSTER_NAME = 1
    TLS_SUPPORTED = 2
    TLS_CLIENT_CERT_REQUIRED = 3
    SUPPORTED_MESSAGES = 4
    SUPPORTED_OPTIONS = 5
    REPLY_ERROR_CODE = 6
    SERVER_MAXIMUM_REQUEST_SIZE = 7
    SERVER_MAXIMUM_REPLY_SIZE = 8
    NODE_ID = 9
    SUPPORTED_DECISION_ALGORITHMS = 10
    DECISION_ALGORITHM = 11
    HEARTBEAT_INTERVAL = 12
    RING_ID = 13
    CONFIG_VERSION = 14
    DATA_CENTER_ID = 15
    NODE_STATE = 16
    NODE_INFO = 17
    NODE_LIST_TYPE = 18
    VOTE = 19
    QUORATE = 20
    TIE_BREAKER = 21
    HEURISTICS = 22
    KEEP_ACTIVE_PARTITION_TIE_BREAKER = 23


class ErrorCode(IntEnum):
    """Why a message was refused."""

    NO_ERROR = 0
    UNSUPPORTED_NEEDED_MESSAGE = 1
    UNSUPPORTED_NEEDED_OPTION = 2
    TLS_REQUIRED = 3
    UNSUPPORTED_MESSAGE = 4
    MESSAGE_TOO_LONG = 5
    PREINIT_REQUIRED = 6
    DOESNT_CONTAIN_REQUIRED_OPTION = 7
    UNEXPECTED_MESSAGE = 8
    ERROR_DECODING_MSG = 9
    INTERNAL_ERROR = 10
    INIT_REQUIRED = 11
    UNSUPPORTED_DECISION_ALGORITHM = 12
    INVALID_HEARTBEAT_INTERVAL = 13
    UNSUPPORTED_DECISION_ALGORITHM_MESSAGE = 14
    TIE_BREAKER_DIFFERS_FROM_OTHER_NODES = 15
    ALGORITHM_DIFFERS_FROM_OTHER_NODES = 16
    DUPLICATE_NODE_ID = 17
    INVALID_CONFIG_NODE_LIST = 18
    INVALID_MEMBERSHIP_NODE_LIST = 19


class TlsSupported(IntEnum):
    """Whether one side speaks TLS."""

    UNSUPPORTED = 0
    SUPPORTED = 1
    REQUIRED = 2


class DecisionAlgorithm(IntEnum):
    """How the arbiter decides for a cluster."""

    TEST = 0
    FFSPLIT = 1
    TWO_NODE_LMS = 2
    LMS = 3


class NodeState(IntEnum):
    """What a node's votequorum says of another node."""

    MEMBER = 1
    DEAD = 2
    LEAVING = 3


class NodeListType(IntEnum):
    """Which list a node sends."""

    INITIAL_CONFIG = 0
    CHANGED_CONFIG = 1
    MEMBERSHIP = 2
    QUORUM = 3


class Vote(IntEnum):
    """What the arbiter answers."""

    ACK = 1
    NACK = 2
    ASK_LATER = 3
    WAIT_FOR_REPLY = 4
    NO_CHANGE = 5


class TieBreakerMode(IntEnum):
    """Which node's half wins when halves are equal."""

    LOWEST = 1
    HIGHEST = 2
    NODE_ID = 3


class Heuristics(IntEnum):
    """The result of a node's own checks; UNDEFINED is never written, its TLV is left out."""

    UNDEFINED = 0
    PASS = 1
    FAIL = 2


SUPPORTED_MESSAGES = tuple(MessageType)
SUPPORTED_OPTIONS = tuple(Option)
SUPPORTED_ALGORITHMS = tuple(DecisionAlgorithm)

OWN_FIRST, OWN_LAST = 0xA700, 0xA7FF
"""Numbers of messages and options that are ours.

They cannot collide. Corosync numbers both kinds from 0 upwards without a gap and has come to 17 and 23 in more than
ten years, and it has no range for others. An option with an unknown number is skipped by every version of both
daemons. A message with an unknown number is not (a client disconnects, a server answers an error), so it is sent only
to a peer whose INIT or INIT_REPLY listed it among its supported messages; a stock server does not look at that list,
a stock client looks only for what it needs, and a stock peer never lists a number from here. Should corosync ever come
near the range, both sides still know from those lists whom they speak with, and the numbers can be moved.
"""


class OwnMessage(IntEnum):
    """Messages for the arbiter's memory: a client opens it, a candidate asks for its vote, a leader shows its log."""

    MEMORY_OPEN = 0xA700
    MEMORY_OPENED = 0xA701
    MEMORY_ASK = 0xA702
    MEMORY_ANSWER = 0xA703
    MEMORY_SHOW = 0xA704
    MEMORY_SHOWN = 0xA705


class OwnOption(IntEnum):
    """What a TLV of one of these messages is."""

    FOUNDING = 0xA700
    UID = 0xA701
    TERM = 0xA702
    INDEX = 0xA703
    LAST_TERM = 0xA704
    CANDIDATE = 0xA705
    STAGE = 0xA706
    GRANTED = 0xA707
    ROUND = 0xA708
    PROMISE = 0xA709
    REFUSAL = 0xA70A
    LINEAGE = 0xA70B
    VOID = 0xA70C


class Stage(IntEnum):
    """What a candidate asks for: whether it would get the vote, the vote, or the vote with its leader's consent."""

    PRE_VOTE = 1
    VOTE = 2
    VOTE_BY_TRANSFER = 3


class Refusal(IntEnum):
    """Why the memory said no."""

    NONE = 0
    OLD_TERM = 1
    OLD_LOG = 2
    VOTED = 3
    PROMISED = 4
    NOT_OPEN = 5
    FULL = 6
    LONG_NAME = 7
