"""Votes and quorum in the sections and columns that people know from corosync-quorumtool.

It must not decide anything: it asks the node on this host and prints what that answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from qluster.api.shapes import QuorumAnswer
from qluster.cli.asking import refusal
from qluster.cli.exits import EXIT_TROUBLE
from qluster.cli.show import ASK_SECONDS, span_text
from qluster.config import Config
from qluster.edge.client import ClientError, ask
from qluster.paired import TwoNodeStatus
from qluster.voted import DeviceFlagsStatus
from qluster.votes import display
from qluster.votes.information import NO_RING, Flag, Ring, State
from qluster.votes.view import NodeView, View, Why

LIST_PROVIDER = "qluster_members"
"""Whose figures these are where no votes are counted: those of the list of members."""

ORDERS = {"i": display.Order.NODE, "n": display.Order.NAME, "a": display.Order.NAME}
"""Node id, name, address; a node is called by its address."""


def show_quorum(config: Config, chosen: argparse.Namespace) -> int:
    """Ask the node on this host and print its answer. The exit code is that of corosync-quorumtool."""
    try:
        token = Path(config.api.read_token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return _trouble(f"api.read-token-file: {config.api.read_token_file} cannot be read ({error}). "
                        f"Run this as the user of the service.")
    try:
        answer = asyncio.run(ask((config.ip, config.api_port), "GET", "/quorum", ca_file=config.api.ca_file,
                                 token=token, timeout=ASK_SECONDS))
        if answer.code != 200:
            return _trouble(refusal(answer))
        found = msgspec.json.decode(answer.body, type=QuorumAnswer)
    except ClientError as error:
        return _trouble(str(error))
    except msgspec.MsgspecError as error:
        return _trouble(f"the node's answer is not understood ({error}). Are program and node of one version?")
    if chosen.json:
        print(answer.body.decode())
    else:
        style = display.Style(
            hexadecimal=chosen.hex, device_column=chosen.device_column, order=ORDERS[chosen.order],
            provider=display.PROVIDER if found.votequorum.counted else LIST_PROVIDER,
        )  # fmt: skip
        print(text(found, time.ctime(), style, only_nodes=chosen.list), end="")
    return display.exit_code(view_of(found))


def _trouble(line: str) -> int:
    print(line, file=sys.stderr)
    return EXIT_TROUBLE


def text(found: QuorumAnswer, date: str, style: display.Style, *, only_nodes: bool = False) -> str:
    """The answer for people. ``date`` as `ctime` prints it."""
    view = view_of(found)
    names = {one.node: one.name for one in found.votequorum.nodes} | {one.node: one.ip for one in found.members}
    if only_nodes:
        return display.nodes(view, names, style)
    sections = "".join(f"\n{display.section(title, rows)}" for title, rows in _alone(found) if rows)
    return display.status(view, names, date, style) + sections + "".join(f"\n{line}\n" for line in _remarks(found))


Rows = tuple[tuple[str, str], ...]


def _alone(found: QuorumAnswer) -> Iterator[tuple[str, Rows]]:
    """Sections for going on without the majority, where there is something to say."""
    yield "Two-node information", tuple(_two_node(found.two_node, found)) if found.two_node is not None else ()
    yield "Forced quorum information", tuple(_forced(found))


CLAIMS = {
    "none": "none", "waits": "waits for the next shot", "fencing": "the other host is being switched off",
    "fenced": "the other host is off, this node is about to go on", "alone": "this node went on alone",
    "failed": "FAILED, somebody must act", "barred": "NOT ALLOWED here",
}  # fmt: skip
"""How ``claim`` of an answer is printed."""


def _two_node(pair: TwoNodeStatus, found: QuorumAnswer) -> Iterator[tuple[str, str]]:
    yield "Fencing", "in force" if pair.in_force else "not in force"
    if pair.other is not None:
        heard = "not since the start" if pair.heard_ago is None else f"{pair.heard_ago:.2f} s ago"
        names = {one.node: one.ip for one in found.members}
        yield "Other node", f"{pair.other} ({names.get(pair.other, 'no member')}), heard {heard}"
        yield "Could go on", "Yes" if pair.able else "No"
    yield "Claim", CLAIMS.get(pair.claim, pair.claim)
    if pair.shots:
        due = f", the next in {pair.next_in:.2f} s" if pair.next_in is not None else ""
        yield "Shots", f"{pair.shots} of {pair.attempts}{due}"
    if pair.last is not None:
        outcome = "switched off" if pair.last.success else "NOT switched off"
        yield "Last shot", (f"node {pair.last.node} ({pair.last.ip}), {span_text(pair.last.ago)} ago: {outcome}"
                            f"{': ' if pair.last.said else ''}{pair.last.said}")  # fmt: skip
    if pair.reason:
        yield "Reason", pair.reason


def _forced(found: QuorumAnswer) -> Iterator[tuple[str, str]]:
    if found.forcing:
        yield "Forcing", found.forcing
    if not found.forced:
        return
    last = found.forced[-1]
    yield "Forced", f"{last.at} on node {last.node}{f' by {last.by}' if last.by else ''}"
    yield "Founding", f"{last.founding}, after {last.former}"
    yield "Given up", ", ".join(f"node {one.node} ({one.ip})" for one in last.given_up) or "nobody"
    yield "Outside", ", ".join(f"{one.ip}" for one in last.outside) or "nobody: all are members again"
    if last.awaited:
        yield "Not voting yet", ", ".join(f"node {number}" for number in last.awaited)


def _remarks(found: QuorumAnswer) -> Iterator[str]:
    votes = found.votequorum
    if not votes.counted:
        yield (f"These are the votes of the list of members, which decides who can be elected. "
               f"Votequorum counts none here: {votes.reason}")
        if found.device is not None:
            counts = "counts for this node" if found.device.counts else f"does not count here: {found.device.reason}"
            yield f"Of the expected votes {found.device.votes} are the arbiter's (by {found.device.way}). It {counts}"
    elif not votes.settled:
        yield "The ring has just changed: until all its members were heard, this is what was true before."
    if votes.veto:
        yield f"This node does not stand in an election: {votes.veto}"
    if found.differs:
        yield f"{found.differs[0].upper()}{found.differs[1:]}"


def view_of(found: QuorumAnswer) -> View:
    """What was answered, as the votes are displayed; that of the list of members where no votes are counted."""
    votes, device = found.votequorum, found.votequorum.device
    if not votes.counted:
        return _view_of_list(found)
    assert votes.ring is not None and votes.node is not None, "an answer of votes that are counted in no ring"
    nodes = tuple(
        NodeView(one.node, one.votes, one.expected_votes, State[one.state.upper()], _flags(one.device), one.member)
        for one in votes.nodes
    )
    return View(
        node=votes.node, ring=Ring(votes.ring.node, votes.ring.seq), nodes=nodes, quorate=votes.quorate,
        settled=votes.settled, why=Why(votes.why), reason=votes.reason, expected=votes.expected_votes,
        highest_expected=votes.highest_expected, total=votes.total_votes, quorum=votes.quorum,
        flags=tuple(votes.flags), device_name=device.name if device else "",
        device_votes=device.votes if device else 0, device_casts=device.cast if device else False,
    )  # fmt: skip


def _flags(device: DeviceFlagsStatus) -> Flag:
    marks = ((device.registered, Flag.DEVICE_REGISTERED), (device.alive, Flag.DEVICE_ALIVE),
             (device.cast, Flag.DEVICE_CASTS), (device.master_wins, Flag.MASTER_WINS))
    return Flag(sum(flag for marked, flag in marks if marked))


def _view_of_list(found: QuorumAnswer) -> View:
    voters = [one for one in found.members if one.role == "node"]
    nodes = tuple(
        NodeView(one.node, one.votes, found.expected_votes, State.MEMBER if one.alive else State.DEAD, Flag(0),
                 one.alive)
        for one in voters
    )  # fmt: skip
    return View(
        node=found.node, ring=NO_RING, nodes=nodes, quorate=found.quorate, settled=True,
        why=Why.VOTES if found.quorate else Why.TOO_FEW, reason="", expected=found.expected_votes,
        highest_expected=found.expected_votes, total=found.total_votes, quorum=found.quorum,
        flags=_flags_of_list(found), device_name="", device_votes=0, device_casts=False,
    )  # fmt: skip


def _flags_of_list(found: QuorumAnswer) -> tuple[str, ...]:
    """Words of corosync's tool for what the list of members has."""
    pair, device = found.two_node, found.device is not None
    marks = (("2Node", pair is not None and pair.in_force), ("Quorate", found.quorate), ("Qdevice", device))
    return tuple(word for word, marked in marks if marked)
