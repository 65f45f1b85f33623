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
