"""Decides what task a template makes.

Must not know who asked for it, nor when.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from qluster.tasks.asking import FromTemplate
from qluster.tasks.bodies import Submission, Template
from qluster.tasks.checking import Faults, filled


def made(templates: Mapping[str, Template], one: FromTemplate) -> Submission | Faults | None:
    """The task; what is wrong with what was said of it; None: there is no such template."""
    template = templates.get(one.template)
    if template is None:
        return None
    spec = filled(template, dict(one.parameters))
    if isinstance(spec, list):
        return spec
    spec = replace(
        spec, template=one.template, name=spec.name if one.name is None else one.name, start=one.start,
        expires=one.expires, priority=spec.priority if one.priority is None else one.priority, needs=one.needs,
    )  # fmt: skip
    return Submission(spec, one.key)
