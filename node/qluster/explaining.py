"""Says who would be the next primary if there had to be one now, why not the others, and what that could cost.

Must not decide anything: it asks the same search for a primary that decides after an election, with the answers
that came to it, and with what the others last reported where nobody was asked.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qluster.cluster.messages import PositionReply
from qluster.cluster.reign import Choice, Succession

if TYPE_CHECKING:
    from qluster.leading import Leading, Scene
    from qluster.node import Node


def explain(node: Node, now: float) -> dict[str, object]:
    """What ``GET /failover`` shows; only a leader knows."""
    leading, reign = node.governing.leading, node.state.reign
    scene = node.governing.scene(now)
    serves = node.keeper.serving and node.hosting.reigns()
    answers = {} if leading is None else _answers(leading, scene, serves=serves)
    shown: dict[str, object] = {
        "reign": reign.number if reign is not None else 0,
        "primary": reign.node if reign is not None else None,
        "serves": serves,
        "synchronous": scene.mode,
        "maximum_lag": scene.maximum_lag,
        "nodes": [_standing(number, answers.get(number), scene) for number in _databases(scene)],
    }
    choice = Choice(None, "the database was not founded yet")
    if leading is not None and reign is not None:
        view = replace(leading.view(scene), own=None)
        if serves:
            # What others would know of the primary here if it were gone.
            view = replace(view, primary_seen=node.reports.said)
        choice = _search(leading, answers).choice(view, reign)
    return shown | {
        "successor": choice.best.node if choice.best is not None else None,
        "by_itself": choice.best is not None and not choice.against,
        "reason": choice.against,
        "known_loss_bytes": choice.lost if choice.best is not None else None,
        "worst_loss_bytes": choice.bound if choice.best is not None else None,
    }


def _databases(scene: Scene) -> list[int]:
    return sorted(member.node for member in scene.members if member.db_port is not None)


def _search(leading: Leading, answers: dict[int, PositionReply]) -> Succession:
    search = Succession(leading.term, leading.began)
    search.offered = dict(leading.succession.offered)
    search.replies = answers
    return search


def _answers(leading: Leading, scene: Scene, *, serves: bool) -> dict[int, PositionReply]:
    """What was answered in this term; while a primary serves, what the others would answer if it were gone."""
    found = {} if serves else dict(leading.succession.replies)
    if scene.own is not None and not serves:
        found[scene.me] = scene.own
    for number in _databases(scene):
        if number not in found and not (serves and number == scene.me):
            report = _reported(number, leading.term, scene)
            if report is not None and serves:
                found[number] = report
    return found


def _reported(number: int, term: int, scene: Scene) -> PositionReply | None:
    """The answer that a node would give, by its last report."""
    report = scene.report(number)
    database = report.database if report is not None else None
    member = scene.members.get(number)
    if database is None or member is None or not member.voter or number not in scene.alive:
        return None
    fit = database.role in ("replica", "detached") and not database.error and number not in scene.state.down
    reason = database.error or ("" if fit else f"its database is {database.role}")
    return PositionReply(
        scene.cluster, number, term, database.system_id or 0, database.timeline or 0, database.position or 0,
        fit, reason, owed=database.owed,
    )  # fmt: skip


def _standing(number: int, answer: PositionReply | None, scene: Scene) -> dict[str, object]:
    """One node, and why it could not take over."""
    reason = ""
    if answer is None:
        reason = "it is the primary" if scene.state.reign and number == scene.state.reign.node else "it does not answer"
        reason = reason if number in scene.alive else "it is not heard"
    elif not answer.fit:
        reason = answer.reason or "its database cannot take over"
    return {
        "node": number,
        "able": answer is not None and answer.fit,
        "reason": reason,
        "timeline": answer.timeline if answer is not None else None,
        "position": answer.position if answer is not None else None,
    }
