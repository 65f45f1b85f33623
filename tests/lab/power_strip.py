"""The lab's power strip: answers on the lab's network, and switches hosts through the lab's own tool.

Two processes: one on the lab's network (`relay`), which hands each order on by a Unix socket, and one outside, in the
test, which runs `lab/lab.py`.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

from lab_world import LabAtWork

ADDRESS = "10.77.0.1"
PORT = 5900
PASSWORD = "strip-of-the-lab"
ORDERS = ("on", "off", "status", "monitor")


class PowerStrip:
    """Switches hosts off and on for whoever knows the password."""

    def __init__(self, lab: LabAtWork) -> None:
        self._lab = lab
        self._path = str(lab.state_file.parent / "strip.sock")
        Path(self._path).unlink(missing_ok=True)
        self._server = socket.create_server(self._path, family=socket.AF_UNIX)
        self.orders: list[tuple[str, str]] = []
        """Action and host of each order that was carried out."""
        threading.Thread(target=self._serve, daemon=True).start()
        self._relay = lab.spawn("exec", "--", sys.executable, __file__, self._path)

    def close(self) -> None:
        """The relay ends when its input does."""
        assert self._relay.stdin
        self._relay.stdin.close()
        try:
            self._relay.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._relay.kill()
            self._relay.wait()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                words = connection.makefile().readline().split()
                try:
                    answer = self._carry_out(words)
                except (AssertionError, OSError, subprocess.TimeoutExpired) as fault:
                    # The lab's tool looked at a host that was just going or coming: whoever asks will ask again.
                    answer = f"failed: {' '.join(str(fault).split())[:200]}"
                with contextlib.suppress(OSError):
                    connection.sendall(f"{answer}\n".encode())

    def _carry_out(self, words: list[str]) -> str:
        if len(words) != 3 or words[0] != PASSWORD:
            return "refused: wrong password"
        action, host = words[1:]
        if action not in ORDERS or host not in self._lab.status():
            return f"refused: {action} {host}"
        off = self._lab.status()[host] == "off"
        if action == "off" and not off:
            self._lab.say("kill", host)
        elif action == "on" and off:
            self._lab.say("start", host, "--no-wait")
        if action in ("off", "on"):
            self.orders.append((action, host))
        return f"ok {self._lab.status()[host] if action == 'status' else action}"


def relay(path: str) -> None:
    """Hand on what comes from the hosts, until standard input ends."""
    server = socket.create_server((ADDRESS, PORT))

    def hand_on(connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as strip:
            strip.connect(path)
            strip.sendall(connection.makefile().readline().encode())
            connection.sendall(strip.makefile().readline().encode())

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=hand_on, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    relay(sys.argv[1])
