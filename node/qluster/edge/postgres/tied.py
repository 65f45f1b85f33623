"""Becomes the database's server, after telling the kernel to end it when the daemon ends.

It must not import anything of the daemon: the daemon starts it for every start of the server, with
``python -I -S tied.py DAEMON PROGRAM ARGUMENTS``. The guard ends the database when the daemon is gone, but
both can be killed by one stroke, and a primary that nobody watches takes writes while another is elected.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie(daemon: int) -> str:
    """Have the kernel send SIGQUIT (a stop without checkpoint) when the daemon dies; "" or why it cannot."""
    try:
        import ctypes  # not at the top: where memory for code is forbidden the import itself can fail

        outcome = ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGQUIT), 0, 0, 0)
    except (ImportError, OSError, MemoryError, AttributeError) as error:
        return str(error)
    if outcome != 0:
        return "prctl refused"
    # It may have died before the kernel was told, and would never be missed.
    return "" if os.getppid() == daemon else "gone"


def main(arguments: list[str]) -> int:
    """Does not come back when all is well: the process is the server then."""
    daemon, program = int(arguments[0]), arguments[1]
    fault = tie(daemon)
    if fault == "gone":
        return 1
    if fault:
        print(f"qluster: the server is not tied to the daemon ({fault}); the guard watches alone", file=sys.stderr)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # who started the daemon may have had it ignored
    os.execv(program, arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
