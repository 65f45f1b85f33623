"""What the words on the command line ask for, and which file configures it.

It must not know how a node works; commands import what they need when they run.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qluster.cli.exits import EXIT_CONFIG, EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE, MEANINGS

if TYPE_CHECKING:
    from qluster.config import Config

FALLBACK_CONFIG = "/etc/qluster/config.yaml"

EXIT_CODES = "exit codes:\n" + "\n".join(f"  {code:<3} {meaning}" for code, meaning in MEANINGS.items())


class Refused(Exception):
    """The command ends here: the lines say why, each one fault."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def get_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return _parsers()[0]


def _parsers() -> tuple[argparse.ArgumentParser, Commands]:
    parser = argparse.ArgumentParser(
        prog="qluster",
        description="A node of a highly available database cluster. Without a command it runs the node.",
        epilog=EXIT_CODES, formatter_class=_form)
    parser.add_argument("--version", action="store_true", help="print the version and end")
    _add_config(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    check = _command(commands, "check-config", "say everything that is wrong with a configuration")
    check.add_argument("file", metavar="FILE", nargs="?", help="the configuration; without it as for --config")
    check.add_argument("--no-host", action="store_true", help="check the text alone, not this host")

    status = _command(commands, "status", "show the cluster as the node on this host sees it")
    _add_config(status, default=argparse.SUPPRESS)
    status.add_argument("--json", action="store_true", help="print the node's answer as it is")

    failover = _command(commands, "failover", "show who would take over from the primary, and what could be lost")
    _add_config(failover, default=argparse.SUPPRESS)
    failover.add_argument("--json", action="store_true", help="print the leader's answer as it is")
    failover.add_argument("--reign", metavar="N", type=int, help="the reign that is to end, as this command shows it")
    failover.add_argument("--accept-data-loss", action="store_true",
                          help="let the best database that is left take over, whatever it lacks; with --reign")

    state = _command(commands, "show-state", "show what the node's state directory holds; changes nothing in it")
    _add_config(state, default=argparse.SUPPRESS)
    state.add_argument("--entries", metavar="FIRST", type=int, help="show the log's entries from this index on as well")

    pause = _command(commands, "pause", "leave all databases of the cluster alone until `resume`")
    _add_config(pause, default=argparse.SUPPRESS)
    pause.add_argument("--reason", metavar="TEXT", default="", help="why; it is shown everywhere meanwhile")

    resume = _command(commands, "resume", "end the pause of the cluster")
    _add_config(resume, default=argparse.SUPPRESS)
    resume.add_argument("--abandon", metavar="NODE", type=_node,
                        help="do not wait for this node, whose primary ran without a lease in the pause: if its "
                             "database still runs, it goes on taking writes beside the new primary, and they are lost")

    network = _command(commands, "check-network", "try which host hears whom, by multicast and by unicast")
    _add_config(network, default=argparse.SUPPRESS)
    network.add_argument("--seconds", metavar="N", type=_seconds, default=5, help="how long to try; 5 without it")
    network.add_argument("--host", metavar="IP", action="append", default=[],
                         help="a host to try beside those that are found; may be given several times")
    network.add_argument("--json", action="store_true", help="print the counts as JSON")

    switch = _command(commands, "switchover", "hand leadership, and with it the primary, to a node, now or later")
    _add_config(switch, default=argparse.SUPPRESS)
    switch.add_argument("--node", metavar="N", type=int, help="the node that is to lead; without it the fittest one")
    switch.add_argument("--at", metavar="TIME", help="when: a time with its zone, such as 2030-01-31T02:30:00Z")
    switch.add_argument("--patience", metavar="SECONDS", type=int, help="what open transactions get; 5 without it")
    switch.add_argument("--force", action="store_true", help="break off transactions that do not end in time")
    switch.add_argument("--cancel", action="store_true", help="cancel what is scheduled")
    switch.add_argument("--json", action="store_true", help="print the node's answer as it is")

    databases = _command(commands, "db-config", "show or change parameters of all databases, or restart their servers")
    _add_config(databases, default=argparse.SUPPRESS)
    databases.add_argument("parameter", metavar="NAME=VALUE", nargs="*", help="a parameter and its new value")
    databases.add_argument("--reset", metavar="NAME", action="append", default=[],
                           help="let config.yaml say again what this parameter is; may be given several times")
    databases.add_argument("--restart", action="store_true",
                           help="restart the servers that need it, one after the other, the primary after a switchover")
    databases.add_argument("--in-place", action="store_true", help="restart the primary where it is")
    databases.add_argument("--cas", metavar="VERSION", type=int, help="only if this is the version of the parameters")
    databases.add_argument("--cancel-restart", action="store_true", help="restart no further server")
    databases.add_argument("--json", action="store_true", help="print the node's answer as it is")

    aside = _command(commands, "set-aside", "put the node's state away, so that it joins anew; the daemon is stopped")
    _add_config(aside, default=argparse.SUPPRESS)
    aside.add_argument("--reason", default="asked for by an operator", help="what to note in it")

    _add_backup_commands(commands)
    return parser, commands


def _add_backup_commands(commands: Commands) -> None:
    backup = _command(commands, "backup", "take a base backup of the database on this host, and remove old ones")
    _add_config(backup, default=argparse.SUPPRESS)
    backup.add_argument("--if-chosen", action="store_true", help="only when the cluster's rule names this node")
    backup.add_argument("--if-due", choices=("replica", "primary"), default="",
                        help="only when the schedule wants one, of a node that is this")
    backup.add_argument("--upgrade-stanza", action="store_true",
                        help="of pgBackRest: let its stanza belong to this database, after an upgrade to a new version")
    backup.add_argument("--json", action="store_true", help="print the outcome as JSON")

    backups = _command(commands, "backups", "show the backups, and whether the archive has what they need")
    _add_config(backups, default=argparse.SUPPRESS)
    backups.add_argument("--check", metavar="LABEL", default="",
                         help='read every file of this backup, or of "all", and compare it with what was written')
    backups.add_argument("--json", action="store_true", help="print what was found as JSON")

    restore = _command(commands, "restore", "recover the database of this host from a backup; the daemon is stopped")
    _add_config(restore, default=argparse.SUPPRESS)
    restore.add_argument("--target", metavar="WHERE",
                         help='"time 2026-01-31T12:00:00Z", "lsn 0/3000060" or "name NAME"; without it the newest')
    restore.add_argument("--backup", metavar="LABEL", default="",
                         help="the backup to begin with; without it the newest before the target")
    restore.add_argument("--system-id", metavar="ID", type=int, help="the database, where there are backups of several")
    restore.add_argument("--accept-gap", action="store_true",
                         help="recover the newest that can be had although the archive is not complete")
    restore.add_argument("--confirm", metavar="CLUSTER",
                         help="the cluster's name: do it; without it, say what would be done")
    restore.add_argument("--json", action="store_true", help="print the outcome as JSON")


def _add_config(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument("--config", metavar="FILE", default=default,
                        help=f"the configuration; without it config.yaml beside the program, then {FALLBACK_CONFIG}")


def _seconds(text: str) -> int:
    from qluster.cli.check_network import SECONDS_MAX

    if not text.isdecimal() or not 1 <= int(text[:9]) <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f'"{text[:20]}" is no number from 1 to {SECONDS_MAX}')
    return int(text)


def _node(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:11]) < 2**31:
        raise argparse.ArgumentTypeError(f'"{text[:20]}" is no number of a node')
    return int(text)


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES,
                               formatter_class=_form)


