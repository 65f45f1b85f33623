"""config.yaml: what is accepted, and what each fault is told in full."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from qluster.config import Config, ConfigErrors, Fault, parse
from qluster.config.document import Scalar
from qluster.config.keys import BY_PATH, KEYS
from qluster.config.kinds import Duration

SMALLEST = """\
ip: 192.0.2.11
udp:
  socket:
    group: 239.19.76.1:7400
    interface: eth0
"""

SEED = """\
ip: "192.0.2.11"
api-port: 8080

udp:
  socket:
    group: "239.19.76.1:7400"
    interface: "eth0"
    pacing-rate: 268435456
    loopback: false
    send-buffer-size: 1048576
    recv-buffer-size: 1048576
  max-log-size: 64000
  send-buffer-capacity: 256
  recv-buffer-capacity: 256

cluster:
  node-timeout: 30s
  heartbeat-interval: 10s
  pre-voting-timeout: 10s
  leader-voting-timeout: 10s
  quorum-replication: true
  replication-factor: 0
  replication-retry-interval: 1s
  autoremove-enabled: false
  autoremove-minimum: 3
  remove-interval: 1m

hello-retry-interval: 1s
"""

MANUAL = """\
ip: "ip адрес сервера"
api-port: 8080
udp:
  socket:
    group: "udp мультикаст адрес:порт должен быть одинаковый на всех узлах"
    interface: "имя сетевого интерфейса для udp multicast"
