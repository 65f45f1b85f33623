"""Asks the arbiter of this host and prints the answer; has it forget a cluster.

It must not know how an answer is made.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket
import sys

from qluster.qnetd.words import TOOL_DONE, TOOL_INTERNAL, TOOL_REFUSED, TOOL_UNREACHED, TOOL_USAGE, tool_parser

SECONDS = 10.0
ANSWER_SIZE_MAX = 64 << 20
"""Sixty thousand clients fit."""


def run(words: list[str]) -> int:
    """Do what the words say; the exit code."""
    try:
        chosen = tool_parser().parse_args(words)
    except SystemExit as end:
        return TOOL_USAGE if end.code else TOOL_DONE
    command = "json" if chosen.json else "list" if chosen.list else "forget" if chosen.forget else "status"
    try:
        said = ask(chosen.socket, question(command, chosen.verbose, chosen.forget or chosen.cluster))
    except OSError as error:
        reason = error.strerror or "no answer in time"
        print(f"qluster-qnetd-tool: the arbiter does not answer at {chosen.socket} ({reason}). Does it run? "
              f"Name its socket with -p, and ask as its user or as root.", file=sys.stderr)
        return TOOL_UNREACHED
    verdict, _, text = said.partition("\n")
    if verdict == "Error":
        print(f"qluster-qnetd-tool: {text.strip()}", file=sys.stderr)
        return TOOL_REFUSED
    if verdict != "OK":
        print(f"qluster-qnetd-tool: {chosen.socket} answers {said[:60]!r}: that is no arbiter, or it is busy.",
              file=sys.stderr)
        return TOOL_INTERNAL
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return TOOL_DONE


def question(command: str, verbose: bool = False, cluster: str = "") -> str:
    """The line that asks for something."""
    words = [command, *(["verbose"] if verbose else [])]
    if cluster:
        words += ["cluster", '"' + cluster.replace("\\", "\\\\").replace('"', '\\"') + '"']
    return " ".join(words) + "\n"


def ask(path: str, line: str) -> str:
    """The answer to one line. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SECONDS)
        asking.connect(path)
        asking.sendall(line.encode("utf-8", "surrogateescape"))
        pieces, size = [], 0
        while (piece := asking.recv(1 << 16)) and size < ANSWER_SIZE_MAX:
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces).decode("utf-8", "replace")
