"""What a lab remembers of itself between two commands."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hostlab.errors import LabError
from hostlab.fault import Fault
from hostlab.record import Record, locked, process_started, read_record, write_record


def test_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = Record(7, 9, "/inventory", "/base", [Fault("db1", "db2", "out", 5.0)])
    write_record(tmp_path / "state.json", record)
    assert read_record(tmp_path / "state.json") == record


def test_absent_record_is_no_error(tmp_path: Path) -> None:
    assert read_record(tmp_path / "state.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keeper_pid": 1}', '{"faults": [{"nobody": 1}]}'])
def test_damaged_record_says_what_clears_it_away(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(LabError, match=r"state\.json is damaged.*down"):
        read_record(tmp_path / "state.json")


def test_process_that_got_the_number_of_a_dead_keeper_is_not_the_keeper() -> None:
    started = process_started(os.getpid())
    assert started is not None
    assert Record(os.getpid(), started, "", "").keeper_lives()
    assert not Record(os.getpid(), started + 1, "", "").keeper_lives()


def test_lock_lets_one_in_and_leaves_no_file(tmp_path: Path) -> None:
    inside: list[int] = []
    crowds: list[int] = []

    def enter() -> None:
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside.append(1)
                crowds.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowds == [1] * 40
    assert list(tmp_path.iterdir()) == []
