"""Performs what the client orders, and tells what happens.

It must not know messages or votes. Nothing here blocks: connecting, TLS and commands run beside the loop's turns.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence

from qluster.config import Device
from qluster.config.addresses import place_text
from qluster.qdevice.orders import Check, Checked, Close, Happening, Open, Order, Poll, Say, Secure, StopCheck, Told

from .connection import Connection
from .heuristics import Commands

log = logging.getLogger(__name__)


class DeviceHand:
    """The hands of one node's device."""

    def __init__(self, device: Device | None, tell: Callable[[Happening], None]) -> None:
        """Without a device there is never anything to do."""
        self._device = device
        self._tell = tell
        self._connection: Connection | None = None
        checks = device.heuristics if device is not None else None
        self._commands = Commands(checks.exec if checks is not None else {})
        self._checks: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def perform(self, orders: Sequence[object]) -> None:
        """Begin all of these, in their order; each is an ``Order``."""
        assert self._device is not None, "orders for a device that is not configured"
        for order in orders:
            self._perform(order, self._device)  # type: ignore[arg-type]

    async def close(self) -> None:
        """End everything, and wait until it has."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _perform(self, order: Order, device: Device) -> None:
        match order:
            case Open(attempt):
                self._open(attempt, device)
            case Say() | Secure() | Close():
                connection = self._connection
                if connection is not None and connection.attempt == order.attempt:
                    self._of_connection(connection, order)
            case Check(number, limit):
                self._checks[number] = self._run(self._check(number, limit))
            case StopCheck(number):
                if (check := self._checks.pop(number, None)) is not None:
                    check.cancel()
            case Told(word, facts, loud):
                level = logging.WARNING if loud else logging.INFO
                place = place_text(device.host, device.port)
                shown = "".join(f" {name}={value}" for name, value in facts.items() if value != "")
                log.log(level, "device-%s arbiter=%s%s", word, place, shown)
            case Poll():
                pass  # votequorum's, on the node's own floor

    def _open(self, attempt: int, device: Device) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = Connection(device, attempt, self._tell)
        self._connection.opening = self._run(self._connection.open())

    def _of_connection(self, connection: Connection, order: Say | Secure | Close) -> None:
        match order:
            case Say(_, data):
                connection.say(data)
            case Secure():
                self._run(connection.secure())
            case Close():
                connection.close()
                self._connection = None

    async def _check(self, number: int, limit: float) -> None:
        fault = await self._commands.run(limit)
        self._checks.pop(number, None)
        self._tell(Checked(number, fault))

    def _run(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # The client's own time limits end whatever waits for this.
            log.error("device-hand-broke", exc_info=fault)
