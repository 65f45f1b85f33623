"""Has a host fenced, looks whether its agents work, or tells the cluster that it is off.

It must not decide anything: it asks the leader; with ``--check`` and ``--here`` it runs the agents of this host.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import asyncio
import sys
import time

import msgspec

from qluster.api.shapes import Whole
from qluster.cli.asking import Unanswered, ask_leader
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.config import Config, Fencing
from qluster.edge.fencing import FenceAgents
from qluster.events import AgentsEnded

LOOK_PAUSE = 1.0
"""Seconds between two looks whether the fencing has ended."""
SECONDS_MAX = 900.0
"""Longer than all levels of a host take."""


def fence(config: Config, chosen: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    if chosen.check or chosen.here:
        return _by_hand(config, chosen)
    if chosen.address is None or chosen.node is None:
        return _trouble("name the host's address and, with --node, its number: both, as a proof", EXIT_USAGE)
    try:
        path = f"/fence?node={chosen.node}&ip={chosen.address}"
        ask_leader(config, "POST", path + ("&confirm=off" if chosen.confirm_off else ""))
        if chosen.confirm_off:
            print(f"noted: the host of node {chosen.node} is off, nobody waits for it any longer")
            return EXIT_DONE
        print(f"node {chosen.node} is being fenced", flush=True)
        return _outcome(config, chosen.node)
    except Unanswered as reason:
        return _trouble(str(reason))


def _outcome(config: Config, node: int) -> int:
    until = time.monotonic() + SECONDS_MAX
    while time.monotonic() < until:
        try:
            whole = msgspec.json.decode(ask_leader(config, "GET", "/map?consistency=leader").body, type=Whole)
        except msgspec.MsgspecError as error:
            return _trouble(f"the answer is not understood ({error}). Are program and node of one version?")
        last = next((each.fencing.last for each in whole.nodes if each.node == node), None)
        if last is None:
            return _trouble(f"the log does not know of it any more; is node {node} a member?")
        if last.success is not None:
            print(f"node {node} {'was fenced' if last.success else 'was NOT fenced'}: {last.said}")
            return EXIT_DONE if last.success else EXIT_TROUBLE
        time.sleep(LOOK_PAUSE)
    return _trouble(f"no outcome within {SECONDS_MAX:.0f} s; `qluster status` shows it when there is one")


# --- the agents of this host --------------------------------------------------------------


def _by_hand(config: Config, chosen: argparse.Namespace) -> int:
    fencing = config.fencing
    if fencing is None:
        return _trouble("this host's configuration has no section fencing")
    hosts = [chosen.address] if chosen.address is not None else sorted(fencing.hosts)
    if chosen.here and chosen.address is None:
        return _trouble("name the address of the host that is to be fenced", EXIT_USAGE)
    if chosen.address is not None and chosen.address not in fencing.hosts:
        return _trouble(f"fencing.hosts does not name {chosen.address}; it names {', '.join(sorted(fencing.hosts))}")
    work = _fenced(fencing, hosts[0]) if chosen.here else _checked(fencing, hosts)
    return EXIT_DONE if asyncio.run(work) else EXIT_TROUBLE


async def _checked(fencing: Fencing, hosts: list[str]) -> bool:
    agents, well = FenceAgents(fencing), True
    for host in hosts:
        found = await agents.check(host)
        _say(host, "ok" if found.success else "FAILS", found)
        well = well and found.success
    return well


async def _fenced(fencing: Fencing, host: str) -> bool:
    agents = FenceAgents(fencing)
    found = await agents.off(host)
    _say(host, "fenced" if found.success else "NOT fenced", found)
    if found.success and fencing.hosts[host].action == "reboot":
        _say(host, "then", await agents.on(host, found.level))
    return found.success


def _say(host: str, word: str, found: AgentsEnded) -> None:
    print(f"{host}  {word}  {found.said}", flush=True)


def _trouble(line: str, code: int = EXIT_TROUBLE) -> int:
    print(line, file=sys.stderr)
    return code
