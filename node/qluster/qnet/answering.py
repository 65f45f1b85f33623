"""The answer to each message of a client.

Must not know where bytes begin and end, nor that connections come and go.

The order of the checks is that of corosync-qnetd, since it decides which error a client is told. A refused message
changes nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qluster.qnet.at_once import list_reply, vote_info
from qluster.qnet.client import Client, Cluster, printable
from qluster.qnet.deadlines import Deadlines
from qluster.qnet.joining import error_in_cluster, error_in_init, heartbeat_allowed, take_over
from qluster.qnet.memories import Memories
from qluster.qnet.messages import (
    AskForVote,
    AskForVoteReply,
    EchoRequest,
    HeuristicsChange,
    HeuristicsChangeReply,
    Init,
    InitReply,
    Message,
    NodeList,
    Preinit,
    PreinitReply,
    SetOption,
    SetOptionReply,
    StartTls,
    VoteInfoReply,
    echo,
)
from qluster.qnet.names import (
    SUPPORTED_ALGORITHMS,
    SUPPORTED_MESSAGES,
    SUPPORTED_OPTIONS,
    ErrorCode,
    Heuristics,
    NodeListType,
    TlsSupported,
)
from qluster.qnet.output import NAME_TOLD_MAX, Output, Word
from qluster.qnet.own import OWN_KINDS, MemoryAsk, MemoryOpen, MemoryShow, parts_lacking
from qluster.qnet.rules import RULES, Outcome, Rules, Tell
from qluster.qnet.settings import CLUSTER_CLIENTS_MAX, SILENCE_BEFORE_INIT, Settings

Key = tuple[int, int]
"""A connection, and which of its moments: silent for too long, or to be looked at again."""
PEER, AGAIN = 0, 1

LOOK_AGAIN = 1 / 4
"""Of a heartbeat: after so long a vote that could not be given is looked at again."""

MISSING = ErrorCode.DOESNT_CONTAIN_REQUIRED_OPTION
# To take a name out of an enumeration is a call, in Python 3.11: those that each vote needs are taken once.
_MEMBERSHIP, _QUORUM, _INITIAL = NodeListType.MEMBERSHIP, NodeListType.QUORUM, NodeListType.INITIAL_CONFIG
_UNDEFINED = Heuristics.UNDEFINED


class Answering:
    """Holds the clusters; answers their clients."""

    def __init__(
        self, settings: Settings, out: Output, deadlines: Deadlines[Key], memories: Memories | None = None
    ) -> None:
        self.clusters: dict[bytes, Cluster] = {}
        self._settings = settings
        self._tls_required = settings.tls is TlsSupported.REQUIRED
        self._out = out
        self._deadlines = deadlines
        self.memories = memories
        self._in_clear: dict[type[Message], Callable[[Client, Any], None]] = {
            Preinit: self._preinit,
            StartTls: self._starttls,
        }
        self._of_members: dict[type[Message], Callable[[Client, Any, float], None]] = {
            SetOption: self._set_option,
            NodeList: self._node_list,
            AskForVote: self._ask_for_vote,
            VoteInfoReply: self._vote_info_reply,
            HeuristicsChange: self._heuristics_change,
            MemoryOpen: self._memory,
            MemoryAsk: self._memory,
            MemoryShow: self._memory,
        }

    def handle(self, client: Client, message: Message, body: bytes, now: float) -> None:
        """One message that could be read; an echo repeats its ``body``."""
        kind = type(message)
        of_member = self._of_members.get(kind)
        if of_member is None and kind in self._in_clear:
            self._in_clear[kind](client, message)
        elif of_member is None and kind is not Init and kind is not EchoRequest:
            self._refuse(client, message, ErrorCode.UNEXPECTED_MESSAGE, "only a server sends it")
        elif not self._secured(client, message):
            return
        elif isinstance(message, Init):
            self._init(client, message, now)
        elif client.cluster is None:
            self._refuse(client, message, ErrorCode.INIT_REQUIRED, "it comes before INIT")
        elif of_member is not None:
            of_member(client, message, now)
        else:
            self._out.send(client, echo(body))

    def heard(self, client: Client, now: float) -> None:
        """A message came, whatever it says: its sender is alive."""
        if self._settings.dead_peer_detection:
            self._deadlines.set((client.connection, PEER), now + self.patience(client))

    def patience(self, client: Client) -> float:
        """Seconds this client may be silent."""
        if client.cluster is None:
            return SILENCE_BEFORE_INIT
        return self._settings.dead_peer_coefficient * client.heartbeat / 1000

    def look_again(self, client: Client, now: float) -> None:
        """The time has come to look at its vote again."""
        outcome = self._rules(client).looked_again(client)
        self._tell(outcome.tell)
        self._plan(client, outcome, now)

    def leave(self, client: Client) -> None:
        """A client of a cluster is gone."""
        cluster = client.cluster
        assert cluster is not None
        rules = self._rules(client)
        cluster.remove(client)
        if cluster.clients:
            self._tell(rules.left(cluster))
        else:
            del self.clusters[cluster.name]

    # before a client is in its cluster

    def _preinit(self, client: Client, message: Preinit) -> None:
        if message.cluster_name is None:
            self._refuse(client, message, MISSING, "no cluster name")
            return
        if client.cluster is None and message.cluster_name != client.cluster_name:
            # A certificate is good for one name: with another it is looked at again.
            client.cluster_name, client.tls.verified = message.cluster_name, False
        self._out.answer(
            client,
            PreinitReply(
                seq=message.seq,
                tls_supported=self._settings.tls,
                tls_client_cert_required=self._settings.client_certificate_required,
            ),
        )

    def _starttls(self, client: Client, message: StartTls) -> None:
        if client.cluster_name is None:
            self._refuse(client, message, ErrorCode.PREINIT_REQUIRED, "it comes before PREINIT")
        elif self._settings.tls is TlsSupported.UNSUPPORTED:
            self._out.doom(client, "it wants TLS, which is off here")
        elif client.tls.started:
            self._out.doom(client, "it wants TLS within TLS")
        else:
            client.tls.waiting = True
            self._out.begin_tls(client)

    def _secured(self, client: Client, message: Message) -> bool:
        """Whether the connection is as safe as is asked for. If not it has been refused or closed."""
        if self._tls_required and not client.tls.started:
            self._refuse(client, message, ErrorCode.TLS_REQUIRED, "it comes in clear, and TLS is required")
            return False
        if not client.tls.started or client.tls.verified or not self._settings.client_certificate_required:
            return True
        if client.tls.name is None:
            self._out.doom(client, "it has no certificate")
            return False
        if client.tls.name.encode("utf-8", "surrogateescape") != client.cluster_name:
            wanted = printable(client.cluster_name or b"", NAME_TOLD_MAX)
            shown = printable(client.tls.name.encode("utf-8", "surrogateescape"), NAME_TOLD_MAX)
            self._out.doom(client, f"its certificate is for {shown!r}, its cluster is {wanted!r}")
            return False
        client.tls.verified = True
        return True

    def _init(self, client: Client, message: Init, now: float) -> None:
        error = error_in_init(message, client.cluster_name is not None, self._settings)
        if error is ErrorCode.NO_ERROR:
            error = self._join(client, message, now)
        if error is not ErrorCode.NO_ERROR:
            self._out.refused(client, error, f"INIT of node {message.node_id}")
        if client in self._out.doomed:
            return
        self._out.answer(
            client,
            InitReply(
                seq=message.seq,
                reply_error_code=error,
                supported_messages=self._messages_for(client, message, error),
                supported_options=None if message.supported_options is None else SUPPORTED_OPTIONS,
                server_maximum_request_size=self._settings.request_size_max,
                server_maximum_reply_size=self._settings.reply_size_max,
                supported_decision_algorithms=SUPPORTED_ALGORITHMS,
            ),
        )

    def _messages_for(self, client: Client, message: Init, error: ErrorCode) -> tuple[int, ...] | None:
        """What it may send, if it said what it can: ours too where it listed them."""
        if message.supported_messages is None:
            return None
        ours = self.memories is not None and set(OWN_KINDS) <= set(message.supported_messages)
        if not ours or error is not ErrorCode.NO_ERROR:
            return SUPPORTED_MESSAGES
        client.framer.know(OWN_KINDS)
        return (*SUPPORTED_MESSAGES, *OWN_KINDS)

    def _join(self, client: Client, message: Init, now: float) -> ErrorCode:
        assert client.cluster_name is not None
        name = client.cluster_name
        cluster = client.cluster or self.clusters.get(name) or Cluster(name)
        error = error_in_cluster(message, client, cluster)
        if error is not ErrorCode.NO_ERROR:
            return error
        if len(cluster.clients) >= CLUSTER_CLIENTS_MAX:
            self._out.doom(client, f"{len(cluster.clients)} clients are in its cluster, no more may be")
            return error
        take_over(message, client, self._settings)
        cluster.add(client)
        self.clusters[name] = cluster
        self.heard(client, now)
        self._out.happened(
            Word.JOINED, client, algorithm=client.algorithm.name, heartbeat=client.heartbeat, ring=str(client.ring)
        )
        return error

    # of clients in their cluster

    def _set_option(self, client: Client, message: SetOption, now: float) -> None:
        heartbeat, kap = message.heartbeat_interval, message.keep_active_partition_tie_breaker
        if heartbeat is not None and not heartbeat_allowed(heartbeat, self._settings):
            self._refuse(client, message, ErrorCode.INVALID_HEARTBEAT_INTERVAL, f"a heartbeat of {heartbeat} ms")
            return
        if message.seq is None and heartbeat is None and kap is None:
            # The released server sends an answer without any option here, which nobody can read.
            self._refuse(client, message, MISSING, "nothing to be set")
            return
        if heartbeat is not None:
            client.heartbeat = heartbeat
            self.heard(client, now)
        if kap is not None:
            client.kap = kap
        self._out.answer(
            client,
            SetOptionReply(seq=message.seq, heartbeat_interval=heartbeat, keep_active_partition_tie_breaker=kap),
        )

    def _node_list(self, client: Client, message: NodeList, now: float) -> None:
        kind = message.node_list_type
        if kind is None or message.seq is None:
            self._refuse(client, message, MISSING, "no type of list" if kind is None else "no sequence number")
            return
        heuristics = message.heuristics or _UNDEFINED
        rules = self._rules(client)
        if kind is _MEMBERSHIP:
            if message.ring_id is None:
                self._refuse(client, message, MISSING, "a membership without a ring id")
                return
            outcome = rules.membership(client, message.nodes, message.ring_id, heuristics)
        elif kind is _QUORUM:
            if message.quorate is None:
                self._refuse(client, message, MISSING, "a quorum list that does not say whether there is quorum")
                return
            outcome = rules.quorum(client)
        else:
            outcome = rules.config(client, message.nodes, kind is _INITIAL)
        if not self._taken(client, message, outcome):
            return
        client.store(message)
        self._plan(client, outcome, now)
        self._out.vote(client, outcome.vote)
        self._out.send(client, list_reply(message.seq, kind, client.ring, outcome.vote))

    def _ask_for_vote(self, client: Client, message: AskForVote, now: float) -> None:
        if message.seq is None:
            self._refuse(client, message, MISSING, "no sequence number")
            return
        outcome = self._rules(client).asked(client)
        if not self._taken(client, message, outcome):
            return
        self._plan(client, outcome, now)
        self._out.vote(client, outcome.vote)
        self._out.answer(client, AskForVoteReply(seq=message.seq, vote=outcome.vote, ring_id=client.ring))

    def _vote_info_reply(self, client: Client, message: VoteInfoReply, now: float) -> None:
        if message.seq is None:
            self._refuse(client, message, MISSING, "no sequence number")
        elif message.seq == client.told:
            self._tell(self._rules(client).confirmed(client))

    def _heuristics_change(self, client: Client, message: HeuristicsChange, now: float) -> None:
        result = message.heuristics
        if message.seq is None or result is None:
            self._refuse(client, message, MISSING, "no result" if result is None else "no sequence number")
            return
        outcome = self._rules(client).heuristics(client, result)
        self._tell(outcome.tell)
        client.heuristics = client.heuristics_regular = result
        self._out.vote(client, outcome.vote)
        self._out.answer(
            client,
            HeuristicsChangeReply(seq=message.seq, vote=outcome.vote, ring_id=client.ring, heuristics=result),
        )

    def _memory(self, client: Client, message: Message, now: float) -> None:
        assert self.memories is not None and client.cluster is not None, "who was not told of memories is not read"
        lacking = parts_lacking(message)
        if lacking:
            self._refuse(client, message, MISSING, f"without {', '.join(lacking)}")
            return
        if isinstance(message, MemoryOpen):
            self._open_memory(self.memories, client, message)
            return
        before = self.memories.kept(client.memory)
        answer = self.memories.answer(client.memory, message, now)
        kept = self.memories.kept(client.memory)
        if client.memory is not None and kept is not None and kept != before:
            self._out.keep(client.memory, kept)
        self._out.answer(client, answer)

    def _open_memory(self, memories: Memories, client: Client, message: MemoryOpen) -> None:
        assert client.cluster is not None and message.founding is not None
        client.memory = key = (client.cluster.name, message.founding)
        self._void(memories, client.cluster, message)
        in_use = {one.memory for cluster in self.clusters.values() for one in cluster.clients if one.memory is not None}
        uid = memories.uid(key)
        source = "" if client.tls.verified else client.address.rpartition(":")[0]
        answer = memories.open(key, message, source, in_use)
        self._forgotten(memories)
        if message.void is not None and message.void == uid:
            for other in client.cluster.clients:
                if other is not client and other.memory == key:
                    # Whoever opened the former one would take the word of this one for its.
                    self._out.doom(other, "its memory had gone back to an older state, and is made anew")
        self._out.answer(client, answer)

    def _void(self, memories: Memories, cluster: Cluster, message: MemoryOpen) -> None:
        """Quorum was forced: who still speaks of a founding before this one has no memory open any more. Whoever opens
        it again meets another one, which counts for nobody whose list names the former."""
        gone = memories.voided(cluster.name, message)
        for client in cluster.clients:
            if client.memory in gone:
                client.memory = None
        memories.forget(gone)

    def forget(self, label: str) -> int:
        """An operator has the memories of a name forgotten; how many there were. -1: its nodes are connected."""
        if any(cluster.label == label for cluster in self.clusters.values()):
            return -1
        if self.memories is None:
            return 0
        keys = [key for key, _ in self.memories if printable(key[0]) == label]
        self.memories.forget(keys)
        self._forgotten(self.memories)
        return len(keys)

    def _forgotten(self, memories: Memories) -> None:
        for key, gone in memories.take_gone():
            self._out.keep(key, gone)
            self._out.forgotten(key)

    # for all of them

    def _rules(self, client: Client) -> Rules:
        return RULES[client.algorithm]

    def _refuse(self, client: Client, message: Message, error: ErrorCode, why: str) -> None:
        self._out.refuse(client, message.seq, error, f"{message.type.name}: {why}")

    def _taken(self, client: Client, message: Message, outcome: Outcome) -> bool:
        """What others are told goes before the answer to who caused it."""
        if outcome.error is not None:
            self._refuse(client, message, outcome.error, f"the algorithm {client.algorithm.name} refuses it")
            return False
        self._tell(outcome.tell)
        return True

    def _tell(self, tell: Iterable[Tell]) -> None:
        for one in tell:
            client, vote = one.client, one.vote
            client.told = (client.told + 1) & 0xFFFFFFFF
            self._out.vote(client, vote)
            self._out.send(client, vote_info(client.told, vote, one.ring))

    def _plan(self, client: Client, outcome: Outcome, now: float) -> None:
        if outcome.again is None:
            return
        key = (client.connection, AGAIN)
        if outcome.again:
            self._deadlines.set(key, now + LOOK_AGAIN * client.heartbeat / 1000)
        else:
            self._deadlines.clear(key)
