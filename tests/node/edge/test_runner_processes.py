"""A host on which no process can be made any more, or only slowly: one run is given back, the others go on."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qluster.edge import clock
from qluster.edge.runner.forker import Forker
from qluster.edge.runner.plan import Born, Over, Plan, Stop, Tie, Unborn, Word, decode_word, encode
from qluster.edge.runner.program import Copy
from qluster.tasks.frames import Frames, framed

TRUE = Plan(("/bin/true",), (), "/", "/dev/null")


class Lines:
    """Lines to attendants, of a forker that may fork when the file ``who`` does not forbid it."""

    def __init__(self, forker: Forker) -> None:
        self._forker = forker
        self._sink = os.open("/dev/null", os.O_WRONLY)

    def open(self) -> socket.socket:
        line = self._forker.attendant(self._sink, self._sink)
        line.settimeout(10.0)
        return line

    def begin(self, line: socket.socket, plan: Plan = TRUE) -> list[Word]:
        """All that is said to a plan."""
        line.sendall(framed(encode(plan)))
        return self.words(line)

    def words(self, line: socket.socket) -> list[Word]:
        """All that is said until the end."""
        frames, words = Frames(), []
        while data := line.recv(1 << 16):
            words += [decode_word(text) for text in frames.take(data)]
        return words


@pytest.fixture
def who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While it says "forker" the forker can make no process, while it says "attendant" no attendant can."""
    told, fork, test = tmp_path / "who", os.fork, os.getpid()
    told.write_text("")

    def limited() -> int:
        kind = "" if os.getpid() == test else "forker" if os.getppid() == test else "attendant"
        if kind and told.read_text() == kind:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", limited)
    return told


@pytest.fixture
def lines(who: Path) -> Iterator[Lines]:
    forker = Forker(10.0)
    yield Lines(forker)
    forker.close()


def test_a_forker_that_cannot_fork_goes_on(lines: Lines, who: Path) -> None:
    who.write_text("forker")
    assert lines.open().recv(1) == b"", "it is let go, so that the run is known not to be begun"
    who.write_text("")
    assert [type(word) for word in lines.begin(lines.open())] == [Born, Over]


def test_an_attendant_that_cannot_fork_says_so(lines: Lines, who: Path) -> None:
    who.write_text("attendant")
    (word,) = lines.begin(lines.open())
    assert isinstance(word, Unborn) and word.late and "no process could be made" in word.reason


def test_how_long_it_took_does_not_depend_on_who_hears_of_it(lines: Lines) -> None:
    line, before = lines.open(), clock.awake()
    line.sendall(framed(encode(Plan(("/bin/sleep", "0.1"), (), "/", "/dev/null"))))
    _wait_for(lambda: clock.awake() > before + 0.5)
    _, over = lines.words(line)
    assert isinstance(over, Over) and 0.1 <= over.seconds < clock.awake() - before


def test_a_lease_that_was_renewed_while_the_program_was_begun_holds(
    who: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, sound = tmp_path / "begun", tmp_path / "go on", Copy.begin

    def slow(self: Copy, plan: Plan) -> None:
        sound(self, plan)
        begun.touch()
        _wait_for(go_on.exists)

    monkeypatch.setattr(Copy, "begin", slow)
    forker = Forker(10.0)
    lines, until = Lines(forker), clock.awake() + 1.0  # a busy machine begins it before
    line = lines.open()
    line.sendall(framed(encode(Plan(("/bin/sleep", "1000"), (), "/", "/dev/null", tied=True, until=until))))
    _wait_for(begun.exists)
    line.sendall(framed(encode(Tie(until + 1000))))
    _wait_for(lambda: clock.awake() > until)
    go_on.touch()
    assert isinstance(decode_word(Frames().take(line.recv(1 << 16))[0]), Born)
    line.sendall(framed(encode(Stop(0.0))))
    (over,) = lines.words(line)
    assert isinstance(over, Over) and over.cause == "", "it went on until it was stopped"
    forker.close()


def _wait_for(met: Callable[[], bool]) -> None:
    end = clock.awake() + 30.0
    while not met():
        assert clock.awake() < end
        time.sleep(0.005)
