"""Copies one finished WAL file into the archive directory: the program behind ``archive_command``.

It must not import anything of the daemon: the server starts it for every segment, with
``python -I -S archive.py DIRECTORY SYSTEM_ID PATH NAME``, and it has to be quick.

Each database has a folder of its own in the archive, named by its system id: the WAL of a cluster that was
founded anew never meets that of the one before.

A file appears under its name only when it is whole and durable. A file that is there already is
never overwritten: the same content is a success (the server asks again after a crash), other content
is a failure that people must look at, because two servers would be writing one archive.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
import zlib

RESERVED = b"# reserved by qluster"
"""How a timeline history begins that only keeps its number from being taken."""
CHUNK = 1024 * 1024
"""Bytes read at once."""


def archive(directory: str, system_id: str, path: str, name: str) -> str:
    """Copy; the answer is "" or why it cannot be done."""
    if not os.path.isdir(directory):
        return f"the archive directory {directory} is not there: create it or mount it"
    if "/" in name or name.startswith("."):
        return f"{name!r} is no name of a WAL file"
    if not system_id.isdecimal():
        return f"{system_id!r} is no system id"
    directory = _folder(directory, system_id)
    target = os.path.join(directory, name)
    known = os.path.exists(target)
    if known and _reserved(path):
        return ""
    if known and not _reserved(target):
        refusal = _compare(path, target)
        return refusal and _beside(directory, path, name, refusal)
    part = os.path.join(directory, f".{name}.{_writer()}.part")
    try:
        _copy(path, part)
        if known:
            os.replace(part, target)
        else:
            _publish(part, target)
    except FileExistsError:
        return _compare(path, target)
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    _sync_directory(directory)
    return ""


def _folder(archive: str, system_id: str) -> str:
    """The folder of this database; made when it is missing, but never the archive itself, which may be a mount."""
    folder = os.path.join(archive, system_id)
    if not os.path.isdir(folder):
        try:
            os.mkdir(folder, 0o750)
        except FileExistsError:
            return folder
        _sync_directory(archive)
    return folder


def _beside(directory: str, path: str, name: str, refusal: str) -> str:
    """The rest of a timeline that several servers left, each at a place of its own, is kept of each of them.

    Nothing is restored from such a file, but the server would ask for ever, and keep all WAL meanwhile.
    """
    if not name.endswith(".partial"):
        return refusal
    part = os.path.join(directory, f".{name}.{_writer()}.part")
    _copy(path, part)
    os.replace(part, os.path.join(directory, f"{name}.{_writer()}"))
    _sync_directory(directory)
    return ""


def _reserved(path: str) -> bool:
    """A real history may take the place of such a file, and not the reverse."""
    if not path.endswith(".history"):
        return False
    with open(path, "rb") as file:
        return file.read(len(RESERVED)) == RESERVED


def _writer() -> str:
    """Tells the servers apart that share an archive; the server runs us in its data directory."""
    return f"{os.uname().nodename}-{zlib.crc32(os.getcwd().encode()):08x}"


def _copy(path: str, part: str) -> None:
    with open(path, "rb") as source, open(part, "wb") as copy:
        os.fchmod(copy.fileno(), 0o640)
        while chunk := source.read(CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def _publish(part: str, target: str) -> None:
    """Give the whole file its name unless somebody else just did."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:
        # Some network file systems have no links: then look once more, and rename.
        if os.path.exists(target):
            raise FileExistsError(target) from None
        os.rename(part, target)


def _compare(path: str, target: str) -> str:
    with open(path, "rb") as ours, open(target, "rb") as theirs:
        while True:
            mine, other = ours.read(CHUNK), theirs.read(CHUNK)
            if mine != other:
                return (
                    f"{target} is there with other content: another server writes into this archive; "
                    "give each cluster an archive directory of its own"
                )
            if not mine:
                break
        os.fsync(theirs.fileno())
    return ""


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Exit code 1 makes the server keep the file and ask again."""
    if len(arguments) != 4:
        print("usage: archive.py DIRECTORY SYSTEM_ID PATH NAME", file=sys.stderr)
        return 1
    directory, system_id, path, name = arguments
    try:
        refusal = archive(directory, system_id, path, name)
    except OSError as error:
        refusal = f"{name} cannot be archived into {directory}: {error.strerror or error}"
    if refusal:
        print(f"qluster archive: {refusal}", file=sys.stderr)
    return 1 if refusal else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
