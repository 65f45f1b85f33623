#!/usr/bin/python
"""Installs packages from files or from the host's own sources, or unpacks one without root."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_packages
short_description: Install packages on a host without a package source
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Installs all package files of a folder on the controller, without asking any package source.
    Closed networks are the normal case for this collection.
  - Without such a folder it installs O(names) from the host's own sources.
  - What is installed already is left alone, whatever its version. A database is never upgraded by accident.
  - With O(unpack_dir) it needs no root. It fetches the packages with the host's own client and unpacks
    them into that directory.
attributes:
  check_mode:
    support: partial
    description: Can run in check mode and say what it would change.
    details:
      - It does not look into the packages then, and says C(changed).
  diff_mode:
    support: none
    description: Shows no difference.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  manager:
    description: Package manager of the host.
    type: str
    choices: [apt, apt_rpm, dnf, yum, zypper]
    required: true
  names:
    description: Names of the packages, when they come from the host's own sources.
    type: list
    elements: str
    default: []
  files:
    description: Folder on the controller with package files.
    type: str
    default: ""
  archive:
    description: Set by the action plugin; the package files on the host, as one archive.
    type: path
  record:
    description: File that the names of newly installed packages are added to, so that they can be removed.
    type: path
    default: ""
  unpack_dir:
    description: Directory to unpack into instead of installing; only for V(apt).
    type: path
    default: ""
  required:
    description: Whether failing to get the packages is a failure. Otherwise RV(available) is false.
    type: bool
    default: true
  state:
    description: V(absent) removes what O(record) says was installed.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Install the database's packages in a closed network
  qhb.qluster.qluster_packages:
    manager: apt
    files: /srv/packages/bookworm
    record: /opt/qluster/packages
"""

RETURN = r"""
installed:
  description: Names of the packages that are new on the host, or were unpacked.
  returned: success
  type: list
  elements: str
  sample: [postgresql-15]
available:
  description: Whether the packages are there now.
  returned: success
  type: bool
  sample: true
reason:
  description: Why they are not.
  returned: success
  type: str
  sample: ""
"""

import glob
import os
import shutil
import subprocess
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule

INSTALL_TIMEOUT = 1200.0
"""Seconds for an installation, on a slow disk and from a slow source."""
QUESTION_TIMEOUT = 120.0
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "UCF_FORCE_CONFFOLD": "1"}
KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
"""Configuration files that we have put in place stay as they are."""
ALONE = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null",
         "-o", "APT::Get::List-Cleanup=0"]
FROM_FILES = {
    "apt": ["apt-get", "install", "--yes", "--no-install-recommends", *KEEP, *ALONE],
    "apt_rpm": ["apt-get", "install", "--yes"],
    "dnf": ["dnf", "install", "--assumeyes", "--disablerepo=*", "--setopt=install_weak_deps=False"],
    "yum": ["yum", "install", "--assumeyes", "--disablerepo=*"],
    "zypper": ["zypper", "--non-interactive", "--no-refresh", "install", "--allow-unsigned-rpm", "--no-recommends"],
}
FROM_SOURCES = {
    "apt": ["apt-get", "install", "--yes", "--no-install-recommends", *KEEP],
    "apt_rpm": ["apt-get", "install", "--yes"],
    "dnf": ["dnf", "install", "--assumeyes", "--setopt=install_weak_deps=False"],
    "yum": ["yum", "install", "--assumeyes"],
    "zypper": ["zypper", "--non-interactive", "install", "--no-recommends"],
}
REMOVE = {
    "apt": ["apt-get", "purge", "--yes", *ALONE],
    "apt_rpm": ["apt-get", "remove", "--yes"],
    "dnf": ["dnf", "remove", "--assumeyes", "--disablerepo=*", "--noautoremove"],
    "yum": ["yum", "remove", "--assumeyes", "--disablerepo=*"],
    "zypper": ["zypper", "--non-interactive", "--no-refresh", "remove"],
}


class Refusal(Exception):
    """The packages cannot be had; the text says why."""


