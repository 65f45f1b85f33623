"""Decides which packets a list of network faults drops, and says it in nftables' words.

The faults act in the lab's bridge, between its ports: neither host sees a link go down, a packet is
simply gone. Must not run anything.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostlab.errors import LabError
from hostlab.plan import Host, Plan

WAYS = ("both", "out", "in")
PER_MYRIAD = 10_000  # numgen counts in these: half a per cent is not lost by rounding
TABLE = "faults"


@dataclass(frozen=True)
class Fault:
    """Packets between `host` and `peer` (everybody, when empty) are lost with `percent`.

    `way` is seen from `host`: out is what it sends, in is what it should receive. With `controller` its
    packets from and to the controller (SSH among them) are lost as well.
    """

    host: str
    peer: str = ""
    way: str = "both"
    percent: float = 100.0
    controller: bool = False

    def __str__(self) -> str:
        arrow = {"both": "<->", "out": "->", "in": "<-"}[self.way]
        peer = self.peer or ("everybody and the controller" if self.controller else "everybody")
        return f"{self.host} {arrow} {peer}: {self.percent:g} % lost"

    def concerns(self, name: str) -> bool:
        return name in (self.host, self.peer)


def checked_fault(plan: Plan, fault: Fault) -> Fault:
    """The same fault, or a LabError that names what is wrong with it."""
    plan.host(fault.host)
    if fault.peer:
        plan.host(fault.peer)
    if fault.peer == fault.host:
        raise LabError(f"{fault.host} cannot be cut from itself; name another host, or none for everybody")
    if fault.peer and fault.controller:
        raise LabError(f"--controller goes with a cut from everybody, not from {fault.peer}")
    if fault.way not in WAYS:
        raise LabError(f"the way of a fault is {fault.way!r}; use one of {', '.join(WAYS)}")
    if not 100 / PER_MYRIAD <= fault.percent <= 100:
        raise LabError(f"a loss of {fault.percent:g} % cannot be made; use {100 / PER_MYRIAD:g} to 100")
    return fault


def ruleset(plan: Plan, faults: Sequence[Fault]) -> str:
    """What `nft -f -` reads: replaces all rules at once, also by none."""
    forward = [rule for fault in faults for rule in _forward_rules(plan, fault)]
    received = [rule for fault in faults for rule in _controller_rules(plan, fault, "out", "iifname")]
    sent = [rule for fault in faults for rule in _controller_rules(plan, fault, "in", "oifname")]
    chains = (("forward", forward), ("input", received), ("output", sent))
    body = "\n".join(_chain(hook, rules) for hook, rules in chains)
    return f"table bridge {TABLE}\ndelete table bridge {TABLE}\ntable bridge {TABLE} {{\n{body}\n}}\n"


def _chain(hook: str, rules: Iterable[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {hook} {{\n    type filter hook {hook} priority 0; policy accept;\n{lines}  }}"


def _forward_rules(plan: Plan, fault: Fault) -> list[str]:
    host, peer = plan.host(fault.host), plan.host(fault.peer) if fault.peer else None
    rules = []
    if fault.way in ("both", "out"):
        rules.append(_drop(fault, _match("iifname", host), _match("oifname", peer)))
    if fault.way in ("both", "in"):
        rules.append(_drop(fault, _match("iifname", peer), _match("oifname", host)))
    return rules


def _controller_rules(plan: Plan, fault: Fault, way: str, key: str) -> list[str]:
    if not fault.controller or fault.way not in ("both", way):
        return []
    return [_drop(fault, _match(key, plan.host(fault.host)))]


def _match(key: str, host: Host | None) -> str:
    return f'{key} "{host.port}"' if host else ""


def _drop(fault: Fault, *matches: str) -> str:
    words = [match for match in matches if match]
    if fault.percent < 100:
        words.append(f"numgen random mod {PER_MYRIAD} < {round(fault.percent * PER_MYRIAD / 100)}")
    return " ".join([*words, "counter", "drop"])
