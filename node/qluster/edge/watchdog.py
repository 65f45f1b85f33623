"""Tells the service manager how the daemon is: ready, alive, stopping, in words.

It must not know whether the daemon is well: the loop says so, turn by turn. It has no thread
and no timer of its own, so that a loop that hangs is not reported as alive.

The protocol is sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names. Without that
variable (another service manager, a terminal) every call does nothing.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from math import inf

from . import clock

log = logging.getLogger(__name__)

STATUS_SIZE_MAX = 512
"""Bytes of the status line; people read it in one row of `systemctl status`."""


class Watchdog:
    """The line to the service manager of this process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self.interval = _interval(variables)
        """Seconds within which the service manager must hear of us; ``inf`` when it does not ask."""
        self._address = _address(variables.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._alive_at = -inf
        self._status = ""
        self._complained = False

    @property
    def supervised(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """The start is over: the node answers."""
        self._alive_at = clock.monotonic()
        self._tell("READY=1", *self._status_line(status))

    def alive(self, status: str = "") -> None:
        """The loop turns. Told on at most four times an interval, so it may be called at any pace;
        that leaves a loop that pauses for a moment three quarters of the interval."""
        now = clock.monotonic()
        lines = self._status_line(status)
        if now - self._alive_at > self.interval / 4:
            self._alive_at = now
            lines.append("WATCHDOG=1")
        self._tell(*lines)

    def stopping(self, status: str = "") -> None:
        """The end has begun."""
        self._tell("STOPPING=1", *self._status_line(status))

    def extend(self, seconds: float) -> None:
        """Starting or stopping takes longer: allow this much more from now on."""
        self._tell(f"EXTEND_TIMEOUT_USEC={max(0, int(seconds * 1_000_000))}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _status_line(self, status: str) -> list[str]:
        flat = " ".join(status.split()).encode()[:STATUS_SIZE_MAX].decode("utf-8", "ignore")
        if not flat or flat == self._status:
            return []
        self._status = flat
        return [f"STATUS={flat}"]

    def _tell(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                # A full queue must not hold the loop up: it would be the watchdog that stops it.
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(lines).encode(), self._address)
            self._complained = False
        except OSError as error:
            if not self._complained:
                log.warning("watchdog-unheard socket=%s error=%s", os.environ.get("NOTIFY_SOCKET"), error.strerror)
            self._complained = True


def _interval(variables: Mapping[str, str]) -> float:
    """The interval that the service manager asks of this very process."""
    text, owner = variables.get("WATCHDOG_USEC", ""), variables.get("WATCHDOG_PID", "")
    if owner and owner != str(os.getpid()):
        return inf
    if not text:
        return inf
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        log.warning("watchdog-ignored WATCHDOG_USEC=%s reason=no-number", text)
        return inf
    return int(text) / 1_000_000


def _address(text: str) -> str | None:
    if not text:
        return None
    if text.startswith("@") and len(text) > 1:
        return "\0" + text[1:]
    if text.startswith("/"):
        return text
    log.warning("watchdog-ignored NOTIFY_SOCKET=%s reason=no-path", text)
    return None
