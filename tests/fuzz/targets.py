"""The targets of fuzzing by name, and where the kept inputs of each lie. Must not know the fuzzer."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from importlib import import_module
from math import ceil
from pathlib import Path

TARGETS = {
    "decode": "every decoder of messages, commands, members, states, headers and keys",
    "link": "sealed and unsealed datagrams at a link, with a good peer beside the strangers",
    "node": "a whole node, told anything in any order",
    "log": "log segments, snapshots and identities, under good checksums too",
    "routes": "requests to the REST interface",
    "config": "config.yaml and changes of settings",
    "arbiter": "an arbiter of corosync's protocol, with a good cluster beside the strangers",
}
CORPUS = Path(__file__).parent / "corpus"
KEPT_MAX = {"node": 60}
"""Inputs kept of a target, of those that reach something that no other does: seconds of replay."""
KEPT_MAX_OTHERS = 150
KEPT_SIZE_MAX = 1024
"""Bytes of one of them."""


def runner(name: str) -> Callable[[bytes], None]:
    """What a target does with an input; it raises when something is wrong."""
    run: Callable[[bytes], None] = import_module(f"fuzz.target_{name}").run
    return run


def kept(name: str) -> list[bytes]:
    """The kept inputs of a target: a line of base64 each."""
    file = CORPUS / f"{name}.txt"
    return [b64decode(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(name: str, inputs: Iterable[bytes]) -> int:
    """Keep as many of these inputs as are replayed in time, short ones and long ones; how many that are."""
    small = sorted({content for content in inputs if len(content) <= KEPT_SIZE_MAX}, key=lambda one: (len(one), one))
    chosen = small[:: ceil(len(small) / KEPT_MAX.get(name, KEPT_MAX_OTHERS)) or 1]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(b64encode(content).decode() + "\n" for content in chosen))
    return len(chosen)
