"""REST of one node over one connection that is kept, as a client's is: no handshake is in what is measured.

Must not know what is asked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.client
import json
import select
import ssl

OPEN_SECONDS = 2.0
"""For a connection to be made: more means that the node is not there."""


class Line:
    """One connection, made when it is needed and again after it was lost."""

    def __init__(self, ip: str, port: int, context: ssl.SSLContext) -> None:
        self._ip, self._port, self._context = ip, port, context
        self._open: http.client.HTTPSConnection | None = None

    def ask(self, method: str, path: str, token: str, body: object = None, seconds: float = 2.0) -> tuple[int, bytes]:
        """Status and body of an answer; raises OSError where none came within ``seconds``. What was sent and not
        answered is not sent again: it may have been done."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        try:
            line = self._connected(seconds)
            line.request(method, path, data, headers)
            answer = line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as fault:
            self.close()
            raise fault if isinstance(fault, OSError) else OSError(str(fault)) from fault

    def _connected(self, seconds: float) -> http.client.HTTPSConnection:
        if self._open is not None and select.select([self._open.sock], [], [], 0)[0]:
            self.close()  # nobody has asked for anything: the other side has ended it
        if self._open is None:
            self._open = http.client.HTTPSConnection(
                self._ip, self._port, timeout=min(seconds, OPEN_SECONDS), context=self._context)  # fmt: skip
            self._open.connect()
        self._open.sock.settimeout(seconds)
        return self._open

    def close(self) -> None:
        """Let it go."""
        if self._open is not None:
            self._open.close()
            self._open = None
