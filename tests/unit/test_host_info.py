"""What is found of addresses and ports on a host, from what the kernel shows of them."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import os
import socket

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils import _sockets as sockets
from ansible_collections.qhb.qluster.plugins.modules import qluster_host_info as module

SPEAKS_6 = pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="this machine has no IPv6")

TCP_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(place, port, state, inode):
    """A line of /proc/net/tcp or tcp6."""
    other = "0" * len(place) + ":0000"
    return f"   0: {place}:{port:04X} {other} {state} 00000000:00000000 00:00000000 00000000  1000 0 {inode} 1\n"


V4 = "0B0200C0"  # 192.0.2.11
V6 = "000000FD000000000000000001000000"  # fd00::1
TCP = TCP_HEAD + line(V4, 8080, "0A", 41) + line("00000000", 5432, "0A", 42) + line(V4, 6432, "01", 43)
TCP6 = (
    TCP_HEAD + line(V6, 8080, "0A", 61) + line("0" * 32, 6432, "0A", 62)
    + line("0000000000000000FFFF00000B0200C0", 7000, "0A", 63)
)  # fmt: skip
PORTS = {8080, 5432, 6432, 7000}


@pytest.mark.parametrize(
    ("ip", "found"),
    [
        # A socket on all addresses of IPv6 has those of IPv4 too; not the other way round.
        ("192.0.2.11", {8080: "41", 5432: "42", 6432: "62", 7000: "63"}),
        ("fd00::1", {8080: "61", 6432: "62"}),
        ("192.0.2.12", {5432: "42", 6432: "62"}),
        ("fd00::2", {6432: "62"}),
    ],
)
def test_only_who_takes_the_port_of_this_address_is_found(ip, found):
    assert sockets.listeners(ipaddress.ip_address(ip), TCP, TCP6, PORTS) == found


@SPEAKS_6
def test_server_of_this_machine_is_found_by_its_address_of_ipv6():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        mine = sockets.ports_in_use(ipaddress.ip_address("::1"), [port])
        assert str(port) in mine and "python" in mine[str(port)]
        assert sockets.ports_in_use(ipaddress.ip_address("127.0.0.1"), [port]) == {}


@pytest.mark.parametrize("text", ["db1", "", "239.19.76.1", "ff15::76", "fe80::1", "0.0.0.0", "::", "::ffff:192.0.2.1"])
def test_what_the_daemon_refuses_as_its_address_is_none(text):
    assert sockets.host_address(text) is None


def test_address_has_one_writing():
    assert str(sockets.host_address("FD00:0:0::0001")) == "fd00::1"
    assert str(sockets.host_address("192.0.2.1")) == "192.0.2.1"


@SPEAKS_6
def test_addresses_of_both_families_are_found_with_their_interface():
    known = sockets.interfaces()
    assert "127.0.0.1" in known["lo"] and "::1" in known["lo"]
    assert not any(address.startswith("fe80:") for addresses in known.values() for address in addresses)
    assert sockets.interface_of(ipaddress.ip_address("::1"), known) == "lo"
    assert sockets.interface_of(ipaddress.ip_address("127.0.0.77"), known) == "lo"
    assert sockets.interface_of(ipaddress.ip_address("2001:db8::77"), known) == ""
    assert sockets.is_here(ipaddress.ip_address("::1"))
    assert not sockets.is_here(ipaddress.ip_address("2001:db8::77")) and not sockets.is_here(None)


@pytest.mark.parametrize(
    ("written", "found"),
    [('"fd00::1"', "fd00::1"), ("fd00:0::1", "fd00::1"), ("'192.0.2.11'", "192.0.2.11"), ("192.0.2.11", "192.0.2.11"),
     ('""', ""), ("nobody", "")],
)
def test_founder_is_read_from_the_configuration(written, found):
    config = f"ip: 10.0.0.1\ncluster:\n  name: main\n  founder: {written}\n  node-timeout: 3s\n"
    assert module.founder_of(config) == found
