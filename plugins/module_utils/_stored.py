"""Decides how something that the cluster stores under a name becomes what is wanted, and shows the difference.

It must not know whether it is a template or a schedule.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from ansible_collections.qhb.qluster.plugins.module_utils import _tasks
from ansible_collections.qhb.qluster.plugins.module_utils._arguments import connect
from ansible_collections.qhb.qluster.plugins.module_utils._client import Unanswered


def text(stored):
    """What is stored, for the difference."""
    return "" if stored is None else json.dumps(stored, indent=2, sort_keys=True) + "\n"


def settle(client, path, wanted, simple, check, by="ansible"):
    """Bring what is at ``path`` to ``wanted`` (None: it is not to be there); ``simple`` makes of an answer, or of a
    request, the one form in which both are compared. Before, after, and what the cluster says of it at the end."""
    there = _tasks.look(client, path)
    before = None if there is None else simple(there)
    after = None if wanted is None else simple(wanted)
    if before == after or check:
        return before, after, there
    if wanted is None:
        client.ask("DELETE", path, params={"by": by})
        return before, after, None
    client.ask("PUT", path, params={"by": by}, body=wanted)
    return before, after, _tasks.look(client, path)


def run(module, kind, path, wanted, simple):
    """The whole of a module for things of this kind."""
    client = connect(module)
    try:
        before, after, there = settle(client, path, wanted, simple, module.check_mode, module.params["by"])
    except Unanswered as failure:
        module.fail_json(msg=f"The {kind} {module.params['name']} could not be settled: {failure}", code=failure.code)
    module.exit_json(changed=before != after, diff={"before": text(before), "after": text(after)}, **{kind: there})
