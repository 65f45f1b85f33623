"""Which words the command line knows.

It must not know what a command does. Its help is the reference page, so its width is fixed.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
from typing import TypeAlias

from qluster.cli.exits import MEANINGS
from qluster.cli.task_words import add_task_commands

FALLBACK_CONFIG = "/etc/qluster/config.yaml"

EXIT_CODES = "exit codes:\n" + "\n".join(f"  {code:<3} {meaning}" for code, meaning in MEANINGS.items())

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
    _add_cluster_commands(commands)
    _add_host_commands(commands)
    _add_database_commands(commands)
    _add_backup_commands(commands)
    tasks = _command(commands, "task", "submit tasks to the cluster, show them, wait for them", configured=False)
    below = tasks.add_subparsers(dest="task_command", metavar="COMMAND", title="commands", required=True)
    add_task_commands(lambda name, text: _command(below, name, text))
    return parser, commands


def _add_host_commands(commands: Commands) -> None:
    check = _command(commands, "check-config", "say everything that is wrong with a configuration", configured=False)
    check.add_argument("file", metavar="FILE", nargs="?", help="the configuration; without it as for --config")
    check.add_argument("--no-host", action="store_true", help="check the text alone, not this host")

    network = _command(commands, "check-network", "try which host hears whom, by multicast and by unicast")
    network.add_argument("--seconds", metavar="N", type=_seconds, default=5, help="how long to try; 5 without it")
    network.add_argument("--host", metavar="IP", action="append", default=[],
                         help="a host to try beside those that are found; may be given several times")
    network.add_argument("--json", action="store_true", help="print the counts as JSON")

    state = _command(commands, "show-state", "show what the node's state directory holds; changes nothing in it")
    state.add_argument("--entries", metavar="FIRST", type=int, help="show the log's entries from this index on as well")

    runner = _command(commands, "runner",
                      "run the tasks that the node on this host is given; the daemon tells it which")
    dask = _command(commands, "dask", "run this host's part of the Dask cluster: workers, and the leader's scheduler")
    for command in (runner, dask):
        command.add_argument("--users", metavar="USER,...", type=_names, default=[],
                             help="whom programs may become; it needs the capabilities for that")

    aside = _command(commands, "set-aside", "put the node's state away, so that it joins anew; the daemon is stopped")
    aside.add_argument("--reason", default="asked for by an operator", help="what to note in it")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _add_cluster_commands(commands: Commands) -> None:
    status = _command(commands, "status", "show the cluster as the node on this host sees it")
    status.add_argument("--json", action="store_true", help="print the node's answer as it is")

    quorum = _command(commands, "quorum", "show votes and quorum in the form of corosync-quorumtool")
    what = quorum.add_mutually_exclusive_group()
    what.add_argument("-s", "--status", action="store_true", help="show all; so it is without an option")
    what.add_argument("-l", "--list", action="store_true", help="show the nodes alone")
    what.add_argument("--json", action="store_true", help="print the node's answer as it is")
    quorum.add_argument("-p", "--device-column", action="store_true", help="show the column Qdevice in any case")
    quorum.add_argument("-H", "--hex", action="store_true", help="show the numbers of nodes in hexadecimal")
    quorum.add_argument("-o", "--order", choices=("a", "i", "n"), default="i",
                        help="order of the nodes: by address, by number (so it is without this) or by name, which is "
                             "the address")

    force = _command(commands, "force-quorum",
                     "let the node on this host go on without the majority, which is lost for good")
    force.add_argument("--name", metavar="CLUSTER", required=True, help="the cluster's name, as a proof of meaning it")
    force.add_argument("--nodes", metavar="N", type=_node, nargs="+",
                       help="nodes that you count on beside this one; without it all that it hears")
    force.add_argument("--confirm-off", metavar="ADDRESS", action="append", default=[],
                       help="you have seen that this host is off; once for each that is given up and that fence agents "
                            "here do not switch off. If it is not, its database may go on beside the new primary, and "
                            "what it takes is lost")
    force.add_argument("--check", action="store_true", help="do nothing: say what would be, and what stands against it")

    failover = _command(commands, "failover", "show who would take over from the primary, and what could be lost")
    failover.add_argument("--json", action="store_true", help="print the leader's answer as it is")
    failover.add_argument("--reign", metavar="N", type=int, help="the reign that is to end, as this command shows it")
    failover.add_argument("--accept-data-loss", action="store_true",
                          help="let the best database that is left take over, whatever it lacks; with --reign")

    switch = _command(commands, "switchover", "hand leadership, and with it the primary, to a node, now or later")
    switch.add_argument("--node", metavar="N", type=int, help="the node that is to lead; without it the fittest one")
    switch.add_argument("--at", metavar="TIME", help="when: a time with its zone, such as 2030-01-31T02:30:00Z")
    switch.add_argument("--patience", metavar="SECONDS", type=int, help="what open transactions get; 5 without it")
    switch.add_argument("--force", action="store_true", help="break off transactions that do not end in time")
    switch.add_argument("--cancel", action="store_true", help="cancel what is scheduled")
    switch.add_argument("--json", action="store_true", help="print the node's answer as it is")

    pause = _command(commands, "pause", "leave all databases of the cluster alone until `resume`")
    pause.add_argument("--reason", metavar="TEXT", default="", help="why; it is shown everywhere meanwhile")

    resume = _command(commands, "resume", "end the pause of the cluster")
    resume.add_argument("--abandon", metavar="NODE", type=_node,
                        help="do not wait for this node, whose primary ran without a lease in the pause: if its "
                             "database still runs, it goes on taking writes beside the new primary, and they are lost")

    fence = _command(commands, "fence", "have a host switched off or rebooted by the leader, or see whether that works")
    fence.add_argument("address", metavar="ADDRESS", nargs="?", help="the host's address, as fencing.hosts has it")
    fence.add_argument("--node", metavar="N", type=_node, help="its node's number, as a proof that it is meant")
    what = fence.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true",
                      help="only ask the agents of this host whether they reach the device; without ADDRESS all")
    what.add_argument("--here", action="store_true",
                      help="run the agents of this host without asking the cluster: where nobody leads, or the "
                           "leader's own host is meant")
    what.add_argument("--confirm-off", action="store_true",
                      help="switch nothing: you have seen that the former primary's host is off, and nobody is to wait "
                           "for it; if it is not, its database may go on beside the new primary")


def _add_database_commands(commands: Commands) -> None:
    databases = _command(commands, "db-config", "show or change parameters of all databases, or restart their servers")
    databases.add_argument("parameter", metavar="NAME=VALUE", nargs="*", help="a parameter and its new value")
    databases.add_argument("--reset", metavar="NAME", action="append", default=[],
                           help="let config.yaml say again what this parameter is; may be given several times")
    databases.add_argument("--restart", action="store_true",
                           help="restart the servers that need it, one after the other, the primary after a switchover")
    databases.add_argument("--in-place", action="store_true", help="restart the primary where it is")
    databases.add_argument("--cas", metavar="VERSION", type=int, help="only if this is the version of the parameters")
    databases.add_argument("--cancel-restart", action="store_true", help="restart no further server")
    databases.add_argument("--json", action="store_true", help="print the node's answer as it is")


def _add_backup_commands(commands: Commands) -> None:
    backup = _command(commands, "backup", "take a base backup of the database on this host, and remove old ones")
    backup.add_argument("--if-chosen", action="store_true", help="only when the cluster's rule names this node")
    backup.add_argument("--if-due", choices=("replica", "primary"), default="",
                        help="only when the schedule wants one, of a node that is this")
    backup.add_argument("--upgrade-stanza", action="store_true",
                        help="of pgBackRest: let its stanza belong to this database, after an upgrade to a new version")
    backup.add_argument("--json", action="store_true", help="print the outcome as JSON")

    backups = _command(commands, "backups", "show the backups, and whether the archive has what they need")
    backups.add_argument("--check", metavar="LABEL", default="",
                         help='read every file of this backup, or of "all", and compare it with what was written')
    backups.add_argument("--json", action="store_true", help="print what was found as JSON")

    restore = _command(commands, "restore", "recover the database of this host from a backup; the daemon is stopped")
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


def _command(commands: Commands, name: str, text: str, *, configured: bool = True) -> argparse.ArgumentParser:
    added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EXIT_CODES,
                                formatter_class=_form)  # fmt: skip
    if configured:
        _add_config(added, default=argparse.SUPPRESS)
    return added


def _form(prog: str) -> argparse.HelpFormatter:
    # A fixed width, so that the reference page made from it does not depend on a terminal.
    return argparse.RawDescriptionHelpFormatter(prog, width=100)


def reference() -> str:
    """The reference page of the command line."""
    parser, commands = _parsers()
    pages = [("qluster", parser.format_help())]
    for name, command in commands.choices.items():
        pages.append((f"qluster {name}", command.format_help()))
        below = [action for action in command._actions if isinstance(action, argparse._SubParsersAction)]
        pages += [(f"qluster {name} {each}", one.format_help()) for action in below for each, one in
                  action.choices.items()]  # fmt: skip
    texts = [f"## {title}\n\n```text\n{text.rstrip()}\n```\n" for title, text in pages]
    return "# The command line\n\nMade from the program's own help; do not edit.\n\n" + "\n".join(texts)
