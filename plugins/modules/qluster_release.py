#!/usr/bin/python
"""Installs, switches and prunes releases of the daemon on a host."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_release
short_description: Install a release of the daemon, or switch to one
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - A release is one folder below O(directory)/releases, named after version and digest.
    The link O(directory)/current points at the one in use, so an upgrade is a switch of this link,
    and so is the way back.
  - With O(state=present) the archive is unpacked beside its place, compiled for the host's Python,
    tried, and moved there at once. Nothing is switched.
  - With O(state=current) the link is switched, and releases older than the last O(keep) are removed.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change.
  diff_mode:
    support: full
    description: Shows which release the link points at.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  directory:
    description: Directory of the releases.
    type: path
    required: true
  state:
    description:
      - V(present) sees that the release is installed.
      - V(current) sees that it is in use.
    type: str
    choices: [present, current]
    default: present
  release:
    description:
      - The release, as C(version-digest).
      - With O(state=current) the word V(previous) means the newest one that is not in use.
    type: str
    required: true
  archive:
    description: The archive on the host; needed when the release is not installed.
    type: path
  sha256:
    description: What the archive's SHA-256 is to be.
    type: str
  remove_archive:
    description: Whether the archive is removed once it is installed.
    type: bool
    default: false
  python:
    description: The interpreter for the daemon; needed with O(state=present).
    type: path
  link:
    description: Path of the command; with O(state=current) it points into the release in use.
    type: path
    default: ""
  keep:
    description: Releases to keep, the one in use among them.
    type: int
    default: 3
  marker:
    description: File to be made before the link is switched, for whoever restarts the service to remove.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Install the release
  qhb.qluster.qluster_release:
    directory: /opt/qluster
    release: 0.1.0-e2d50b96b7c9
    archive: /opt/qluster/qluster-0.1.0-e2d50b96b7c9-cp311-x86_64.tar.gz
    python: /usr/bin/python3

- name: Switch to it
  qhb.qluster.qluster_release:
    directory: /opt/qluster
    release: 0.1.0-e2d50b96b7c9
    state: current
    link: /usr/local/bin/qluster
"""

RETURN = r"""
release:
  description: The release that was asked for, with V(previous) resolved.
  returned: success
  type: str
  sample: 0.1.0-e2d50b96b7c9
before:
  description: The release that was in use, empty when none was.
  returned: success
  type: str
  sample: 0.1.0-f71bbc1ce9a6
removed:
  description: Releases that were removed.
  returned: success
  type: list
  elements: str
  sample: []
"""

import glob
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked

COMPILE_TIMEOUT = 300.0
"""Seconds for compiling about 1,500 files, on a slow and busy host."""
TRIAL_TIMEOUT = 60.0
NAME = re.compile(r"[0-9][0-9A-Za-z.]*-[0-9a-f]{6,64}")
LAUNCHER = """#!/bin/sh
# Starts the daemon of this release; written when the release was installed.
QLUSTER_LAUNCHER=$0
export QLUSTER_LAUNCHER
exec {python} -I -S {program} "$@"
"""


class Refusal(Exception):
    """The release cannot be installed or used; the text says why."""


class Releases:
    """The directory of the releases."""

    def __init__(self, directory):
        self.directory = directory
        self.root = os.path.join(directory, "releases")
        self.link = os.path.join(directory, "current")

    def path(self, name):
        return os.path.join(self.root, name)

    def installed(self):
        """Names of complete releases, the oldest first."""
        files = glob.glob(os.path.join(self.root, "*", "bin", "qluster"))
        folders = [os.path.dirname(os.path.dirname(file)) for file in files]
        return [os.path.basename(folder) for folder in sorted(folders, key=os.path.getmtime)]

    def current(self):
        return os.path.basename(os.readlink(self.link)) if os.path.islink(self.link) else ""

    def has(self, name, python):
        tag = os.path.join(self.path(name), "lib", python_tag(python)) if python else self.path(name)
        return os.access(os.path.join(self.path(name), "bin", "qluster"), os.X_OK) and os.path.isdir(tag)


def python_tag(python):
    code = "import sys; print('cp%d%d' % sys.version_info[:2])"
    done = run([python, "-I", "-S", "-c", code], TRIAL_TIMEOUT)
    return done.strip()


def run(words, timeout):
    """What a program writes; its own words when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"{words[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        raise Refusal(f"{shlex.join(words)} failed: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def check_archive(path, sha256):
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if sha256 and digest.hexdigest() != sha256:
        raise Refusal(f"{path} has SHA-256 {digest.hexdigest()} instead of {sha256}: it was damaged "
                      f"on its way. Remove it on the host and run again.")


def unpack(archive, name, target):
    """Unpack only plain files below the release's own folder."""
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            parts = member.name.split("/")
            if not member.isfile() or parts[0] != name or ".." in parts or len(parts) < 2:
                raise Refusal(f"{archive} is no archive of {name}: it has {member.name}.")
            path = os.path.join(target, *parts[1:])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with packed.extractfile(member) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file)
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)


