"""The disk of these tests keeps what was flushed and nothing that it need not keep."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from random import Random

import pytest
from faults.storage import SECTOR, Directory, File, Missing, Storage


def file_in(storage: Storage, path: str) -> File:
    directory, name = storage.parent(path)
    made = File(0o600)
    directory.put(name, made)
    return made


def content(storage: Storage, path: str) -> bytes:
    found = storage.find(path)
    assert isinstance(found, File)
    return bytes(found.content)


def test_flushed_bytes_of_a_flushed_name_are_there_after_a_power_cut() -> None:
    storage = Storage()
    file = file_in(storage, "/a")
    file.write(b"kept", 0)
    file.flush()
    storage.root.flush()
    file.write(b"lost", 4)
    storage.cut(None)
    assert content(storage, "/a") == b"kept"


def test_name_that_was_not_flushed_is_gone_with_everything_below_it() -> None:
    storage = Storage()
    storage.root.put("state", Directory(0o700))
    file = file_in(storage, "/state/log")
    file.flush()
    state = storage.find("/state")
    assert isinstance(state, Directory)
    state.flush()
    storage.cut(None)
    with pytest.raises(Missing):
        storage.find("/state")


def test_renamed_file_is_there_under_the_old_name_or_the_new_one() -> None:
    seen = set()
    for seed in range(40):
        storage = Storage()
        file = file_in(storage, "/old")
        file.write(b"x", 0)
        file.flush()
        storage.root.flush()
        storage.rename("/old", "/new")
        storage.cut(Random(seed))
        assert storage.root.names
        seen.add(tuple(storage.root.names))
    assert ("old",) in seen and ("new",) in seen


def test_what_was_not_flushed_survives_by_sectors() -> None:
    seen = set()
    for seed in range(60):
        storage = Storage()
        file = file_in(storage, "/log")
        storage.root.flush()
        file.write(b"x" * SECTOR + b"y" * SECTOR, 0)
        storage.cut(Random(seed))
        seen.add(content(storage, "/log").replace(b"\0", b".")[::SECTOR])
    assert {b"", b"x", b".y", b"xy"} <= seen


def test_failed_flush_is_not_made_good_by_the_next_one() -> None:
    storage = Storage()
    file = file_in(storage, "/log")
    storage.root.flush()
    file.write(b"first", 0)
    file.forget()
    file.write(b"second", 5)
    file.flush()
    storage.cut(None)
    assert content(storage, "/log") == bytes(5) + b"second"
