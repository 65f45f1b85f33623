"""What qnetd.yaml may say, and how it is told what is wrong; the reference page is what the tables say."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from qluster.config.document import ConfigErrors
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import Settings
from qluster.qnetd.config import KEYS, parse
from qluster.qnetd.reference import EXAMPLE, reference

PAGE = Path(__file__).parents[3] / "docs/reference/qnetd.md"


def test_defaults_are_those_of_the_protocol_with_tls_required() -> None:
    config = parse("port: 5403", "q.yaml")
    assert config.settings() == Settings(tls=TlsSupported.REQUIRED)
    assert (config.shown, config.socket_group) == ("*:5403", None)


def test_every_key_arrives() -> None:
    text = """
address: 192.0.2.9
port: 5404
socket-file: /run/a.sock
socket-group: monitoring
keep-active-partition: true
tls: {mode: on, certificate-file: /c, key-file: /k, ca-file: /a, client-certificate-required: false,
      handshake-timeout: 3s}
limits: {clients: 5, request-size: 40000, reply-size: 50000, outstanding-messages: 7}
peers: {heartbeat-minimum: 500ms, heartbeat-maximum: 1m, dead-peer-detection: false, dead-peer-coefficient: 2.25}
"""
    config = parse(text, "q.yaml")
    assert config.settings() == Settings(
        tls=TlsSupported.SUPPORTED, client_certificate_required=False, clients_max=5, request_size_max=40_000,
        reply_size_max=50_000, outstanding_max=7, heartbeat_min=500, heartbeat_max=60_000, dead_peer_detection=False,
        dead_peer_coefficient=2.25, keep_active_partition=True,
    )  # fmt: skip
    assert (config.shown, config.socket_file, config.socket_group) == ("192.0.2.9:5404", "/run/a.sock", "monitoring")
    assert (config.tls.certificate_file, config.tls.key_file, config.tls.ca_file) == ("/c", "/k", "/a")
    assert config.tls.handshake_timeout == 3.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port: 0", "q.yaml:1: port: 0 is out of range. Use 1 to 65535."),
        ("address: arbiter", 'q.yaml:1: address: "arbiter" is no address such as'),
        ("address: 239.1.1.1", "q.yaml:1: address: 239.1.1.1 is a multicast address."),
        ("\ntls: {mode: yes}", 'q.yaml:2: tls.mode: "yes" is not known. Use one of: off, on, required.'),
        ("tls: {modus: on}", "q.yaml:1: tls.modus: is not known. Did you mean tls.mode?"),
        ("clients: 5", "q.yaml:1: clients: is not known. Did you mean limits.clients?"),
        ("limits: {request-size: 100}", "100 is out of range. Use 32768 to 16777216. A corosync-qdevice gives up"),
        ("limits: {outstanding-messages: 1}", "limits.outstanding-messages: 1 is out of range."),
        ("peers: {dead-peer-coefficient: 0.5}", "0.5 is out of range. Use 1 to 1000."),
        ('peers: {dead-peer-coefficient: "1,5"}', '"1,5" is no number here.'),
        ("peers: {heartbeat-minimum: 1000}", '"1000" has no unit.'),
        ("peers: {heartbeat-minimum: 3m}", "peers.heartbeat-minimum: is 3m, longer than peers.heartbeat-maximum (2m)"),
        (f"socket-file: /{'s' * 107}", "has 108 bytes, the limit is 107. No Unix socket has a longer name."),
        ("tls: [on]", "q.yaml:1: tls: is a list, but must be a section."),
        ("", "q.yaml: is empty. docs/reference/qnetd.md has an example."),
        ("xylophone: 1", "is not known. docs/reference/qnetd.md lists every key."),
    ],
)
def test_fault_is_told_with_its_place_and_value(text: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "q.yaml")
    [line] = caught.value.lines()
    assert said in line


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse("port: x\nlimits:\n  clients: 0\nnothing: 1\n", "q.yaml")
    assert [fault.line for fault in caught.value.faults] == [1, 3, 4]


def test_page_is_what_the_tables_say() -> None:
    if os.environ.get("REWRITE_GOLDEN") == "1":
        PAGE.write_text(reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == reference(), f"REWRITE_GOLDEN=1 pytest {__file__} writes it anew"


def test_page_has_every_key_once() -> None:
    rows = [line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")]
    assert rows == [key.path for key in KEYS]


def test_example_is_a_configuration() -> None:
    assert parse(EXAMPLE, "example").limits.clients == 200
