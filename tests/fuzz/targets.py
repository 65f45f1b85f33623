"""The targets of fuzzing by name, and where the kept inputs of each lie. Must not know the fuzzer."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

TARGETS = {
    "decode": "every decoder of messages, commands, members, states, headers and keys",
    "link": "sealed and unsealed datagrams at a link, with a good peer beside the strangers",
    "node": "a whole node, told anything in any order",
    "log": "log segments, snapshots and identities, under good checksums too",
    "routes": "requests to the REST interface",
    "config": "config.yaml and changes of settings",
}
CORPUS = Path(__file__).parent / "corpus"
KEPT_MAX = 120
"""Inputs kept of one target: the smallest of those that reach something that no other does."""
KEPT_SIZE_MAX = 1024
"""Bytes of one of them."""


def runner(name: str) -> Callable[[bytes], None]:
    """What a target does with an input; it raises when something is wrong."""
    run: Callable[[bytes], None] = import_module(f"fuzz.target_{name}").run
    return run


def kept(name: str) -> list[Path]:
    """The kept inputs of a target."""
    return sorted((CORPUS / name).glob("*"))
