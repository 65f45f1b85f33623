"""Who would take over from the primary, as text for people; and an operator's word that a loss is accepted.

It must not decide anything: it asks the leader, which it learns from the node on this host.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec

from qluster.api.shapes import FailoverAnswer
from qluster.cli.asking import Unanswered, ask_leader
from qluster.cli.exits import EXIT_DONE, EXIT_TROUBLE
from qluster.cli.show import size_text, table
from qluster.config import Config
from qluster.edge.client import HttpAnswer


def failover(config: Config, reign: int | None, *, as_json: bool) -> int:
    """Show who would take over; with ``reign`` let it take over, whatever it may lack. The exit code."""
    try:
        if reign is not None:
            answer = ask_leader(config, "POST", f"/failover?reign={reign}&accept=data-loss")
            print(answer.body.decode() if as_json else _accepted(answer))
            return EXIT_DONE
        answer = ask_leader(config, "GET", "/failover")
        found = msgspec.json.decode(answer.body, type=FailoverAnswer)
    except Unanswered as reason:
        return _trouble(str(reason))
    except msgspec.MsgspecError as error:
        return _trouble(f"the answer is not understood ({error}). Are program and node of one version?")
    print(answer.body.decode() if as_json else "\n".join(lines(found)))
    return EXIT_DONE


def lines(found: FailoverAnswer) -> Iterator[str]:
    """What the leader knows, for people."""
    serves = "serves" if found.serves else "does not serve"
    yield f"reign      {found.reign}, primary node {found.primary}, which {serves}"
    if found.successor is None:
        yield f"successor  nobody: {found.reason}"
    else:
        how = "by itself" if found.by_itself else "only if an operator accepts a loss"
        yield f"successor  node {found.successor}, {how}"
        worst = "nobody can tell" if found.worst_loss_bytes is None else f"{size_text(found.worst_loss_bytes)} at most"
        yield f"loss       {size_text(found.known_loss_bytes or 0)} known of, {worst}"
        if found.reason:
            yield f"reason     {found.reason}"
            if not found.serves:
                yield f"accept     qluster failover --reign {found.reign} --accept-data-loss"
    yield ""
    yield from table(
        ("node", "able", "timeline", "position", "reason"),
        [
            (str(one.node), "yes" if one.able else "no", _shown(one.timeline), _shown(one.position), one.reason or "-")
            for one in found.nodes
        ],
    )


def _shown(value: int | None) -> str:
    return "-" if value is None else str(value)


def _accepted(answer: HttpAnswer) -> str:
    detail = answer.document().get("detail")
    successor = detail.get("successor") if isinstance(detail, dict) else None
    return f"accepted: node {successor} takes over; `qluster status` shows when it does"


def _trouble(line: str) -> int:
    print(line, file=sys.stderr)
    return EXIT_TROUBLE
