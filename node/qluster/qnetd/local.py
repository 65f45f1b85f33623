"""Answers the tool on a Unix socket, in corosync-qnetd's own language: its tool can ask here, and ours there.

One line asks, ``OK`` or ``Error`` and a text answer. The socket is for the daemon's user, and for a group where one is
named. One thing alone can be changed over it, by that user and root: the memories of a cluster are forgotten.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import re
import socket
import stat
import struct
from collections.abc import Callable

from qluster.qnet.arbiter import Arbiter
from qluster.qnet.client import printable
from qluster.qnet.display import listing, status
from qluster.qnet.plain import plain

REQUEST_SIZE_MAX = 4096
ASKERS_MAX = 10
SECONDS = 5.0
"""For one question and its answer."""
_PEER = struct.Struct("3i")
"""Process, user and group of who asks."""
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"?|[^\s"]+')


class SocketUnusable(Exception):
    """The socket cannot be made; the text says why and what to do."""


Forget = Callable[[str], int]


def answer(arbiter: Arbiter, address: str, line: str, forget: Forget | None = None) -> str:
    """What one line is answered. ``forget``: None for who may change nothing."""
    words = [_unquoted(word) for word in _WORD.findall(line.strip())]
    command, options = (words[0].lower() if words else ""), words[1:]
    cluster = options[options.index("cluster") + 1] if "cluster" in options[:-1] else ""
    verbose = "verbose" in options
    match command:
        case "status":
            return "OK\n" + status(arbiter, address, verbose)
        case "list":
            return "OK\n" + listing(arbiter, verbose, cluster)
        case "json":
            return "OK\n" + json.dumps(plain(arbiter, address, cluster), ensure_ascii=False) + "\n"
        case "forget":
            return _forgotten(forget, cluster)
        case "shutdown":
            return "Error\nThis arbiter is stopped by its service manager alone\n"
        case "":
            return "Error\nNo command specified\n"
    return f"Error\nUnknown command '{command[:100]}'\n"


def _forgotten(forget: Forget | None, cluster: str) -> str:
    if forget is None:
        return "Error\nOnly the user of the service and root may have a cluster forgotten\n"
    if not cluster:
        return "Error\nName the cluster that is to be forgotten\n"
    name, found = printable(cluster.encode()), forget(cluster)
    if found < 0:
        return (f"Error\nNodes of {name} are connected: what their arbiter remembers counts. Take the arbiter out of "
                "their configuration, or stop them, first\n")  # fmt: skip
    return f"OK\n{found} memories of {name} are forgotten\n" if found else f"Error\nNothing is remembered of {name}\n"


def _unquoted(word: str) -> str:
    if not word.startswith('"'):
        return word
    return re.sub(r"\\(.)", r"\1", word[1:].removesuffix('"'))


class LocalServer:
    """The socket for as long as the daemon lives."""

    def __init__(
        self, arbiter: Arbiter, address: str, path: str, group: str | None, forget: Forget | None = None
    ) -> None:  # fmt: skip
        self._arbiter, self._address, self._forget = arbiter, address, forget
        self._path, self._group = path, group
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._askers = 0

    async def start(self) -> None:
        """Listen. Raises SocketUnusable."""
        try:
            listening = await asyncio.to_thread(_bound, self._path, self._group)
        except OSError as error:
            raise SocketUnusable(f"socket-file: {self._path} cannot be made ({error.strerror}). "
                                 f"Let the user of the service write its directory.") from error
        self._inode = os.stat(self._path).st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=REQUEST_SIZE_MAX)

    async def stop(self) -> None:
        """Not any more."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._askers += 1
        try:
            if self._askers <= ASKERS_MAX:
                async with asyncio.timeout(SECONDS):
                    await self._answer(reader, writer)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            # Whoever asks is on this host and sees that nothing came.
            pass
        finally:
            self._askers -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\n")).decode("utf-8", "backslashreplace")
        forget = self._forget if _rules(writer.get_extra_info("socket")) else None
        writer.write(answer(self._arbiter, self._address, line, forget).encode())
        await writer.drain()


def _rules(asking: socket.socket) -> bool:
    """Whether who asks is the user of this daemon or root, and no member of the group alone."""
    said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return _PEER.unpack(said)[1] in (0, os.getuid())


def _bound(path: str, group: str | None) -> socket.socket:
    """The socket, for its owner alone from the first moment on."""
    _make_room(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o177)
        try:
            made.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            os.chmod(path, 0o660)
    except BaseException:
        made.close()
        raise
    return made


def _make_room(path: str) -> None:
    """Remove what a daemon that was killed left."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketUnusable(f"socket-file: {path} is there and is no socket. Move it away, or name another place.")
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(SECONDS)
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise SocketUnusable(f"socket-file: another arbiter answers at {path}. Stop it, or name another place.")