def install(releases, options):
    """Unpack, compile, try and move a release to its place."""
    name, python = options["release"], options["python"]
    check_archive(options["archive"], options["sha256"])
    target = releases.path(name)
    with tempfile.TemporaryDirectory(dir=releases.root, prefix=".new-") as new:
        folder = os.path.join(new, name)
        os.mkdir(folder, 0o755)
        unpack(options["archive"], name, folder)
        compiler = [python, "-I", "-S", "-m", "compileall", "-q", "-d", os.path.join(target, "lib")]
        run([*compiler, os.path.join(folder, "lib")], COMPILE_TIMEOUT)
        program = os.path.join(folder, "bin", "qluster")
        write_launcher(program, python, folder)
        said = run([program, "--version"], TRIAL_TIMEOUT).strip()
        version = name.partition("-")[0]
        if version not in said.split()[:2]:
            raise Refusal(f"{name} says that it is {said!r}: the archive is not what its name says.")
        write_launcher(program, python, target)
        open_to_all(folder)
        if os.path.lexists(target):
            old = os.path.join(new, "old")
            os.rename(target, old)
        os.rename(folder, target)


def write_launcher(path, python, folder):
    program = os.path.join(folder, "bin", "launch.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(LAUNCHER.format(python=shlex.quote(python), program=shlex.quote(program)))
    os.chmod(path, 0o755)


def open_to_all(folder):
    """Whatever the umask: the daemon's user reads what root has unpacked."""
    for here, _folders, files in os.walk(folder):
        os.chmod(here, 0o755)
        for file in files:
            path = os.path.join(here, file)
            os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)


def set_link(path, target):
    """Point a link at its target, at once; answer whether it had to be changed."""
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    if os.path.lexists(path) and not os.path.islink(path):
        raise Refusal(f"{path} is there and is no link: it is to point at {target}. Move it away.")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.new-{os.getpid()}"
    os.symlink(target, new)
    os.replace(new, path)
    return True


def prune(releases, keep):
    """Remove the oldest releases, never the one in use."""
    rest = [name for name in releases.installed() if name != releases.current()]
    surplus = rest[: max(0, len(rest) - (keep - 1))]
    for name in surplus:
        shutil.rmtree(releases.path(name))
    return surplus


def provide(releases, options, check):
    """See that a release is installed."""
    before = releases.current()
    answer = {"changed": False, "release": options["release"], "before": before, "removed": []}
    if releases.has(options["release"], options["python"]):
        return answer
    if not check:
        if not options["archive"]:
            raise Refusal(f"{options['release']} is not installed, and no archive of it was given.")
        install(releases, options)
    return {**answer, "changed": True}


def previous(releases):
    rest = [name for name in releases.installed() if name != releases.current()]
    if not rest:
        raise Refusal(f"{releases.root} has no release but the one in use: there is nothing to go back to.")
    return rest[-1]


def switch(releases, options, check):
    """See that a release is in use."""
    name = previous(releases) if options["release"] == "previous" else options["release"]
    before = releases.current()
    if not check and not releases.has(name, None):
        raise Refusal(f"{name} is not installed in {releases.root}; there are: "
                      f"{', '.join(releases.installed()) or 'none'}.")
    answer = {"release": name, "before": before, "removed": [],
              "diff": {"before": f"{before}\n", "after": f"{name}\n"}}
    if check:
        return {**answer, "changed": before != name}
    if before != name and options["marker"]:
        with open(options["marker"], "a", encoding="utf-8") as file:
            file.write(f"{releases.link}\n")
    changed = set_link(releases.link, os.path.join("releases", name))
    if changed:
        os.utime(releases.path(name))
    if options["link"]:
        changed |= set_link(options["link"], os.path.join(releases.link, "bin", "qluster"))
    removed = prune(releases, options["keep"])
    return {**answer, "changed": changed or bool(removed), "removed": removed}


def perform(module):
    """Hosts of one machine may share the directory: one at a time."""
    options = module.params
    releases = Releases(options["directory"])
    if options["release"] != "previous" and NAME.fullmatch(options["release"]) is None:
        raise Refusal(f"{options['release']!r} names no release; one is called like 0.1.0-e2d50b96b7c9.")
    step = provide if options["state"] == "present" else switch
    if module.check_mode:
        return step(releases, options, True)
    os.makedirs(releases.root, mode=0o755, exist_ok=True)
    with locked(releases.root):
        answer = step(releases, options, False)
        if options["remove_archive"] and options["archive"] and os.path.exists(options["archive"]):
            os.unlink(options["archive"])
        return answer


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "current"], "default": "present"},
            "release": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "sha256": {"type": "str"},
            "remove_archive": {"type": "bool", "default": False},
            "python": {"type": "path"},
            "link": {"type": "path", "default": ""},
            "keep": {"type": "int", "default": 3},
            "marker": {"type": "path", "default": ""},
        },
        required_if=[("state", "present", ("python",))],
        supports_check_mode=True,
    )
    if module.params["keep"] < 1:
        module.fail_json(msg=f"keep is {module.params['keep']}: at least the release in use is kept.")
    try:
        module.exit_json(**perform(module))
    except (Refusal, OSError, tarfile.TarError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
