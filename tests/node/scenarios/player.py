"""Plays a scenario: a text of commands to a few participants of QRaft, and what they then do.

Below each `---` stands what the commands above it led to. `player.py --rewrite` writes these answers anew;
whoever changes the code reads the difference.

    nodes 3 [settings]     begin: founded as one list of voters; settings as name=value
    empty 4                one more host, with an empty log
    wait 2 [times]         let time pass until node 2 wants to be woken, and wake it
    time 0.2               let time pass, wake nobody
    deliver [2] [from 1]   hand over what is under way (to node 2, from node 1), once each
    lose [2] [from 1]      lose it
    settle                 deliver until nobody says anything more
    ask 1 colour=blue      propose a command at node 1
    read 1                 ask node 1 for a read
    add 1 4 [voter]        ask node 1 to add node 4 (likewise: promote 1 4, remove 1 4)
    transfer 1 2           ask node 1 to hand over to node 2
    resign 1               tell node 1 to stop leading
    compact 1              take a snapshot of what node 1 has applied
    crash 1, start 1       end a node, start it from what it saved
    show [1]               say what the nodes are
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from consensus.memory import copied, keep
from consensus.world import sent_early
from qluster.consensus import messages as say
from qluster.consensus.members import Member, Members
from qluster.consensus.output import Output
from qluster.consensus.qraft import QRaft
from qluster.consensus.refusals import Refusal
from qluster.consensus.settings import Settings
from qluster.events import Entry, Identity, Save, Saved, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote

SCENARIOS = Path(__file__).parent
SETTINGS = Settings()
WAIT_MAX = 400
"""Rounds of `settle`: participants that never fall silent are wrong."""


class Middle(Random):
    """Chance that always takes the middle: a scenario is about order, not about luck."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@dataclass