"""


def with_value(path: str, text: str, base: str = SMALLEST) -> str:
    """``base`` with one key set to YAML ``text``."""
    tree = yaml.safe_load(base)
    place = tree
    *sections, word = path.split(".")
    for section in sections:
        place = place.setdefault(section, {})
    place[word] = "@@"
    if path.startswith("database.") and path != "database.bin-dir":
        tree["database"].setdefault("bin-dir", "/usr/bin")
    return str(yaml.safe_dump(tree, sort_keys=False)).replace("'@@'", text)


def config(path: str = "api-port", text: str = "8080") -> Config:
    return parse(with_value(path, text), "test")


def faults(text: str) -> list[Fault]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "config.yaml")
    return caught.value.faults


def message(path: str, text: str) -> str:
    found = faults(with_value(path, text))
    assert [fault.key for fault in found] == [path], found
    return found[0].message


# --- what is accepted -----------------------------------------------------------


def test_file_of_the_manual_is_understood() -> None:
    found = parse(SEED, "config.yaml")
    assert (found.ip, found.api_port, found.role, found.state_dir) == ("192.0.2.11", 8080, "node", "/qluster")
    assert found.udp.socket.multicast == ("239.19.76.1", 7400) and found.udp.port("192.0.2.11") == 7400
    assert (found.cluster.node_timeout, found.cluster.remove_interval, found.hello_retry_interval) == (30.0, 60.0, 1.0)
    assert found.database is None and found.pool is None


def test_values_of_the_manual_are_the_defaults() -> None:
    assert parse(SMALLEST, "a") == parse(SEED, "b")


def test_sections_of_database_and_pool_exist_only_where_given() -> None:
    found = parse(SMALLEST + "database: {bin-dir: /usr/bin}\npool: {port: 6000}\n", "test")
    assert found.database is not None and found.database.data_dir == "/opt/qhb-data"
    assert found.database.programs["pg_ctl"] == "pg_ctl" and found.database.client_networks == ()
    assert found.pool is not None and found.pool.port == 6000


def test_peers_take_the_place_of_multicast() -> None:
    found = config("udp.socket.group", "[192.0.2.12:7401, 192.0.2.11:7400]")
    assert found.udp.socket.multicast is None
    assert found.udp.socket.peers == (("192.0.2.12", 7401), ("192.0.2.11", 7400))
    assert found.udp.port("192.0.2.12") == 7401
    assert config("udp.socket.group", "'192.0.2.12:7401, 192.0.2.11:7400'") == found


@pytest.mark.parametrize(("text", "seconds"), [
    ("500ms", 0.5), ("30s", 30.0), ("1m", 60.0), ("1h", 3600.0), ("1m30s", 90.0), ("1.5s", 1.5), ("0.05s", 0.05),
])
def test_durations_have_units(text: str, seconds: float) -> None:
    assert Duration("1ms", "24h").read(Scalar(text)) == seconds


def test_parameters_of_the_database_are_taken_as_they_are_written() -> None:
    found = parse(SMALLEST + (
        "database:\n  bin-dir: /usr/bin\n  programs: {postgres: qhb}\n  client-networks:\n    - 192.0.2.0/24\n"
        "  parameters:\n    jit: off\n    work_mem: 8MB\n    timezone: 'Europe/Prague'\n    max_connections: 0200\n"
    ), "test").database
    assert found is not None
    assert found.parameters == {"jit": "off", "work_mem": "8MB", "timezone": "Europe/Prague", "max_connections": "0200"}
    assert found.programs["postgres"] == "qhb" and found.programs["initdb"] == "initdb"
    assert found.client_networks == ("192.0.2.0/24",)


def test_empty_founder_of_a_template_means_none() -> None:
    assert config("cluster.founder", '""').cluster.founder is None


def test_paths_are_tidied() -> None:
    assert config("state-dir", "/var//lib/qluster/").state_dir == "/var/lib/qluster"


# --- single values that are refused ----------------------------------------------


@pytest.mark.parametrize(("path", "text", "says"), [
    ("cluster.node-timeout", "30", '"30" has no unit. Write 30s for seconds (units: ms, s, m, h).'),
    ("cluster.node-timeout", "1_000", '"1_000" is no duration. Write a number and a unit, such as 500ms, 30s or 1m.'),
    ("cluster.node-timeout", "12:30", '"12:30" is no duration. Write a number and a unit, such as 500ms, 30s or 1m.'),
    ("cluster.node-timeout", "30 s", '"30 s" is no duration. Write a number and a unit, such as 500ms, 30s or 1m.'),
    ("cluster.node-timeout", "-5s", '"-5s" is no duration. Write a number and a unit, such as 500ms, 30s or 1m.'),
    ("cluster.node-timeout", "0.0001s", '"0.0001s" is finer than a millisecond. Use whole milliseconds.'),
    ("cluster.node-timeout", "1ms", "1ms is out of range. Use 50ms to 1h."),
    ("cluster.node-timeout", "99h", "99h is out of range. Use 50ms to 1h."),
    ("cluster.node-timeout", "[30s]", "is a list, but must be a duration such as 30s."),
    ("cluster.node-timeout", "", "has no value. Write a duration such as 30s after the colon, or remove the line."),
    ("api-port", "0", "0 is out of range. Use 1 to 65535."),
    ("api-port", "65536", "65536 is out of range. Use 1 to 65535."),
    ("api-port", "8_080", '"8_080" is no whole number. Write digits only, without spaces, signs, underscores or '
                          "leading zeros."),
    ("api-port", "017", '"017" is no whole number. Write digits only, without spaces, signs, underscores or leading '
                        "zeros."),
    ("api-port", "'{{ port }}'", '"{{ port }}" is the text of an example. Put a whole number in its place.'),
    ("udp.max-log-size", "2097152", "2097152 is out of range. Use 1024 to 1048576."),
    ("udp.send-buffer-capacity", "8", "8 is out of range. Use 32 to 65536."),
    ("udp.socket.pacing-rate", "0", "0 is out of range. Use 65536 to 12500000000."),
    ("udp.socket.loopback", "on", '"on" is neither true nor false. Write one of these two words.'),
    ("udp.socket.loopback", "yes", '"yes" is neither true nor false. Write one of these two words.'),
    ("cluster.quorum-replication", "1", '"1" is neither true nor false. Write one of these two words.'),
    ("ip", "db1.example", '"db1.example" is no address such as 192.0.2.10 or 2001:db8::10. Names of hosts '
                           "are not looked up."),
    ("ip", "0.0.0.0", "0.0.0.0 is not the address of one host. Use the one that the other nodes reach."),
    ("ip", "239.1.1.1", "239.1.1.1 is a multicast address. Use the address of a host."),
    ("ip", "'fe80::1'", "fe80::1 means something on one interface only. Use an address of the network, such as one "
                        "in fd00::/8."),
    ("ip", "'fe80::1%eth0'", '"fe80::1%eth0" names an interface. Leave out %eth0.'),
    ("ip", "'::ffff:192.0.2.1'", "::ffff:c000:201 is an IPv4 address in IPv6's clothes. Write 192.0.2.1."),
    ("ip", "'ff15::1'", "ff15::1 is a multicast address. Use the address of a host."),
    ("ip", "'::'", ":: is not the address of one host. Use the one that the other nodes reach."),
    ("udp.socket.group", "'[2001:db8::1]:7400'",
     "2001:db8::1 is no multicast address. Use one of ff15::1 to ff15:ffff:ffff:ffff:ffff:ffff:ffff:ffff, or a list of "
     "all nodes' addresses where the network has no multicast."),
    ("udp.socket.group", "'[ff02::1]:7400'",
     "ff02::1 belongs to the network's own protocols. Use one of ff15::1 to "
     "ff15:ffff:ffff:ffff:ffff:ffff:ffff:ffff."),
    ("udp.socket.group", "'[ff11::1]:7400'",
     "ff11::1 never leaves its host. Use one of ff15::1 to ff15:ffff:ffff:ffff:ffff:ffff:ffff:ffff."),
    ("udp.socket.group", "ff15::76:7400",
     '"ff15::76:7400": write an IPv6 address in brackets, such as "[ff15::76]:7400".'),
    ("udp.socket.group", "'[ff15::76]'", '"[ff15::76]" has no port. Write address:port, such as 239.19.76.1:7400.'),
    ("udp.socket.group", "['192.0.2.11:1', '[fd00::1]:2']",
     "lists IPv4 and IPv6 addresses. Use one of the two for all nodes."),
    ("udp.socket.group", "192.0.2.1:7400",
     "192.0.2.1 is no multicast address. Use one of 239.0.0.0 to 239.255.255.255, or a list of all nodes' addresses "
     "where the network has no multicast."),
    ("udp.socket.group", "224.0.0.1:7400",
     "224.0.0.1 belongs to the network's own protocols. Use one of 239.0.0.0 to 239.255.255.255."),
    ("udp.socket.group", "239.1.1.1", '"239.1.1.1" has no port. Write address:port, such as 239.19.76.1:7400.'),
    ("udp.socket.group", "239.1.1.1:0", '"0" is no port. Use 1 to 65535.'),
    ("udp.socket.group", "[]", "lists 0 addresses. List every node once, at most 32."),
    ("udp.socket.group", "[192.0.2.11:1, 192.0.2.11:2]", "lists 192.0.2.11 twice. List every node once."),
    ("udp.socket.interface", "eth0/1", '"eth0/1" is no interface name: use the name that `ip link` shows, such as '
                                       "eth0."),
    ("udp.socket.interface", "an-interface-too-long", '"an-interface-too-long" has 21 bytes, the limit is 15.'),
    ("udp.socket.interface", "no", '"no" is a bool to YAML. Write it in quotes: "no".'),
    ("state-dir", "qluster", '"qluster" is no absolute path. Let it begin with a slash.'),
    ("state-dir", "/var/../etc", '"/var/../etc" goes through "..". Write the path itself.'),
    ("state-dir", "/", "is the root of the file system. Use a directory of its own."),
    ("role", "leader", '"leader" is not known. Use one of: node, listener.'),
    ("cluster.name", "two words", '"two words" is no cluster name: use letters, digits, dots, dashes and underscores, '
                                  "beginning with a letter or digit."),
    ("database.client-networks", "192.0.2.0/24",
     "is no list. Write [192.0.2.0/24], or one network a line with a dash."),
    ("database.client-networks", "[192.0.2.7]", '"192.0.2.7" has no size. Write 192.0.2.7/32 for one host.'),
    ("database.client-networks", "[192.0.2.7/24]",
     '"192.0.2.7/24" is no network (192.0.2.7/24 has host bits set). Write it as 192.0.2.0/24.'),
    ("database.socket-dir", "/" + "x" * 95, f'"/{"x" * 56}..." has 96 bytes, the limit is 92. A Unix socket\'s path '
                                            "cannot be longer."),
    ("database.superuser", "Post Gres", '"Post Gres" is no role name: use lower-case letters, digits and underscores, '
                                        "not beginning with a digit."),
])
def test_value_is_refused_with_what_to_do(path: str, text: str, says: str) -> None:
    assert message(path, text) == says


@pytest.mark.parametrize(("text", "key", "says"), [
    ("parameters: {work mem: 1}", "database.parameters.work mem",
     '"work mem" is no name here: use a parameter of the database.'),
    ("parameters: {work_mem: }", "database.parameters.work_mem",
     "has no value. Write a value after the colon, or remove the line."),
    ("parameters: {work_mem: [1]}", "database.parameters.work_mem", "is a list, but must be a value."),
    ('parameters: {work_mem: "1\\n2"}', "database.parameters.work_mem",
     '"1\\n2" cannot stand here: use one line of text.'),
    ("programs: {psql: psql}", "database.programs.psql",
     '"psql" is not known here. Use initdb, pg_ctl, postgres, pg_basebackup, pg_rewind, pg_controldata.'),
    ("programs: {initdb: /usr/bin/initdb}", "database.programs.initdb",
     '"/usr/bin/initdb" cannot stand here: use a file name in `database.bin-dir`, without a path.'),
    ("parameters: none", "database.parameters", "is no section. Write one `name: value` a line below it."),
])
def test_item_of_a_section_is_refused_by_its_name(text: str, key: str, says: str) -> None:
    found = faults(SMALLEST + f"database:\n  bin-dir: /usr/bin\n  {text}\n")
    assert [(fault.key, fault.message, fault.line) for fault in found] == [(key, says, 8)]


# --- rules between keys ------------------------------------------------------------


@pytest.mark.parametrize(("text", "key", "says"), [
    ("cluster: {node-timeout: 12s}", "cluster.node-timeout",
     "is 12s, and cluster.heartbeat-interval is 10s: one lost heartbeat would call an election. Use at least 30s, or a "
     "shorter heartbeat-interval."),
    ("tasks: {user: root}", "tasks.user", "is root, who can read all secrets of this host."),
    ("tasks: {program-roles: [dumper]}", "tasks.program-roles", "is given, and tasks.user is not"),
    ("tasks: {dask-user: root, dask-dir: /d, dask-certificate-file: /c, dask-key-file: /k, dask-ca-file: /a}",
     "tasks.dask-user", "is root, who can read all secrets"),
    ("tasks: {dask-user: computer, dask-dir: /d, dask-certificate-file: /c, dask-ca-file: /a}",
     "tasks.dask-key-file", "is not given: Dask has certificate, key and authority of its own"),
    ("tasks: {dask-ca-file: /a}", "tasks.dask-certificate-file", "is not given: Dask has"),
    ("tasks: {dask-user: computer, dask-certificate-file: /c, dask-key-file: /k, dask-ca-file: /a}",
     "tasks.dask-dir", "is not given: computer must be able to pass through it"),
    ("cluster: {node-timeout: 20s}", "cluster.node-timeout", "is 20s, and cluster.heartbeat-interval is 10s"),
    ("cluster: {pre-voting-timeout: 40s}", "cluster.pre-voting-timeout",
     "is 40s, longer than cluster.node-timeout (30s). Use at most 30s."),
    ("cluster: {replication-retry-interval: 30s}", "cluster.replication-retry-interval", "Use at most 15s."),
    ("cluster: {autoremove-enabled: true, remove-interval: 30s}", "cluster.remove-interval", "Use at least 1m."),
    ("cluster: {quorum-replication: false}", "cluster.replication-factor",
     "is 0 while cluster.quorum-replication is false"),
    ("cluster: {founder: 192.0.2.11}\nrole: listener", "cluster.founder",
     "192.0.2.11 is this host, but its role is listener, and a listener cannot lead. Name a node."),
    ("api-port: 5432\ndatabase: {bin-dir: /usr/bin}", "database.port",
     "5432 is also api-port, and both listen on 192.0.2.11. Use another port for one."),
    ("pool: {host: 192.0.2.11, port: 8080}", "pool.port", "8080 is also api-port, on the same address."),
    ("state-dir: /opt/qhb-data/state\ndatabase: {bin-dir: /usr/bin}", "database.data-dir",
     "/opt/qhb-data and state-dir /opt/qhb-data/state lie in one another"),
    ("database: {bin-dir: /usr/bin, wal-archive-dir: /opt/qhb-data/wal}", "database.wal-archive-dir",
     "lie in one another"),
    ("database: {bin-dir: /usr/bin, superuser: application}", "database.application-user",
     "application is also database.superuser"),
    ("database: {bin-dir: /usr/bin, superuser: pg_me}", "database.superuser", "begins with pg_"),
    ("quorum: {provider: votequorum, last_man_standing: true}\ndevice: {host: 192.0.2.99, tls: 'off'}",
     "quorum.last_man_standing", "and a section device are both given"),
])
def test_keys_that_contradict_each_other_are_refused(text: str, key: str, says: str) -> None:
    found = faults(SMALLEST + text + "\n")
    assert [fault.key for fault in found] == [key]
    assert says in found[0].message


@pytest.mark.parametrize("host", ["192.0.2.14", "fd00::14", "2001:db8::a:1", "/run/qcp"])
def test_console_of_the_pool_has_an_address_or_a_socket(host: str) -> None:
    found = parse(SMALLEST + f'pool: {{host: "{host}"}}\n', "test")
    assert found.pool is not None and found.pool.host == host


def test_list_of_peers_must_fit_the_rest() -> None:
    text = SMALLEST.replace("239.19.76.1:7400", "[192.0.2.12:7400, 192.0.2.13:7400]")
    found = faults(text + "cluster: {founder: 192.0.2.14, replication-factor: 3}\n")
    assert {fault.key: fault.message for fault in found} == {
        "cluster.founder": "192.0.2.14 is not in the list udp.socket.group. Name one of its nodes.",
        "cluster.replication-factor": "is 3, but udp.socket.group lists 2 nodes: nothing could ever be confirmed. "
                                      "Use at most 2.",
        "udp.socket.group": "does not list this node's ip 192.0.2.11. List every node.",
    }


def test_pacing_must_let_heartbeats_through() -> None:
    found = faults(with_value("udp.socket.pacing-rate", "65536").replace("ip:", "cluster: {heartbeat-interval: 100ms}\n"
                                                                         "ip:"))
    assert found[0].key == "udp.socket.pacing-rate" and "hold up heartbeats for 977ms" in found[0].message


# --- the file as a whole -------------------------------------------------------------


def test_all_faults_are_told_at_once_each_with_its_line() -> None:
    text = ("ip: 192.0.2.11\nip: 192.0.2.12\nudp:\n  socket:\n    group: 192.0.2.3:7\n    interfaces: eth0\n"
            "    pacing_rate: 1\ncluster:\n  node-timeout: 30\n  heartbeat-intervall: 1s\nheartbeat-interval: 3s\n"
            "database:\n")
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "/etc/qluster/config.yaml")
    lines = str(caught.value).splitlines()
    places = [line.split(": ", 2)[:2] for line in lines]
    assert places == [
        ["/etc/qluster/config.yaml:2", "ip"],
        ["/etc/qluster/config.yaml:4", "udp.socket.interface"],
        ["/etc/qluster/config.yaml:5", "udp.socket.group"],
        ["/etc/qluster/config.yaml:6", "udp.socket.interfaces"],
        ["/etc/qluster/config.yaml:7", "udp.socket.pacing_rate"],
        ["/etc/qluster/config.yaml:9", "cluster.node-timeout"],
        ["/etc/qluster/config.yaml:10", "cluster.heartbeat-intervall"],
        ["/etc/qluster/config.yaml:11", "heartbeat-interval"],
        ["/etc/qluster/config.yaml:12", "database"],
    ]
    assert lines[0].endswith("ip: stands twice (first in line 1). Keep one of them.")


@pytest.mark.parametrize(("written", "meant"), [
    ("udp.socket.pacing_rate", "udp.socket.pacing-rate"),
    ("udp.socket.intreface", "udp.socket.interface"),
    ("udp.group", "udp.socket.group"),
    ("heartbeat-interval", "cluster.heartbeat-interval"),
    ("api_port", "api-port"),
    ("Cluster", "cluster"),
    ("cluster.hello-retry-interval", "hello-retry-interval"),
])
def test_unknown_key_is_refused_with_the_nearest_known_one(written: str, meant: str) -> None:
    assert message(written, "1s") == f"is not known. Did you mean {meant}?"


def test_key_like_no_other_is_sent_to_the_reference() -> None:
    assert message("xyzzy", "1s") == "is not known. docs/reference/config.md lists every key."


def test_texts_of_the_manual_are_recognised_as_an_example() -> None:
    found = faults(MANUAL)
    assert [(fault.key, fault.line) for fault in found] == [
        ("ip", 1), ("udp.socket.group", 5), ("udp.socket.interface", 6)]
    assert all("is the text of an example. Put " in fault.message for fault in found)


def test_missing_keys_are_named_with_their_meaning() -> None:
    found = {fault.key: fault.message for fault in faults("pool: {}\ndatabase: {port: 1}\n")}
    assert set(found) == {"ip", "udp.socket.group", "udp.socket.interface", "database.bin-dir"}
    assert found["database.bin-dir"] == "is missing. Directory of the database's programs. (absolute path)"


@pytest.mark.parametrize(("text", "says"), [
    ("", "is empty."),
    ("# only a comment\n", "is empty."),
    ("just a word", "is no list of `key: value` lines."),
    ("- a\n- b\n", "is no list of `key: value` lines."),
    ("ip: [1, 2\nudp: 3\n", "cannot be read as YAML"),
    ("ip: 1\n\tudp: 3\n", "cannot be read as YAML"),
    ("ip: *nobody\n", "cannot be read as YAML"),
    ("ip: 1\n---\nip: 2\n", "cannot be read as YAML"),
    ("ip: \x00\n", "is no YAML text"),
    ("a" * 300_000, "has 300000 characters; a configuration has at most 262144. Is this the right file?"),
])
def test_text_that_is_no_configuration(text: str, says: str) -> None:
    (fault,) = faults(text)
    assert says in fault.message and fault.key == ""


def test_nesting_without_end_is_refused() -> None:
    assert any("deep" in fault.message for fault in faults("ip: " + "{a: " * 50 + "1" + "}" * 50 + "\n"))


@given(st.text(max_size=80))
def test_any_text_ends_in_faults_or_a_configuration(text: str) -> None:
    for candidate in (text, SMALLEST + text, f"ip: {text}\n"):
        try:
            parse(candidate, "config.yaml")
        except ConfigErrors as errors:
            assert errors.faults and all("\n" not in line for line in errors.lines())


@given(st.sampled_from([key.path for key in KEYS]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)))
def test_any_value_of_any_key_ends_in_faults_or_a_configuration(path: str, value: object) -> None:
    text = with_value(path, "@@")
    try:
        parse(text.replace("@@", yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()), "c")
    except ConfigErrors as errors:
        assert errors.faults


FENCING = """fencing:
  hosts:
    192.0.2.12: {levels: [{agent: fence_dummy}]}
