"""Votequorum beside an arbiter: what the list gives the device is counted, and forbids nothing that the list allows."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import msgspec
import pytest
from config.test_device_section import config as device_config
from qluster.config import Quorum
from qluster.consensus.members import MEMORY, Member, Members
from qluster.events import DeviceHeard, Effects, TimePassed
from qluster.node import Node
from qluster.qdevice.orders import Came, Close, Ended, Happening, Open, Opened, Say
from qluster.qnet.memories import Memories
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import Settings
from qluster.votes.display import status
from qluster.votes.options import Options, faults
from qluster.votes.view import View
from qluster.voting import options_of
from qnet.stage import Stage
from sim.checks import converged
from sim.host import Host
from sim.world import World

DEVICE = device_config("tls: off, timeout: 4s, sync-timeout: 6s").device
ON, OFF = Quorum(provider="votequorum"), Quorum(two_node=True, expected_votes=7)
"""Switched on; and switched off, with settings that then mean nothing."""


def listed(count: int, device: int) -> Members:
    members = [Member(number, 1, f"192.0.2.{number}", 8080, 7400, voter=True) for number in range(1, count + 1)]
    return Members(tuple(members), device=device, way=MEMORY if device else "", device_uid=7 if device else 0)


@pytest.mark.parametrize(
    ("quorum", "members", "expected", "votes"),
    [
        (ON, listed(2, 0), 2, 0),
        (ON, listed(2, 1), 3, 1),
        (ON, listed(4, 1), 5, 1),
        (msgspec.structs.replace(ON, expected_votes=2), listed(2, 1), 3, 1),
        (msgspec.structs.replace(ON, expected_votes=5), listed(2, 1), 5, 1),
        (OFF, listed(2, 1), 3, 1),
    ],
)
def test_the_device_has_the_votes_of_the_list(quorum: Quorum, members: Members, expected: int, votes: int) -> None:
    options = options_of(quorum, members, DEVICE)
    assert faults(options) == []
    assert (options.expected, options.device_votes) == (expected, votes)
    assert options.device is not None and (options.device.timeout, options.device.sync_timeout) == (4.0, 6.0)


def test_who_is_alone_in_the_list_decides_alone() -> None:
    options = options_of(ON, listed(1, 0), DEVICE)
    assert options == Options(nodes=((1, 1),)) and faults(options) == []


def test_votes_of_an_arbiter_that_this_node_does_not_ask_are_expected_all_the_same() -> None:
    options = options_of(ON, listed(2, 1), None)
    assert options.device is None and options.expected == 3 and faults(options) == []


class Remembered:
    """In the place of the simulator's own arbiter: its checks ask what the memory behind the protocol has seen."""

    def __init__(self, memories: Memories) -> None:
        self._memories = memories

    def has_seen(self, founding: int, uid: int, index: int, term: int) -> bool:
        return any(
            (kept.last_term, kept.index) >= (term, index)
            for (_, number), kept in self._memories
            if (number, kept.uid) == (founding, uid)
        )

    def holds(self, node: Node, members: Members, holders: object, index: int, term: int) -> bool:
        return self.has_seen(node.cluster, members.device_uid, index, term)

    def right_list(self, node: Node) -> str:
        return ""

    def connect(self, host: Host) -> None:
        """Hosts have hands of their own here."""

    lost = connect

    def asked(self, host: Host, node: Node, question: object) -> None:
        """It goes by the protocol."""


