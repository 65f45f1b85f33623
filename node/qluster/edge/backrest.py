"""Brings one WAL file into pgBackRest's repository or back: behind ``archive_command`` and ``restore_command``.

It must not import anything of the daemon: the server starts it for every segment, in its data directory, with
``python -I -S backrest.py push PROGRAM FILE STANZA PATH NAME`` or ``… get PROGRAM FILE STANZA NAME TARGET``.

pgBackRest acknowledges a segment when it is durable in the repository. This program adds what the server must not
be told by it: an error of the repository is not the end of the WAL; a number that is only reserved is no history;
the rest of a timeline that several servers left is not asked for again for ever; and a stanza that is missing is
made once, and never where one was seen before: then the repository is away.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
import subprocess
import sys

PUSH_LIMIT = 1800
"""Seconds for one segment of up to a gigabyte; pgBackRest's own time-outs are shorter."""
GET_LIMIT = 1800
RESERVED = b"# reserved by qluster"
"""How a timeline history begins that only keeps its number from being taken."""
SEEN = ".seen"
"""What stands beside the configuration file when its stanza was seen."""
DUPLICATE = 45
NOT_THERE = 1
UNUSABLE = 200
"""More than 125: the server ends its recovery with an error instead of believing that WAL ends here."""
_MISSING = re.compile(r"FileMissingError.*archive\.info|archive\.info.*missing|missing file '[^']*archive\.info'")
_FILE_TYPES = ("posix", "cifs")


def push(program: str, file: str, stanza: str, path: str, name: str) -> str:
    """Archive; the answer is "" or why it cannot be done."""
    if name.endswith(".history") and _reserved(path):
        # pgBackRest would put it in the place of a real one.
        return ""
    code, said = _run(program, file, stanza, ["archive-push", path], PUSH_LIMIT)
    if code != 0 and _MISSING.search(said):
        refusal = _make(program, file, stanza)
        if refusal:
            return refusal
        code, said = _run(program, file, stanza, ["archive-push", path], PUSH_LIMIT)
    if code == DUPLICATE and name.endswith(".partial"):
        # Nothing is restored from it, and the segment of the next timeline holds what was shared.
        print(f"qluster backrest: another server left its own {name} before; that one is kept", file=sys.stderr)
        return ""
    if code != 0:
        return said
    _note(file)
    return ""


def _make(program: str, file: str, stanza: str) -> str:
    """Make the stanza of this database where none was ever seen; why not."""
    if os.path.exists(file + SEEN):
        return (f"the stanza {stanza} was in the repository and is there no more: mount the repository, or, when it "
                f"was given up, remove {file + SEEN}")  # fmt: skip
    directory = _directory(file)
    if directory and not os.path.isdir(directory):
        return f"the repository's directory {directory} is not there: create it or mount it"
    code, said = _run(program, file, stanza, ["--no-online", "stanza-create"], PUSH_LIMIT)
    return said if code != 0 else ""


def _directory(file: str) -> str:
    """Where a repository in a file system lies, as our own configuration file says; "" for another kind."""
    with open(file, encoding="utf-8") as conf:
        found = dict(line.rstrip("\n").split("=", 1) for line in conf if "=" in line and not line.startswith("#"))
    kind = found.get("repo1-type", found.get("repo-type", "posix"))
    return found.get("repo1-path", found.get("repo-path", "")) if kind in _FILE_TYPES else ""


def _note(file: str) -> None:
    if not os.path.exists(file + SEEN):
        os.close(os.open(file + SEEN, os.O_CREAT | os.O_WRONLY, 0o600))


def _reserved(path: str) -> bool:
    with open(path, "rb") as history:
        return history.read(len(RESERVED)) == RESERVED


def get(program: str, file: str, stanza: str, name: str, target: str) -> tuple[int, str]:
    """Fetch the file; exit code and, unless it is 0, why."""
    code, said = _run(program, file, stanza, ["--no-archive-async", "archive-get", name, target], GET_LIMIT)
    if code in (0, NOT_THERE):
        return code, said
    return UNUSABLE, said


def _run(program: str, file: str, stanza: str, words: list[str], limit: int) -> tuple[int, str]:
    """pgBackRest with nothing of the server's environment; it takes this directory for the database's."""
    command = [program, f"--config={file}", f"--stanza={stanza}", f"--pg1-path={os.getcwd()}", *words]
    try:
        done = subprocess.run(
            command, env={"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C", "TZ": "UTC"}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=limit, check=False,
        )  # fmt: skip
    except OSError as error:
        return UNUSABLE, f"{program} cannot be started: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return UNUSABLE, f"{program} did not end within {limit} seconds: killed"
    said = done.stderr.decode("utf-8", "replace").strip()
    return done.returncode, said or f"{program} ended with code {done.returncode} and not a word"


def main(arguments: list[str]) -> int:
    """Exit code 1 of a push makes the server keep the file and ask again; that of a get tells whether it came."""
    if len(arguments) != 6 or arguments[0] not in ("push", "get"):
        print("usage: backrest.py push|get PROGRAM FILE STANZA PATH NAME|NAME TARGET", file=sys.stderr)
        return UNUSABLE if arguments[:1] == ["get"] else 1
    work, program, file, stanza, first, second = arguments
    name = second if work == "push" else first
    if "/" in name or name.startswith("."):
        print(f"qluster backrest: {name!r} is no name of a WAL file", file=sys.stderr)
        return 1 if work == "push" else UNUSABLE
    try:
        if work == "push":
            refusal = push(program, file, stanza, first, second)
            code = 1 if refusal else 0
        else:
            code, refusal = get(program, file, stanza, first, second)
    except OSError as error:
        code, refusal = (1 if work == "push" else UNUSABLE), f"{name}: {error.strerror or error}"
    if code not in (0, NOT_THERE) or (work == "push" and code):
        print(f"qluster backrest: {refusal}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
