"""Reads the command line of the lab and says what came of it.

Must not know how anything is done: it names the orders and prints answers.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hostlab.check import missing_packages, reason_against_user, reasons_against
from hostlab.errors import EXIT_FAILED, EXIT_UNABLE, LabError, LabUnable
from hostlab.fault import WAYS, Fault, checked_fault
from hostlab.laboratory import Laboratory
from hostlab.plan import plan_from
from hostlab.record import read_record

CHECKOUT = Path(__file__).resolve().parents[2]
Order = Callable[[Laboratory, argparse.Namespace], None]


def main(arguments: Sequence[str]) -> int:
    """0: done; 1: it went wrong; 2: not understood; 3: this machine cannot hold a lab."""
    options = parser().parse_args(arguments)
    try:
        laboratory = Laboratory(plan_from(os.environ, CHECKOUT), tell)
        if reason_against_user():
            raise LabUnable([reason_against_user()])
        if options.changes:
            with laboratory.locked():
                options.order(laboratory, options)
        else:
            options.order(laboratory, options)
    except LabUnable as error:
        for reason in error.reasons:
            tell(f"no lab on this machine: {reason}")
        return EXIT_UNABLE
    except (LabError, OSError) as error:
        tell(f"error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        tell("interrupted; `lab/lab.py down` clears away what is half done")
        return EXIT_FAILED
    return 0


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lab/lab.py", description="Hosts with systemd on this machine.")
    orders = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, order: Order, text: str, changes: bool = True) -> argparse.ArgumentParser:
        made = orders.add_parser(name, help=text, description=text)
        made.set_defaults(order=order, changes=changes)
        return made

    def add_for_host(name: str, order: Order, text: str) -> argparse.ArgumentParser:
        made = add(name, order, text)
        made.add_argument("host")
        return made

    add("check", check, "say whether this machine can hold a lab (exit code 3 when not)", changes=False)
    add("setup", lambda lab, _: lab.setup(), "bring programs, base tree and packages into the cache")
    add("up", lambda lab, _: lab.up(), "boot all hosts and write the inventory")
    add("down", lambda lab, _: lab.down(), "remove every trace of the lab, in any state")
    made = add("packages", packages, "bring packages into the cache for hosts without a source; print their folder")
    made.add_argument("names", nargs="+", metavar="PACKAGE")
    add("status", status, "show hosts, faults and folders", changes=False)

    made = add("exec", execute, "run a command of this machine on the lab's network", changes=False)
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    made = add("ssh", enter, "open a shell on a host, or run a command on it", changes=False)
    made.add_argument("host")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="[COMMAND ...]")

    made = add_for_host("start", start, "switch a host on, with the disk it had")
    made.add_argument("--bare", action="store_true", help="throw its disk away first")
    made.add_argument("--no-wait", action="store_true", help="do not wait until it has booted")
    add_for_host("stop", lambda lab, o: lab.machine(o.host).power_off(), "shut a host down politely")
    add_for_host("kill", lambda lab, o: lab.machine(o.host).kill(), "take a host's power away")
    add_for_host("pause", lambda lab, o: lab.machine(o.host).pause(), "freeze every process of a host")
    add_for_host("resume", lambda lab, o: lab.machine(o.host).resume(), "let a frozen host go on")
    add_for_host("unplug", lambda lab, o: lab.unplug(o.host), "pull a host's cable: its carrier goes")

    made = add_for_host("cut", cut, "lose packets between a host and a peer, or everybody")
    made.add_argument("peer", nargs="?", default="", help="the other host (none: everybody)")
    made.add_argument("--way", choices=WAYS, default="both", help="out: what it sends; in: what it gets")
    made.add_argument("--percent", type=float, default=100.0, help="lose only so many of them")
    made.add_argument("--controller", action="store_true", help="from and to this machine, SSH too")
    made = add("heal", lambda lab, o: lab.heal(o.hosts), "undo cuts and unplugging")
    made.add_argument("hosts", nargs="*", metavar="HOST", help="only what concerns these hosts")
    return top


def check(laboratory: Laboratory, _: argparse.Namespace) -> None:
    reasons = reasons_against(laboratory.plan)
    if reasons:
        raise LabUnable(reasons)
    missing = missing_packages()
    print(f"able, after setup has installed {', '.join(missing)}" if missing else "able")


def packages(laboratory: Laboratory, options: argparse.Namespace) -> None:
    if any(name.startswith("-") for name in options.names):
        raise LabError(f"{' '.join(options.names)!r} does not name packages: lab/lab.py packages corosync-qnetd")
    print(laboratory.packages(tuple(options.names)))


def status(laboratory: Laboratory, _: argparse.Namespace) -> None:
    plan = laboratory.plan
    if read_record(plan.state_file) is None:
        print(f"{plan.name} is down")
        return
    record = laboratory.record()
    print(f"{plan.name} is up; inventory {record.inventory}; ssh -F {plan.ssh_config}")
    for host in plan.hosts:
        machine = laboratory.machine(host.name)
        state = "off"
        if machine.running():
            state = "paused" if machine.paused() else "on"
        cable = ", unplugged" if laboratory.unplugged(host.name) else ""
        counted = f"{machine.processes():4d} processes" if machine.running() else ""
        memory = machine.memory_bytes()
        if counted and memory is not None:
            counted += f", {memory / 1024**2:.0f} MiB"
        print(f"  {host.name:9} {host.address:12} {host.group:17} {state + cable:14} {counted}".rstrip())
    for fault in record.faults:
        print(f"  fault: {fault}")


def execute(laboratory: Laboratory, options: argparse.Namespace) -> None:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise LabError("exec needs a command: lab/lab.py exec -- ansible all -m ping")
    laboratory.become(words)


def enter(laboratory: Laboratory, options: argparse.Namespace) -> None:
    host = laboratory.plan.host(options.host)
    laboratory.become(["ssh", "-F", str(laboratory.plan.ssh_config), host.name, *options.words])


def start(laboratory: Laboratory, options: argparse.Namespace) -> None:
    laboratory.start(options.host, bare=options.bare, wait=not options.no_wait)


def cut(laboratory: Laboratory, options: argparse.Namespace) -> None:
    fault = Fault(options.host, options.peer, options.way, options.percent, options.controller)
    laboratory.add_fault(checked_fault(laboratory.plan, fault))