class Asking:
    """A simulated cluster whose nodes ask an arbiter for its vote, by its own protocol."""

    def __init__(self, seed: int, *, remembers: bool = True, tie_breaker: str = "lowest",
                 algorithm: str = "ffsplit") -> None:  # fmt: skip
        self.world = World(seed, databases=2, synchronous="quorum", quorum="provider: votequorum")
        memories = Memories({}, Random(seed), 0.0) if remembers else None
        self.stage = Stage(Settings(tls=TlsSupported.UNSUPPORTED), memories)
        if memories is not None:
            self.world.arbiter = Remembered(memories)  # type: ignore[assignment]
        self.up = True
        self.connections: dict[str, Host] = {}
        for host in self.databases:
            device = msgspec.structs.replace(DEVICE, tie_breaker=tie_breaker, algorithm=algorithm)
            host.config = host.proper = msgspec.structs.replace(host.proper, device=device)
            self._give_hands(host)
        for host in self.world.hosts.values():
            host.start()
        self.until(lambda: converged(self.world) == "", 60.0)
        if remembers:
            self.until(lambda: all(host.node is not None and host.node.settled.device for host in self.databases))

    @property
    def databases(self) -> list[Host]:
        return [host for host in self.world.hosts.values() if host.database is not None]

    def _give_hands(self, host: Host) -> None:
        performed = host._perform

        def perform(node: Node, effects: Effects) -> None:
            performed(node, effects)
            for order in effects.device:
                self._order(host, node, order)

        host._perform = perform  # type: ignore[method-assign]

    def _order(self, host: Host, node: Node, order: object) -> None:
        self.stage.wait(self.world.now - self.stage.now)
        name = f"{host.name}-{id(node)}-{getattr(order, 'attempt', 0)}"
        match order:
            case Open(attempt):
                if not self.up:
                    self._tell(host, node, Ended(attempt, "connection refused"))
                    return
                self.connections[name] = host
                self.stage.connect(name)
                self._tell(host, node, Opened(attempt))
            case Say(_, data) if name in self.connections:
                self.stage.give(name, data)
            case Close():
                self._close(name)
        for one, other in list(self.connections.items()):
            for data in self.stage.raw(one):
                assert other.node is not None
                self._tell(other, other.node, Came(int(one.split("-")[-1]), data))

    def _tell(self, host: Host, node: Node, what: Happening) -> None:
        """A moment later, as from a network."""
        def arrive() -> None:
            if host.node is node:
                host.give(DeviceHeard(what))

        self.world.at(self.world.now + 0.001, arrive)

    def _close(self, name: str) -> None:
        if self.connections.pop(name, None) is not None:
            self.stage.close(name)

    def kill(self, host: Host, *, power: bool = True) -> None:
        """Without ``power``: the daemon alone, which comes back."""
        host.crash(held=power, power=power)
        for name in [name for name, other in self.connections.items() if other is host]:
            self._close(name)
        survivor = next(one for one in self.databases if one is not host)
        survivor.give(TimePassed())

    def arbiter_dies(self) -> None:
        self.up = False
        for name, host in list(self.connections.items()):
            assert host.node is not None
            self._close(name)
            self._tell(host, host.node, Ended(int(name.split("-")[-1]), "closed by the arbiter"))

    def until(self, holds: object, seconds: float = 30.0) -> None:
        assert self.world.run(seconds, holds), "\n".join(self.world.story[-20:])  # type: ignore[arg-type]

    def view(self, host: Host) -> View:
        assert host.node is not None and host.node.voting.view is not None
        return host.node.voting.view

    def shown(self, host: Host) -> dict[str, str]:
        """What the tool prints: the fields, and the lines of the nodes by number."""
        lines = status(self.view(host), {}, "").splitlines()
        pairs = [line.split(":", 1) for line in lines if ":" in line]
        rows = [line.split() for line in lines if line[:10].strip().isdigit()]
        device = [("device", " ".join(row[1:])) for row in rows if row[0] == "0"]
        nodes = ", ".join(" ".join(row[1:3]) for row in rows if row[0] != "0")
        return {key: value.strip() for key, value in pairs} | dict(device) | {"nodes": nodes}


def both_shown(asking: Asking) -> list[dict[str, str]]:
    return [asking.shown(host) for host in asking.databases]


def test_two_nodes_and_the_device_are_shown_as_by_the_tool() -> None:
    asking = Asking(1)
    asking.until(lambda: all(shown.get("device") == "1 Qdevice" for shown in both_shown(asking)))
    for shown in both_shown(asking):
        votes = [shown[key] for key in ("Expected votes", "Highest expected", "Total votes", "Quorum", "Flags")]
        assert votes == ["3", "3", "3", "2", "Quorate Qdevice"]
        assert shown["nodes"] == "1 A,V,NMW, 1 A,V,NMW"


