"""Does what the words on the command line ask for, with the configuration that is meant.

It must not know how a node works; commands import what they need when they run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.words import FALLBACK_CONFIG, get_parser

if TYPE_CHECKING:
    from qluster.config import Config


class Refused(Exception):
    """The command ends here: the lines say why, each one fault."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines


def run(words: list[str], program: str) -> int:
    """Do what the words say; the exit code. ``program`` is the path that was called."""
    parser = get_parser()
    try:
        chosen = parser.parse_args(words)
    except SystemExit as end:
        return EXIT_USAGE if end.code else EXIT_DONE
    if chosen.version:
        from qluster import __version__

        print(f"qluster {__version__}")
        return EXIT_DONE
    try:
        return _run(chosen, program)
    except Refused as refused:
        for line in refused.lines:
            print(line, file=sys.stderr)
        return refused.code
    except BrokenPipeError:
        # Whoever read our output has enough of it; say no more, also not at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        return EXIT_TROUBLE


def _run(chosen: argparse.Namespace, program: str) -> int:
    if chosen.command is None:
        return _run_node(chosen, program)
    if chosen.command in ("check-config", "runner"):
        return _check_config(chosen, program) if chosen.command == "check-config" else _run_tasks(chosen, program)
    config = read_config(config_path(chosen.config, program))
    if chosen.command in ("failover", "task"):
        return _failover(config, chosen) if chosen.command == "failover" else _task(config, chosen)
    if chosen.command in ("dask", "set-aside"):
        return _set_aside(config, chosen.reason) if chosen.command == "set-aside" else _run_dask(config, chosen)
    if chosen.command == "quorum":
        from qluster.cli.quorum import show_quorum

        return show_quorum(config, chosen)
    if chosen.command == "show-state":
        from qluster.cli.state import show_state

        return show_state(config, chosen.entries)
    if chosen.command == "switchover":
        from qluster.cli.switchover import switch_over

        return switch_over(config, chosen)
    if chosen.command == "db-config":
        from qluster.cli.databases import show_or_change

        return show_or_change(config, chosen)
    if chosen.command in ("fence", "force-quorum"):
        return _mind_lost_hosts(config, chosen)
    if chosen.command in ("pause", "resume"):
        from qluster.cli.pause import pause, resume

        return pause(config, chosen.reason) if chosen.command == "pause" else resume(config, chosen.abandon)
    if chosen.command == "check-network":
        return _check_network(config, chosen)
    if chosen.command in ("backup", "backups", "restore"):
        return _mind_backups(config, chosen)
    from qluster.cli.show import show_status

    return show_status(config, as_json=chosen.json)


# --- the configuration ----------------------------------------------------------


def config_path(given: str | None, program: str) -> str:
    """The file that configures the node."""
    if given is not None:
        return given
    called = Path(program).absolute()
    places = list(dict.fromkeys([
        str(called.parent / "config.yaml"), str(called.resolve().parent / "config.yaml"), FALLBACK_CONFIG]))
    for place in places:
        if os.path.exists(place):
            return place
    raise Refused(EXIT_CONFIG, f"no configuration: none of {', '.join(places)} exists. Name one with --config FILE.")


def read_config(path: str) -> Config:
    """The configuration in a file."""
    from qluster.config import ConfigErrors, parse

    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(EXIT_CONFIG, f"{path}: is no UTF-8 text (byte {error.start}). Write it as UTF-8.") from None
    except OSError as error:
        raise Refused(EXIT_CONFIG, f"{path}: cannot be read ({error.strerror}). Name a file that the user of this "
                                   f"command may read, with --config FILE.") from None
    try:
        return parse(text, path)
    except ConfigErrors as errors:
        raise Refused(EXIT_CONFIG, *errors.lines()) from None


