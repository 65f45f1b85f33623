"""Reads the files that a task of qluster_files names by ``src`` on the controller.

It decides nothing: content goes to the module, and what comes back goes to the user.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import os

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Sends the content of files along with the task's own arguments."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        files = []
        for item in arguments.get("files") or []:
            file = dict(item)
            if file.get("src"):
                content = self._content(file["src"])
                if content is None and not self._task.check_mode:
                    result.update(failed=True, msg=f"{file['src']} is not there on the controller.")
                    return result
                if content is not None:
                    file["encoded"] = base64.b64encode(content).decode()
            files.append(file)
        arguments["files"] = files
        result.update(self._execute_module(
            module_name="qhb.qluster.qluster_files", module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)
        return result

    @staticmethod
    def _content(path):
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            return file.read()
