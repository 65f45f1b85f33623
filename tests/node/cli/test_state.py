"""The state directory as the command line shows it: everything that is there, and nothing changed."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from consensus.stage import voters
from qluster.__main__ import main
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.cluster import commands
from qluster.edge.disk import Disk
from qluster.events import Entry, Identity, SaveEntries, SaveIdentity, SaveSnapshot, SaveVote, Snapshot

ENTRIES = (
    Entry(1, 1, "members", voters(1, 2, 3).encode()),
    Entry(2, 1, "noop", bytes(8)),
    Entry(3, 1, "command", commands.encode(commands.SettingsChanged({"cluster.node-timeout": "20s"}))),
    Entry(4, 2, "command", commands.encode(commands.ValueWritten("a:lock", b"secret"))),
    Entry(5, 2, "command", b"of a later version"),
)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(f'ip: 127.0.0.1\nstate-dir: {tmp_path}/state\n'
                    f'udp: {{socket: {{group: "239.19.76.1:7400", interface: lo}}}}\n', encoding="utf-8")
    return str(path)


def filled(tmp_path: Path) -> Disk:
    disk = Disk(str(tmp_path / "state"), "trial")
    uid = disk.load().uid
    disk.save([SaveIdentity(Identity(uid, 17, 2)), SaveVote(2, 3), SaveEntries(ENTRIES)])
    return disk


def contents(tmp_path: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}


def test_everything_is_shown_while_a_daemon_runs_and_nothing_is_changed(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = filled(tmp_path)
    before = contents(tmp_path)
    assert main(["show-state", "--config", config, "--entries", "2"]) == EXIT_DONE
    assert contents(tmp_path) == before
    shown = capsys.readouterr().out.splitlines()
    disk.close()
    assert shown[0] == f"state directory  {tmp_path}/state, add_node is there"
    assert shown[1].startswith("node             node 2 of founding 17, uid ")
    assert shown[1].endswith(", cluster trial, started 1 times")
    assert shown[2:4] == ["promises         term 2, vote 3", "entries          1/1 to 2/5"]
    assert shown[5:] == [
        "1/2 noop 8 bytes",
        f"1/3 command {len(ENTRIES[2].payload)} bytes SettingsChanged(changes={{'cluster.node-timeout': '20s'}})",
        f"2/4 command {len(ENTRIES[3].payload)} bytes a:lock written",
        "2/5 command 18 bytes not understood: " + shown[-1].partition("understood: ")[2],
    ]


def test_snapshot_and_states_set_aside_are_shown(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = filled(tmp_path)
    disk.set_aside("for a trial")
    disk.load()
    disk.save([SaveVote(1, 1), SaveEntries(ENTRIES[:3]), SaveSnapshot(Snapshot(3, 1, b"", b"state"), reset=False)])
    disk.close()
    assert main(["show-state", "--config", config]) == EXIT_DONE
    shown = capsys.readouterr().out
    assert "snapshot         entry 1/3, 5 bytes of state\nentries          none after the snapshot\n" in shown
    assert shown.endswith("set aside        old.1: for a trial\n")


def test_what_a_start_would_cut_or_stumble_over_is_said(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = filled(tmp_path)
    assert disk._log is not None
    end = disk._log.end
    segment = tmp_path / "state/current/log/0000000000000001.log"
    os.truncate(segment, end - 1)
    assert main(["show-state", "--config", config]) == EXIT_DONE
    assert "unfinished       log-tail-cut" in capsys.readouterr().out
    assert segment.stat().st_size == end - 1
    whole = bytearray(segment.read_bytes())
    whole[60] ^= 1
    segment.write_bytes(whole)
    assert main(["show-state", "--config", config]) == EXIT_TROUBLE
    assert "damaged at byte" in capsys.readouterr().err
    disk.close()


def test_missing_state_is_one_line(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-state", "--config", config]) == EXIT_TROUBLE
    assert "No such file or directory" in capsys.readouterr().err