class Player:
    """The participants of one scenario."""

    def __post_init__(self) -> None:
        self.now = 100.0
        self.settings = SETTINGS
        self.saved: dict[int, Saved] = {}
        self.nodes: dict[int, QRaft] = {}
        self.under_way: list[tuple[int, int, say.AnyMessage]] = []
        self.lines: list[str] = []

    # --- commands ---------------------------------------------------------------

    def do(self, line: str) -> None:
        """Perform one command."""
        name, *words = line.split()
        command: Callable[..., None] | None = getattr(self, f"do_{name}", None)
        if command is None:
            raise ValueError(f"no such command: {line}")
        command(*words)

    def do_nodes(self, count: str, *settings: str) -> None:
        values = dict(word.split("=") for word in settings)
        kinds = {name: type(getattr(SETTINGS, name)) for name in values}
        changed = {
            name: value == "true" if kinds[name] is bool else kinds[name](value) for name, value in values.items()
        }
        self.settings = Settings(**changed)
        numbers = range(1, int(count) + 1)
        members = Members(
            tuple(_member(node, voter=True) for node in numbers),
            self.settings.quorum_replication,
            self.settings.replication_factor,
            int(count),
        )
        for node in numbers:
            self._host(node, [Entry(1, 1, "members", members.encode())])

    def do_empty(self, node: str) -> None:
        self._host(int(node), [])

    def _host(self, node: int, entries: list[Entry]) -> None:
        self.saved[node] = Saved(node, 1, True, Identity(node, 9, node), len(entries), entries=entries)
        self.do_start(str(node))

    def do_start(self, node: str) -> None:
        saved = copied(self.saved[int(node)])
        self.nodes[int(node)] = QRaft(int(node), self.settings, saved, Middle(0), self.now)

    def do_crash(self, node: str) -> None:
        del self.nodes[int(node)]
        self.under_way = [one for one in self.under_way if one[1] != int(node)]

    def do_wait(self, node: str, times: str = "1") -> None:
        qraft = self.nodes[int(node)]
        for _ in range(int(times)):
            self.now = max(self.now, qraft.wake_at)
            qraft.tick(self.now)
            self._perform(int(node))

    def do_time(self, seconds: str) -> None:
        self.now += float(seconds)

    def _chosen(self, words: tuple[str, ...]) -> list[tuple[int, int, say.AnyMessage]]:
        to = int(words[0]) if words and words[0] != "from" else None
        source = int(words[words.index("from") + 1]) if "from" in words else None
        chosen = [one for one in self.under_way if to in (None, one[1]) and source in (None, one[0])]
        self.under_way = [one for one in self.under_way if one not in chosen]
        return chosen

    def do_deliver(self, *words: str) -> None:
        for _, to, message in self._chosen(words):
            if to in self.nodes:
                self.nodes[to].receive(say.decode(say.encode(message)), self.now)
                self._perform(to)

    def do_lose(self, *words: str) -> None:
        self._chosen(words)

    def do_settle(self) -> None:
        for _ in range(WAIT_MAX):
            if not self.under_way:
                return
            self.do_deliver()
        raise AssertionError("the participants never fall silent")

    def do_ask(self, node: str, payload: str) -> None:
        self._try(node, lambda qraft: qraft.propose("command", payload.encode(), self.now))

    def do_read(self, node: str) -> None:
        self._try(node, lambda qraft: qraft.request_read(1, self.now))

    def do_add(self, node: str, other: str, voter: str = "") -> None:
        new = _member(int(other), voter=voter == "voter")
        self._try(node, lambda qraft: qraft.change_members(qraft.members.with_member(new), self.now))

    def do_promote(self, node: str, other: str) -> None:
        self._try(node, lambda qraft: qraft.change_members(qraft.members.promoted(int(other)), self.now))

    def do_remove(self, node: str, other: str) -> None:
        self._try(node, lambda qraft: qraft.change_members(qraft.members.without(int(other)), self.now))

    def do_transfer(self, node: str, target: str) -> None:
        self._try(node, lambda qraft: qraft.transfer(int(target), self.now))

    def do_resign(self, node: str) -> None:
        self._try(node, lambda qraft: qraft.resign(self.now))

    def do_compact(self, node: str) -> None:
        qraft = self.nodes[int(node)]
        qraft.compact(qraft.commit_index, b"state")
        qraft._me.journal._rebase(qraft.snapshot_index)
        self._perform(int(node))

    def do_show(self, *only: str) -> None:
        for node, qraft in self.nodes.items():
            if only and node != int(only[0]):
                continue
            lease = max(0.0, qraft.lease_until - self.now)
            self.lines.append(
                f"{node} is {qraft.role}, term {qraft.term}, leader {qraft.leader or '-'}, "
                f"commit {qraft.commit_index} of {qraft.last_index}, voters {_numbers(qraft.members.voters)}"
                + (f", listeners {_numbers(qraft.members.listeners)}" if qraft.members.listeners else "")
                + (f", lease {lease:.1f}s" if qraft.role == "leader" else "")
                + (", removed" if qraft.removed else "")
            )

    def _try(self, node: str, action: Callable[[QRaft], object]) -> None:
        try:
            action(self.nodes[int(node)])
        except Refusal as refusal:
            self.lines.append(f"{node} refuses: {refusal.reason}")
        self._perform(int(node))

    # --- what they do -------------------------------------------------------------

    def _perform(self, node: int) -> None:
        qraft = self.nodes[node]
        output = qraft.take()
        number = qraft.saving() if output.save else 0
        self._send(node, sent_early(qraft, output))
        for save in output.save:
            self.lines.append(f"{node} saves {_save(save)}")
            keep(self.saved[node], save)
        self._send(node, output.send)
        self._rest(node, output)
        if number:
            qraft.saved(number, self.now)
            self._perform(node)

    def _send(self, node: int, messages: list[tuple[int | None, say.AnyMessage]]) -> None:
        for to, message in messages:
            self.lines.append(f"{node} > {to or 'all'} {_message(message)}")
            receivers = [to] if to else [other for other in self.saved if other != node]
            self.under_way += [(node, receiver, message) for receiver in receivers]

    def _rest(self, node: int, output: Output) -> None:
        if output.restored is not None:
            self.lines.append(f"{node} restores {output.restored.index}/{output.restored.term}")
        if output.committed:
            self.lines.append(f"{node} applies {' '.join(map(_entry, output.committed))}")
        for _, may in output.reads:
            self.lines.append(f"{node} {'may' if may else 'must not'} read")
        if output.fetch is not None:
            snapshot = self.nodes[output.fetch.node].snapshot
            assert snapshot is not None
            self.nodes[node].install(snapshot, self.now)
            self._perform(node)


