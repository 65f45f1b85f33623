"""One connection to the arbiter, from its opening to its end: greeting, TLS, echoes, and the arbiter's words.

Must not know what is to be said to an arbiter that has taken this node in, nor when the next connection comes.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Any

from qluster.qdevice.sentences import Fault, closed, refusal
from qluster.qdevice.settings import Settings
from qluster.qnet.framing import SIZE_DEFAULT, Framer, Skipped
from qluster.qnet.messages import (
    AskForVoteReply,
    EchoReply,
    EchoRequest,
    HeuristicsChangeReply,
    Init,
    InitReply,
    MalformedMessage,
    Message,
    NodeListReply,
    Preinit,
    PreinitReply,
    ServerError,
    SetOptionReply,
    StartTls,
    encode,
)
from qluster.qnet.names import SUPPORTED_MESSAGES, SUPPORTED_OPTIONS, ErrorCode, Option, TlsSupported
from qluster.qnet.own import OWN_KINDS, MemoryAnswer, MemoryOpened, MemoryShown, decode_any, parts_lacking
from qluster.qnet.tlv import RingId

REPLY_SIZE_MAX = 16_777_216
"""Bytes of an answer: no arbiter needs more, and they are held in memory."""

WORD_MAX = 65_536
"""Bytes of a message that are read, whatever the arbiter announces: none of an arbiter has more than hundreds, and
reading one must not hold up the node."""
WORDS_MAX = 4096
"""Messages within one heartbeat: an arbiter speaks once for each change that one of its clients tells, and a node must
not spend its time on one that runs wild."""

OfMemory = MemoryAnswer | MemoryOpened | MemoryShown
"""What its memory says."""

Word = AskForVoteReply | HeuristicsChangeReply | InitReply | NodeListReply | OfMemory
"""What the arbiter says that the client must know of. VOTE_INFO is an ASK_FOR_VOTE_REPLY without a question."""


class Stage(StrEnum):
    """How far it is. The words are shown to operators."""

    OPENING = "connecting"
    PREINIT = "waiting for the arbiter's greeting"
    SECURING = "beginning TLS"
    INIT = "waiting to be taken in"
    JOINED = "connected"


class Numbers:
    """Numbers of messages. One counter for the life of the client, as corosync's has it."""

    def __init__(self) -> None:
        self.last = 1

    def next(self) -> int:
        """The next one; after the largest comes the first again."""
        self.last = self.last % 0xFFFF_FFFF + 1
        return self.last