@pytest.mark.parametrize("of_primary", [True, False], ids=["primary", "standby"])
def test_a_lone_survivor_with_the_device_is_not_forbidden_to_stand(of_primary: bool) -> None:
    asking = Asking(2)
    primary = asking.world.primary()
    dead = next(host for host in asking.databases if (host is primary) is of_primary)
    survivor = next(host for host in asking.databases if host is not dead)
    asking.kill(dead)
    asking.until(lambda: asking.shown(survivor)["Nodes"] == "1" and asking.view(survivor).settled)
    asking.until(lambda: asking.world.primary() is survivor and asking.shown(survivor)["device"] == "1 Qdevice")
    shown = asking.shown(survivor)
    assert (shown["Expected votes"], shown["Total votes"], shown["Quorate"]) == ("3", "2", "Yes")
    assert survivor.node is not None and survivor.node.voting.veto == ""


def test_without_the_arbiter_both_go_on_and_neither_alone() -> None:
    asking = Asking(3)
    asking.until(lambda: all(shown.get("device") == "1 Qdevice" for shown in both_shown(asking)))
    asking.arbiter_dies()
    asking.until(lambda: all(shown.get("device") == "0 Qdevice (votes 1)" for shown in both_shown(asking)))
    for shown in both_shown(asking):
        assert (shown["Total votes"], shown["Quorate"], shown["nodes"]) == ("2", "Yes", "1 A,NV,NMW, 1 A,NV,NMW")
    primary = asking.world.primary()
    assert primary is not None
    asking.kill(primary)
    survivor = next(host for host in asking.databases if host is not primary)
    asking.until(lambda: not asking.view(survivor).quorate)
    assert survivor.node is not None and survivor.node.voting.veto == "1 of 3 expected votes are here and 2 are needed"


def ahead(one: Host, other: Host) -> bool:
    """Whether it has committed what the other lacks."""
    mine, theirs = (host.node.qraft if host.node is not None else None for host in (one, other))
    return mine is not None and theirs is not None and mine.commit_index > theirs.last_index


@pytest.mark.parametrize("seed", range(3))
def test_the_only_one_whose_log_the_memory_accepts_may_stand_where_the_algorithm_prefers_the_other(seed: int) -> None:
    """Else nobody could be elected: the preferred half lacks what the other has committed with the memory."""
    asking = Asking(seed, tie_breaker="highest")
    world, leader = asking.world, asking.world.leader()
    assert leader is not None and leader.node is not None and leader.node.me == min(leader.node.settled.voters)
    other = next(host for host in asking.databases if host is not leader)
    world.clients.write_always()
    world.network.isolate(leader)
    asking.until(lambda: asking.view(other).device_casts and asking.view(other).settled)
    asking.until(lambda: not asking.view(leader).quorate and asking.view(leader).settled)
    # It gives up the guarantee by the other database, which is an entry.
    asking.until(lambda: ahead(leader, other))
    assert world.leader() is leader, "the list counts the memory, which goes on with it"
    asking.kill(leader, power=False)
    asking.until(lambda: leader.node is not None and leader.node.leads)
    assert not asking.view(leader).quorate, "votequorum's view is that of the algorithm"


def test_a_device_that_the_list_does_not_count_is_shown_and_counts_for_nothing() -> None:
    asking = Asking(4, remembers=False, algorithm="test")
    asking.until(lambda: all("Qdevice" in shown["Flags"] for shown in both_shown(asking)))
    asking.until(lambda: all(shown["nodes"] == "1 A,V,NMW, 1 A,V,NMW" for shown in both_shown(asking)))
    for shown in both_shown(asking):
        assert (shown["Expected votes"], shown["Total votes"], shown.get("device")) == ("2", "2", "0 Qdevice")