"""


def test_every_key_is_in_the_structure() -> None:
    found = parse(SMALLEST + "database: {bin-dir: /usr/bin}\nbackup: {}\npool: {}\n"
                  "device: {host: 192.0.2.99, heuristics: {}}\ntasks: {}\n" + FENCING, "test")
    for path in BY_PATH:
        place: object = found
        for word in path.split("."):
            place = getattr(place, word.replace("-", "_"))


IPV6 = {"ip": "'fd00:0:0::11'", "udp.socket.group": "'[FF15::76]:7400'"}


def test_ipv6_is_read_and_written_in_its_one_form() -> None:
    text = SMALLEST
    for path, value in IPV6.items():
        text = with_value(path, value, text)
    config = parse(text, "config.yaml")
    assert config.ip == "fd00::11"
    assert config.udp.socket.multicast == ("ff15::76", 7400)
    peers = parse(with_value("udp.socket.group", "['[fd00::12]:7400', '[fd00::11]:7401']", text), "config.yaml")
    assert peers.udp.socket.peers == (("fd00::12", 7400), ("fd00::11", 7401))
    assert peers.udp.port("fd00::11") == 7401


@pytest.mark.parametrize("path", IPV6)
def test_one_address_family_for_all(path: str) -> None:
    text = with_value(path, IPV6[path], SMALLEST)
    with pytest.raises(ConfigErrors, match=r"udp\.socket\.group: .* is IPv[46], ip .* is IPv[46]: the nodes speak one"):
        parse(text, "config.yaml")


FENCED = """fencing:
  hosts:
    192.0.2.12:
      action: off
      delay: 2s
      levels:
        - {agent: fence_ipmilan, parameters: {ip: 192.0.2.112, lanplus: 1}, secrets: {password: /p}, time-limit: 20s}
        - [{agent: fence_apc}, {agent: /opt/own/fence}]
