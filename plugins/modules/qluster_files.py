#!/usr/bin/python
"""Puts directories, files and links of one host in place, all in one run."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_files
short_description: Put many files in place in one run
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Makes directories, writes files, sets links and removes what is not wanted, in this order, in one run.
    Over SSH a task costs about a second, whatever it does.
  - A file is written beside its place, checked where O(files[].validate) says how, and moved there at once.
    Nothing is put in place before all files have passed.
  - Content of secret files is read on the controller from O(files[].src); it is neither shown nor returned.
  - Before the first file with O(files[].restart) is replaced, O(marker) is written. It stays until whoever
    restarts the service removes it, so that a run that was interrupted in between is not forgotten.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change.
  diff_mode:
    support: partial
    description: Shows what is changed in text.
    details:
      - The content of secret files is not shown.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  owner:
    description: Owner of everything that names none. Not given, or empty, whoever Ansible works as.
    type: str
    default: ""
  group:
    description: Group of everything that names none.
    type: str
    default: ""
  directories:
    description: Directories to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path.
        type: path
        required: true
      mode:
        description: Its mode.
        type: str
        default: "0755"
      force:
        description: Whether mode and owner of a directory that is there are set right.
        type: bool
        default: true
      owner:
        description: Its owner.
        type: str
      group:
        description: Its group.
        type: str
  files:
    description: Files to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path.
        type: path
        required: true
      content:
        description: Its text.
        type: str
      src:
        description:
          - Path on the controller that has its content.
          - In check mode it may be missing, when an earlier task would have made it.
        type: str
      encoded:
        description: Set by the action plugin; its content in base64.
        type: str
      secret:
        description: Whether its content may not be shown.
        type: bool
        default: false
      mode:
        description: Its mode.
        type: str
        default: "0644"
      owner:
        description: Its owner.
        type: str
      group:
        description: Its group.
        type: str
      force:
        description: Whether a file that is there is set right. Otherwise it stays as it is.
        type: bool
        default: true
      restart:
        description: Whether its service must be restarted to see it.
        type: bool
        default: false
      restart_ignore:
        description: Regular expression of lines that need no restart when only they differ.
        type: str
        default: ""
      validate:
        description: Words of a command that checks the new file; C(%s) stands for its path.
        type: list
        elements: str
        default: []
  links:
    description: Symbolic links to be there.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path. A file or directory in its place is not removed.
        type: path
        required: true
      to:
        description: What it points at.
        type: path
        required: true
  absent:
    description: Files, links and directories not to be there. Directories go with everything in them.
    type: list
    elements: path
    default: []
  marker:
    description: File to be made before a file with O(files[].restart) is replaced.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Put the configuration in place
  qhb.qluster.qluster_files:
    owner: qhb
    directories:
      - {path: /etc/qluster, mode: "0750"}
    files:
      - path: /etc/qluster/config.yaml
        content: "{{ lookup('ansible.builtin.template', 'config.yaml.j2') }}"
        mode: "0640"
        restart: true
        validate: [/usr/local/bin/qluster, check-config, --no-host, "%s"]
      - {path: /etc/qluster/cluster.key, src: "{{ secrets_dir }}/cluster.key", mode: "0600", secret: true}
    marker: /etc/qluster/restart-pending
"""

RETURN = r"""
paths:
  description: What was changed, made or removed.
  returned: always
  type: list
  elements: str
  sample: [/etc/qluster/config.yaml]
restart_pending:
  description: Whether the marker is there, from this run or an earlier one.
  returned: always
  type: bool
  sample: true
restart_for:
  description: What the marker says it was made for, from this run or an earlier one. Empty without the marker.
  returned: always
  type: list
  elements: str
  sample: [/etc/qluster/config.yaml]
"""

import base64
import contextlib
import grp
import os
import pwd
import re
import shutil
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule

VALIDATE_TIMEOUT = 60.0
"""Seconds for a program to check a file, on a host that is busy."""
NEVER_REMOVED = {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run",
                 "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local",
                 "/usr/local/bin", "/var", "/var/lib", "/var/log"}

NO_DIRECTORY = "%s is a file: it is to be a directory. Move the file away."


class Refusal(Exception):
    """Something cannot or must not be done; the text says what and why."""


