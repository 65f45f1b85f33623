"""The command line: what it prints, where, and with which exit code."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from qluster import __version__
from qluster.__main__ import main
from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, MEANINGS
from qluster.cli.logs import formatter
from qluster.cli.main import config_path, run
from qluster.cli.words import get_parser, reference
from qluster.edge.disk import Disk

GOOD = 'ip: 127.0.0.1\nudp: {socket: {group: "239.19.76.1:7400", interface: lo}}\n'


def written(path: Path, text: str = GOOD) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_version_is_answered_without_loading_anything_heavy() -> None:
    code = ("import sys; from qluster.__main__ import main; main(['--version']); "
            "sys.exit(len([name for name in sys.modules if name in "
            "('argparse', 'asyncio', 'yaml', 'aiohttp', 'msgspec', 'logging')]))")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True,
                         timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"qluster {__version__}\n")


def test_good_configuration_is_said_to_be_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "c.yaml")
    assert main(["check-config", "--no-host", path]) == EXIT_DONE
    assert capsys.readouterr().out == f"{path}: nothing is wrong with it, the host was not looked at.\n"


def test_each_fault_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "c.yaml", "ip: here\nudp: {socket: {group: x, interface: lo}}\nnode-timeout: 1\n")
    assert main(["check-config", path]) == EXIT_CONFIG
    shown = capsys.readouterr()
    assert shown.out == "" and [line.split(": ")[0] for line in shown.err.splitlines()] == [
        f"{path}:1", f"{path}:2", f"{path}:3"]


@pytest.mark.parametrize("words", [["--config"], ["check-config"], ["status", "--config"], ["set-aside", "--config"]])
def test_configuration_that_cannot_be_read_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.yaml")
    assert main([*words, missing]) == EXIT_CONFIG
    assert capsys.readouterr().err.startswith(f"{missing}: cannot be read (No such file or directory). Name a file")


def test_configuration_in_another_encoding_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"ip: \xff\xfe\n")
    assert main(["check-config", str(path)]) == EXIT_CONFIG
    assert capsys.readouterr().err == f"{path}: is no UTF-8 text (byte 4). Write it as UTF-8.\n"


def test_findings_of_the_host_are_lines_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = f"{tmp_path}/missing.key"
    path = written(tmp_path / "c.yaml", GOOD + f"cluster: {{key-file: {missing}}}\n")
    assert main(["check-config", path]) == EXIT_TROUBLE
    assert f"{path}: cluster.key-file: {missing} does not exist." in capsys.readouterr().err


def test_node_does_not_start_on_a_host_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    path = written(tmp_path / "c.yaml", GOOD + f"cluster: {{key-file: {tmp_path}/missing.key}}\nstate-dir: {state}\n")
    before = logging.getLogger().handlers[:]
    try:
        assert main(["--config", path]) == EXIT_TROUBLE
    finally:
        logging.getLogger().handlers[:] = before
    assert "missing.key does not exist" in capsys.readouterr().err
    assert not state.exists()


def test_file_beside_the_program_is_found_with_and_without_its_link(tmp_path: Path) -> None:
    release, links = tmp_path / "release", tmp_path / "bin"
    release.mkdir()
    links.mkdir()
    (release / "qluster").write_text("")
    (links / "qluster").symlink_to(release / "qluster")
    called = str(links / "qluster")
    beside = written(release / "config.yaml")
    assert config_path(None, called) == beside
    nearer = written(links / "config.yaml")
    assert config_path(None, called) == nearer
    assert config_path("/given.yaml", called) == "/given.yaml"


def test_without_any_configuration_the_places_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if Path("/etc/qluster/config.yaml").exists():
        pytest.skip("this host has a configuration in /etc/qluster")
    assert run(["check-config"], str(tmp_path / "qluster")) == EXIT_CONFIG
    assert capsys.readouterr().err == (
        f"no configuration: none of {tmp_path}/config.yaml, /etc/qluster/config.yaml exists. "
        f"Name one with --config FILE.\n")


@pytest.mark.parametrize("words", [["fly"], ["--colour"], ["check-config", "a", "b"], ["status", "--xml"]])
def test_wrong_words_are_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == EXIT_USAGE
    assert "usage: qluster" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--reign", "3"], ["--accept-data-loss"]])
def test_half_a_word_forces_no_failover(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failover", "--config", written(tmp_path / "config.yaml"), *words]) == EXIT_USAGE
    assert "--reign N and --accept-data-loss together" in capsys.readouterr().err


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == EXIT_DONE
    text = capsys.readouterr().out
    assert all(f"  {code:<3} {meaning}" in text for code, meaning in MEANINGS.items())
    assert get_parser().prog == "qluster"


def test_reference_page_is_the_help() -> None:
    page = Path(__file__).parents[3] / "docs/reference/command_line.md"
    if os.environ.get("REWRITE_GOLDEN") == "1":
        page.write_text(reference(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == reference(), f"REWRITE_GOLDEN=1 pytest {__file__} writes it anew"


def test_state_is_set_aside_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "c.yaml", GOOD + f"state-dir: {tmp_path}/state\n")
    disk = Disk(f"{tmp_path}/state")
    disk.load()
    assert main(["set-aside", "--config", path]) == EXIT_TROUBLE
    assert "uses this state directory. Stop it" in capsys.readouterr().err
    disk.close()
    assert main(["set-aside", "--config", path, "--reason", "test"]) == EXIT_DONE
    assert capsys.readouterr().out.startswith(f"The state lies in {tmp_path}/state/old.1 now.")
    assert (tmp_path / "state/old.1/reason").read_text() == "test\n"
    assert main(["set-aside", "--config", path]) == EXIT_TROUBLE


def test_configuration_may_be_named_before_or_after_the_command(tmp_path: Path) -> None:
    parser = get_parser()
    for words in (["--config", "a", "status"], ["status", "--config", "a"]):
        assert parser.parse_args(words).config == "a"


def test_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    path = written(tmp_path / "c.yaml")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run([sys.executable, "-u", "-m", "qluster", "check-config", "--no-host", path],
                             env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
                             check=False)
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (EXIT_TROUBLE, "")


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("qluster.test", level, "file", 1, text, None, None)


def test_log_lines_have_priorities_in_the_journal_and_times_elsewhere() -> None:
    journal = formatter({"JOURNAL_STREAM": "8:1"})
    assert journal.format(record(logging.WARNING, "one\ntwo")) == "<4>qluster.test one\n<4>two"
    assert journal.format(record(logging.INFO, "x")) == "<6>qluster.test x"
    elsewhere = formatter({}).format(record(logging.ERROR, "x"))
    assert elsewhere.endswith("ERROR   qluster.test x") and elsewhere[4] == "-" and "T" in elsewhere
