"""Runs a script with a client of the Dask cluster at hand: ``PYTHON script.py ADDRESS-FILE SCRIPT ARGUMENTS…``.

It must not import anything of qluster: it runs under ``tasks.dask-python``, which has Dask and nothing of ours.
The script is the main module, as if it had been started by itself, and finds ``client`` among its names; its
arguments, output and exit code are its own.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys
import time
import types
from importlib import import_module
from typing import Any

CONNECT_LIMIT = 60.0
"""Seconds to find a scheduler: a failover and the start of a new one take a few."""
TRY_LIMIT = 5.0
"""Seconds for one try; the leader may be another one at the next."""
PAUSE = 0.2
EXIT_UNREACHABLE = 75
"""As EX_TEMPFAIL of sysexits.h: it may go better later."""


def connect(path: str) -> Any:
    """A client of the scheduler whose address stands in a file, read anew for each try."""
    # By name: where this is checked for types, there is no Dask.
    configuration, client_of = import_module("dask.config"), import_module("distributed").Client
    end, fault = time.monotonic() + CONNECT_LIMIT, ""
    while time.monotonic() < end:
        try:
            with open(path, encoding="utf-8") as file:
                address = file.read().strip()
            client = client_of(address, timeout=TRY_LIMIT, set_as_default=True)
        except (OSError, TimeoutError, ValueError) as error:
            fault = str(error) or type(error).__name__
            time.sleep(PAUSE)
            continue
        os.environ["DASK_ADDRESS"] = address
        configuration.set({"scheduler-address": address})
        return client
    print(f"no scheduler of the Dask cluster within {CONNECT_LIMIT:.0f} s: {fault}. "
          f"Is qluster-dask.service up here and on the leader's host?", file=sys.stderr)  # fmt: skip
    sys.exit(EXIT_UNREACHABLE)


def run(path: str, arguments: list[str], client: object) -> None:
    """Run the script as the main module; what it defines goes to the workers by value."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__, client=client)
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    exec(compile(text, path, "exec"), module.__dict__)


def main(words: list[str]) -> None:
    """Connect, run, go."""
    client = connect(words[0])
    try:
        run(words[1], words[2:], client)
    finally:
        client.close(timeout=TRY_LIMIT)


if __name__ == "__main__":
    main(sys.argv[1:])
