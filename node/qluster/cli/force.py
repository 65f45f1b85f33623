"""Has the node on this host go on without the majority, and waits for what becomes of it.

It must not decide anything: it asks the node on this host, and prints what that answers.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from qluster.api.shapes import Whole
from qluster.cli.asking import Unanswered, ask_here, user
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.cli.show import span_text
from qluster.config import Config

LOOK_PAUSE = 0.5
"""Seconds between two looks at what became of it."""
SECONDS_MORE = 600.0
"""What fence agents, the stop of the database and the new founding may take beside the wait for leases."""


class _GivenUp(Struct):
    node: int
    ip: str
    fenced: bool
    heard_ago: float | None


class _Detail(Struct):
    node: int
    founding: int
    against: list[str]
    counts_on: list[int]
    gives_up: list[_GivenUp]
    seconds: float


class _Answer(Struct):
    detail: _Detail


def force_quorum(config: Config, chosen: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    asked = {"name": chosen.name, "check": "true" if chosen.check else "false", "by": user()}
    if chosen.nodes:
        asked["nodes"] = ",".join(map(str, chosen.nodes))
    if chosen.confirm_off:
        asked["confirm-off"] = ",".join(chosen.confirm_off)
    try:
        answer = ask_here(config, "POST", f"/force-quorum?{urlencode(asked, safe=',')}")
        detail = msgspec.json.decode(answer.body, type=_Answer).detail
        print("\n".join(lines(detail)), flush=True)
        if chosen.check:
            return EXIT_TROUBLE if detail.against else EXIT_DONE
        return _outcome(config, detail)
    except Unanswered as reason:
        return _trouble(str(reason))
    except msgspec.MsgspecError as error:
        return _trouble(f"the answer is not understood ({error}). Are program and node of one version?")


def lines(detail: _Detail) -> Iterator[str]:
    """What is to be done, for people."""
    yield f"node {detail.node} goes on from its log, in a founding after {detail.founding}"
    kept = ", ".join(f"node {number}" for number in detail.counts_on) or "nobody: it is alone until others join it"
    yield f"counted on  {kept}"
    for one in detail.gives_up:
        how = "its host is fenced first" if one.fenced else "you say that its host is off"
        heard = "not since the daemon started" if one.heard_ago is None else f"{span_text(one.heard_ago)} ago"
        yield f"given up    node {one.node} ({one.ip}), heard {heard}: {how}"
    yield f"waited      {detail.seconds:g} s at least, until leases of the former majority have run out"
    for fault in detail.against:
        yield f"AGAINST IT  {fault}"


def _outcome(config: Config, detail: _Detail) -> int:
    until = time.monotonic() + detail.seconds + SECONDS_MORE
    while time.monotonic() < until:
        time.sleep(LOOK_PAUSE)
        try:
            cluster = msgspec.json.decode(ask_here(config, "GET", "/status").body, type=Whole).cluster
        except Unanswered:
            continue  # the node begins again in between
        if cluster.cluster is not None and cluster.cluster != detail.founding and cluster.leader is not None:
            print(f"founding {cluster.cluster} goes on, led by node {cluster.leader}; see `qluster status`")
            return EXIT_DONE
        if cluster.cluster == detail.founding and "not forced" in cluster.forcing:
            return _trouble(cluster.forcing)
    return _trouble("no outcome yet; `qluster status` and the log of the daemon show it")


def _trouble(line: str) -> int:
    print(line, file=sys.stderr)
    return EXIT_TROUBLE
