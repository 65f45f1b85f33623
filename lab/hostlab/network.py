"""Lays the cables of a lab: a bridge, one network namespace for each host, the faults between them.

Must not know what the hosts do with it. All of it lies inside the lab's own network namespace.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

from hostlab.fault import Fault, ruleset
from hostlab.plan import BRIDGE, CONTROLLER_ADDRESS, INTERFACE, NETWORK_BITS, Host, Plan
from hostlab.shell import run
from hostlab.space import Space


def lay_bridge(space: Space) -> None:
    """The bridge with the controller's address. It floods multicast: there is no querier to snoop on."""
    _ip(
        space,
        "link set lo up",
        f"link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0",
        f"addr add {CONTROLLER_ADDRESS}/{NETWORK_BITS} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )
    # The controller is the hosts' router and knows no way out: it answers "unreachable" at once, where
    # a router that does not forward would leave them waiting. The setting belongs to this namespace.
    run(space.on_network(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))


def lay_cable(space: Space, host: Host) -> None:
    """A network namespace for the host, with one end of a cable as its eth0."""
    _ip(
        space,
        f"netns add {host.name}",
        f"link add {host.port} type veth peer name {INTERFACE} netns {host.name}",
        f"link set {host.port} master {BRIDGE} up",
    )
    _ip(
        space,
        "link set lo up",
        f"addr add {host.address}/{NETWORK_BITS} dev {INTERFACE}",
        f"link set {INTERFACE} up",
        # Hosts have a default route; here it ends at the controller.
        f"route add default via {CONTROLLER_ADDRESS}",
        netns=host.name,
    )


def plug(space: Space, host: Host, yes: bool) -> None:
    """Put the host's cable in, or pull it: the host sees its carrier go."""
    _ip(space, f"link set {host.port} {'up' if yes else 'down'}")


def unplugged(space: Space, host: Host) -> bool:
    shown = run(space.inside(["ip", "-oneline", "link", "show", "dev", host.port])).stdout
    flags = shown.partition("<")[2].partition(">")[0].split(",")
    return "UP" not in flags


def apply_faults(space: Space, plan: Plan, faults: Sequence[Fault]) -> None:
    run(space.inside(["nft", "-f", "-"]), stdin=ruleset(plan, faults))


def _ip(space: Space, *lines: str, netns: str = "") -> None:
    where = ["-netns", netns] if netns else []
    run(space.inside(["ip", *where, "-batch", "-"]), stdin="\n".join(lines) + "\n")
