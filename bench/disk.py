"""The disk's own rate: append a record and flush it, into a growing and into a preallocated file.

What no system with durable commits can pass with one writer. Must not know the systems.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from pathlib import Path

from bench.figures import Figures, from_latencies
from bench.wire import value

RECORD_OVERHEAD = 44
"""Bytes that a log adds to a value; any number of this order will do."""
FILE_SIZE_MAX = 256 * 1024 * 1024
"""Preallocated; then it begins again at the start."""


def measure(folder: Path, size: int, preallocated: bool, seconds: float) -> Figures:
    """Write for so long."""
    path = folder / "disk-rate"
    record = value(size + RECORD_OVERHEAD)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if preallocated:
            _fill(file)
        return _write(file, record, seconds)
    finally:
        os.close(file)
        path.unlink()


def _fill(file: int) -> None:
    """Written once with zeros: blocks that are only reserved cost a change of metadata at their first write."""
    piece = bytes(1024 * 1024)
    for start in range(0, FILE_SIZE_MAX, len(piece)):
        os.pwrite(file, piece, start)
    os.fsync(file)


def _write(file: int, record: bytes, seconds: float) -> Figures:
    latencies: list[float] = []
    place, began = 0, time.monotonic()
    now, end = began, began + seconds
    while now < end:
        os.pwrite(file, record, place)
        os.fdatasync(file)
        place += len(record)
        if place + len(record) > FILE_SIZE_MAX:
            place = 0
        last, now = now, time.monotonic()
        latencies.append(now - last)
    return from_latencies(latencies, now - began)
