"""What corosync's daemons said to each other: our arbiter answers their clients as theirs did."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import Any

import pytest
from qluster.qnet.display import listing, status
from qluster.qnet.names import TlsSupported
from qluster.qnet.settings import Settings
from qnet.recorded import load
from qnet.stage import Stage

TLS = {"off": TlsSupported.UNSUPPORTED, "on": TlsSupported.SUPPORTED, "required": TlsSupported.REQUIRED}

def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in load(name)["cases"]]


def stage_for(case: dict[str, Any]) -> Stage:
    return Stage(Settings(tls=TLS[case["tls"]], clients_max=0))


@pytest.mark.parametrize("case", cases("scripted"))
def test_recorded_script_gets_the_recorded_answers(case: dict[str, Any]) -> None:
    messages = load("scripted")["messages"]
    stage = stage_for(case)
    for step in case["steps"]:
        match step["do"]:
            case "connect":
                stage.connect(step["conn"], step["address"])
            case "send":
                send(stage, step, messages[step["send"]])
            case "close":
                stage.close(step["conn"])
            case "wait":
                stage.wait(step["s"])
            case "starttls":
                assert stage.tls.pop(step["conn"]) == b""
                stage.handshake(step["conn"], step["cert"])
            case "tool":
                assert tool(stage, step["args"]) == step["stdout"]
        expected = {conn: [messages[place].hex() for place in places] for conn, places in step.get("recv", {}).items()}
        received = {conn: [data.hex() for data in stage.raw(conn)] for conn in list(stage.bytes)}
        assert {conn: "".join(said) for conn, said in received.items()} == {
            conn: "".join(said) for conn, said in expected.items()
        }
        assert list(stage.closed) == step.get("closed", [])
        stage.closed.clear()
        # The recorded clients were never slower than this between steps, and shorter than any deadline.
        stage.wait(0.15)


def send(stage: Stage, step: dict[str, Any], data: bytes) -> None:
    size = step.get("chunk", len(data))
    for place in range(0, len(data), size):
        stage.give(step["conn"], data[place : place + size])


def tool(stage: Stage, args: str) -> str:
    verbose = "v" in args
    return status(stage.arbiter, "192.0.2.9:5403", verbose) if "s" in args else listing(stage.arbiter, verbose)


@pytest.mark.parametrize("case", cases("sessions"))
def test_recorded_clusters_get_the_recorded_answers(case: dict[str, Any]) -> None:
    messages = load("sessions")["messages"]
    stage = stage_for(case)
    said: dict[str, list[str]] = {}
    expected: dict[str, list[str]] = {}
    shown = [listing(stage.arbiter, verbose=True)]
    for step in case["steps"]:
        stage.wait(max(0.0, step["t"] - stage.now))
        if "connect" in step:
            stage.connect(step["connect"], step["address"])
        elif "closed" in step:
            stage.close(step["closed"])
        elif "tls" in step:
            assert stage.tls.pop(step["tls"]) == b""
            stage.handshake(step["tls"], "qlab")
        elif "send" in step:
            stage.give(step["conn"], messages[step["send"]])
        elif "recv" in step:
            expected.setdefault(step["conn"], []).append(messages[step["recv"]].hex())
        for conn in list(stage.bytes):
            said.setdefault(conn, []).extend(data.hex() for data in stage.raw(conn))
        shown.append(listing(stage.arbiter, verbose=True))
    assert said == expected
    assert not stage.closed
    in_order(case["tools"], shown)


def in_order(tools: list[dict[str, str]], shown: list[str]) -> None:
    """Each recorded output was what the arbiter would have shown at some time, one after the other."""
    remaining = iter(re.sub(r"(Client address:\t\t)\S+", r"\1@", text) for text in shown)
    for one in tools:
        assert any(text == one["stdout"] for text in remaining), f"{one['when']} is never shown:\n{one['stdout']}"