"""


def test_fencing_is_read_level_by_level() -> None:
    found = parse(SMALLEST + FENCED, "test").fencing
    assert found is not None and found.attempts == 2 and found.when_failed == "lease"
    host = found.hosts["192.0.2.12"]
    assert (host.action, host.delay) == ("off", 2.0)
    assert [[device.agent for device in level] for level in host.levels] == [
        ["fence_ipmilan"], ["fence_apc", "/opt/own/fence"],
    ]  # fmt: skip
    assert host.levels[0][0].parameters == {"ip": "192.0.2.112", "lanplus": "1"} and host.levels[0][0].time_limit == 20


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("192.0.2.12:", "192.0.2.11:", "a node never fences itself"),
        ("192.0.2.12:", '"fd00::12":', "is IPv6"),
        ("192.0.2.12:", "db2:", "Names of hosts are not looked up"),
        ("action: off", "action: cut", "Use one of: off, reboot"),
        ("delay: 2s", "wait: 2s", "wait: is not known"),
        ("delay: 2s", "delay: 2", "has no unit"),
        ("ip: 192.0.2.112", "password: hunter2", "password: is a secret"),
        ("lanplus: 1", "verbose: 1", "would put what the agent is given"),
        ("lanplus: 1", "action: on", "is decided by the daemon"),
        ("lanplus: 1", "password: x", "is a secret"),
        ("agent: fence_ipmilan", "agent: ipmi; reboot", "is no agent"),
        ("agent: fence_ipmilan, ", "", "agent: is missing"),
        ("password: /p", "password: p", "no absolute path"),
        ("[{agent: fence_apc}, {agent: /opt/own/fence}]", "[]", "has 0 agents"),
        ("lanplus: 1", f"long: {'x' * 1025}", "at most 1024 characters"),
    ],
)
def test_what_is_wrong_with_fencing_is_said_with_its_place(before: str, after: str, words: str) -> None:
    assert before in FENCED
    with pytest.raises(ConfigErrors) as raised:
        parse(SMALLEST + FENCED.replace(before, after), "test")
    assert words in str(raised.value) and "fencing.hosts" in str(raised.value)
    assert "hunter2" not in str(raised.value)
