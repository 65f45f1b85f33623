"""Harmed requests and configurations: every fault is told, nothing else is raised."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os

import pytest
from api import sample_status as sample
from fuzz.harm import flips, harmed, truncations
from fuzz.target_config import BASE
from qluster import clients
from qluster.api.access import Rights, Tokens, rights_of
from qluster.api.errors import ERRORS
from qluster.api.operation import Operation
from qluster.api.operations import OPERATIONS
from qluster.api.routes import Reply, Request, decide
from qluster.config import ConfigErrors, changeable, parse, with_changes
from sim.world import configuration

JSON = {"content-type": "application/json", "idempotency-key": "key-1"}
BYTES = {"content-type": "application/octet-stream", "idempotency-key": "key-1"}
STRANGE = ("", " ", "0", "-1", "1.0", "01", "9" * 30, "\0", "\ud800", "٣", "é", "%00", "a\nb", "x" * 5000, "true", "[]")
FULL = bool(os.environ.get("FUZZ_FULL"))
SETTINGS = json.dumps({"cluster.node-timeout": "9s", "cluster.autoremove-minimum": 4, "x.y": True}).encode()


def decided(request: Request) -> Reply | clients.ClientRequest:
    """The answer, sound in itself, or the event."""
    found = decide(request, sample.healthy, 1)
    if isinstance(found, Reply) and found.code not in (200, 206):
        assert ERRORS[json.loads(found.body)["error"]].code == found.code
    return found


def test_harmed_body_is_refused_or_another_change() -> None:
    for body in harmed(SETTINGS):
        found = decided(Request("POST", "/config", (), JSON, body, Rights.OPERATE))
        if isinstance(found, Reply):
            assert found.code in (400, 422)
        else:
            assert isinstance(found, clients.SettingsChangeRequested)
            assert all(isinstance(value, str) and value.isprintable() for value in found.changes.values())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_strange_parameters_are_refused_by_name(operation: Operation) -> None:
    headers = BYTES if operation.name.endswith("_key") else JSON
    for strange in STRANGE:
        path = operation.path.replace("{node}", strange).replace("{key}", strange)
        decided(Request(operation.method, path, (), headers, b"", Rights.OPERATE))
        for parameter in operation.parameters:
            query = ((parameter.name, strange), (parameter.name, strange)) if len(strange) == 1 else ()
            bare = operation.path.replace("{node}", "2")
            plain = Request(operation.method, bare, query, headers, b"", Rights.OPERATE)
            decided(plain)
            given = {**headers, parameter.name.lower(): strange}
            single = ((parameter.name, strange),) if parameter.where == "query" else ()
            found = decided(Request(plain.method, plain.path, single, given, b"", Rights.OPERATE))
            if isinstance(found, Reply) and found.code == 400 and b"faults" in found.body:
                assert all(fault["message"] for fault in json.loads(found.body).get("faults") or [])


def test_strange_methods_and_paths_are_refused_by_name() -> None:
    for method in ("", "get", "TRACE", "GET\r\n", "\ud800", "P" * 10_000):
        for path in ("", "/", "//", "/../etc/passwd", "/node/1/2", "/kv/", "/kv/a/b", "/\ud800", "/" * 5000):
            found = decided(Request(method, path, (), {}, b"", Rights.NONE))
            assert isinstance(found, Reply) and 400 <= found.code < 500


def test_harmed_tokens_give_no_rights() -> None:
    tokens = Tokens("read-token-of-the-test", "operate-token-of-the-test")
    for token, rights in ((tokens.read, Rights.READ), (tokens.operate, Rights.OPERATE)):
        header = f"Bearer {token}".encode()
        assert rights_of(header.decode(), tokens) is rights
        for wrong in harmed(header):
            text = wrong.decode("latin-1")
            if text.split(" ", 1)[-1].strip() != token:
                assert rights_of(text, tokens) in (Rights.NONE, Rights.UNKNOWN)


# --- config.yaml ------------------------------------------------------------------


def read(text: str) -> None:
    """Every fault has a place and a sentence."""
    try:
        parse(text, "config.yaml")
    except ConfigErrors as errors:
        assert errors.lines()
        assert all(line.startswith("config.yaml") and "\n" not in line for line in errors.lines())


def test_harmed_configuration_is_read_or_refused_with_every_fault() -> None:
    whole = BASE.encode()
    for cut in truncations(whole):
        read(cut.decode("utf-8", "replace"))
    for place, wrong in enumerate(flips(whole)):
        if FULL or place % 5 == 0:
            read(wrong.decode("utf-8", "replace"))


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "&a {ip: *a}", "[" * 3000, "{a: " * 3000, "? [1]\n: 2", "!!python/object:os.system x", "a: b: c",
     "ip: !!binary AAAA", "<<: {ip: 1.2.3.4}", "\ufeffip: 1.2.3.4", "ip: 10.0.0.1\n" * 20_000, "---\n---\n",
     "%YAML 9.9\n---\na"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_yaml_with_tricks_is_refused(text: str) -> None:
    with pytest.raises(ConfigErrors):
        parse(text, "config.yaml")


def test_few_lines_that_stand_for_millions_of_values_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{place}: &a{place} [{', '.join([f'*a{place - 1}'] * 9)}]" for place in range(1, 8)]
    with pytest.raises(ConfigErrors, match="alias"):
        parse("\n".join(lines), "config.yaml")


@pytest.mark.parametrize("key", changeable())
def test_strange_value_of_a_setting_is_refused_with_a_sentence(key: str) -> None:
    file = configuration(1, pool=False)
    for strange in STRANGE:
        try:
            with_changes(file, {key: strange})
        except ConfigErrors as errors:
            assert all(fault.message for fault in errors.faults)
