"""Fence agents as programs: what they are given, and what counts as fenced when they fail, hang, lie or are missing."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from edge import fence_agent
from qluster.cli.fence import fence
from qluster.cli.words import get_parser
from qluster.config import Config, FenceDevice, FencedHost, Fencing, parse
from qluster.edge.fencing import FenceAgents
from qluster.edge.hostcheck.agents import findings

IP = "10.0.0.2"
SECRET = "correct horse battery staple"


class Bench:
    """Agents of several names, one plug, one secret."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "plug"
        self.state.write_text("on", encoding="ascii")
        self.journal = directory / "journal"
        self.secret = directory / "secret"
        self.secret.write_text(f"{SECRET}\n", encoding="ascii")
        source = Path(fence_agent.__file__).read_text(encoding="utf-8")
        for name in ("fence_test", "fence_other", "fence_mute", "fence_fabric", "fence_none"):
            program = directory / name
            program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
            program.chmod(0o755)

    def device(self, name: str = "fence_test", temper: str = "", limit: float = 20.0, **more: str) -> FenceDevice:
        parameters = {"state_file": str(self.state), "journal": str(self.journal), "temper": temper, **more}
        secrets = {"password": str(self.secret)}
        return FenceDevice(
            agent=str(self.directory / name), parameters=parameters, secrets=secrets, time_limit=limit
        )  # fmt: skip

    def agents(self, *levels: FenceDevice | tuple[FenceDevice, ...]) -> FenceAgents:
        each = tuple(level if isinstance(level, tuple) else (level,) for level in levels)
        return FenceAgents(Fencing(hosts={IP: FencedHost(levels=each)}))

    @property
    def said(self) -> list[str]:
        lines = self.journal.read_text(encoding="ascii").splitlines() if self.journal.exists() else []
        return [" ".join(line.split()[:2]) for line in lines]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_host_is_switched_off_shown_to_be_off_and_switched_on_again(bench: Bench) -> None:
    agents = bench.agents(bench.device())
    ended = await agents.off(IP)
    assert ended.success and bench.state.read_text() == "off"
    assert (await agents.on(IP, ended.level)).success and bench.state.read_text() == "on"
    assert bench.said == ["fence_test off", "fence_test status", "fence_test on"]


async def test_nothing_stands_in_arguments_and_no_secret_in_what_is_said(bench: Bench) -> None:
    ended = await bench.agents(bench.device(temper="fail")).off(IP)
    assert not ended.success and SECRET not in ended.said and "***" in ended.said
    assert SECRET not in bench.journal.read_text() and "arguments=[]" in bench.journal.read_text()


@pytest.mark.parametrize(
    ("temper", "words"), [("fail", "exit code 1"), ("lie", "and then that it is on"), ("hang", "did not end within")]
)
async def test_what_is_not_certain_is_not_fenced(bench: Bench, temper: str, words: str) -> None:
    ended = await bench.agents(bench.device(temper=temper, limit=2.0)).off(IP)
    assert not ended.success and words in ended.said


async def test_next_level_is_tried_and_named(bench: Bench) -> None:
    ended = await bench.agents(bench.device(temper="fail"), bench.device("fence_other")).off(IP)
    assert ended.success and ended.level == 1 and bench.state.read_text() == "off"


async def test_all_agents_of_a_level_must_succeed(bench: Bench) -> None:
    other = bench.directory / "second"
    other.write_text("on", encoding="ascii")
    second = bench.device("fence_other", state_file=str(other), temper="lie")
    ended = await bench.agents((bench.device(), second)).off(IP)
    assert not ended.success and "fence_other" in ended.said


async def test_what_of_a_level_was_switched_off_before_it_failed_is_named(bench: Bench) -> None:
    """Nobody switches it on again: with one power supply left the host may run, or not."""
    ended = await bench.agents((bench.device(), bench.device("fence_other", temper="fail-off"))).off(IP)
    assert not ended.success and "fence_test had switched off its part, see what is on" in ended.said


@pytest.mark.parametrize(
    ("name", "words"),
    [("fence_absent", "Install the package"), ("fence_fabric", "network or storage"), ("fence_none", "no XML"),
     ("fence_mute", "can tell whether the host is off")],
)  # fmt: skip
async def test_agent_that_cannot_prove_anything_is_refused(bench: Bench, name: str, words: str) -> None:
    agents = bench.agents(bench.device(name))
    for ended in (await agents.off(IP), await agents.check(IP)):
        assert not ended.success and words in ended.said
    assert bench.state.read_text() == "on", "it was not even tried"


