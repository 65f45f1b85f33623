"""What an operator may say about votes, and every contradiction in it, with the remedy.

Must not know which nodes are alive. Where corosync switches one of two contradicting options off, or guesses
which one was meant, this refuses: a cluster of which nobody knows which rule is in force is worse than none.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from qluster.config.document import Fault
from qluster.votes.tie import TieBreaker

VOTES_MAX = 1_000
"""Votes of one node or device: more than that weighs nothing that fewer could not weigh."""
NODES_MAX = 64
"""As many as there may be members of a cluster."""
NODE_MAX = 2**32 - 1
"""Largest number of a node: the arbiter's protocol has 32 bits for it, and 0 stands for the device."""
EXPECTED_MAX = NODES_MAX * VOTES_MAX * 2
"""All nodes, and a device with as many votes as they."""
WINDOW_MIN, WINDOW_MAX = 0.1, 3600.0
"""Seconds of `last_man_standing_window`."""
DEVICE_TIMEOUT_MIN, DEVICE_TIMEOUT_MAX = 0.1, 3600.0
"""Seconds of the device's two time limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """The section `device`."""

    votes: int | None = None
    """None: one less than there are nodes. 0: it is seen and shown, and counts for nothing."""
    timeout: float = 10.0
    """Seconds without a poll until the device is given up."""
    sync_timeout: float = 30.0
    """Seconds that a change of the membership waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The section `quorum` and the votes of the configured nodes. ``faults`` must find nothing before they are used."""

    nodes: tuple[tuple[int, int], ...] = ()
    """Node and votes of every configured node; () where there is no such list."""
    votes: int = 1
    """Votes of this node where there is no list of nodes."""
    expected_votes: int | None = None
    """None: the votes of all configured nodes."""
    two_node: bool = False
    wait_for_all: bool | None = None
    """None: as two_node."""
    auto_tie_breaker: bool = False
    auto_tie_breaker_node: str | None = None
    """`lowest`, `highest`, or numbers of nodes with blanks between them; None is `lowest`."""
    last_man_standing: bool = False
    last_man_standing_window: float = 10.0
    allow_downscale: bool = False
    expected_votes_tracking: bool = False
    device: DeviceOptions | None = None

    @property
    def waits_for_all(self) -> bool:
        """Whether the first quorum needs all votes."""
        return self.two_node if self.wait_for_all is None else self.wait_for_all

    @property
    def tracks_expected(self) -> bool:
        """Whether the highest number of expected votes is kept over restarts."""
        return self.expected_votes_tracking or self.allow_downscale

    @cached_property
    def tie_breaker(self) -> TieBreaker | None:
        """The rule for halves, None where there is none."""
        return TieBreaker.read(self.auto_tie_breaker_node or "lowest") if self.auto_tie_breaker else None

    @property
    def node_votes(self) -> int:
        """The votes of all configured nodes."""
        return sum(votes for _, votes in self.nodes)

    @property
    def device_votes(self) -> int:
        """The votes of the device, 0 where there is none."""
        if self.device is None:
            return 0
        return self.node_votes - 1 if self.device.votes is None else self.device.votes

    @property
    def expected(self) -> int:
        """Expected votes at the start. A device whose votes are given is counted when it is seen, not before."""
        if self.expected_votes is not None:
            return self.expected_votes
        counted = self.device is not None and self.device.votes is None
        return self.node_votes + (self.device_votes if counted else 0)

    def votes_of(self, node: int) -> int:
        """The configured votes of a node."""
        return dict(self.nodes).get(node, self.votes)


Rule = Callable[[Options], Iterator[Fault]]


def _numbers(options: Options) -> Iterator[Fault]:
    """Numbers lie within their limits, and no node is named twice."""
    numbers = [node for node, _ in options.nodes]
    if len(numbers) > NODES_MAX:
        yield Fault("nodes", f"are {len(numbers)}. Use at most {NODES_MAX}.")
    for node in sorted({node for node in numbers if numbers.count(node) > 1}):
        yield Fault("nodes", f"name node {node} more than once. Keep one of them.")
    for node, votes in options.nodes:
        if not 1 <= node <= NODE_MAX:
            yield Fault("nodes", f"have a node {node}. Use numbers from 1 to {NODE_MAX}.")
        if not 0 <= votes <= VOTES_MAX:
            yield Fault("nodes", f"give {votes} votes to node {node}. Use 0 to {VOTES_MAX}.")
    if not 0 <= options.votes <= VOTES_MAX:
        yield Fault("votes", f"are {options.votes}. Use 0 to {VOTES_MAX}.")
    if options.expected_votes is not None and not 1 <= options.expected_votes <= EXPECTED_MAX:
        yield Fault("expected_votes", f"are {options.expected_votes}. Use 1 to {EXPECTED_MAX}, or remove the key.")
    if options.nodes and not options.node_votes:
        yield Fault("nodes", "have no vote between them: nothing could ever be decided. Give one a vote.")


def _times(options: Options) -> Iterator[Fault]:
    """Times lie within their limits, and the device's sync timeout is not the shorter one."""
    window, device = options.last_man_standing_window, options.device
    if not WINDOW_MIN <= window <= WINDOW_MAX:
        yield Fault("last_man_standing_window", f"is {window:g} s. Use {WINDOW_MIN:g} s to {WINDOW_MAX:g} s.")
    if device is None:
        return
    for key, seconds in (("timeout", device.timeout), ("sync_timeout", device.sync_timeout)):
        if not DEVICE_TIMEOUT_MIN <= seconds <= DEVICE_TIMEOUT_MAX:
            yield Fault(f"device.{key}", (
                f"is {seconds:g} s. Use {DEVICE_TIMEOUT_MIN:g} s to {DEVICE_TIMEOUT_MAX:g} s."))
    if device.votes is not None and not 0 <= device.votes <= EXPECTED_MAX:
        yield Fault("device.votes", f"are {device.votes}. Use 0 to {EXPECTED_MAX}, or remove the key.")


