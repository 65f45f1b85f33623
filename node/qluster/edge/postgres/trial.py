"""Learns from the server's own program what it says of settings, without starting a server.

It must not know which settings are tried, nor why.

Asked for a value that it computes from all others (``-C shared_memory_size``), the program does all that
a start does up to the first byte of shared memory: it reads the files, checks each value, checks them against
each other, loads the libraries. It does so in a scratch directory with a copy of the control file, so that a
server of the data directory may run meanwhile (3 ms measured). Before version 15 it only reads the files.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from qluster.database.settings import FILE_NAME, settings_text
from qluster.edge.postgres.directory import INCLUDED, control_file
from qluster.edge.postgres.failure import PostgresFailed
from qluster.edge.postgres.programs import QUICK_LIMIT
from qluster.edge.postgres.site import Site

COMPUTES_SINCE = 15
"""First major version that computes a value from all others."""

_LEVEL = re.compile(r"\b(LOG|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT):\s+(.*)")
_PLACE = re.compile(r' in file "[^"]*" line \d+')
_NOISE = re.compile(r"skipping missing configuration file|configuration file .* contains errors")
_STANDARD = ("base", "global", "log")
"""Directories of the server's own content, beside those whose names begin with ``pg_``."""


async def complaints(site: Site, settings: Mapping[str, str]) -> list[str]:
    """What keeps a server with these settings from starting here, as far as its program can tell; [] for nothing."""
    scratch = site.state_dir / "trial"
    try:
        await asyncio.to_thread(_prepare, scratch, site.directory.path, settings_text(settings))
        computes = await site.programs.major() >= COMPUTES_SINCE
        asked = "shared_memory_size" if computes else "max_connections"
        arguments = ["-D", str(scratch), "-c", f"config_file={scratch / FILE_NAME}", "-C", asked]
        ended = await site.programs.run("postgres", arguments, time_limit=QUICK_LIMIT)
    except OSError as error:
        raise PostgresFailed(f"the settings cannot be tried in {scratch}: {error.strerror or error}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    if ended.code != 0:
        return sentences(ended.errors) or [ended.complaint]
    return _too_large(int(ended.output)) if computes and ended.output.strip().isdecimal() else []


def _prepare(scratch: Path, data: Path, text: str) -> None:
    """What the program looks at before it would start: version, control file, configuration and what that names."""
    control = control_file(data)
    if control is None:
        raise PostgresFailed(f"{data} holds no database: there is nothing to try settings with")
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "global").mkdir(parents=True, mode=0o700)
    scratch.chmod(0o700)
    shutil.copyfile(control, scratch / "global" / control.name)
    for entry in data.iterdir():
        own = entry.name in _STANDARD or entry.name.startswith(("pg_", "postmaster.", "."))
        if entry.name != FILE_NAME and not (own and entry.name != "pg_hba.conf" and entry.name != "pg_ident.conf"):
            (scratch / entry.name).symlink_to(entry)
    head = "".join(f"include '{name}'\n" for name in INCLUDED if (data / name).exists())
    (scratch / FILE_NAME).write_text(head + text, encoding="utf-8")


def sentences(errors: str) -> list[str]:
    """The server's complaints, one each, without where and when; details follow in the same sentence."""
    found: list[str] = []
    for line in errors.splitlines():
        match = _LEVEL.search(line)
        level, text = (match[1], match[2]) if match else ("", line.partition(": ")[2] or line)
        text = _PLACE.sub("", text.strip())
        if not text or _NOISE.search(text):
            continue
        if level in ("DETAIL", "HINT", "CONTEXT"):
            if found and level != "CONTEXT":
                found[-1] += f" ({text.rstrip('.')})"
        else:
            found.append(text)
    return found


def _too_large(megabytes: int) -> list[str]:
    """The kernel promises more memory than there is, and takes the server's life when it is used."""
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    if megabytes <= present:
        return []
    return [f"the server would need {megabytes} MB of shared memory, and this host has {present} MB"]
