"""Every key of qnetd.yaml, as one table, and what a file of them says.

It must not open files or look at the host: ``hostcheck.py`` does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from qluster.config.addresses import read_address
from qluster.config.document import ConfigErrors, Fault, Value
from qluster.config.key import Key
from qluster.config.kinds import Choice, Decimal, Duration, Flag, Path, Text, Whole, duration_text, scalar_text
from qluster.config.schema import Schema
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import OF_REAL_CLIENTS, Settings
from qluster.qnetd.places import ETC, SOCKET

SOCKET_SIZE_MAX = 107
CLIENTS_MAX = 60_000
"""A port has no more to give to one address."""
_NAME = r"[a-z_][a-z0-9_-]*"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address of this host, or all of them."""

    label: str = "`any`, or an IPv4 or IPv6 address of this host"

    def read(self, value: Value) -> str:
        text = scalar_text(value, "an address of this host, or any")
        if text == "any":
            return text
        address = read_address(text)
        if address.is_multicast:
            raise ValueError(f"{address} is a multicast address. Use an address of this host, or any.")
        return str(address)

    def text(self, value: object) -> str:
        return str(value)


class Tls(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How connections are secured."""

    mode: Literal["off", "on", "required"]
    certificate_file: str
    key_file: str
    ca_file: str
    client_certificate_required: bool
    handshake_timeout: float


class Limits(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients may take of this host."""

    clients: int
    request_size: int
    reply_size: int
    outstanding_messages: int


class Peers(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which heartbeats are allowed, and when a client is dead."""

    heartbeat_minimum: float
    heartbeat_maximum: float
    dead_peer_detection: bool
    dead_peer_coefficient: float


class Config(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole configuration of the arbiter, checked."""

    address: str
    port: int
    socket_file: str
    socket_group: str | None
    memory_dir: str | None
    keep_active_partition: bool
    tls: Tls
    limits: Limits
    peers: Peers

    def settings(self) -> Settings:
        """The same for the protocol."""
        modes = {"off": TlsSupported.UNSUPPORTED, "on": TlsSupported.SUPPORTED, "required": TlsSupported.REQUIRED}
        return Settings(
            tls=modes[self.tls.mode],
            client_certificate_required=self.tls.client_certificate_required,
            clients_max=self.limits.clients,
            request_size_max=self.limits.request_size,
            reply_size_max=self.limits.reply_size,
            outstanding_max=self.limits.outstanding_messages,
            heartbeat_min=round(self.peers.heartbeat_minimum * 1000),
            heartbeat_max=round(self.peers.heartbeat_maximum * 1000),
            dead_peer_detection=self.peers.dead_peer_detection,
            dead_peer_coefficient=self.peers.dead_peer_coefficient,
            keep_active_partition=self.keep_active_partition,
        )

    @property
    def shown(self) -> str:
        """Where it listens, as the tool shows it."""
        return f"{'*' if self.address == 'any' else self.address}:{self.port}"


_SMALLEST, _LARGEST = OF_REAL_CLIENTS
_REASON = "A corosync-qdevice gives up for good otherwise."
_FILE = "; needed unless `tls.mode` is off."

KEYS = (
    Key("address", Listen(), "any", "Where clients connect to: one address, or `any`, IPv4 and IPv6."),
    Key("port", Whole(1, 65535), "5403", "Port of the arbiter."),
    Key("socket-file", Path(size_max=SOCKET_SIZE_MAX, size_reason="No Unix socket has a longer name."), SOCKET,
        "Unix socket of `qluster-qnetd-tool`. Only the daemon's user and root may use it."),
    Key("socket-group", Text("group name", _NAME, "lower-case letters, digits, dashes and underscores"), None,
        "Members of this group may use it as well. The daemon's user must be one of them.", optional=True),
    Key("memory-dir", Path(), None,
        "Directory for the memories of QLUSTER clusters that have their arbiter remember votes. Not given: it serves "
        "none, and keeps nothing on disk.", optional=True),
    Key("keep-active-partition", Flag(), "false",
        "Whether ffsplit prefers the partition that had the vote, for clients that do not say."),
    Key("tls.mode", Choice(("off", "on", "required")), "required",
        "`off`: everything in clear. `on`: who asks for TLS gets it, and who does not is served in clear. "
        "`required`: nobody is served in clear."),
    Key("tls.certificate-file", Path(), f"{ETC}/server.crt",
        "Certificate of this arbiter, and those between it and its authority; corosync's clients want the CN "
        "`Qnetd Server` and no DNS name in it" + _FILE),
    Key("tls.key-file", Path(), f"{ETC}/server.key", "Its private key" + _FILE),
    Key("tls.ca-file", Path(), f"{ETC}/ca.crt", "Authorities that issue the certificates of clients" + _FILE),
    Key("tls.client-certificate-required", Flag(), "true",
        "Whether a client with TLS must show a certificate, issued for the name of its cluster."),
    Key("tls.handshake-timeout", Duration("1s", "1m"), "10s", "How long the beginning of TLS may take."),
    Key("limits.clients", Whole(1, CLIENTS_MAX), "1000",
        "Connections at once. One more takes the place of who has been there longest without joining a cluster; "
        "where there is nobody of that kind it is closed."),
    Key("limits.request-size", Whole(_SMALLEST, _LARGEST, "bytes", _REASON), "32768", "Largest message of a client."),
    Key("limits.reply-size", Whole(_SMALLEST, _LARGEST, "bytes", _REASON), "32768", "Largest message to a client."),
    Key("limits.outstanding-messages", Whole(2, 1000), "32",
        "Messages that wait for a client that does not read; with one more it is disconnected."),
    Key("peers.heartbeat-minimum", Duration("100ms", "1h"), "1s", "Shortest heartbeat that a client may announce."),
    Key("peers.heartbeat-maximum", Duration("100ms", "1h"), "2m", "Longest heartbeat that a client may announce."),
    Key("peers.dead-peer-detection", Flag(), "true", "Whether silent clients are disconnected."),
    Key("peers.dead-peer-coefficient", Decimal(1, 1000), "1.5", "So many heartbeats of silence make a client dead."),
)  # fmt: skip

SECTIONS = ("tls", "limits", "peers")
SCHEMA = Schema(KEYS, SECTIONS, page="docs/reference/qnetd.md")


def parse(text: str, name: str) -> Config:
    """The configuration in ``text``; ``name`` is the file's name for messages. Raises ConfigErrors with every fault."""
    read = SCHEMA.read(text, name)
    config = msgspec.convert(SCHEMA.tree(read.values, read.sections), Config)
    between = [Fault(fault.key, fault.message, read.lines.get(fault.key, 0)) for fault in _rules(config)]
    if between:
        raise ConfigErrors(name, between)
    return config


def _rules(config: Config) -> Iterator[Fault]:
    peers = config.peers
    if peers.heartbeat_minimum > peers.heartbeat_maximum:
        yield Fault("peers.heartbeat-minimum", (
            f"is {duration_text(peers.heartbeat_minimum)}, longer than peers.heartbeat-maximum "
            f"({duration_text(peers.heartbeat_maximum)}): there is no heartbeat between. Use a shorter one."))
