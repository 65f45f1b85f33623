"""Asks the node on this host, or the leader that it names, on behalf of a command.

It must not know what is asked, nor print.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from qluster.api.parameters import KEY_LENGTH_MAX
from qluster.config import Config
from qluster.edge.client import ClientError, HttpAnswer, ask

ASK_SECONDS = 15.0
"""A write is confirmed within ten seconds, or the leader says that it is not."""

ELSEWHERE = 417
"""The code of a node that does not lead."""


FAULTS_SHOWN = 10
"""Of a request with more the same mistake was made in each task."""

_OTHER = re.compile(r"[^A-Za-z0-9._:-]")


class Unanswered(Exception):
    """There is no answer to go on with; the sentence says why, and what to do."""

    def __init__(self, sentence: str, word: str = "") -> None:
        """``word``: the node's own for it (api/errors.py); "" where it said none."""
        super().__init__(sentence)
        self.word = word


class Unknown(Unanswered):
    """There is no such thing."""


class Away(Unanswered):
    """There is no answer in this moment, as in an election."""


PASSING = (ClientError, Away)
"""What who waits may bear for a while."""


def user() -> str:
    """Who runs the command, for the history."""
    name = os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or os.environ.get("USER") or "command-line"
    return _OTHER.sub("-", name)[:KEY_LENGTH_MAX]


def ask_leader(config: Config, method: str, path: str) -> HttpAnswer:
    """The leader's answer of code 200; raises :class:`Unanswered` with the reason for any other."""
    return _answer(config, method, path, elsewhere=True)


def ask_here(config: Config, method: str, path: str) -> HttpAnswer:
    """The same of the node on this host, whoever leads."""
    return _answer(config, method, path, elsewhere=False)


def _answer(config: Config, method: str, path: str, *, elsewhere: bool) -> HttpAnswer:
    file = config.api.read_token_file if method == "GET" else config.api.operate_token_file
    try:
        token = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unanswered(f"{file} cannot be read ({error}). Run this as the user of the service.") from None
    try:
        answer = asyncio.run(_ask(config, method, path, token, elsewhere=elsewhere))
    except ClientError as error:
        raise Unanswered(str(error)) from None
    if answer.code != 200:
        raise Unanswered(refusal(answer))
    return answer


async def _ask(config: Config, method: str, path: str, token: str, *, elsewhere: bool) -> HttpAnswer:
    place = (config.ip, config.api_port)
    answer = await ask(place, method, path, ca_file=config.api.ca_file, token=token, timeout=ASK_SECONDS)
    leader = answer.document().get("leader") if answer.code == ELSEWHERE and elsewhere else None
    if not isinstance(leader, dict):
        return answer
    place = (str(leader["ip"]), int(leader["api_port"]))
    return await ask(place, method, path, ca_file=config.api.ca_file, token=token, timeout=ASK_SECONDS)


def refusal(answer: HttpAnswer) -> str:
    """An answer that is none of code 200, for people: what is wrong, each fault by its field, what to do."""
    try:
        document = answer.document()
        faults = [f"  {each['field'] or 'the body'} {each['message']}" for each in document.get("faults") or ()]
        more = [f"  and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else []
        hint = [f"hint: {document['hint']}"] if document.get("hint") else []
        said = f"the node answers {answer.code}: {document['message']}"
        return "\n".join([said, *faults[:FAULTS_SHOWN], *more, *hint])
    except (ClientError, KeyError, TypeError):
        return f"the node answers {answer.code} without a reason. Is this the port of qluster?"


def word_of(answer: HttpAnswer) -> str:
    """The word for what is wrong in an answer that is none of code 200; "" where it has none."""
    try:
        return str(answer.document()["error"])
    except (ClientError, KeyError, TypeError):
        return ""
