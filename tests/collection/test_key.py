"""The steps by which the file with the cluster's keys changes, and where an interruption leaves it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.qhb.qluster.plugins.module_utils._cluster_key import (
    NUMBER_MAX,
    KeyFileFault,
    content_of,
    fresh,
    parse,
)
from ansible_collections.qhb.qluster.plugins.modules.qluster_key import perform_alone
from qluster.transport.seal import parse_keys


def numbers(directory: Path) -> list[int]:
    """Numbers in the file, as the daemon reads it."""
    return [key.id for key in parse_keys((directory / "cluster.key").read_text())]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "cluster.key").write_bytes(content_of([fresh(1)]))
    return tmp_path


def test_three_steps_change_the_key_and_each_is_taken_once(directory: Path) -> None:
    old = parse_keys((directory / "cluster.key").read_text())[0]
    seen = []
    for step in ("add", "add", "send", "send", "drop", "drop"):
        said = perform_alone(str(directory), step, check=False)
        assert said["known"] == numbers(directory)
        seen.append((said["known"], said["sending"], said["newest"], said["changed"]))
    assert seen == [([1, 2], 1, 2, True), ([1, 2], 1, 2, False), ([2, 1], 2, 2, True), ([2, 1], 2, 2, False),
                    ([2], 2, 2, True), ([2], 2, 2, False)]
    assert parse_keys((directory / "cluster.key").read_text())[0].secret != old.secret
    assert stat.S_IMODE((directory / "cluster.key").stat().st_mode) == 0o600
    assert [path.name for path in directory.iterdir()] == ["cluster.key"]


def test_steps_keep_the_secrets_of_the_keys_they_keep(directory: Path) -> None:
    first = parse_keys((directory / "cluster.key").read_text())
    perform_alone(str(directory), "add", check=False)
    both = parse_keys((directory / "cluster.key").read_text())
    perform_alone(str(directory), "send", check=False)
    turned = parse_keys((directory / "cluster.key").read_text())
    assert both[0] == first[0] and turned == [both[1], both[0]]


def test_interrupted_change_gets_no_third_key(directory: Path) -> None:
    perform_alone(str(directory), "add", check=False)
    perform_alone(str(directory), "send", check=False)
    again = perform_alone(str(directory), "add", check=False)
    assert again == {"changed": False, "sending": 2, "newest": 2, "known": [2, 1]}


def test_old_key_is_not_dropped_while_it_is_the_one_to_send_with(directory: Path) -> None:
    perform_alone(str(directory), "add", check=False)
    with pytest.raises(KeyFileFault, match="key 2 is not yet the one to send with"):
        perform_alone(str(directory), "drop", check=False)
    assert numbers(directory) == [1, 2]


@pytest.mark.parametrize("step", ["show", "add"])
def test_showing_and_check_mode_change_nothing(directory: Path, step: str) -> None:
    before = (directory / "cluster.key").read_bytes()
    assert perform_alone(str(directory), step, check=True)["changed"] == (step == "add")
    perform_alone(str(directory), "show", check=False)
    assert (directory / "cluster.key").read_bytes() == before


def test_result_holds_no_key(directory: Path) -> None:
    said = repr(perform_alone(str(directory), "add", check=False))
    for line in (directory / "cluster.key").read_text().splitlines():
        assert line.partition(":")[2] not in said


GOOD = content_of([fresh(3)])


@pytest.mark.parametrize(
    "content",
    [b"", b"# nothing\n\n", b"1:short\n", b"one:" + GOOD[2:], b"0:" + GOOD[2:], b"65536:" + GOOD[2:], GOOD + GOOD,
     GOOD[2:]],
    ids=["empty", "comment", "short", "word", "0", "too large", "twice", "no number"])
def test_what_the_daemon_refuses_is_refused_without_showing_it(content: bytes) -> None:
    with pytest.raises(KeyFileFault) as refused:
        parse("cluster.key", content)
    assert GOOD[2:].decode().strip() not in str(refused.value)
    with pytest.raises(ValueError):
        parse_keys(content.decode())


def test_what_the_daemon_takes_is_taken() -> None:
    text = b"# of May\n\n " + GOOD.strip() + b" \r\n" + content_of([fresh(NUMBER_MAX)])
    assert [number for number, _text in parse("cluster.key", text)] == [key.id for key in parse_keys(text.decode())]


def test_last_number_is_told(directory: Path) -> None:
    (directory / "cluster.key").write_bytes(content_of([fresh(NUMBER_MAX)]))
    with pytest.raises(KeyFileFault, match="65535 is the last number"):
        perform_alone(str(directory), "add", check=False)