def _form(prog: str) -> argparse.HelpFormatter:
    # A fixed width, so that the reference page made from it does not depend on a terminal.
    return argparse.RawDescriptionHelpFormatter(prog, width=100)


def reference() -> str:
    """The reference page of the command line."""
    parser, commands = _parsers()
    pages = [("qluster", parser.format_help())]
    pages += [(f"qluster {name}", command.format_help()) for name, command in commands.choices.items()]
    texts = [f"## {title}\n\n```text\n{text.rstrip()}\n```\n" for title, text in pages]
    return "# The command line\n\nMade from the program's own help; do not edit.\n\n" + "\n".join(texts)


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
    if chosen.command == "check-config":
        return _check_config(chosen, program)
    config = read_config(config_path(chosen.config, program))
    if chosen.command == "failover":
        return _failover(config, chosen)
    if chosen.command == "set-aside":
        return _set_aside(config, chosen.reason)
    if chosen.command == "show-state":
        from qluster.cli.state import show_state

        return show_state(config, chosen.entries)
    if chosen.command == "switchover":
        from qluster.cli.switchover import switch_over

        return switch_over(config, chosen)
    if chosen.command == "db-config":
        from qluster.cli.databases import show_or_change

        return show_or_change(config, chosen)
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


def _check_network(config: Config, chosen: argparse.Namespace) -> int:
    from qluster.cli.check_network import Unusable, check_network

    try:
        return check_network(config, chosen.seconds, chosen.host, chosen.json)
    except Unusable as unusable:
        raise Refused(EXIT_TROUBLE, str(unusable)) from None


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
