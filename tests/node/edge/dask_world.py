"""Dask for tests: the environment that a deployment would bring, made from the same lock."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKER = ROOT / "packaging/build_dask.py"
PACK_LIMIT = 300.0
"""Seconds for fetching 5 MB of wheels."""


def dask_python(root: Path) -> str:
    """A Python that has Dask; skips where the packages cannot be had."""
    done = subprocess.run([sys.executable, PACKER], capture_output=True, text=True, timeout=PACK_LIMIT, check=False)
    if done.returncode != 0:
        pytest.skip(f"Dask's packages cannot be had here: {done.stderr.strip()[-300:]}")
    packed = json.loads(done.stdout)
    with tarfile.open(packed["path"]) as archive:
        archive.extractall(root, filter="data")
    place = root / packed["environment"]
    # From the base interpreter, as on a host.
    subprocess.run([os.path.realpath(sys.executable), "-m", "venv", "--without-pip", place], check=True, timeout=60)
    return str(place / "bin/python")


KEEPER = """
import asyncio, logging, os
from qluster.config import Config, Tasks
from qluster.edge.dask import member
from qluster.edge.dask.asker import Asker
from qluster.edge.runner import rights
from msgspec import convert
logging.basicConfig()
os.umask(0o077)
tasks = convert({tasks!r}, Tasks)
api = type("Api", (), dict(ca_file="ca", certificate_file="crt", key_file="key"))
config = type("Host", (), dict(ip="127.0.0.1", tasks=tasks, api=api, state_dir="/none"))
async def ask():
    return "127.0.0.1"
users = member.prepare(tasks, tasks.dask_dir, {named!r})
rights.lend()
asker = Asker(ask)
asyncio.run(member.run(config, tasks, tasks.dask_dir, asker, users))
asker.end()
"""


def keeper(tasks: dict[str, object], named: list[str]) -> str:
    """The text of a program that keeps a host's part where it leads itself; ``named``: whom its programs may become."""
    return KEEPER.format(tasks=tasks, named=named)
