"""Counts the modules that a playbook runs on each host: the measure of its speed over SSH."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: module_runs
type: aggregate
short_description: Count the modules that run on each host
description: Writes the numbers to the file that the environment variable MODULE_RUNS_FILE names.
"""

CONTROLLER_ONLY = {"assert", "set_fact", "debug", "add_host", "group_by", "fail", "meta", "include_tasks",
                   "import_tasks", "include_role", "import_role", "validate_argument_spec", "include_vars"}


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One number a host; a loop counts each of its items."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_runs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()

    def _count(self, result: Any) -> None:
        task = result._task
        name = task.action.rpartition(".")[2]
        if name in CONTROLLER_ONLY or task.delegate_to == "localhost" or "results" in result._result:
            return
        self.runs[result._host.get_name()] += 1

    def v2_runner_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._count(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._count(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        with open(os.environ["MODULE_RUNS_FILE"], "w", encoding="utf-8") as file:
            json.dump(self.runs, file)
