"""Decides when the node is told what has happened, and begins what it wants done, in its order.

Must not know what an event means, nor how anything is performed: the hands are given.

One turn takes all events that wait, settles once, and performs. What is to be saved is saved beside the turns
(``edge/saving.py``), or within one where the disk is that quick; its end is an event.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from qluster.edge.clock import awake_at, monotonic
from qluster.events import Answer, Event, Job, Leave, Save, SaveEnded, Send, StopRequested, TimePassed
from qluster.node import Node

EVENTS_MAX: Final = 4096
"""Events that may wait: beyond it datagrams are dropped and counted, as a full socket buffer would."""

TURN_EVENTS_MAX: Final = 256
"""Events of one turn, so that a flood cannot keep what is due from being sent."""

IDLE_MAX: Final = 1.0
"""Seconds without an event after which the node is asked anyway, and the service manager is told we live."""

WAKE_GRAIN: Final = 0.0002
"""Seconds by which a timer may be late: the loop is no more exact, and turning twice for it costs more."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who performs what."""

    deadline: Callable[[float, bool], None]
    """Until when the database here may go on (law 7), and whether it outlives the daemon: told first, whatever else
    takes time."""
    send: Callable[[list[Send]], None]
    start: Callable[[Job], None]
    answer: Callable[[Answer], None]
    save: Callable[[Sequence[Save], int], bool]
    """True when it is durable already."""
    turned: Callable[[Node, float], None]
    """A turn is over."""
    device: Callable[[Sequence[object]], None] = lambda _: None
    """Of the arbiter's client; where none is configured nothing is ever to be done."""
    tasks: Callable[[Sequence[object]], None] = lambda _: None
    """Of the task runner of this host."""


class Turns:
    """The events that wait, and the timer."""

    def __init__(self, hands: Hands) -> None:
        self.dropped = 0
        """Datagrams that found too many events waiting."""
        self._hands = hands
        self._node: Node | None = None
        self._left: asyncio.Future[Leave] | None = None
        self._events: deque[Event] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = inf

    async def live(self, node: Node) -> Leave:
        """Turn until the node wants to leave; its reason. Raises what :meth:`fail` was told, or a turn raised."""
        loop = asyncio.get_running_loop()
        self._node, self._left = node, loop.create_future()
        self._schedule()
        try:
            return await self._left
        finally:
            self._node = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer, self._wake_at = None, inf

    def forget(self) -> None:
        """The node that these events were for is gone; who was to stop is to stop all the same."""
        kept = [event for event in self._events if isinstance(event, StopRequested)]
        self._events.clear()
        self._events += kept

    def fail(self, fault: BaseException) -> None:
        """The node cannot go on."""
        self._node = None
        if self._left is not None and not self._left.done():
            self._left.set_exception(fault)

    def put(self, event: Event) -> None:
        """Something happened."""
        self._events.append(event)
        if not self._scheduled:
            self._schedule()

    def put_datagram(self, event: Event) -> None:
        """Something came in that may be dropped when there is too much. :meth:`drained` follows."""
        if len(self._events) >= EVENTS_MAX:
            self.dropped += 1
        else:
            self._events.append(event)

    def drained(self) -> None:
        """All that had come in by datagram was put: turn now, a round of the loop later would only cost."""
        if self._events and not self._scheduled:
            self._scheduled = True
            self._turn()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        node = self._node
        if node is None:
            return
        try:
            self._take_turn(node)
        except Exception as fault:  # noqa: BLE001 - the top of the loop: `live` raises it where the daemon ends
            self.fail(fault)

    def _take_turn(self, node: Node) -> None:
        events, now = self._events, monotonic()
        if not events:
            node.take(TimePassed(), now)
        for _ in range(min(len(events), TURN_EVENTS_MAX)):
            node.take(events.popleft(), now)
        wake_at = self._perform(node, now)
        if self._node is None:
            return
        if events:
            if not self._scheduled:
                self._schedule()
        else:
            self._set_timer(min(wake_at, now + IDLE_MAX), now)
        self._hands.turned(node, now)

    def _perform(self, node: Node, now: float) -> float:
        """Settle and perform, again as long as saves are durable at once; when to wake."""
        hands = self._hands
        while True:
            effects = node.settle(now)
            hands.deadline(effects.alive_until, effects.untied)
            if effects.send:
                hands.send(effects.send)
            for job in effects.start:
                hands.start(job)
            for answer in effects.answer:
                hands.answer(answer)
            if effects.tasks:
                hands.tasks(effects.tasks)
            if effects.device:
                hands.device(effects.device)
            if effects.leave is not None:
                self._leave(effects.leave)
                return inf
            if not effects.save or not hands.save(effects.save, effects.number):
                return effects.wake_at
            now = monotonic()
            node.take(SaveEnded(effects.number), now)
            if not node.restless:
                return effects.wake_at

    def _leave(self, leave: Leave) -> None:
        self._node = None
        if self._left is not None and not self._left.done():
            self._left.set_result(leave)

    def _set_timer(self, wake_at: float, now: float) -> None:
        """A timer that is early by a little turns once in vain; setting one anew in each turn would cost more. The
        loop's clock stands still while the host sleeps: one that should have been due meanwhile would come late."""
        if self._timer is not None:
            if now < self._wake_at <= wake_at + WAKE_GRAIN:
                return
            self._timer.cancel()
        self._wake_at = wake_at
        self._timer = asyncio.get_running_loop().call_at(awake_at(wake_at), self._wake)

    def _wake(self) -> None:
        self._timer, self._wake_at = None, inf
        if not self._scheduled:
            self._scheduled = True
            self._turn()
