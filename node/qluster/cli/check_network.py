"""Who hears whom, tried from this host and printed as tables with what to repair.

It must not decide what the counts mean: ``transport/diagnosis.py`` does. It works beside a running daemon, which
answers for this host then, and without one, when it runs on several hosts at the same time.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import msgspec

from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.config import Config
from qluster.config.addresses import read_host, read_place
from qluster.edge import clock
from qluster.edge.multicast import Multicast, NetworkUnusable, Receiver
from qluster.events import Address
from qluster.transport.diagnosis import Way, Ways, findings, through_the_group, ways
from qluster.transport.prober import Host, Prober
from qluster.transport.seal import Key, KeyFault, parse_keys

SECONDS_MAX = 3600
"""Longer than the time after which a switch forgets a membership, some four minutes."""
LISTEN_SECONDS = 0.5
"""After the last round: answers come within milliseconds, or not at all."""
MTUS = (576, 1280, 1400, 1450, 1500, 9000)
"""Of networks that there are: tunnels, clouds, Ethernet, large frames."""
PROBE_SIZE = 200
"""Bytes of the datagrams by which losses are counted: as small as most of the daemon's."""


class Unusable(Exception):
    """The network cannot be tried from here; the message says why and what to do."""


def check_network(config: Config, seconds: int, hosts: Sequence[str], as_json: bool) -> int:
    """Try, print, and say by the exit code whether all is well."""
    keys, others = _keys(config.cluster.key_file), [_address(text, config) for text in hosts]
    prober, headers_size = asyncio.run(_tried(config, keys, others, seconds))
    wrong = findings(prober, seconds + LISTEN_SECONDS, config.udp.port(config.ip), headers_size)
    if as_json:
        print(msgspec.json.encode(_document(prober, wrong, seconds)).decode())
    else:
        print("\n".join(lines(prober, wrong, seconds, headers_size)))
    return EXIT_TROUBLE if wrong else EXIT_DONE


def _keys(file: str) -> list[Key]:
    try:
        return parse_keys(Path(file).read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, KeyFault) as fault:
        raise Unusable(f"cluster.key-file {file}: {fault}. Run this as the user of the service.") from None


def _address(text: str, config: Config) -> Address:
    """A host that was named: its ip, with a port where it is another than the group's."""
    try:
        if ":" not in text or (text.count(":") > 1 and "[" not in text):
            return read_host(text), config.udp.socket.group[0][1]
        host, port = read_place(text)
        return read_host(host), port
    except ValueError as error:
        raise Unusable(f"--host {error}") from None


# --- trying ------------------------------------------------------------------------


async def _tried(config: Config, keys: list[Key], others: list[Address], seconds: int) -> tuple[Prober, int]:
    """Probe for so many seconds; the counts, and the size of IP's and UDP's headers."""
    wanted, probers = config.udp.socket, list[Prober]()
    came = asyncio.Event()

    def received(datagram: bytes, source: Address) -> None:
        probers[0].receive(datagram, source, clock.monotonic())
        came.set()

    network, alone = _opened(config, received)
    try:
        prober = Prober(
            config.cluster.name, Random(clock.seed()).getrandbits(64), keys, config.ip, wanted.multicast,
            [*wanted.peers, *others], _sizes(network.mtu, network.headers_size),
            answers=alone, now=clock.monotonic(),
        )  # fmt: skip
        probers.append(prober)
        end = clock.monotonic() + seconds
        while (now := clock.monotonic()) < end + LISTEN_SECONDS:
            if now >= end:
                prober.stop(end)
            network.send(prober.due(now))
            came.clear()
            wait = min(prober.wake_at, end + LISTEN_SECONDS) - clock.monotonic()
            try:
                await asyncio.wait_for(came.wait(), max(0.001, wait))
            except TimeoutError:
                continue
    finally:
        network.close()
    return prober, network.headers_size


def _opened(config: Config, received: Receiver) -> tuple[Multicast, bool]:
    """The node's own address where no daemon has it, which then nobody answers for; else another port of it."""
    for port in (None, 0):
        network = Multicast(config.ip, config.udp.socket, received, port=port)
        try:
            network.open()
        except NetworkUnusable as trouble:
            if port is None and getattr(trouble.__cause__, "errno", None) == errno.EADDRINUSE:
                continue
            raise Unusable(str(trouble)) from None
        return network, port is None
    raise AssertionError("the second port is any that is free")


def _sizes(mtu: int, headers_size: int) -> list[int]:
    """Sizes of datagrams that this host's interface lets out, the smallest first."""
    return [PROBE_SIZE, *(one - headers_size for one in sorted({*MTUS, mtu}) if 576 <= one <= min(mtu, MTUS[-1]))]


# --- printing -----------------------------------------------------------------------


def lines(prober: Prober, wrong: list[str], seconds: int, headers_size: int) -> list[str]:
    """The tables and what to repair."""
    text = [f"From {prober.ip}, in {seconds} seconds: what arrived of what was sent."]
    head = ("host", "hears us: group", "unicast", "we hear it: group", "unicast", "round trip", "packets up to")
    text += _table(head, (_row(ip, ways(prober, host), headers_size) for ip, host in sorted(prober.hosts.items())))
    hears = through_the_group(prober, seconds + LISTEN_SECONDS)
    ips = sorted({ip for pair in hears for ip in pair})
    if ips:
        text += ["", "Through the group, who hears whom (row hears column):"]
        rows = ([ip, *(_word(hears.get((other, ip)), ip == other) for other in ips)] for ip in ips)
        text += _table(("", *ips), rows)
    copied = [f"{ip} sends {one.host} everything by unicast as well, because {one.host} seemed not to hear the group."
              for ip, host in sorted(prober.hosts.items()) for one in host.hears if one.copied]  # fmt: skip
    return [*text, "", *copied, *(wrong or ["All is well."])]


def _row(ip: str, counted: Ways, headers_size: int) -> list[str]:
    trip = f"{counted.round_trip * 1000:.2f} ms" if counted.round_trip is not None else "-"
    size = f"{counted.size_max + headers_size} bytes" if counted.size_max else "-"
    return [ip, _way(counted.to_group), _way(counted.to_unicast), _way(counted.from_group),
            _way(counted.from_unicast), trip, size]  # fmt: skip


def _way(way: Way) -> str:
    return f"{way.arrived} of {way.sent}" if way.sent else "-"


def _word(heard: bool | None, itself: bool) -> str:
    if itself:
        return "."
    return "?" if heard is None else "yes" if heard else "NO"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    all_rows = [head, *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in all_rows]


def _document(prober: Prober, wrong: list[str], seconds: int) -> dict[str, object]:
    hears = through_the_group(prober, seconds + LISTEN_SECONDS)
    return {
        "ip": prober.ip,
        "seconds": seconds,
        "hosts": [_entry(ip, host, ways(prober, host)) for ip, host in sorted(prober.hosts.items())],
        "group": [{"speaker": pair[0], "listener": pair[1], "heard": heard} for pair, heard in sorted(hears.items())],
        "findings": wrong,
    }


def _entry(ip: str, host: Host, counted: Ways) -> dict[str, object]:
    def way(one: Way) -> dict[str, int]:
        return {"sent": one.sent, "arrived": one.arrived}

    return {
        "ip": ip,
        "to_group": way(counted.to_group),
        "to_unicast": way(counted.to_unicast),
        "from_group": way(counted.from_group),
        "from_unicast": way(counted.from_unicast),
        "round_trip": counted.round_trip,
        "datagram_size": counted.size_max,
        "copies_to": [one.host for one in host.hears if one.copied],
    }