class Conversation:
    """Says what is to be sent in ``sent``, and TLS to be begun in ``secures``. ``fault`` ends it."""

    def __init__(self, settings: Settings, attempt: int, numbers: Numbers, now: float) -> None:
        self.attempt = attempt
        self.stage = Stage.OPENING
        self.fault: Fault | None = None
        self.tls = False
        self.options: tuple[int, ...] = ()
        """What the arbiter knows, once it has taken this node in."""
        self.remembers = False
        """It has memories, and this node asked for one."""
        self.joined_at: float | None = None
        self.echoed_at: float | None = None
        self.out: list[bytes | None] = []
        """Messages to be sent; None: TLS begins here."""
        self._settings = settings
        self._numbers = numbers
        self._framer = Framer(SIZE_DEFAULT)
        self._request_max = SIZE_DEFAULT
        self._ring = RingId(0, 0)
        self._words = 0
        """Messages since the last echo was asked for, but for answers of the memory, which are asked for."""
        self._asked = 0
        """Messages for the memory that are not answered."""
        self._echo = 0
        self._echo_open = False
        self.wake_at = now + settings.connecting

    # what happens

    def opened(self, now: float) -> None:
        """The connection stands: greet."""
        if self.stage is Stage.OPENING:
            self.stage = Stage.PREINIT
            self._say(Preinit(seq=self._numbers.last, cluster_name=self._settings.cluster_name.encode()))

    def secured(self, ring: RingId, now: float) -> None:
        """TLS stands."""
        if self.stage is Stage.SECURING:
            self.tls = True
            self._init(ring)

    def ended(self, reason: str, lasting: bool) -> None:
        """It is over, and not from here."""
        if lasting:
            self._fail(reason, lasting)
        elif self.fault is None:
            self.fault = closed(reason, greeted=self.stage is Stage.JOINED, secured=self.tls)

    def received(self, data: bytes, ring: RingId, now: float) -> list[Word]:
        """These bytes came; ``ring`` is the one to greet with. What the client must know of them, in order."""
        words: list[Word] = []
        self._framer.feed(data)
        while self.fault is None and (frame := self._framer.next()) is not None:
            self._words += 1
            if self._words > WORDS_MAX:
                self._fail(f"the arbiter sent more than {WORDS_MAX} messages within one heartbeat", True)
                break
            if isinstance(frame, Skipped):
                self._skipped(frame)
                break
            try:
                message = decode_any(frame.kind, frame.body)
            except MalformedMessage as error:
                self._fail(f"the arbiter sent what cannot be read: {error}")
                break
            word = self._hear(message, ring, now)
            if word is not None:
                words.append(word)
        return words

    def tick(self, now: float) -> None:
        """So late it is."""
        if now < self.wake_at or self.fault is not None:
            return
        if self.stage is not Stage.JOINED:
            limit = self._settings.connecting
            self._fail(f"the arbiter did not take this node in within {limit:g} s ({self.stage.value})")
        elif self._echo_open:
            self._fail(f"the arbiter has not answered for {self._settings.heartbeat:g} s")
        else:
            self._words, self._echo, self._echo_open = 0, self._echo + 1, True
            self.wake_at = now + self._settings.heartbeat
            self.out.append(encode(EchoRequest(seq=self._echo)))

    # what is said

    def say(self, kind: type[Message], **content: Any) -> None:
        """A message with the next number."""
        self._asked += kind.type in OWN_KINDS
        self._say(kind(seq=self._numbers.next(), **content))

    def answer(self, message: Message) -> None:
        """One with the number of what it answers."""
        self._say(message)

    def knows(self, option: Option) -> bool:
        """Whether the arbiter knows this option."""
        return option in self.options

    # inside

    def _say(self, message: Message) -> None:
        data = encode(message)
        if len(data) > self._request_max:
            what = message.type.name
            self._fail(f"{what} has {len(data)} bytes, and the arbiter takes {self._request_max}. Raise that", True)
        elif self.fault is None:
            self.out.append(data)

    def _fail(self, reason: str, lasting: bool = False) -> None:
        if self.fault is None:
            self.fault = Fault(reason, lasting)
            self.wake_at = inf

    def _skipped(self, frame: Skipped) -> None:
        if frame.error is ErrorCode.MESSAGE_TOO_LONG:
            self._fail(f"the arbiter sent a message of {frame.size} bytes, and {self._framer.limit} are read", True)
        else:
            self._fail(f"the arbiter sent a message of type {frame.kind}, which nobody asked for", True)

    def _hear(self, message: Message, ring: RingId, now: float) -> Word | None:
        match message:
            case ServerError():
                fault = refusal(message.reply_error_code)
                self._fail(fault.reason, fault.lasting)
            case PreinitReply() if self.stage is Stage.PREINIT:
                self._greeted(message, ring)
            case InitReply() if self.stage is Stage.INIT:
                return self._taken_in(message, now)
            case EchoReply() if self.stage is Stage.JOINED:
                self._echo_heard(message, now)
            case SetOptionReply() if self.stage is Stage.JOINED:
                pass
            case NodeListReply() | AskForVoteReply() | HeuristicsChangeReply() if self.stage is Stage.JOINED:
                return self._whole(message)
            case MemoryOpened() | MemoryAnswer() | MemoryShown() if self._asked:
                return self._of_memory(message)
            case _:
                self._fail(f"the arbiter sent {message.type.name} while this node was {self.stage.value}", True)
        return None

    def _whole(self, message: NodeListReply | AskForVoteReply | HeuristicsChangeReply) -> Word | None:
        if message.vote is None or message.ring_id is None or message.seq is None:
            self._fail(f"the arbiter sent {message.type.name} without vote, ring or number")
            return None
        return message

    def _of_memory(self, message: OfMemory) -> Word | None:
        self._asked, self._words = self._asked - 1, self._words - 1
        lacking = parts_lacking(message)
        if lacking:
            self._fail(f"the arbiter sent {message.type.name} without {', '.join(lacking)}", True)
            return None
        return message

    def _greeted(self, message: PreinitReply, ring: RingId) -> None:
        wanted, offered = self._settings.tls, message.tls_supported
        if message.seq != self._numbers.last or offered is None:
            self._fail("the arbiter's greeting answers another message, or does not speak of TLS", True)
        elif wanted == "off" and offered is TlsSupported.REQUIRED:
            self._fail("the arbiter requires TLS, and device.tls is off. Set device.tls: required", True)
        elif wanted == "required" and offered is TlsSupported.UNSUPPORTED:
            self._fail("the arbiter has no TLS, and device.tls is required. Give it certificates", True)
        elif wanted == "off" or offered is TlsSupported.UNSUPPORTED:
            self._init(ring)
        elif message.tls_client_cert_required and not self._settings.certificate:
            self._fail("the arbiter wants a certificate. Set device.certificate-file and device.key-file", True)
        else:
            self.stage = Stage.SECURING
            self.say(StartTls)
            self.out.append(None)

    def _init(self, ring: RingId) -> None:
        self.stage = Stage.INIT
        settings = self._settings
        self.say(
            Init,
            supported_messages=(*SUPPORTED_MESSAGES, *OWN_KINDS) if settings.founding else SUPPORTED_MESSAGES,
            supported_options=SUPPORTED_OPTIONS,
            node_id=settings.node,
            decision_algorithm=settings.algorithm,
            heartbeat_interval=round(settings.heartbeat * 1000),
            tie_breaker=settings.tie_breaker,
            ring_id=ring,
        )

    def _taken_in(self, message: InitReply, now: float) -> Word | None:
        if message.seq != self._numbers.last:
            self._fail("the arbiter answers another INIT than it was sent", True)
        elif message.reply_error_code != ErrorCode.NO_ERROR:
            fault = refusal(message.reply_error_code)
            self._fail(fault.reason, fault.lasting)
        elif lacking := self._lacking(message):
            self._fail(f"the arbiter cannot serve this node: {lacking}", True)
        else:
            self._framer.limit = min(message.server_maximum_reply_size or SIZE_DEFAULT, WORD_MAX)
            self._request_max = message.server_maximum_request_size or SIZE_DEFAULT
            self.options = message.supported_options or ()
            self.remembers = self._settings.founding > 0 and set(OWN_KINDS) <= set(message.supported_messages or ())
            if self.remembers:
                self._framer.know(OWN_KINDS)
            self.stage, self.joined_at = Stage.JOINED, now
            self.wake_at = now + self._settings.heartbeat
            return message
        return None

    def _lacking(self, message: InitReply) -> str:
        """What it must have said and did not."""
        algorithm, request, reply = (
            self._settings.algorithm, message.server_maximum_request_size, message.server_maximum_reply_size
        )
        if not set(SUPPORTED_MESSAGES) <= set(message.supported_messages or ()):
            return "it does not say that it knows all messages"
        if not message.supported_options:
            return "it does not say which options it knows"
        if algorithm not in (message.supported_decision_algorithms or ()):
            return f"it does not decide by {algorithm.name.lower()}"
        if request is None or request < SIZE_DEFAULT:
            return f"it takes messages of {request} bytes, {SIZE_DEFAULT} are needed"
        if reply is None or not SIZE_DEFAULT <= reply <= REPLY_SIZE_MAX:
            return f"it sends messages of {reply} bytes, {SIZE_DEFAULT} to {REPLY_SIZE_MAX} are taken"
        if self._settings.heuristics != "off" and Option.HEURISTICS not in message.supported_options:
            return "it knows no heuristics, and device.heuristics.mode is not off"
        return ""

    def _echo_heard(self, message: EchoReply, now: float) -> None:
        if not self._echo_open or message.seq != self._echo:
            self._fail(f"the arbiter echoes {message.seq}, and was sent {self._echo}", True)
        self._echo_open, self.echoed_at = False, now