class Files:
    """One host's files, and an account of what was changed."""

    def __init__(self, module):
        self.module = module
        self.options = module.params
        self.check = module.check_mode
        self.paths = []
        self.differences = []

    def note(self, path, before="", after=""):
        self.paths.append(path)
        if before != after:
            header = {"before_header": path, "after_header": path}
            self.differences.append({"before": before, "after": after, **header})

    def identity(self, item):
        """Numbers of owner and group; None where they stay, and where check mode would have made them."""
        owner = item["owner"] if item["owner"] is not None else self.options["owner"]
        group = item["group"] if item["group"] is not None else self.options["group"]
        try:
            uid = pwd.getpwnam(owner).pw_uid if owner else None
            gid = grp.getgrnam(group).gr_gid if group else None
        except KeyError as error:
            if self.check:
                return None, None
            raise Refusal(f"{item['path']} cannot be given to {owner}:{group}: {error}.") from None
        return uid, gid

    def settle(self, path, item):
        """Mode, owner and group; answers whether anything had to be changed."""
        uid, gid = self.identity(item)
        there = os.stat(path)
        mode = int(item["mode"], 8)
        changed = False
        if (uid is not None and there.st_uid != uid) or (gid is not None and there.st_gid != gid):
            changed = True
            if not self.check:
                os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
        if there.st_mode & 0o7777 != mode:
            changed = True
            if not self.check:
                os.chmod(path, mode)
        return changed

    def directory(self, item):
        path = item["path"]
        if os.path.islink(path) and not os.path.isdir(path):
            raise Refusal(f"{path} is a link to nothing: it is to be a directory. Remove the link.")
        if os.path.isdir(path):
            if item["force"] and self.settle(path, item):
                self.note(path)
            return
        if not self.check:
            self.make(path, item)
        elif os.path.lexists(path) and not os.path.isdir(path):
            raise Refusal(NO_DIRECTORY % path)
        self.note(path, "", "directory\n")

    def make(self, path, item):
        """Hosts that share a directory may make it at the same moment: whoever comes second finds it."""
        try:
            os.makedirs(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise Refusal(NO_DIRECTORY % path) from None
        self.settle(path, item)

    def content(self, item):
        """What is to be in a file; None where only check mode does not know it yet."""
        if item["encoded"] is not None:
            return base64.b64decode(item["encoded"])
        if item["content"] is not None:
            return item["content"].encode()
        if self.check:
            return None
        raise Refusal(f"{item['path']} has neither content nor src.")

    def existing(self, path):
        if os.path.isdir(path):
            raise Refusal(f"{path} is a directory: it is to be a file. Move it away.")
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def prepare(self, item):
        """Write and check the new content beside its place; answer what is to be done."""
        path = item["path"]
        wanted, existing = self.content(item), self.existing(path)
        same = existing is not None and (wanted == existing or wanted is None or not item["force"])
        if same:
            return {"item": item, "new": None, "same": True}
        folder = os.path.dirname(path)
        work = {"item": item, "new": None, "same": False, "existing": existing, "wanted": wanted}
        if wanted is None or (self.check and not os.path.isdir(folder)):
            return work
        handle, new = tempfile.mkstemp(dir=folder, prefix=".new-", suffix="-" + os.path.basename(path))
        work["new"] = new
        with os.fdopen(handle, "wb") as file:
            file.write(wanted)
            file.flush()
            os.fsync(file.fileno())
        try:
            self.validate(item, new)
        except BaseException:
            os.unlink(new)
            raise
        return work

    def validate(self, item, new):
        words = [word.replace("%s", new) for word in item["validate"]]
        if not words or (self.check and not os.path.exists(words[0])):
            return
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=VALIDATE_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refusal(f"{item['path']} cannot be checked by {words[0]}: {error}") from None
        if done.returncode != 0:
            said = (done.stdout + done.stderr).replace(new, item["path"]).strip()
            raise Refusal(f"{item['path']} would be wrong, and nothing was put in place:\n{said}")

    def finish(self, work):
        """Move a prepared file to its place."""
        item = work["item"]
        path = item["path"]
        if work["same"]:
            if item["force"] and self.settle(path, item):
                self.note(path)
            return
        hidden = item["secret"] or work["wanted"] is None
        self.note(path, "" if hidden else show(work["existing"]), "(not shown)\n" if hidden else show(work["wanted"]))
        if self.check:
            return
        self.settle(work["new"], item)
        os.replace(work["new"], path)
        if self.module.selinux_enabled():
            self.module.set_default_selinux_context(path, False)

    @staticmethod
    def needs_restart(work):
        item = work["item"]
        if work["same"] or not item["restart"]:
            return False
        if not item["restart_ignore"] or work["existing"] is None or work["wanted"] is None:
            return True
        ignored = re.compile(item["restart_ignore"])
        before, after = (
            [line for line in content.decode("utf-8", "replace").splitlines() if not ignored.search(line)]
            for content in (work["existing"], work["wanted"])
        )
        return before != after

    def mark(self, works):
        """Leave the marker when a file that needs a restart is about to change."""
        marker = self.options["marker"]
        if not marker:
            return []
        noted = (self.existing(marker) or b"").decode("utf-8", "replace").split("\n")[:-1]
        there = os.path.exists(marker)
        needed = [work["item"]["path"] for work in works if self.needs_restart(work)]
        added = [path for path in needed if path not in noted]
        if added and not self.check:
            with open(marker, "a", encoding="utf-8") as file:
                file.write("".join(f"{path}\n" for path in added))
        # A marker that says nothing is one all the same.
        return noted + added or ([marker] if there else [])

    def link(self, item):
        path, target = item["path"], item["to"]
        there = os.readlink(path) if os.path.islink(path) else None
        if there == target:
            return
        if there is None and os.path.lexists(path):
            raise Refusal(f"{path} is there and is no link: it is to point at {target}. Move it away.")
        self.note(path, f"link to {there}\n" if there else "", f"link to {target}\n")
        if not self.check:
            new = f"{path}.new-{os.getpid()}"
            os.symlink(target, new)
            os.replace(new, path)

    def remove(self, path):
        if not os.path.lexists(path):
            return
        if os.path.normpath(path) in NEVER_REMOVED or not os.path.isabs(path) or os.path.ismount(path):
            raise Refusal(f"{path} is never removed: it belongs to the system, or is a mount point.")
        self.note(path, "there\n", "")
        if self.check:
            return
        # Hosts of one machine may remove what they share at the same time: one of them gets it.
        if os.path.islink(path) or not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        gone = f"{os.path.normpath(path)}.gone-{os.getpid()}"
        try:
            os.rename(path, gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone)

    def perform(self):
        for item in self.options["directories"]:
            self.directory(item)
        works = []
        try:
            for item in self.options["files"]:
                works.append(self.prepare(item))
            pending = self.mark(works)
            for work in works:
                self.finish(work)
        finally:
            for work in works:
                if work["new"] is not None and os.path.exists(work["new"]):
                    os.unlink(work["new"])
        for item in self.options["links"]:
            self.link(item)
        for path in self.options["absent"]:
            self.remove(path)
        return pending


def show(content):
    """A file as a difference shows it."""
    if content is None:
        return ""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({len(content)} bytes)\n"


def place(**more):
    """Options of everything that has a mode and an owner."""
    return {
        "path": {"type": "path", "required": True},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        **more,
    }


def argument_spec():
    file = place(
        mode={"type": "str", "default": "0644"},
        content={"type": "str", "no_log": False},
        src={"type": "str"},
        encoded={"type": "str", "no_log": True},
        secret={"type": "bool", "default": False, "no_log": False},
        force={"type": "bool", "default": True},
        restart={"type": "bool", "default": False},
        restart_ignore={"type": "str", "default": ""},
        validate={"type": "list", "elements": "str", "default": []},
    )
    link = {"path": {"type": "path", "required": True}, "to": {"type": "path", "required": True}}
    directory = place(mode={"type": "str", "default": "0755"}, force={"type": "bool", "default": True})
    return {
        "owner": {"type": "str", "default": ""},
        "group": {"type": "str", "default": ""},
        "directories": {"type": "list", "elements": "dict", "default": [], "options": directory},
        "files": {"type": "list", "elements": "dict", "default": [], "options": file},
        "links": {"type": "list", "elements": "dict", "default": [], "options": link},
        "absent": {"type": "list", "elements": "path", "default": []},
        "marker": {"type": "path", "default": ""},
    }


def main():
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    files = Files(module)
    try:
        pending = files.perform()
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error), paths=files.paths)
    module.exit_json(
        changed=bool(files.paths), paths=files.paths, restart_pending=bool(pending), restart_for=pending,
        diff=files.differences,
    )


if __name__ == "__main__":
    main()
