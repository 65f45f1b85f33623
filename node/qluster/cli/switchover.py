"""A change of leader by plan on the command line: now, at a time, or cancelled.

It must not decide anything: it asks the node on this host, which names the leader where that is another one.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import sys
import uuid
from argparse import Namespace
from pathlib import Path

from qluster.cli.asking import refusal
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE, EXIT_USAGE
from qluster.config import Config
from qluster.edge.client import ClientError, HttpAnswer, ask

ANSWER_SECONDS = 180.0
"""Beside the patience with transactions: longer than the leader itself waits for any step."""


def switch_over(config: Config, chosen: Namespace) -> int:
    """What ``qluster switchover`` does; the exit code."""
    if chosen.cancel and (chosen.node is not None or chosen.at or chosen.force or chosen.patience is not None):
        return _said("--cancel stands alone.", EXIT_USAGE)
    query = _query(chosen)
    try:
        answer = _ask(config, "DELETE" if chosen.cancel else "POST", query, ANSWER_SECONDS + (chosen.patience or 0))
        if answer.code != 200:
            return _said(refusal(answer), EXIT_TROUBLE)
        print(answer.body.decode() if chosen.json else _done(answer.document()["detail"], chosen))
    except (ClientError, OSError, UnicodeDecodeError) as error:
        return _said(f"{error} Whether it happens is not known then: qluster status says who leads.", EXIT_TROUBLE)
    except (KeyError, TypeError) as error:
        return _said(f"the answer has no {error}. Are program and node of one version?", EXIT_TROUBLE)
    return EXIT_DONE


def _said(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _query(chosen: Namespace) -> dict[str, str]:
    given = {"node": chosen.node, "at": chosen.at, "patience": chosen.patience}
    query = {name: str(value) for name, value in given.items() if value is not None}
    return query | ({"force": "true"} if chosen.force else {})


def _ask(config: Config, method: str, query: dict[str, str], timeout: float) -> HttpAnswer:
    token = Path(config.api.operate_token_file).read_text(encoding="ascii").strip()
    where = (config.ip, config.api_port)
    return asyncio.run(
        ask(where, method, "/leader", ca_file=config.api.ca_file, token=token, query=query, key=uuid.uuid4().hex,
            timeout=timeout)
    )  # fmt: skip


def _done(detail: dict[str, object], chosen: Namespace) -> str:
    """What happened, in words."""
    if chosen.cancel:
        return "What was scheduled is cancelled." if detail.get("changed") else "Nothing was scheduled."
    if detail.get("scheduled"):
        target = f"node {chosen.node}" if chosen.node is not None else "the fittest node"
        return f"At {chosen.at} leadership goes to {target}. qluster status shows it; --cancel cancels it."
    if not detail.get("changed"):
        return f"Node {detail['leader']} leads already."
    text = f"Node {detail['leader']} leads now."
    gap, phases = detail.get("write_gap_ms"), detail.get("phases_ms")
    if isinstance(gap, int):
        text += f" Nobody could write for {gap / 1000:.2f} s"
    if isinstance(phases, dict):
        text += f" ({', '.join(f'{name} {milliseconds} ms' for name, milliseconds in phases.items())})"
    if isinstance(gap, int):
        text += "."
    return f"{text} {detail['remark']}." if detail.get("remark") else text
