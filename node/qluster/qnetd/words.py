"""Which words the arbiter's two commands know.

It must not know what they do. Their help is on the reference page, so its width is fixed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse

from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.qnetd.places import CONFIG, SOCKET

DAEMON_CODES = {
    EXIT_DONE: "it was asked to stop; or nothing is wrong with the configuration",
    EXIT_TROUBLE: "it cannot serve on this host now; the message says why",
    EXIT_USAGE: "the command line is wrong",
    EXIT_CONFIG: "the configuration is wrong; starting again does not help before it is changed",
}

TOOL_DONE, TOOL_USAGE, TOOL_INTERNAL, TOOL_UNREACHED, TOOL_REFUSED = range(5)
TOOL_CODES = {
    TOOL_DONE: "done",
    TOOL_USAGE: "the command line is wrong",
    TOOL_INTERNAL: "the answer is not understood",
    TOOL_UNREACHED: "the arbiter cannot be asked: it does not run, or its socket is not for this user",
    TOOL_REFUSED: "the arbiter refuses",
}
"""Those of corosync-qnetd-tool, for whoever asks it by a script."""


def daemon_parser() -> argparse.ArgumentParser:
    """Of ``qluster-qnetd``."""
    parser = argparse.ArgumentParser(
        prog="qluster-qnetd", formatter_class=_form, epilog=_codes(DAEMON_CODES),
        description="An arbiter for many clusters: it gives one part of a divided cluster the vote that decides. "
                    "It speaks the protocol of corosync-qnetd.")  # fmt: skip
    parser.add_argument("--version", action="store_true", help="print the version and end")
    parser.add_argument("--config", metavar="FILE", default=CONFIG,
                        help=f"the configuration; {CONFIG} without it")
    parser.add_argument("--check-config", action="store_true",
                        help="say everything that is wrong with the configuration and this host, and end")
    parser.add_argument("--no-host", action="store_true", help="with --check-config: check the text alone")
    parser.add_argument("--allow-root", action="store_true",
                        help="run as root, which is refused otherwise: the arbiter needs no rights")
    return parser


def tool_parser() -> argparse.ArgumentParser:
    """Of ``qluster-qnetd-tool``."""
    parser = argparse.ArgumentParser(
        prog="qluster-qnetd-tool", formatter_class=_form, epilog=_codes(TOOL_CODES),
        description="Shows the arbiter of this host, as corosync-qnetd-tool does; has it forget a cluster.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-s", "--status", action="store_true", help="show how the arbiter is")
    what.add_argument("-l", "--list", action="store_true", help="show its clusters and their nodes")
    what.add_argument("--json", action="store_true", help="show all of it as JSON, with what it remembers")
    what.add_argument("--forget", metavar="NAME", default="",
                      help="forget all that is remembered of this cluster, none of whose nodes is connected; if they "
                           "come back, the arbiter counts again when all of them have agreed on that")
    parser.add_argument("-v", "--verbose", action="store_true", help="show more of it")
    parser.add_argument("-c", "--cluster", metavar="NAME", default="", help="show this cluster alone")
    parser.add_argument("-p", "--socket", metavar="SOCKET", default=SOCKET,
                        help=f"where the arbiter answers; {SOCKET} without it")
    return parser


def _codes(codes: dict[int, str]) -> str:
    return "exit codes:\n" + "\n".join(f"  {code:<3} {meaning}" for code, meaning in codes.items())


def _form(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=100)
