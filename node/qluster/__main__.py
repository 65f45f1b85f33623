"""Where the program begins: answers ``--version`` at once and leaves the rest to the command line.

It must not import anything heavy: ``--version`` is asked on every host by every deployment.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import sys

from qluster import __version__

ARBITER = "qluster-qnetd"
"""Called by this name, or one that goes on with a dash, it is the arbiter's program: one archive brings both."""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; the exit code."""
    if arguments is None and (called := os.path.basename(sys.argv[0])).startswith(ARBITER):
        from qluster.qnetd import __main__ as arbiter

        return arbiter.tool() if called == arbiter.TOOL else arbiter.main()
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--version"]:
        print(f"qluster {__version__}")
        return 0
    from qluster.cli.main import run

    return run(words, sys.argv[0])


if __name__ == "__main__":
    sys.exit(main())
