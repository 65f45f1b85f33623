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
    listing.add_argument("--limit", metavar="N", type=_number, default=50, help="at most so many; 50 without it")
    _add_json(listing)

    show = add("show", "show all of one task, and why it is where it is")
    show.add_argument("task", metavar="TASK", type=_number)
    _add_json(show)

    output = add("output", "print what a task said, from whichever node ran it")
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

    summary = add("summary", "show how many tasks there are, and what each node has of them")
    _add_json(summary)

    drain = add("drain", "give a node no new tasks, or (--end) tasks again")
    drain.add_argument("node", metavar="NODE", type=_number)
    drain.add_argument("--patience", metavar="SPAN", default="0",
                       help="stop those that it has after this: seconds, or 10m; without it they run to their ends")
    drain.add_argument("--end", action="store_true", help="give it tasks again")


def _add_submit(submit: argparse.ArgumentParser) -> None:
    submit.add_argument("argv", metavar="PROGRAM ARGUMENT", nargs="*",
                        help="absolute path of a program, and what it is given; after -- where that begins with -")
    what = submit.add_mutually_exclusive_group()
    what.add_argument("--shell", metavar="TEXT", help="text for /bin/sh -c, where hosts allow it")
    what.add_argument("--sql", metavar="TEXT", help="statements for the node's database")
    what.add_argument("--template", metavar="NAME", help="a stored template")
    what.add_argument("--file", metavar="FILE", help="one task or several as JSON, as POST /tasks takes it; - is stdin")
    submit.add_argument("-p", "--parameter", metavar="NAME=VALUE", action="append", default=[],
                        help="of the template; may be given several times")
    submit.add_argument("--database", metavar="NAME", help="for --sql; postgres without it")
    submit.add_argument("--sql-role", metavar="NAME", help="who runs the statements")
    submit.add_argument("--name", metavar="TEXT", help="for people")
    submit.add_argument("--key", metavar="WORD", help="while a task with this key is known, it is that one")
    submit.add_argument("--role", choices=("any", "leader", "replica", "pooler"), help="of the node that runs it")
    submit.add_argument("--node", metavar="N", type=_number, action="append", default=[],
                        help="only on this node; may be given several times")
    submit.add_argument("--where", metavar="LABELS", help='such as "disk=ssd, !slow"')
    submit.add_argument("--each", action="store_true", help="once on every node that fits")
    submit.add_argument("--priority", metavar="N", type=int, help="0 to 9, the largest first; 5 without it")
    submit.add_argument("--time-limit", metavar="SPAN", help="such as 90s or 2h; 1h without it")
    submit.add_argument("--retry", metavar="N", type=int, help="further attempts after a failure")
    submit.add_argument("--once", action="store_true", help="run it at most once")
    submit.add_argument("--start", metavar="TIME", help="not before, such as 2030-01-31T02:30:00Z")
    submit.add_argument("--expires", metavar="TIME", help="not begun after")
    submit.add_argument("--need", metavar="TASK", type=_number, action="append", default=[],
                        help="a task that must succeed first; may be given several times")
    submit.add_argument("--check", action="store_true", help="only say where it would run now, and why not elsewhere")
    submit.add_argument("--wait", action="store_true", help="wait until it is over, as `qluster task wait` does")
    _add_seconds(submit)
    _add_json(submit)


def _add_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", metavar="N", type=_number, help="wait no longer than this")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the node's answer as it is")


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:19]) < 2**62:
        raise argparse.ArgumentTypeError(f'"{text[:20]}" is no number from 1 on')
    return int(text)