def _expected(options: Options) -> Iterator[Fault]:
    """The nodes are listed or the expected votes are given; fewer than the listed nodes have are not expected."""
    if not options.nodes and options.expected_votes is None:
        yield Fault("expected_votes", "are not given, and no nodes are listed: nobody knows how many votes there "
                                      "are. List the nodes, or give the number.")
    if options.expected_votes is not None and 0 < options.expected_votes < options.node_votes:
        yield Fault("expected_votes", f"are {options.expected_votes}, and the nodes have {options.node_votes}: two "
                                      f"parts could be quorate at once. Use at least {options.node_votes}, or remove "
                                      "the key.")


def _two_node(options: Options) -> Iterator[Fault]:
    """`two_node` goes with two nodes of one vote each, and with no device and no tie-breaker."""
    if not options.two_node:
        return
    if options.device is not None:
        yield Fault("two_node", "and a device are both given: with the device two nodes need no special rule. "
                                "Remove two_node.")
    if options.auto_tie_breaker:
        yield Fault("two_node", "and auto_tie_breaker are both given: one lets either node go on, the other only "
                                "the one it names. Remove one of them.")
    if options.nodes and sorted(votes for _, votes in options.nodes) != [1, 1]:
        text = ", ".join(f"node {node}: {votes}" for node, votes in options.nodes)
        yield Fault("two_node", f"is given, and the nodes have these votes: {text}. It is for two nodes with one vote "
                                "each. Remove it.")
    if options.expected_votes not in (None, 2):
        yield Fault("two_node", f"is given, and expected_votes are {options.expected_votes}. Remove one of them.")


