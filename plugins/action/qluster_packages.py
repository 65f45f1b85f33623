"""Brings a folder of package files to the host as one archive, then has them installed.

It decides nothing: which packages are installed is the module's business.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import tarfile
import tempfile

from ansible.plugins.action import ActionBase

ENDINGS = (".deb", ".rpm")


class ActionModule(ActionBase):
    """Sends the package files of a folder on the controller along."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        folder = os.path.expanduser(arguments.get("files") or "")
        if folder and not self._task.check_mode:
            paths = self._package_files(folder)
            if not paths:
                result.update(failed=True, msg=(
                    f"qluster_package_files is {folder}, and there is no file ending in "
                    f"{' or '.join(ENDINGS)} there on the controller."))
                return result
            arguments["archive"] = self._bring(paths)
        result.update(self._execute_module(
            module_name="qhb.qluster.qluster_packages", module_args=arguments, task_vars=task_vars))
        if self._connection._shell.tmpdir is not None:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    @staticmethod
    def _package_files(folder):
        if not os.path.isdir(folder):
            return []
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ENDINGS))

    def _bring(self, paths):
        """Send the files as one archive; answer its path on the host."""
        target = self._connection._shell.join_path(self._make_tmp_path(), "packages.tar")
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                for path in paths:
                    archive.add(path, arcname=os.path.basename(path))
            file.flush()
            self._transfer_file(file.name, target)
        self._fixup_perms2((self._connection._shell.tmpdir, target))
        return target
