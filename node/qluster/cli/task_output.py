"""Prints what a task said, and says so where there is nothing to print: not begun, gone, on a node that is away.

It must not know how a node is asked; it is handed what asks. What a program said goes to standard output and nothing
else does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from qluster.cli.asking import PASSING, Unanswered
from qluster.cli.exits import EXIT_DONE, EXIT_ENDED_ILL, EXIT_TROUBLE
from qluster.edge.client import ClientError, HttpAnswer

Ask = Callable[[str, dict[str, Any]], HttpAnswer]
"""The answer of code 200 to a reading; raises :class:`Unanswered` or :class:`ClientError`."""

OUTPUT_WAIT = 20
"""Seconds that one question for more output waits."""

FINAL = ("succeeded", "failed", "cancelled", "expired", "lost")


class Output:
    """One of the two outputs of a task."""

    def __init__(self, ask: Ask, task: int, stream: str, pause: float, patience: float) -> None:
        """``pause``: seconds between two looks; ``patience``: seconds without an answer after which it gives up."""
        self._ask, self._task, self._stream = ask, task, stream
        self._pause, self._patience = pause, patience
        self._offset, self._fence = 0, ""
        self._over = self._final = False
        self._noted = ""

    def once(self) -> int:
        """Print what is there; the exit code."""
        try:
            while self._piece(0):
                pass
        except Unanswered as reason:
            if reason.word != "no-output":
                raise
            self._note(_nothing(self._shown()) or str(reason))
            return EXIT_TROUBLE
        nothing = "" if self._offset else _nothing(self._shown())
        self._note(nothing)
        return EXIT_TROUBLE if nothing else EXIT_DONE

    def follow(self) -> int:
        """Print what comes until the task is over; the exit code."""
        heard, wait = time.monotonic(), 0  # the first question waits for nothing: who waits is told for what at once
        while True:
            try:
                printed = self._piece(wait)
                ended = None if printed else self._look()
                heard, wait = time.monotonic(), 0 if self._final else OUTPUT_WAIT
                idle = self._over and not printed
            except (Unanswered, ClientError) as reason:
                ended, idle = self._bear(reason, time.monotonic() - heard), True
            if ended is not None:
                return ended
            if idle:
                time.sleep(self._pause)

    def _piece(self, wait: int) -> bool:
        """Print what comes next; False when nothing does."""
        query = {"stream": self._stream, "offset": self._offset, "wait": wait}
        answer = self._ask(f"/tasks/{self._task}/output", query)
        fence = answer.headers.get("x-qluster-fence", "")
        if self._fence not in ("", fence):
            self._note(f"another attempt at task {self._task} was begun; what follows is what that one says")
            self._offset, self._fence = 0, ""  # all that it says is new
            return True
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
        self._offset = int(answer.headers.get("x-qluster-next", self._offset + len(answer.body)))
        self._fence = fence if self._offset else ""
        self._over = answer.headers.get("x-qluster-over") == "true"
        return bool(answer.body)

    def _look(self) -> int | None:
        """Nothing came: the exit code where nothing will."""
        shown = self._shown()
        if shown["state"] in FINAL:
            if not self._over and shown["began_at"] and not self._final:
                self._final = True  # what it said at last may have come since
                return None
            self._note("" if self._offset else _nothing(shown))
            return EXIT_DONE if shown["state"] == "succeeded" else EXIT_ENDED_ILL
        if self._offset and self._over:
            self._note(f"that attempt at task {self._task} is over, and the task is not: {_why(shown)}")
        else:
            self._note(_nothing(shown) and _nothing(shown) + "; waiting for it")
        return None

    def _bear(self, reason: Unanswered | ClientError, silent: float) -> int | None:
        """There was no answer: the exit code where none is waited for; raises the reason where that cannot be borne."""
        word = reason.word if isinstance(reason, Unanswered) else ""
        if word in ("no-output", "output-away", "no-such-task"):
            shown = self._shown()  # a leader that does not know it either says so by an exception
            if shown["state"] in FINAL and (nothing := _nothing(shown)):
                self._note(nothing)
                return EXIT_ENDED_ILL
            if shown["state"] in FINAL or word == "no-output":
                raise reason
        elif not isinstance(reason, PASSING):
            raise reason
        if silent > self._patience:
            raise reason
        self._note(f"{reason}\nwaiting for it")
        return None

    def _shown(self) -> dict[str, Any]:
        """All of the task, from the leader where there is one: it knows best why a task waits."""
        path = f"/tasks/{self._task}"
        try:
            found: dict[str, Any] = self._ask(path, {"consistency": "lease"}).document()
        except (Unanswered, ClientError):
            found = self._ask(path, {"consistency": "local"}).document()
        return found

    def _note(self, sentence: str) -> None:
        """Tell the user, once; standard output is the program's alone."""
        if sentence and sentence != self._noted:
            print(sentence, file=sys.stderr, flush=True)
        self._noted = sentence or self._noted


def _nothing(shown: dict[str, Any]) -> str:
    """Why a task has said nothing yet, or never will; "" where its last attempt began."""
    if shown["began_at"] or shown["parts"]:
        return ""
    again = f"attempt {shown['attempts']} at " if shown["attempts"] > 1 else ""
    task = f"{again}task {shown['task']}"
    if shown["state"] == "lost":
        return f"{task} is not known to have begun: {_why(shown)}"
    if shown["state"] in FINAL:
        return f"{task} never began: {_why(shown)}"
    return f"{task} has not begun: {_why(shown)}"


def _why(shown: dict[str, Any]) -> str:
    reason = shown["reason"] if shown["state"] in FINAL else shown["why"]
    return f"{shown['state']}, {reason}" if reason else str(shown["state"])