def _member(node: int, voter: bool) -> Member:
    return Member(node, node, f"10.0.0.{node}", 8080, 7400, 5432, voter)


def _numbers(nodes: frozenset[int]) -> str:
    return ",".join(map(str, sorted(nodes)))


def _entry(entry: Entry) -> str:
    text = entry.payload.decode() if entry.kind == "command" else entry.kind
    if entry.kind == "members":
        members = Members.decode(entry.payload)
        text = f"voters={_numbers(members.voters)}"
        text += f",listeners={_numbers(members.listeners)}" if members.listeners else ""
        if members.replication_factor:
            text += f",factor={members.replication_factor}"
    return f"{entry.index}/{entry.term}:{text}"


def _save(save: Save) -> str:
    match save:
        case SaveVote(term, vote):
            return f"vote {vote or '-'} in {term}"
        case SaveEntries(entries):
            return " ".join(map(_entry, entries))
        case SaveSnapshot(snapshot, reset):
            return f"snapshot {snapshot.index}/{snapshot.term}{' and drops its log' if reset else ''}"
        case SaveIdentity():
            return "identity"


def _message(message: say.AnyMessage) -> str:
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(message).__name__).lower()
    return f"{name} {message.term}{_details(message)}"


def _details(message: say.AnyMessage) -> str:
    match message:
        case say.PreVote() | say.Vote():
            override = ", override" if isinstance(message, say.Vote) and message.override else ""
            return f" last {message.last_index}/{message.last_term}{override}"
        case say.PreVoteReply():
            return f" for {message.proposed}: {'yes' if message.granted else 'no'}"
        case say.VoteReply():
            return f": {'yes' if message.granted else 'no'}"
        case say.Append():
            entries = " ".join(map(_entry, message.entries))
            place = f"at {message.prev_index}/{message.prev_term} commit {message.commit}"
            return f" round {message.round} {place}{f' [{entries}]' if entries else ''}"
        case say.AppendReply():
            silent = f" silent {_numbers(frozenset(message.silent))}" if message.silent else ""
            return f" round {message.round} match {message.match}{silent}"
        case say.AppendRefusal():
            conflict = f"from {message.conflict_index}" + (f"/{message.conflict_term}" if message.conflict_term else "")
            return f" round {message.round} at {message.prev_index} {conflict}"
        case say.SnapshotOffer() | say.Expelled():
            return f" index {message.index}"
        case say.Goodbye():
            return f" successor {message.successor or '-'}"
    return ""


def play(text: str) -> str:
    """The scenario with the answers that are true now."""
    player, written = Player(), []
    for block in re.split(r"\n{2,}", text.strip()):
        commands = block.split("\n---")[0]
        player.lines = []
        for line in commands.splitlines():
            if line and not line.startswith("#"):
                player.do(line)
        only_words = all(line.startswith("#") for line in commands.splitlines())
        written.append(commands if only_words else commands + "\n---\n" + "\n".join(player.lines or ["ok"]))
    return "\n\n".join(written) + "\n"


def main(arguments: list[str]) -> int:
    """Play all scenarios; with --rewrite write the answers."""
    wrong = 0
    for path in sorted(SCENARIOS.glob("*.txt")):
        before = path.read_text()
        after = play(before)
        if after != before:
            wrong += 1
            print(f"{path.name}: {'rewritten' if '--rewrite' in arguments else 'differs'}")
            if "--rewrite" in arguments:
                path.write_text(after)
    return 0 if "--rewrite" in arguments else wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
