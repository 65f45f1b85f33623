"""Decides what the counts of a run of probes mean, in words for who has to repair it.

It must not know how they came about, nor print anything.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from qluster.transport.prober import Host, Prober

LOSS_TOLERATED = 0.01
"""More lost probes than these are worth a word; repairs hide them otherwise."""


@dataclass(frozen=True)
class Way:
    """One way between two hosts: probes sent while both were there, and those that arrived."""

    sent: int
    arrived: int

    @property
    def open(self) -> bool:
        return self.arrived > 0

    @property
    def blocked(self) -> bool:
        return self.sent > 0 and not self.arrived

    @property
    def lossy(self) -> bool:
        return self.open and self.arrived < self.sent * (1 - LOSS_TOLERATED) and self.sent - self.arrived > 1


@dataclass(frozen=True)
class Ways:
    """All ways between this host and another."""

    to_group: Way
    to_unicast: Way
    from_group: Way
    from_unicast: Way
    round_trip: float | None
    size_max: int
    """The largest datagram that reached it by unicast; 0 when none did."""

    @property
    def heard(self) -> bool:
        return self.from_group.open or self.from_unicast.open


def ways(prober: Prober, host: Host) -> Ways:
    """What was counted for one host. Before its first sign and after its last it may not have been there."""
    asked = prober.asked
    smallest = min((one.size for one in asked.values()), default=0)
    there = {
        number
        for number, one in asked.items()
        if number in host.heard or not host.heard or host.first_at <= one.at <= host.last_at
    }
    group = {number for number in there if asked[number].to is None and asked[number].size == smallest}
    unicast = {number for number in there if asked[number].to == host.address[0] and asked[number].size == smallest}
    aloud = {number for number in host.heard if asked[number].aloud}
    sizes = [asked[number].size for number in host.heard if asked[number].to is not None]
    return Ways(
        Way(len(group), len(group & host.heard)),
        Way(len(unicast), len(unicast & host.heard)),
        Way(len(aloud), len(aloud & host.answers_group)),
        Way(len(host.heard), len(host.answers_unicast)),
        median(host.round_trips) if host.round_trips else None,
        max(sizes, default=0),
    )


Hears = dict[tuple[str, str], bool]
"""Through the group: (speaker, listener) → whether it is heard; what is not known is left out."""


def through_the_group(prober: Prober, seconds: float) -> Hears:
    """Who hears whom, as far as this host saw or was told in a run of so many seconds."""
    found: Hears = {}
    here = prober.ip
    spoke = {ip for ip, host in prober.hosts.items() if any(prober.asked[number].aloud for number in host.heard)}
    for ip, host in prober.hosts.items():
        counted = ways(prober, host)
        if counted.heard:
            found[(here, ip)] = counted.to_group.open
        if counted.from_group.sent:
            found[(ip, here)] = counted.from_group.open
        if not host.heard:
            continue
        for other in spoke - {ip}:
            agos = [one.group_ago for one in host.hears if one.host == other]
            found[(other, ip)] = any(ago is not None and ago <= seconds for ago in agos)
    return found


def findings(prober: Prober, seconds: float, port: int, headers_size: int) -> list[str]:
    """Everything that is not well, as sentences; none: all is well."""
    silent = [host for host in prober.hosts.values() if not ways(prober, host).heard]
    lines = list(_nobody(prober, port))
    lines += [_silent(host) for host in silent if len(silent) < len(prober.hosts)]
    lines += _group_lines(through_the_group(prober, seconds))
    for ip, host in prober.hosts.items():
        lines += _pair_lines(prober.ip, ip, ways(prober, host), prober, headers_size)
    return lines


def _nobody(prober: Prober, port: int) -> Iterator[str]:
    if any(host.heard for host in prober.hosts.values()):
        return
    foreign = (
        f" {prober.foreign} datagrams of others came that were not sealed with this cluster's name and key: "
        f"compare cluster.name and the key files." if prober.foreign else ""
    )
    known = ", ".join(prober.hosts) or "any other host; name one with --host"
    yield (
        f"Nobody answers: tried the group and {known}. Does a daemon, or this command, run there at the same time? "
        f"If it does, a firewall drops UDP port {port}, or keys or cluster names differ.{foreign}"
    )


def _silent(host: Host) -> str:
    return (
        f"{host.address[0]} answers neither through the group nor by unicast, others do: it is down, nothing runs "
        f"there, it has another key or cluster name, or its firewall drops UDP port {host.address[1]}."
    )


def _group_lines(hears: Hears) -> Iterator[str]:
    """What the pairs say together: nobody, one that hears nobody, one that nobody hears, or single pairs."""
    if hears and not any(hears.values()):
        yield (
            "Nobody hears anybody through the group, while unicast works: this network carries no multicast. Allow it "
            "(switch, cloud network, firewall: UDP to the group and IGMP, protocol 2), or list all nodes in "
            "udp.socket.group."
        )
        return
    explained: set[tuple[str, str]] = set()
    for ip in sorted({ip for pair in hears for ip in pair}):
        hearing = {pair: heard for pair, heard in hears.items() if pair[1] == ip}
        heard_by = {pair: heard for pair, heard in hears.items() if pair[0] == ip}
        if hearing and not any(hearing.values()) and any(heard_by.values()):
            explained |= set(hearing)
            yield (
                f"{ip} hears nobody through the group, others hear it: IGMP is filtered, or the switch has no querier. "
                f"Open IP protocol 2 on {ip}, enable a querier, or list all nodes in udp.socket.group. Until then it "
                f"is served by unicast copies."
            )
        if heard_by and not any(heard_by.values()) and any(hearing.values()):
            explained |= set(heard_by)
            yield (
                f"{ip} is heard by nobody through the group and hears others: its firewall or its switch port drops "
                f"what it sends there. Open UDP to the group's address, outgoing on {ip}."
            )
    for (speaker, listener), heard in sorted(hears.items()):
        if not heard and (speaker, listener) not in explained:
            yield (
                f"{listener} does not hear {speaker} through the group, others do: look at the switches between them, "
                f"and at firewall rules of {listener} that name {speaker}."
            )


def _pair_lines(here: str, there: str, counted: Ways, prober: Prober, headers_size: int) -> Iterator[str]:
    """What is wrong between this host and one that answers."""
    if not counted.heard:
        return
    if counted.to_unicast.blocked:
        yield f"{there} does not hear {here} by unicast: open UDP port {prober.hosts[there].address[1]} on {there}."
    if counted.from_unicast.blocked:
        yield f"{here} does not hear {there} by unicast: open UDP on {here} for what {there} sends."
    names = (
        (f"{here} to {there} through the group", counted.to_group),
        (f"{here} to {there} by unicast", counted.to_unicast),
        (f"{there} to {here} through the group", counted.from_group),
        (f"{there} to {here} by unicast", counted.from_unicast),
    )
    for name, way in names:
        if way.lossy:
            yield (
                f"From {name}, {way.sent - way.arrived} of {way.sent} were lost: look at socket_drops and at the "
                f"network; a lower pacing-rate helps where buffers overflow."
            )
    tried = max((one.size for one in prober.asked.values() if one.to == there), default=0)
    if 0 < counted.size_max < tried:
        passing = counted.size_max + headers_size
        yield (
            f"From {here} to {there} packets of {tried + headers_size} bytes do not pass, those of {passing} do: "
            f"set the MTU of this host's interface to {passing}."
        )
