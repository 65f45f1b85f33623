"""A whole node, told anything in any order. What it must not do is in :mod:`lone`; what may stop it is named here."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
from collections.abc import Callable

from fuzz import examples, speech
from fuzz.lone import BEGINNINGS, UID, Lone
from fuzz.source import Source
from qluster import clients, events
from qluster.api import routes
from qluster.api.access import Rights
from qluster.cluster import messages as telling
from qluster.consensus import messages as agreeing
from qluster.database.facts import Facts
from qluster.hearing import CLUSTER, CONSENSUS

logging.disable(logging.CRITICAL)

STEPS_MAX = 60
"""Longer rows only repeat themselves."""
SPEAKERS = (UID + 2, UID + 3, UID + 4, UID + 9, 7)
PAUSES = (0.0, 0.01, 0.3, 1.0, 2.5, 10.0)

PROVE_A_FAULT = (
    "both lead in term",
    "lead in",
    "replaces the committed entry",
    "is committed here",
)
"""What only a broken rule of consensus (S1, S6) can bring about: two leaders of one term, another entry where
one is committed. A node that is told so stops."""


def proves_a_fault(error: AssertionError) -> bool:
    """Whether this is one of them."""
    return any(words in str(error) for words in PROVE_A_FAULT)


def run(content: bytes) -> None:
    """Play one row of events."""
    source = Source(content)
    lone = source.one_of(BEGINNINGS)()
    for _ in range(STEPS_MAX):
        if source.empty or not lone.goes_on():
            break
        action = source.one_of(ACTIONS)
        try:
            action(source, lone)
        except AssertionError as error:
            if not proves_a_fault(error):
                raise
            return
    _look_at(lone, PATHS[len(content) % len(PATHS)])


PATHS = (("/status",), ("/is-leader",), ("/status", "/map"), ("/metrics",), ("/replication", "/quorum"))


def _look_at(lone: Lone, paths: tuple[str, ...]) -> None:
    """Whatever it went through, it can be asked."""
    status = lone.node.status(lone.now)
    for path in paths:
        answer = routes.decide(routes.Request("GET", path, rights=Rights.OPERATE), lambda: status, 1)
        assert isinstance(answer, routes.Reply) and answer.code


# --- what can happen -----------------------------------------------------------------


def _agree(source: Source, lone: Lone) -> None:
    message = speech.agreed(source, lone.node)
    lone.say(_speaker(source, message.node), CONSENSUS + agreeing.encode(message), to_all=bool(source.byte() & 1))


def _lead(source: Source, lone: Lone) -> None:
    message = speech.fitting(source, lone.node)
    if message is not None:
        lone.agree(UID + message.node, message)


def _report(source: Source, lone: Lone) -> None:
    message = speech.told(source, lone.node)
    lone.say(_speaker(source, message.node), CLUSTER + telling.encode(message))


def _speaker(source: Source, node: int) -> int:
    """Mostly who it says it is."""
    return UID + node % 2**32 if source.byte() < 224 else source.one_of(SPEAKERS)


def _mumble(source: Source, lone: Lone) -> None:
    lone.say(source.one_of(SPEAKERS), source.take(source.byte()))


def _noise(source: Source, lone: Lone) -> None:
    lone.tell(events.DatagramReceived(source.take(source.byte()), ("192.0.2.66", 9)))


def _cooperate(source: Source, lone: Lone) -> None:
    lone.cooperate(UID + source.one_of((2, 3, 4)))


def _wait(source: Source, lone: Lone) -> None:
    lone.wait(source.one_of(PAUSES))


def _ask(source: Source, lone: Lone) -> None:
    ticket = lone.asked + 1
    number = source.one_of((1, 2, 3, 4, 9, 2**31 - 1))
    key = source.one_of(("", "k1", "k2"))
    consistency = source.one_of(("leader", "lease", "local"))
    changes = {source.one_of(SETTINGS): source.one_of(VALUES)}
    requests: tuple[clients.ClientRequest, ...] = (
        clients.ReadRequested(ticket, consistency),
        clients.SettingsChangeRequested(ticket, key, changes),
        clients.LeaderChangeRequested(ticket, key, number),
        clients.FailoverShown(ticket),
        clients.FailoverRequested(ticket, key, number),
        clients.NodeAddRequested(ticket, key, f"10.0.0.{number % 200 + 1}", source.one_of(("node", "listener"))),
        clients.NodePromoteRequested(ticket, key, number, source.one_of((None, 5433)), source.one_of((None, 8081))),
        clients.NodeRemoveRequested(ticket, key, number),
        clients.NodeDownRequested(ticket, key, number, bool(source.byte() & 1)),
        clients.ValueReadRequested(ticket, "name", consistency),
        clients.ValuesListRequested(ticket, source.one_of(("", "n")), "", consistency),
        clients.ValueWriteRequested(ticket, key, "name", source.one_of((None, b"v")), source.one_of((None, 0, 5))),
    )
    lone.ask(source.one_of(requests))


SETTINGS = ("cluster.node-timeout", "cluster.heartbeat-interval", "cluster.replication-factor", "udp.max-log-size",
            "cluster.quorum-replication", "cluster.autoremove-enabled", "ip", "nonsense")  # fmt: skip
VALUES = ("9s", "1s", "2", "3", "true", "false", "2048", "", "nonsense")


def _look(source: Source, lone: Lone) -> None:
    if lone.config.database is None:
        return
    known = (None, 0, 1, 4096, 2**64 - 1)
    lone.look(
        Facts(
            directory=source.one_of(("initialised", "empty", "absent", "unfinished", "foreign")),
            system_id=source.one_of((examples.SYSTEM_ID, None, 5)), server=source.one_of(SERVERS),
            in_recovery=source.one_of((True, False, None)), standby=bool(source.byte() & 1),
            fresh=bool(source.byte() & 1), last_reign=source.byte() % 4, timeline=source.one_of((1, 2, None)),
            position=source.one_of(known), replayed=source.one_of(known),
            upstream=source.one_of((None, "10.0.0.2:5432")),
            receiver=source.one_of(("none", "streaming", "waiting")),
            standing=source.one_of(("", "fits", "diverged", "outrun")), crashes=source.byte() % 5,
        )
    )  # fmt: skip


SERVERS = ("running", "stopped", "starting", "stopping")


def _end_job(source: Source, lone: Lone) -> None:
    if not lone.jobs:
        return
    number = source.one_of(sorted(lone.jobs)[:200])
    order = lone.jobs[number].order
    error = source.one_of((None, None, "it failed"))
    result: object = source.one_of((None, True, False)) if error else _result(source, lone, order)
    lone.end_job(number, result, error)


def _result(source: Source, lone: Lone, order: object) -> object:
    if not isinstance(order, events.FetchSnapshot):
        return examples.SYSTEM_ID
    good = examples.snapshot()
    known = speech.numbers(lone.node)
    return events.Snapshot(
        source.one_of((good.index, *known)), source.one_of((good.term, *known)),
        source.one_of((good.members, b"", b"nonsense", speech.members(source).encode())),
        source.one_of((good.state, b"", b"nonsense", source.take(40))),
    )  # fmt: skip


def _disturb(source: Source, lone: Lone) -> None:
    """The disk hangs, or answers again; the daemon dies and starts again, or is asked to stop."""
    match source.byte() % 8:
        case 0:
            lone.tell(events.StopRequested())
        case 1 | 2:
            lone.start()
        case 3:
            lone.saves_end = True
            lone.save_ended()
        case 4 | 5:
            lone.saves_end = False
        case _:
            lone.save_ended()


ACTIONS: tuple[Callable[[Source, Lone], None], ...] = (
    _agree, _agree, _agree, _lead, _report, _report, _cooperate, _cooperate, _wait, _wait, _ask, _look, _end_job,
    _mumble, _noise, _disturb,
)  # fmt: skip