def run(words, timeout=INSTALL_TIMEOUT, cwd=None):
    """What a program writes; its own words when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd,
                              env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"{words[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1200:]
        raise Refusal(f"{words[0]} {words[1]} failed: {said}")
    return done.stdout


def installed(manager):
    """Names of all installed packages."""
    if manager == "apt":
        lines = run(["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\n"], QUESTION_TIMEOUT).splitlines()
        return {line.partition("\t")[0] for line in lines if line.endswith("\tinstalled")}
    return set(run(["rpm", "-qa", "--qf", "%{NAME}\n"], QUESTION_TIMEOUT).split())


def name_of(manager, path):
    if manager == "apt":
        return run(["dpkg-deb", "-f", path, "Package"], QUESTION_TIMEOUT).strip()
    return run(["rpm", "-qp", "--nosignature", "--qf", "%{NAME}", path], QUESTION_TIMEOUT).strip()


def install_files(manager, archive, there):
    """Install the package files that the host does not have."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(archive)) as folder:
        os.chmod(folder, 0o755)
        with tarfile.open(archive) as packed:
            for member in packed:
                if not member.isfile() or "/" in member.name:
                    raise Refusal(f"the archive of packages has {member.name}, which is no package file.")
                with packed.extractfile(member) as source, open(os.path.join(folder, member.name), "wb") as file:
                    shutil.copyfileobj(source, file)
        paths = [path for path in sorted(glob.glob(os.path.join(folder, "*"))) if name_of(manager, path) not in there]
        if paths:
            run([*FROM_FILES[manager], *paths])


def install_names(manager, names, there):
    """Install what is missing from the host's own sources."""
    missing = [name for name in names if name not in there]
    if not missing:
        return
    if manager in ("apt", "apt_rpm") and not glob.glob("/var/lib/apt/lists/*ackages*"):
        run(["apt-get", "update"])
    run([*FROM_SOURCES[manager], *missing])


def note(path, names):
    """Add newly installed packages to the record."""
    if not path or not names:
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{name}\n" for name in names)


def present(options):
    manager = options["manager"]
    before = installed(manager)
    if options["archive"]:
        install_files(manager, options["archive"], before)
    else:
        install_names(manager, options["names"], before)
    new = sorted(installed(manager) - before)
    note(options["record"], new)
    return {"changed": bool(new), "installed": new, "available": True, "reason": ""}


def absent(options, check):
    """Remove what was once installed by us and is still there."""
    manager, path = options["manager"], options["record"]
    try:
        with open(path, encoding="utf-8") as file:
            noted = set(file.read().split())
    except FileNotFoundError:
        noted = set()
    names = sorted(noted & installed(manager))
    if not check:
        if names:
            run([*REMOVE[manager], *names])
        if os.path.exists(path):
            os.unlink(path)
    return {"changed": bool(names), "installed": [], "available": False, "reason": ""}


def unpack(options):
    """Fetch packages and what they lack of libraries, and unpack them without root."""
    folder = options["unpack_dir"]
    stamp = os.path.join(folder, ".unpacked")
    if os.path.exists(stamp):
        return {"changed": False, "installed": [], "available": True, "reason": ""}
    if options["manager"] != "apt":
        raise Refusal(f"without root, packages can be unpacked only where apt-get is, not with {options['manager']}.")
    there = installed("apt")
    needed = list(options["names"])
    for name in options["names"]:
        lines = run(["apt-cache", "depends", "--important", name], QUESTION_TIMEOUT).splitlines()
        words = [line.split()[-1] for line in lines if line.strip().startswith(("Depends:", "|Depends:"))]
        needed += [word for word in words if word.startswith("lib") and word not in there]
    os.makedirs(folder, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fetched:
        run(["apt-get", "download", "-o", "APT::Sandbox::User=root", *needed], cwd=fetched)
        for path in sorted(glob.glob(os.path.join(fetched, "*.deb"))):
            run(["dpkg-deb", "-x", path, folder])
    with open(stamp, "w", encoding="utf-8") as file:
        file.write("\n".join(needed) + "\n")
    return {"changed": True, "installed": needed, "available": True, "reason": ""}


def perform(module):
    options = module.params
    if options["state"] == "absent":
        return absent(options, module.check_mode)
    if module.check_mode:
        return {"changed": True, "installed": [], "available": True, "reason": ""}
    return unpack(options) if options["unpack_dir"] else present(options)


def main():
    module = AnsibleModule(
        argument_spec={
            "manager": {"type": "str", "choices": ["apt", "apt_rpm", "dnf", "yum", "zypper"], "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "str", "default": ""},
            "archive": {"type": "path"},
            "record": {"type": "path", "default": ""},
            "unpack_dir": {"type": "path", "default": ""},
            "required": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**perform(module))
    except (Refusal, OSError, tarfile.TarError) as error:
        if module.params["required"]:
            module.fail_json(msg=str(error))
        module.exit_json(changed=False, installed=[], available=False, reason=str(error))


if __name__ == "__main__":
    main()
