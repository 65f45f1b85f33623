"""Dask's programs as a user of their own: they see no secret, have no right of their keeper's, and end with it."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import NODE, wait_for
from edge.dask_world import keeper
from edge.runner_world import Host, host, order
from edge.users_world import FURTHER, OURS, THEIRS, lacking, passable, words
from qluster.config import Tasks
from qluster.edge.dask import member
from qluster.edge.dask.asker import Asker, AskerGone
from qluster.edge.dask.words import ADDRESS_FILE, home_of
from qluster.tasks.bodies import Verdict
from qluster.tasks.spec import Script

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())
KEEPS = ("kill", "setgid", "setuid")
LOOKS = """#!/bin/sh
{{ id -un; grep -h Cap /proc/self/status; pwd; cat {secret} || echo cannot; cat {told}; }} > {note} 2>&1
exec sleep 8877
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can pass, with Dask's own in it."""
    with passable() as root:
        dask = root / "dask"
        dask.mkdir()
        dask.chmod(0o711)
        shutil.chown(dask, OURS)
        home = Path(home_of(str(dask)))
        home.mkdir(mode=0o700)
        shutil.chown(home, THEIRS)
        program = root / "looks"
        program.write_text(LOOKS.format(secret=root / "ours/secret", told=dask / ADDRESS_FILE, note="$HOME/note$$"))
        program.chmod(0o755)
        yield root


def _caps(pid: int) -> dict[str, int]:
    rows = (row.split(":\t", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in row)
    return {name: int(value, 16) for name, value in rows if name.startswith("Cap")}


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_scheduler_and_workers_are_a_user_that_reads_nothing_of_ours(place: Path) -> None:
    tasks = {"dask-python": str(place / "looks"), "dask-user": THEIRS, "dask-dir": str(place / "dask")}
    log = place / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*words(place / "python", KEEPS), "-c", keeper(tasks, [THEIRS])], stdout=told, stderr=told,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{NODE}:{sysconfig.get_path('purelib')}"},
        )  # fmt: skip
    home = place / "dask/home"
    try:
        wait_for("scheduler and workers have looked",
                 lambda: len([note for note in home.glob("note*") if "tls://" in note.read_text()]) == 2
                 or process.poll() is not None)  # fmt: skip
        assert process.poll() is None, log.read_text()
        for note in home.glob("note*"):
            user, *looked = note.read_text().splitlines()
            assert user == THEIRS
            assert {row.split(":\t")[0]: int(row.split(":\t")[1], 16) for row in looked[:5]}["CapEff"] == 0
            assert {int(row.split(":\t")[1], 16) for row in looked[:5] if not row.startswith("CapBnd")} == {0}
            assert looked[5:] == [str(home), f"cat: {place}/ours/secret: Permission denied", "cannot",
                                  "tls://127.0.0.1:8786"]  # fmt: skip
        rights = sum(1 << number for number in (5, 6, 7))
        assert (_caps(process.pid)["CapPrm"], _caps(process.pid)["CapAmb"]) == (rights, 0)
        asker = min(_children(process.pid))
        assert not any(value for name, value in _caps(asker).items() if name != "CapBnd"), "who asks has no right"
        programs = _children(process.pid) - {asker}
        assert len(programs) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in (asker, *programs))
    finally:
        process.kill()
        process.wait()


def test_its_programs_end_with_a_keeper_that_is_killed(place: Path) -> None:
    tasks = {"dask-python": str(place / "looks"), "dask-user": THEIRS, "dask-dir": str(place / "dask")}
    process = subprocess.Popen(
        [*words(place / "python", KEEPS), "-c", keeper(tasks, [THEIRS])], stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{NODE}:{sysconfig.get_path('purelib')}"},
    )  # fmt: skip
    wait_for("both have looked", lambda: len(list((place / "dask/home").glob("note*"))) == 2)
    children = _children(process.pid)
    assert len(children) == 3
    process.kill()
    process.wait()
    wait_for("all are gone", lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children))


@pytest.mark.parametrize(("user", "named", "home", "said"), [
    ("nobody-knows", ["nobody-knows"], True, "whom this host does not know"),
    (FURTHER, [THEIRS], True, "may not become games"),
    (FURTHER, [FURTHER], True, "is no directory of games"),
    (THEIRS, [THEIRS], False, "is no directory of daemon"),
])  # fmt: skip
def test_what_it_lacks_is_said_before_anything_is_begun(
    place: Path, user: str, named: list[str], home: bool, said: str
) -> None:
    if not home:
        (place / "dask/home").rmdir()
    with pytest.raises(member.Unfit, match=said):
        member.prepare(Tasks(dask_user=user), str(place / "dask"), named)


def test_nothing_but_an_address_becomes_a_word_of_a_command_line(caplog: pytest.LogCaptureFixture) -> None:
    said = ["--preload=/tmp/x", "fe80::1%/x y", "10.0.0.2 --x", "", "x" * 9999, "2001:db8::0001"]

    async def ask() -> str:
        return "\n".join(said)

    asker = Asker(ask)
    found: list[str] = []
    try:
        wait_for("the lines came", lambda: bool(found.append(asker.heard()) or found[-1]))
        assert set(found) == {"", "2001:db8::1"} or found == ["2001:db8::1"]
        assert caplog.text.count("dask-address-refused") == 5
    finally:
        asker.end()


def test_who_waits_for_addresses_hears_that_nobody_asks_any_more() -> None:
    async def ask() -> str:
        raise RuntimeError("it breaks")

    asker = Asker(ask)
    with pytest.raises(AskerGone):
        wait_for("it is gone", lambda: bool(asker.heard()))
    asker.end()


@pytest.fixture
def one(place: Path) -> Iterator[Host]:
    """A runner whose scripts are another user's than its other tasks."""
    packages = sysconfig.get_path("purelib")
    files = {f"dask_{name}_file": "/none" for name in ("ca", "certificate", "key")}
    program = place / "script"
    program.write_text('#!/bin/sh\nid -un; pwd; cat "$3" "$4"; echo; head -c1 $4; ls -ld .; shift 4; echo "$@"\n')
    program.chmod(0o755)
    (place / "dask" / ADDRESS_FILE).write_text("tls://127.0.0.1:8786\n")
    with host(place / "ours", place / "ours" / "tasks", words=words(place / "python"), users=f"{THEIRS},{FURTHER}",
              path=f"{NODE}:{packages}", work_dir=str(place / "works"), user=FURTHER, dask_user=THEIRS,
              dask_python=str(program), dask_dir=str(place / "dask"), **files) as found:  # fmt: skip
        yield found


def test_a_script_is_the_same_user_with_a_directory_of_its_own(one: Host, place: Path) -> None:
    line = one.ready()
    line.say(order(1, Script("print(1)", ("a b",)), template="any"))
    ended = line.ended(1)
    assert ended.verdict is Verdict.DONE, ended
    said = one.said(1).splitlines()
    assert said[:4] == [THEIRS, str(place / "works/1-1"), "tls://127.0.0.1:8786", "print(1)"]
    assert said[4].startswith("pdrwx------") and said[5] == "a b"
