"""What the arbiter's daemon answers its tool, what it logs, and under which names it is called."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import qluster.edge.clock
from qluster import __version__
from qluster.qnet.display import listing, status
from qluster.qnet.memories import Memories
from qluster.qnet.memory import Kept
from qluster.qnetd.__main__ import main, tool
from qluster.qnetd.driver import LINES_MAX, LINES_SECONDS, Lines, line
from qluster.qnetd.local import answer
from qluster.qnetd.tool import question
from qnet.stage import Stage, two_together

NODE = Path(__file__).parents[3] / "node"


@pytest.fixture
def stage() -> Stage:
    made = two_together()
    made.join("other", 5, cluster='a "b" \\')
    return made


@pytest.mark.parametrize("verbose", [False, True])
def test_status_and_listing_are_what_the_display_says(stage: Stage, verbose: bool) -> None:
    asked = answer(stage.arbiter, "*:5403", question("status", verbose))
    assert asked == "OK\n" + status(stage.arbiter, "*:5403", verbose)
    assert answer(stage.arbiter, "*:5403", question("list", verbose)) == "OK\n" + listing(stage.arbiter, verbose)


@pytest.mark.parametrize("name", ["qlab", 'a "b" \\'])
def test_one_cluster_is_listed_whatever_its_name(stage: Stage, name: str) -> None:
    said = answer(stage.arbiter, "", question("list", cluster=name))
    assert said == "OK\n" + listing(stage.arbiter, cluster=name) and said.count("Cluster ") == 1
    found = json.loads(answer(stage.arbiter, "", question("json", cluster=name)).removeprefix("OK\n"))
    assert [one["name"] for one in found["clusters"]] == [name]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("foo\n", "Error\nUnknown command 'foo'\n"),
        ("\n", "Error\nNo command specified\n"),
        ("STATUS\n", "OK\nQNetd address"),
        ("list cluster\n", 'OK\nCluster "qlab"'),
        ('list cluster "qlab\n', 'OK\nCluster "qlab"'),
        ("list bar\n", 'OK\nCluster "qlab"'),
        ("shutdown \n", "Error\nThis arbiter is stopped by its service manager alone\n"),
    ],
)
def test_questions_are_answered_as_by_corosync(stage: Stage, asked: str, said: str) -> None:
    assert answer(stage.arbiter, "*:5403", asked).startswith(said)


def test_plain_values_say_what_the_text_says(stage: Stage) -> None:
    found = json.loads(answer(stage.arbiter, "*:5403", "json\n").removeprefix("OK\n"))
    assert (found["address"], found["tls"], found["connected_clients"], found["connected_clusters"]) == (
        "*:5403", "on", 3, 2)
    [first, _] = found["clusters"]
    assert (first["algorithm"], first["tie_breaker"], first["keep_active_partition"]) == ("ffsplit", "lowest", True)
    node = first["nodes"][0]
    assert (node["node"], node["configured"], node["members"], node["ring"]) == (1, [1, 2], [1, 2], "1.8")
    assert (node["vote"], node["vote_yes_no"], node["heuristics"], node["tls"]) == (
        "ack", "ack", "undefined", False)


def test_memories_are_shown_and_forgotten_for_who_may() -> None:
    memories = Memories({(b"gone", 9): Kept(11, 7, 1, 6, 40, 9000), (b"qlab", 3): Kept(12, 1)}, Random(1), 0.0)
    stage = Stage(None, memories)
    stage.join("one", 1)
    shown = json.loads(answer(stage.arbiter, "", question("json")).removeprefix("OK\n"))["memories"]
    assert shown[0] == {"cluster": "gone", "founding": 9, "uid": "000000000000000b", "term": 7, "voted_for": 1,
                        "entry": [6, 40], "promise_ms": 9000, "in_use": False}  # fmt: skip
    forget = question("forget", cluster="gone")
    assert answer(stage.arbiter, "", forget).startswith("Error\nOnly the user of the service and root may")
    for name, said in (("qlab", "Error\nNodes of qlab are connected"), ("gone", "OK\n1 memories of gone are forgotten"),
                       ("gone", "Error\nNothing is remembered of gone"), ("", "Error\nName the cluster")):  # fmt: skip
        assert answer(stage.arbiter, "", question("forget", cluster=name), stage.arbiter.forget).startswith(said)
    assert [key for key, _ in memories] == [(b"qlab", 3)]


def test_what_a_client_made_up_is_no_fact_of_its_own() -> None:
    said = line("vote", {"cluster": 'x node=9 vote="ACK"', "node": 1})
    assert said == 'vote cluster="x node=9 vote=\\"ACK\\"" node=1'


def test_log_is_not_filled_by_strangers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    monkeypatch.setattr(qluster.edge.clock, "monotonic", lambda: now)
    caplog.set_level(logging.INFO)
    lines = Lines()
    for number in range(LINES_MAX + 5):
        lines.say("client-dropped", {"number": number})
    lines.say("vote", {"node": 1})
    assert len(caplog.records) == LINES_MAX + 1
    now += LINES_SECONDS
    lines.say("client-dropped", {"number": 0})
    assert [record.getMessage() for record in caplog.records[-2:]] == [
        "lines-left-out word=client-dropped lines=5", "client-dropped number=0"]


@pytest.mark.parametrize(("called", "words", "said"), [
    ("qluster", ["--version"], f"qluster {__version__}\n"),
    ("qluster-qnetd", ["--version"], f"qluster-qnetd {__version__}\n"),
    ("qluster-qnetd", ["--help"], "usage: qluster-qnetd "),
    ("qluster-qnetd-tool", ["--help"], "usage: qluster-qnetd-tool "),
    ("qluster-qnetd", ["tool", "--help"], "usage: qluster-qnetd-tool "),
])  # fmt: skip
def test_program_is_what_it_is_called(tmp_path: Path, called: str, words: list[str], said: str) -> None:
    program = tmp_path / called
    program.write_text("import sys\nfrom qluster.__main__ import main\nsys.exit(main())\n")
    done = subprocess.run([sys.executable, str(program), *words], env={**os.environ, "PYTHONPATH": str(NODE)},
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith(said), done.stderr


@pytest.mark.parametrize(("text", "words", "code", "said"), [
    ("tls: {mode: off}", ["--no-host"], 0, "nothing is wrong with it, the host was not looked at.\n"),
    ("tls: {mode: off}\nsocket-file: {here}/s", [], 0, "nothing is wrong with it.\n"),
    ("tls: {mode: on}", [], 1, "tls.certificate-file: /etc/qluster-qnetd/server.crt does not exist."),
    ("tls: {mode: off}\nsocket-file: {here}/no/s", [], 1, "socket-file: the directory {here}/no does not exist."),
    ("tls: {mode: off}\nsocket-group: nosuchgroup", [], 1, "socket-group: this host has no group nosuchgroup."),
    ("tls: {mode: off}\naddress: 192.0.2.77", [], 1, "address: 192.0.2.77 cannot be used here"),
    ("port: 70000", [], 78, ":1: port: 70000 is out of range."),
])  # fmt: skip
def test_configuration_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: list[str], code: int, said: str
) -> None:
    file = tmp_path / "qnetd.yaml"
    file.write_text(text.replace("{here}", str(tmp_path)))
    assert main(["--config", str(file), "--check-config", *words]) == code
    shown = capsys.readouterr()
    assert said.replace("{here}", str(tmp_path)) in (shown.err if code else shown.out)


def test_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--config", f"{tmp_path}/none", "--check-config"]) == 78
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


def test_wrong_words_are_a_wrong_command_line() -> None:
    assert (main(["fly"]), tool(["-s", "-l"]), tool([])) == (2, 1, 1)
