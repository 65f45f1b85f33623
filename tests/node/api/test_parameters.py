"""Parameters and bodies: what is accepted, and what is said of the rest."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.api.parameters import (
    NODE_MAX,
    SETTINGS_MAX,
    Parameter,
    read_database_parameters,
    read_parameters,
    read_settings,
    shown,
)

NODE = Parameter("node", "path", "integer", "", required=True, maximum=NODE_MAX)
PORT = Parameter("db-port", "query", "integer", "", maximum=65535)
IP = Parameter("ip", "query", "address", "", required=True)
ROLE = Parameter("role", "query", "choice", "", choices=("node", "listener"), default="node")
KEY = Parameter("Idempotency-Key", "header", "key", "")
ALL = (NODE, PORT, IP, ROLE, KEY)


def faults(path: str = "1", query: tuple[tuple[str, str], ...] = (), **headers: str) -> dict[str, str]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    _, found = read_parameters(ALL, {"node": path}, (("ip", "10.0.0.1"), *query), named)
    return {each.field: each.message for each in found}


def test_values_are_typed_and_defaults_filled_in() -> None:
    query = (("ip", "10.0.0.4"), ("db-port", "5433"))
    values, found = read_parameters(ALL, {"node": "3"}, query, {"idempotency-key": "a-1"})
    assert found == []
    assert values == {
        "node": 3, "db-port": 5433, "ip": "10.0.0.4", "role": "node", "Idempotency-Key": "a-1"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["0", "-1", "", "1.0", "x", "+1", " 1", "٣", "2147483648", "9" * 5000])
def test_number_out_of_its_limits_is_refused(text: str) -> None:
    assert "a number from 1 to 2147483647" in faults(path=text)["node"]


@pytest.mark.parametrize(
    "text",
    [
        "db1",
        "10.0.0",
        "10.0.0.1/24",
        "10.0.0.01",
        "0.0.0.0",
        "239.19.76.1",
        "::1",
        "fe80::1",
        "ff15::76",
        "::ffff:10.0.0.1",
        "[fd00::1]",
        "fd00::1%eth0",
        "fd00:::1",
        "fd00::1::2",
        "fd00:1:2:3:4:5:6",
        "fd00:1:2:3:4:5:6:7:8",
        "fd00::12345",
        "10.0.0.256",
        "10.0.0.1\n",
        "",
    ],
)
def test_address_of_no_single_host_is_refused(text: str) -> None:
    _, found = read_parameters((IP,), {}, (("ip", text),), {})
    assert [each.field for each in found] == ["ip"]
    assert "IPv4 address of one host" in found[0].message


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("fd00::1", "fd00::1"),
        ("FD00:0:0::0001", "fd00::1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
        ("fd00:1:2:3:4:5:6::", "fd00:1:2:3:4:5:6:0"),
        ("2001::", "2001::"),
    ],
)
def test_address_of_ipv6_is_taken_in_its_one_short_writing(text: str, means: str) -> None:
    values, found = read_parameters((IP,), {}, (("ip", text),), {})
    assert (values, found) == ({"ip": means}, [])


@given(st.ip_addresses(v=6).map(str), st.booleans())
def test_addresses_of_ipv6_networks_that_hosts_have_are_taken(text: str, exploded: bool) -> None:
    address = IPv6Address(text)
    values, _ = read_parameters((IP,), {}, (("ip", address.exploded if exploded else text),), {})
    usual = address in IPv6Network("2000::/3") or address in IPv6Network("fc00::/7")
    assert values.get("ip") == (text if usual else None)


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a\nb", "ключ"])
def test_key_that_cannot_be_kept_is_refused(text: str) -> None:
    assert "1 to 64 letters" in faults(idempotency_key=text)["Idempotency-Key"]


def test_every_fault_is_named_at_once() -> None:
    found = faults("x", (("role", "boss"), ("db-port", "0"), ("speed", "9"), ("ip", "10.0.0.2")))
    assert set(found) == {"node", "role", "db-port", "speed", "ip"}
    assert found["speed"] == "is no parameter; the parameters are db-port, ip, role"
    assert found["ip"] == "is given more than once"
    assert found["role"] == "is 'boss', not one of node, listener"


def test_missing_parameter_says_what_it_is() -> None:
    _, found = read_parameters((IP,), {}, (), {})
    assert found[0].message == (
        "is missing; it is the IPv4 address of one host, such as 10.0.0.4, or its IPv6 address, such as fd00::4"
    )


def test_wrong_value_is_shown_short_and_escaped() -> None:
    assert shown("a\n" + "x" * 100) == repr("a\n" + "x" * 58 + "...")
    assert shown("\udcff") == "'\\udcff'"


def test_settings_become_text() -> None:
    body = b'{"cluster.node-timeout": "30s", "cluster.replication-factor": 2, "cluster.quorum-replication": true}'
    assert read_settings(body) == (
        {
            "cluster.node-timeout": "30s",
            "cluster.replication-factor": "2",
            "cluster.quorum-replication": "true",
        },
        [],
        "",
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1]", "a list, not an object"),
        (b"null", "null, not an object"),
        (b"3.5", "the number 3.5"),
        (b'"x"', "text, not an object"),
        (b"\xff\xfe{}", "can't decode byte"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' is given more than once"),
        (b"[" * 60000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
    ids=["empty", "cut", "list", "null", "number", "text", "utf-16", "nan", "twice", "deep", "huge"],
)
def test_body_that_is_no_object_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    changes, found, why = read_settings(body)
    assert (changes, found) == ({}, [])
    assert reason in why


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ({}, "", "names no setting"),
        ({"a.b": None}, "a.b", "is null, not text"),
        ({"a.b": [1]}, "a.b", "is a list, not text"),
        ({"a.b": 1.5}, "a.b", "is the number 1.5, not text"),
        ({"a": {"b": 1}}, "a", "write a.NAME as one key"),
        ({"Bad Key": "x"}, "Bad Key", "is no key of config.yaml"),
        ({"a" * 70: "x"}, "a" * 60 + "...", "is no key of config.yaml"),
        ({"a.b": "x\ny"}, "a.b", "beyond printable ASCII"),
        ({"a.b": "x" * 1025}, "a.b", "has 1025 characters"),
        ({f"k{n}": 1 for n in range(SETTINGS_MAX + 1)}, "", "has 101 settings"),
    ],
)
def test_wrong_setting_is_named(document: dict[str, object], field: str, message: str) -> None:
    changes, found, why = read_settings(json.dumps(document).encode())
    assert (changes, why) == ({}, "")
    assert [each.field for each in found] == [field]
    assert message in found[0].message


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    changes, found, why = read_settings(body)
    assert bool(changes) or bool(found) or bool(why)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), json_values, min_size=1, max_size=5))
def test_each_setting_is_either_taken_or_named(document: dict[str, object]) -> None:
    changes, found, why = read_settings(json.dumps(document).encode())
    assert why == ""
    assert len(changes) + len(found) == len(document)
    assert all(text.isascii() and text.isprintable() for text in changes.values())


def test_parameters_of_the_database_are_text_numbers_switches_or_taken_away() -> None:
    body = b'{"work_mem": "8MB", "jit": true, "max_connections": 300, "random_page_cost": 1.1, "auto_explain.x": null}'
    assert read_database_parameters(body) == (
        {"work_mem": "8MB", "jit": "on", "max_connections": "300", "random_page_cost": "1.1", "auto_explain.x": None},
        [], "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "word"),
    [(b'{"Work_Mem": "8MB"}', "lower case"), (b'{"a b": 1}', "no name"), (b'{"a": [1]}', "a list"),
     (b'{"a": {}}', "an object"), (b'{"a": "x\\ny"}', "line break"), (b'{"a": "' + b"x" * 2000 + b'"}', "characters")],
)  # fmt: skip
def test_what_is_no_parameter_or_no_value_of_one_is_named(body: bytes, word: str) -> None:
    changes, faults, why = read_database_parameters(body)
    assert changes == {} and why == "" and len(faults) == 1 and word in faults[0].message


def test_settings_named_as_in_corosync_conf_are_keys() -> None:
    changes, faults, _ = read_settings(b'{"quorum.wait_for_all": true, "quorum.last_man_standing_window": "20s"}')
    assert not faults and changes == {"quorum.wait_for_all": "true", "quorum.last_man_standing_window": "20s"}
    assert read_settings(b'{"quorum._x": 1}')[1] and read_settings(b'{"quorum.x_": 1}')[1]
