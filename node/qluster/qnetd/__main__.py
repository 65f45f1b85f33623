"""Where the arbiter's programs begin: the daemon, its check and its tool.

It must not know what they do; what they need is imported when they run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from qluster import __version__

TOOL = "qluster-qnetd-tool"


def main(arguments: list[str] | None = None) -> int:
    """``qluster-qnetd``; the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--version"]:
        print(f"qluster-qnetd {__version__}")
        return 0
    if words[:1] == ["tool"]:
        return tool(words[1:])
    from qluster.cli.exits import EXIT_DONE, EXIT_USAGE
    from qluster.qnetd.words import daemon_parser

    try:
        chosen = daemon_parser().parse_args(words)
    except SystemExit as end:
        return EXIT_USAGE if end.code else EXIT_DONE
    return _run(chosen)


def tool(arguments: list[str] | None = None) -> int:
    """``qluster-qnetd-tool``; the exit code."""
    from qluster.qnetd.tool import run

    return run(sys.argv[1:] if arguments is None else arguments)


def _run(chosen: argparse.Namespace) -> int:
    from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE
    from qluster.config.document import ConfigErrors
    from qluster.qnetd.config import parse
    from qluster.qnetd.hostcheck import findings, reminders

    path: str = chosen.config
    try:
        config = parse(Path(path).read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        return _refuse(EXIT_CONFIG, [f"{path}: is no UTF-8 text (byte {error.start}). Write it as UTF-8."])
    except OSError as error:
        return _refuse(EXIT_CONFIG, [f"{path}: cannot be read ({error.strerror}). Name a file that the user of this "
                                     f"command may read, with --config FILE."])
    except ConfigErrors as errors:
        return _refuse(EXIT_CONFIG, errors.lines())
    found = [] if chosen.no_host and chosen.check_config else [f"{path}: {line}" for line in findings(config)]
    if chosen.check_config:
        if not chosen.no_host:
            found += [f"{path}: {line}" for line in reminders(config)]
        if not found:
            print(f"{path}: nothing is wrong with it" + (", the host was not looked at." if chosen.no_host else "."))
        return _refuse(EXIT_TROUBLE, found) if found else EXIT_DONE
    if os.geteuid() == 0 and not chosen.allow_root:
        found.append("the arbiter needs no rights of root. Run it as a user of its own, such as qluster-qnetd, or with "
                     "--allow-root.")
    if found:
        return _refuse(EXIT_TROUBLE, found)
    from qluster.cli.logs import begin_log
    from qluster.qnetd.daemon import run

    begin_log()
    return run(config)


def _refuse(code: int, lines: list[str]) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
