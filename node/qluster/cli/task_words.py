"""Which words ``qluster task`` knows.

It must not know what a command does.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import argparse
from collections.abc import Callable

Add = Callable[[str, str], argparse.ArgumentParser]


def add_task_commands(add: Add) -> None:
    """The commands below ``task``; ``add`` makes one of its name and its help."""
    _add_submit(add("submit", "submit a task; its number is printed"))

    listing = add("list", "show tasks, the newest first")
    listing.add_argument("--state", metavar="STATE", help="only in these states, separated by commas")
    listing.add_argument("--name", metavar="TEXT", help="only with this name")
    listing.add_argument("--template", metavar="NAME", help="only of this template")
    listing.add_argument("--schedule", metavar="NAME", help="only of this schedule")
    listing.add_argument("--node", metavar="N", type=_number, help="only those of this node")
    listing.add_argument("--key", metavar="WORD", help="only the one with this key")
    listing.add_argument("--before", metavar="N", type=_number, help="only older ones than the one with this number")
    listing.add_argument("--limit", metavar="N", type=_number, default=50, help="at most so many; 50 without it")
    _add_json(listing)

    show = add("show", "show all of one task, and why it is where it is")
    show.add_argument("task", metavar="TASK", type=_number)
    _add_json(show)

    output = add("output", "print what a task said, from whichever node ran it, or why there is nothing")
    output.add_argument("task", metavar="TASK", type=_number)
    output.add_argument("-f", "--follow", action="store_true", help="go on until the task is over")
    output.add_argument("--stderr", action="store_true", help="the other of its two outputs")

    cancel = add("cancel", "cancel a task; one that runs is stopped")
    cancel.add_argument("task", metavar="TASK", type=_number)
    cancel.add_argument("--reason", metavar="TEXT", default="", help="why; it is shown with the task")

    wait = add("wait", "wait until tasks are over; the exit code says whether all of them succeeded")
    wait.add_argument("task", metavar="TASK", type=_number, nargs="+")
    _add_seconds(wait)

    for name, text in (("templates", "show the templates"), ("schedules", "show the schedules")):
        stored = add(name, text)
        stored.add_argument("name", metavar="NAME", nargs="?", help="one of them, as JSON")
        _add_json(stored)

    _add_schedule(add("schedule", "keep a schedule: a task of a template on each date of a cron expression"))
    unschedule = add("unschedule", "remove a schedule; tasks that it made stay")
    unschedule.add_argument("schedule", metavar="NAME")

    summary = add("summary", "show how many tasks there are, and what each node has of them")
    _add_json(summary)

    drain = add("drain", "give a node no new tasks, or (--end) tasks again")
    drain.add_argument("node", metavar="NODE", type=_number)
    drain.add_argument("--patience", metavar="SPAN", default="0",
                       help="stop those that it has after this: seconds, or 10m; without it they run to their ends")
    drain.add_argument("--end", action="store_true", help="give it tasks again")


def _add_submit(submit: argparse.ArgumentParser) -> None:
    _add_work(submit)
    _add_place(submit)
    _add_rules(submit)
    submit.add_argument("--key", metavar="WORD", help="while a task with this key is known, it is that one")
    submit.add_argument("--start", metavar="TIME", help="not before, such as 2030-01-31T02:30:00Z")
    submit.add_argument("--expires", metavar="TIME", help="not begun after")
    submit.add_argument("--need", metavar="TASK[:END]", action="append", default=[],
                        help="a task that must end so first: success (without it), failure or any; may be given "
                             "several times")
    submit.add_argument("--check", action="store_true", help="only say where it would run now, and why not elsewhere")
    submit.add_argument("--wait", action="store_true", help="wait until it is over, as `qluster task wait` does")
    _add_seconds(submit)
    _add_json(submit)


def _add_schedule(schedule: argparse.ArgumentParser) -> None:
    schedule.add_argument("schedule", metavar="NAME")
    schedule.add_argument("--cron", metavar="FIELDS", help='minute hour day month weekday, such as "30 2 * * *"')
    schedule.add_argument("--zone", metavar="ZONE", help="such as Europe/Berlin; UTC without it")
    schedule.add_argument("--missed", choices=("skip", "one", "all"),
                          help="what becomes of dates on which nobody could start it; one task without it")
    schedule.add_argument("--overlap", action="store_true",
                          help="begin a task although the one of the date before is not over")
    schedule.add_argument("--disabled", action="store_true", help="keep it, and let no date count")
    schedule.add_argument("--template", metavar="NAME", help="the template that makes its tasks")
    schedule.add_argument("--file", metavar="FILE", help="all of it as JSON, as PUT /task-schedules takes it; - is "
                                                         "stdin")  # fmt: skip
    _add_filling(schedule)


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("argv", metavar="PROGRAM ARGUMENT", nargs="*",
                        help="absolute path of a program, and what it is given; after -- where that begins with -")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--shell", metavar="TEXT", help="text for /bin/sh -c, where hosts allow it")
    what.add_argument("--sql", metavar="TEXT", help="statements for the node's database")
    what.add_argument("--template", metavar="NAME", help="a stored template")
    what.add_argument("--file", metavar="FILE", help="one task or several as JSON, as POST /tasks takes it; - is stdin")
    _add_filling(parser)
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[],
                        help="variable of the program's environment; may be given several times")
    parser.add_argument("--directory", metavar="PATH", help="where the program runs; without it in one of its own")
    parser.add_argument("--user", metavar="NAME", help="who runs the program, of those whom hosts allow")
    parser.add_argument("--database", metavar="NAME", help="for --sql; postgres without it")
    parser.add_argument("--sql-role", metavar="NAME", help="who runs the statements")
    parser.add_argument("--variable", metavar="NAME=VALUE", action="append", default=[],
                        help="of --sql, which names it :'NAME' or :\"NAME\"; may be given several times")


def _add_filling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--parameter", metavar="NAME=VALUE", action="append", default=[],
                        help="of the template; may be given several times")
    parser.add_argument("--name", metavar="TEXT", help="for people")
    parser.add_argument("--priority", metavar="N", type=int, help="0 to 9, the largest first; 5 without it")


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=("any", "leader", "replica", "pooler"), help="of the node that runs it")
    parser.add_argument("--node", metavar="N", type=_number, action="append", default=[],
                        help="only on this node; may be given several times")
    parser.add_argument("--where", metavar="LABELS", help='such as "disk=ssd, !slow"')
    parser.add_argument("--least-lag", action="store_true", help="of the replicas the one that lacks the least")
    parser.add_argument("--each", action="store_true", help="once on every node that fits")
    parser.add_argument("--pack", action="store_true", help="on the fullest node that has room, not on the emptiest")
    parser.add_argument("--fail", action="store_true", help="fail where no node could ever run it; else it waits")
    parser.add_argument("--slots", metavar="N", type=int, help="what it takes of its node's slots; 1 without it")
    parser.add_argument("--resource", metavar="NAME=N", action="append", default=[],
                        help="what it takes of its node's resources; may be given several times")


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--time-limit", metavar="SPAN", help="seconds, or such as 2h; 1h without it, 0: none")
    parser.add_argument("--retry", metavar="N", type=int, help="further attempts after a failure")
    parser.add_argument("--retry-delay", metavar="SPAN",
                        help="before the first of them: seconds, or such as 5m; 10s without it")
    parser.add_argument("--retry-factor", metavar="X", type=float,
                        help="so many times longer before each later one; 2 without it")
    parser.add_argument("--once", action="store_true", help="run it at most once")
    parser.add_argument("--overlap", action="store_true", help="it may go on where its node is cut off")
    parser.add_argument("--moved", choices=("stop", "restart", "stay"),
                        help="what becomes of it when the role moves that it is for; stop without it")
    parser.add_argument("--group", metavar="NAME", help="of the tasks of this group only so many run at once")
    parser.add_argument("--group-limit", metavar="N", type=int, help="how many; 1 without it")
    parser.add_argument("--limit", metavar="NAME=N", action="append", default=[],
                        help="what it may use: memory (bytes), cpu (processors), processes, output (bytes that are "
                             "kept); may be given several times")


BESIDE_A_FILE = ("command", "config", "version", "task_command", "file", "schedule", "check", "wait", "seconds", "json")
"""Words that say nothing of a task."""


def _add_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", metavar="N", type=_number, help="wait no longer than this")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the node's answer as it is")


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:19]) < 2**62:
        raise argparse.ArgumentTypeError(f'"{text[:20]}" is no number from 1 on')
    return int(text)