def _tie_breaker(options: Options) -> Iterator[Fault]:
    """The tie-breaker names nodes that exist; an odd number of votes needs `wait_for_all` beside it."""
    given = options.auto_tie_breaker_node
    if not options.auto_tie_breaker:
        if given is not None:
            yield Fault("auto_tie_breaker_node", f"{given} is given, and auto_tie_breaker is not. Say "
                                                 "auto_tie_breaker: true, or remove it.")
        return
    try:
        breaker = TieBreaker.read(given or "lowest")
    except ValueError as error:
        yield Fault("auto_tie_breaker_node", str(error))
        return
    strangers = [node for node in breaker.nodes if options.nodes and node not in dict(options.nodes)]
    if strangers:
        yield Fault("auto_tie_breaker_node", f"names node {strangers[0]}, which is not one of the cluster's nodes. "
                                             "Name nodes of the cluster.")
    if options.expected % 2 and not options.waits_for_all:
        remedy = ("Set wait_for_all: true, or remove last_man_standing." if options.last_man_standing
                  else "Set wait_for_all: true, or remove auto_tie_breaker.")
        yield Fault("auto_tie_breaker", f"is given, {options.expected} votes are expected, and wait_for_all is not "
                                        "set: after a restart the larger part could have quorum beside the "
                                        f"tie-breaker's. {remedy}")


def _last_man_standing(options: Options) -> Iterator[Fault]:
    """`last_man_standing` counts nodes, so each has one vote."""
    heavy = [(node, votes) for node, votes in options.nodes if votes > 1]
    if options.last_man_standing and heavy:
        node, votes = heavy[0]
        yield Fault("last_man_standing", f"is given, and node {node} has {votes} votes: it counts nodes. Give every "
                                         "node one vote, or remove it.")


def _device(options: Options) -> Iterator[Fault]:
    """A device goes with none of the rules that do without one."""
    if options.device is None:
        return
    for key, given in (("last_man_standing", options.last_man_standing),
                       ("auto_tie_breaker", options.auto_tie_breaker),
                       ("allow_downscale", options.allow_downscale)):
        if given:
            yield Fault("device", f"is given, and {key} as well: each would decide without the other. "
                                  "Remove one of them.")


def _device_votes(options: Options) -> Iterator[Fault]:
    """The device's votes are given where they cannot be worked out, and leave something to expect of the nodes."""
    device, expected = options.device, options.expected_votes
    if device is None:
        return
    if device.votes is None and expected is not None:
        yield Fault("device.votes", f"are not given, and expected_votes are {expected}: nobody knows how many of them "
                                    "are the device's. Give device.votes, or remove expected_votes.")
    uneven = [(node, votes) for node, votes in options.nodes if votes != 1]
    if device.votes is None and uneven:
        node, votes = uneven[0]
        yield Fault("device.votes", f"are not given, and node {node} has {votes} votes: they can be worked out only "
                                    "where every node has one. Give device.votes.")
    if device.votes is None and expected is None and not uneven and len(options.nodes) < 2:
        yield Fault("device.votes", f"are not given, and {len(options.nodes)} nodes are listed: one less would be no "
                                    "vote at all. List the nodes, or remove the device.")
    if device.votes and expected is not None and expected - device.votes < 2:
        yield Fault("device.votes", f"are {device.votes} of expected_votes {expected}: less than two would be left "
                                    "for the nodes. Lower device.votes, or raise expected_votes.")


RULES: tuple[Rule, ...] = (
    _numbers, _times, _expected, _two_node, _tie_breaker, _last_man_standing, _device, _device_votes,
)


def faults(options: Options) -> list[Fault]:
    """Everything that is wrong with these options."""
    return [fault for rule in RULES for fault in rule(options)]


AT_START = (
    "wait_for_all", "auto_tie_breaker", "auto_tie_breaker_node", "last_man_standing", "last_man_standing_window",
    "allow_downscale", "expected_votes_tracking",
)
"""Read when the daemon starts, and not again: nodes that disagree about them for a while could both be quorate."""


def faults_of_change(old: Options, new: Options) -> list[Fault]:
    """Everything that stands against new options for a running node."""
    fixed = [
        Fault(key, f"changes from {getattr(old, key)} to {getattr(new, key)}: it is read at the start only. "
                   "Restart the daemons one after another.")
        for key in AT_START if getattr(old, key) != getattr(new, key)
    ]
    return [*faults(new), *fixed]
