"""The arbiter's daemon: listens, serves until it is asked to stop, and tells the service manager how it is.

Decides nothing; what clients are answered is decided in ``qnet/``.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import signal
import socket
import ssl
from random import Random
from typing import Any

from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.edge import clock
from qluster.edge.watchdog import Watchdog
from qluster.qnet.memories import Memories
from qluster.qnetd.config import Config
from qluster.qnetd.driver import Driver, Keeping
from qluster.qnetd.hostcheck import DESCRIPTORS_APART, reminders
from qluster.qnetd.keeping import Keeper, KeepingFailed
from qluster.qnetd.local import LocalServer, SocketUnusable
from qluster.qnetd.tls import TlsUnusable, context

log = logging.getLogger("qluster.qnetd")

BACKLOG = 1024
"""Connections that wait to be taken: after a break all nodes of all clusters come back at once."""
STOP_SECONDS = 2.0
"""For the last words to clients."""
STATUS_INTERVAL = 5.0
"""Seconds between two words to a service manager that does not ask for them more often."""
REMIND_INTERVAL = 86_400.0
"""Seconds between two looks whether certificates are to be renewed."""


class Trouble(Exception):
    """The daemon cannot start; the message is for the operator."""


def run(config: Config) -> int:
    """Serve until asked to stop; the exit code."""
    try:
        return asyncio.run(Daemon(config).run())
    except (Trouble, TlsUnusable, SocketUnusable, KeepingFailed) as trouble:
        log.error("%s", trouble)
        return EXIT_TROUBLE


class Daemon:
    """One arbiter with its sockets."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._watchdog = Watchdog()
        self._stop = asyncio.Event()
        self._fault: BaseException | None = None
        made = context(config.tls) if config.tls.mode != "off" else None
        self._keeper = Keeper(config.memory_dir) if config.memory_dir is not None else None
        self._driver = Driver(config.settings(), made, config.tls.handshake_timeout, self._keeping())

    def _keeping(self) -> Keeping | None:
        if self._keeper is None:
            return None
        kept = self._keeper.load()
        log.info("remembers memories=%d directory=%s", len(kept), self._config.memory_dir)
        return Keeping(Memories(kept, Random(clock.seed()), clock.monotonic()), self._keeper.save, self._failed)

    def _failed(self, fault: BaseException) -> None:
        """What cannot be kept must not be answered: end, and begin again when the service manager says so."""
        self._fault = fault
        self._stop.set()

    async def run(self) -> int:
        """From the first socket to the clean end."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_unexpected)
        _allow_descriptors(self._config.limits.clients)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._watchdog.close)
            if self._keeper is not None:
                stack.callback(self._keeper.close)
            self._driver.listen(_listening(self._config.address, self._config.port), BACKLOG)
            local = LocalServer(self._driver.arbiter, self._config.shown, self._config.socket_file,
                                self._config.socket_group, self._driver.forget)  # fmt: skip
            await local.start()
            stack.push_async_callback(local.stop)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
            for beat in (self._live(), self._remind()):
                task = asyncio.create_task(beat)
                stack.callback(task.cancel)
            gc.collect()
            gc.freeze()
            log.info("serves address=%s tls=%s", self._config.shown, self._config.tls.mode)
            self._watchdog.ready(self._headline())
            await self._stop.wait()
            self._watchdog.stopping("stops")
            await self._driver.stop(STOP_SECONDS)
            if self._fault is not None:
                raise self._fault
            log.info("stopped")
        return EXIT_DONE

    async def _live(self) -> None:
        while self._watchdog.supervised:
            self._watchdog.alive(self._headline())
            await asyncio.sleep(min(STATUS_INTERVAL, self._watchdog.interval / 8))

    async def _remind(self) -> None:
        while True:
            for reminder in await asyncio.to_thread(reminders, self._config):
                log.warning("certificate %s", reminder)
            await asyncio.sleep(REMIND_INTERVAL)

    def _headline(self) -> str:
        arbiter = self._driver.arbiter
        return f"{sum(1 for _ in arbiter.clients)} clients of {len(arbiter.clusters)} clusters"

    def _reload(self) -> None:
        """Use renewed certificates from the next connection on; those that are there stay."""
        if self._config.tls.mode == "off":
            log.info("reloaded nothing, since TLS is off")
            return
        try:
            self._driver.context = context(self._config.tls)
        except TlsUnusable as fault:
            log.error("reload-refused %s", fault)
        else:
            log.info("reloaded certificate=%s", self._config.tls.certificate_file)


def _listening(address: str, port: int) -> socket.socket:
    """The socket for clients; for any address one that takes IPv4 as well, where the host has IPv6."""
    try:
        if address != "any":
            return _bound(socket.AF_INET6 if ":" in address else socket.AF_INET, address, port)
        try:
            return _bound(socket.AF_INET6, "::", port, both=True)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, "0.0.0.0", port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Trouble(f"port: {port} is taken, by another arbiter perhaps (corosync-qnetd uses the same). "
                          f"Stop it, or use another port here and on the nodes.") from error
        raise Trouble(f"address: {address} with port {port} cannot be listened at ({error.strerror}). "
                      f"Use an address of this host.") from error


def _bound(family: socket.AddressFamily, address: str, port: int, both: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        made.bind((address, port))
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _allow_descriptors(clients: int) -> None:
    """As many as clients may be; where the limit is too low ``hostcheck`` has said so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + DESCRIPTORS_APART
    if soft not in (-1, resource.RLIM_INFINITY) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard in (-1, resource.RLIM_INFINITY) else
                                                    min(wanted, hard), hard))  # fmt: skip


def _unexpected(_loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
    """What nobody caught."""
    fault = facts.get("exception")
    if isinstance(fault, ConnectionError | ssl.SSLError | TimeoutError):
        return
    log.error("unexpected %s", facts.get("message", ""), exc_info=fault)