def _check_config(chosen: argparse.Namespace, program: str) -> int:
    path = config_path(chosen.file or chosen.config, program)
    config = read_config(path)
    if not chosen.no_host:
        from qluster.edge.hostcheck import findings

        found = findings(config)
        if found:
            raise Refused(EXIT_TROUBLE, *(f"{path}: {line}" for line in found))
    print(f"{path}: nothing is wrong with it" + (", the host was not looked at." if chosen.no_host else "."))
    return EXIT_DONE


# --- commands -------------------------------------------------------------------


def _run_node(chosen: argparse.Namespace, program: str) -> int:
    path = config_path(chosen.config, program)
    config = read_config(path)
    from qluster.cli.logs import begin_log
    from qluster.edge.hostcheck import findings

    begin_log()
    found = findings(config, starting=True)
    if found:
        raise Refused(EXIT_TROUBLE, *(f"{path}: {line}" for line in found))
    from qluster.daemon import run as run_daemon

    return run_daemon(config, os.path.abspath(path))


def _run_tasks(chosen: argparse.Namespace, program: str) -> int:
    path = config_path(chosen.config, program)
    config = read_config(path)
    if config.tasks is None:
        raise Refused(EXIT_CONFIG, f"{path}: it has no section tasks, so this host runs none. Write one, or stop the "
                                   f"service of the task runner.")
    from qluster.cli.logs import begin_log
    from qluster.edge.runner.main import run as run_runner

    begin_log()
    return run_runner(config, lambda: _read_again(path), chosen.users)


def _run_dask(config: Config, chosen: argparse.Namespace) -> int:
    from qluster.cli.dask import run_dask

    return run_dask(config, chosen.users)


def _read_again(path: str) -> Config | None:
    """The configuration as it is now; None where it is wrong, and the log says why."""
    try:
        return read_config(path)
    except Refused as refused:
        for line in refused.lines:
            print(line, file=sys.stderr)
        return None


def _check_network(config: Config, chosen: argparse.Namespace) -> int:
    from qluster.cli.check_network import Unusable, check_network

    try:
        return check_network(config, chosen.seconds, chosen.host, chosen.json)
    except Unusable as unusable:
        raise Refused(EXIT_TROUBLE, str(unusable)) from None


def _mind_lost_hosts(config: Config, chosen: argparse.Namespace) -> int:
    if chosen.command == "fence":
        from qluster.cli.fence import fence

        return fence(config, chosen)
    from qluster.cli.force import force_quorum

    return force_quorum(config, chosen)


def _mind_backups(config: Config, chosen: argparse.Namespace) -> int:
    from qluster.cli import backups

    if chosen.command == "backup":
        return backups.take(config, if_chosen=chosen.if_chosen, if_due=chosen.if_due, as_json=chosen.json,
                            upgrade_stanza=chosen.upgrade_stanza)  # fmt: skip
    if chosen.command == "backups":
        return backups.show(config, check=chosen.check, as_json=chosen.json)
    return backups.recover(
        config, target=chosen.target, label=chosen.backup, system_id=chosen.system_id, confirm=chosen.confirm,
        accept_gap=chosen.accept_gap, as_json=chosen.json,
    )  # fmt: skip


def _task(config: Config, chosen: argparse.Namespace) -> int:
    from qluster.cli.task import run_task

    return run_task(config, chosen)


def _failover(config: Config, chosen: argparse.Namespace) -> int:
    if (chosen.reign is not None) != chosen.accept_data_loss:
        raise Refused(EXIT_USAGE, "a failover is forced with --reign N and --accept-data-loss together, or not at all")
    from qluster.cli.failover import failover

    return failover(config, chosen.reign, as_json=chosen.json)


def _set_aside(config: Config, reason: str) -> int:
    from qluster.edge.disk import Disk, DiskTrouble

    disk = Disk(config.state_dir)
    try:
        print(f"The state lies in {disk.set_aside(reason, joins=True)} now. The node joins anew when it is started.")
    except DiskTrouble as trouble:
        raise Refused(EXIT_TROUBLE, str(trouble)) from None
    finally:
        disk.close()
    return EXIT_DONE