async def test_parameter_that_an_agent_does_not_know_is_refused(bench: Bench) -> None:
    ended = await bench.agents(bench.device(state_fil="x")).check(IP)
    assert not ended.success and "does not know state_fil. Did you mean state_file?" in ended.said


async def test_check_switches_nothing(bench: Bench) -> None:
    ended = await bench.agents(bench.device(), bench.device("fence_other", temper="fail-off")).check(IP)
    assert ended.success and ended.said.startswith("level 1: ") and bench.state.read_text() == "on"
    assert {line.split()[1] for line in bench.said} == {"monitor", "status"}


async def test_secret_that_cannot_be_read_is_no_shot(bench: Bench) -> None:
    bench.secret.unlink()
    ended = await bench.agents(bench.device()).off(IP)
    assert not ended.success and "cannot be read" in ended.said and bench.said == []


@pytest.mark.skipif(shutil.which("fence_dummy", path="/usr/sbin:/usr/bin") is None, reason="needs fence-agents")
async def test_debian_s_own_agents(bench: Bench) -> None:
    """The package's agents are understood: one with a file for a plug, one that cuts from storage."""
    dummy = FenceDevice(agent="fence_dummy", parameters={"status_file": str(bench.state)})
    agents = bench.agents(dummy, FenceDevice(agent="fence_scsi"), FenceDevice(agent="fence_heuristics_ping"))
    checked = await agents.check(IP)
    assert not checked.success and "fence_scsi cannot be used: it cuts" in checked.said
    assert "can tell whether the host is off" in checked.said and "level 1" not in checked.said
    ended = await agents.off(IP)
    assert ended.success and bench.state.read_text() == "off"
    assert (await agents.on(IP, 0)).success and bench.state.read_text() == "on"


# --- before anything happens: check-config, and `qluster fence` on this host -------------------

CONFIG = """
ip: 10.0.0.1
udp: {{socket: {{group: "239.19.76.1:7400", interface: eth0}}}}
fencing:
  hosts:
    10.0.0.2:
      levels:
        - agent: {agent}
          parameters: {{state_file: {state}, {more}: ""}}
          secrets: {{password: {secret}}}
"""


def config(bench: Bench, agent: str = "fence_test", more: str = "temper") -> Config:
    values = {"agent": bench.directory / agent, "state": bench.state, "secret": bench.secret, "more": more}
    return parse(CONFIG.format(**values), "config.yaml")


def test_check_of_the_configuration_finds_what_is_wrong_with_agents(bench: Bench) -> None:
    bench.secret.chmod(0o600)
    assert list(findings(config(bench), False)) == []
    bench.secret.chmod(0o644)
    [open_to_all] = findings(config(bench), False)
    assert "open to every user" in open_to_all and SECRET not in open_to_all
    bench.secret.chmod(0o600)
    for agent, more, words in (
        ("fence_absent", "temper", "is not there"), ("fence_fabric", "temper", "network or storage"),
        ("fence_none", "temper", "no XML"), ("fence_test", "temperr", "Did you mean temper?"),
    ):  # fmt: skip
        [found] = findings(config(bench, agent, more), False)
        assert words in found and found.startswith("fencing.hosts.10.0.0.2.levels.1.agent: ")
        assert list(findings(config(bench, agent, more), True)) == [], "a daemon starts all the same"


def fence_by_hand(bench: Bench, *words: str) -> int:
    return fence(config(bench), get_parser().parse_args(["fence", *words]))


def test_operator_looks_and_shoots_from_this_host(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert fence_by_hand(bench, "--check") == 0
    assert "10.0.0.2  ok  level 1: " in capsys.readouterr().out and bench.state.read_text() == "on"
    assert fence_by_hand(bench, "10.0.0.2", "--here") == 0
    said = capsys.readouterr().out
    assert "10.0.0.2  fenced  " in said and "10.0.0.2  then  switched on again" in said
    assert fence_by_hand(bench, "--here") == 2, "a host must be named"
    assert fence_by_hand(bench, "10.0.0.3", "--here") == 1 and "does not name 10.0.0.3" in capsys.readouterr().err
    assert fence_by_hand(bench, "10.0.0.2") == 2 and "as a proof" in capsys.readouterr().err
    assert bench.state.read_text() == "on"
