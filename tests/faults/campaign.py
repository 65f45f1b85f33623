"""One round: a cluster is founded, clients work, the nemesis strikes, all heals, and the books are checked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from faults.clients import Clients, last_reads, stored
from faults.cluster import Cluster
from faults.nemesis import DISKS, NETWORK, PROCESSES, RELAY, Fault, Nemesis
from histories.linearizability import check
from histories.operations import to_lines

QUIET_SECONDS = 1.0
"""Clients go on so long after the last fault."""


@dataclass
class Round:
    """What a round drew, what it did, and what was wrong."""

    seed: int
    hosts: int = 3
    relayed: bool = False
    disks: bool = True
    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    endings: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    back_seconds: float = 0.0
    term: int = 0


def drawn(seed: int) -> Round:
    """How the round of a seed is set up."""
    random = Random(seed)
    return Round(seed, random.choice((3, 3, 3, 5)), random.random() < 0.4, random.random() < 0.8)


def play(round_: Round, seconds: float, keep: Path | None = None, kinds: tuple[Fault, ...] = ()) -> Round:
    """Play one round; where something is wrong, everything that explains it is kept in a folder."""
    cluster = Cluster(f"round{round_.seed}", round_.hosts, relayed=round_.relayed)
    nemesis = Nemesis(cluster, round_.seed, kinds or _kinds(round_))
    clients = Clients(cluster, round_.seed, each=3 if round_.hosts == 3 else 2)
    try:
        cluster.found(disk=round_.disks)
        with clients:
            nemesis.strike_for(seconds)
            time.sleep(QUIET_SECONDS)
        _close(round_, cluster, clients)
    except AssertionError as error:
        round_.violations.append(f"not back: {error}")
    finally:
        _sum_up(round_, cluster, clients, nemesis)
        if keep is not None and round_.violations:
            _keep(keep / f"seed{round_.seed}", round_, cluster, clients, nemesis)
        cluster.end()
    return round_


def _kinds(round_: Round) -> tuple[Fault, ...]:
    network = RELAY if round_.relayed else NETWORK
    return (*network, *PROCESSES, *(DISKS if round_.disks else ()))


def _close(round_: Round, cluster: Cluster, clients: Clients) -> None:
    """All faults are gone: everybody agrees, nothing that was acknowledged is missing."""
    began = time.monotonic()
    cluster.recover()
    round_.back_seconds = time.monotonic() - began
    round_.term = cluster.map(cluster.leader_host())["cluster"]["term"]
    found = last_reads(cluster, clients.ledger)
    # A node that was late with the news of a last election is no other node.
    cluster.recover()
    for number in cluster.numbers:
        own = stored(cluster, number, found)
        if own != found:
            other = {key: (own[key], found[key]) for key in found if own[key] != found[key]}
            round_.violations.append(f"node {number} holds something else than the leader: {other}")
    verdict = check(clients.ledger.operations)
    if not verdict.legal:
        round_.violations.append(f"not linearizable:\n{verdict.explanation}")
    if verdict.undecided:
        round_.violations.append(f"not decided: {verdict.undecided}")
    round_.violations += [f"two places: {one}" for one in clients.ledger.contradictions()]


def _sum_up(round_: Round, cluster: Cluster, clients: Clients, nemesis: Nemesis) -> None:
    ledger = clients.ledger
    round_.operations = len(ledger.operations)
    round_.unknown = sum(1 for one in ledger.operations if one.unknown)
    round_.acknowledged = sum(1 for one in ledger.operations if not one.unknown and one.kind != "read")
    round_.struck, round_.answers, round_.endings = nemesis.struck, ledger.answers, nemesis.endings
    for disk in cluster.disks.values():
        round_.counts.update(disk.counts())
    round_.counts["packets lost"] = cluster.cables.dropped()
    for number in cluster.numbers:
        if (cluster.place(number) / "log").exists() and "Traceback" in (said := cluster.log(number)):
            place = said.index("Traceback")
            round_.violations.append(f"node {number} broke: {said[place : place + 3000]}")


def _keep(folder: Path, round_: Round, cluster: Cluster, clients: Clients, nemesis: Nemesis) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "story").write_text("\n".join([repr(round_), "", *round_.violations, "", *nemesis.story]) + "\n")
    (folder / "history.jsonl").write_text("".join(f"{line}\n" for line in to_lines(clients.ledger.operations)))
    for number in cluster.numbers:
        if (cluster.place(number) / "log").exists():
            (folder / f"node{number}.log").write_text(cluster.log(number))
