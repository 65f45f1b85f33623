#!/usr/bin/env python3
"""Five hosts with systemd and sshd on this machine, bare, on a network of their own.

Runs with the system's Python and nothing else. `lab/lab.py --help` lists the commands.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import sys

if sys.version_info < (3, 11):  # noqa: UP036 (it runs before anything has looked)
    sys.exit("lab/lab.py needs Python 3.11 or newer; this is " + sys.version.split()[0])

from hostlab.command import main

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `status | head` is no error
    sys.exit(main(sys.argv[1:]))
