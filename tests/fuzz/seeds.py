"""Well-formed inputs that a target begins with: decoders in C show a fuzzer nothing of what they look for.

Must not know the fuzzer.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from random import Random

from fuzz import examples
from qluster.cluster import commands, parcel
from qluster.cluster import messages as telling
from qluster.cluster.state import encode as encode_state
from qluster.consensus import messages as agreeing
from qluster.ring import messages as ringing
from qluster.transport.probe import encoded
from qluster.transport.seal import Key, Sealer

RANDOM_COUNT = 60
RANDOM_SIZE = 400


def seeds(name: str) -> Iterator[bytes]:
    """The first inputs of a target."""
    if name == "decode":
        yield from _of_decoders()
    if name == "config":
        yield b"\0ip: 192.0.2.11\nudp:\n  socket:\n    group: 239.19.76.1:7400\n    interface: eth0\n"
    chance = Random(name)
    for _ in range(RANDOM_COUNT):
        yield chance.randbytes(chance.randrange(RANDOM_SIZE))


def _of_decoders() -> Iterator[bytes]:
    """In the order of the decoders in ``target_decode``."""
    for agreed in examples.AGREEING:
        yield b"\0" + agreeing.encode(agreed)
    for told in examples.TELLING:
        yield b"\1" + telling.encode(told)
    yield b"\2" + examples.MEMBERS.encode()
    for body in examples.COMMANDS:
        yield b"\3" + commands.encode(body, "key-1")
    yield b"\4" + encode_state(examples.state())
    yield b"\5" + examples.REQUEST.encoded()
    yield b"\6" + Sealer("one", 1, 1, Key(1, bytes(range(32)))).seal(0, 1, 0, 1, b"payload")
    yield b"\x08" + encoded(examples.ASK)
    yield b"\x08" + encoded(examples.ANSWER)
    yield b"\x09" + parcel.pack(7, examples.snapshot())
    for ringed in examples.RINGING:
        yield b"\x0a" + ringing.encode(ringed)
    yield b"\7" + b"# keys\n1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
