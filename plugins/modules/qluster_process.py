#!/usr/bin/python
"""Runs a program under supervisord, for clusters on one machine without systemd and without root."""
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: qluster_process
short_description: Run a program under a supervisor of one's own
version_added: 0.1.0
author:
  - The QLUSTER authors (@qluster)
description:
  - The counterpart of a systemd unit where there is no systemd or no root.
    One supervisord, of the Python package supervisor, runs the programs of all hosts of one machine.
  - It is started when the first program is, and belongs to the user who runs the playbook.
  - PostgreSQL refuses to run as root. Where the user is root, supervisord is started in a user namespace
    of its own in which it is nobody; files stay root's.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and say what it would change.
  diff_mode:
    support: none
    description: Shows no difference.
  idempotent:
    support: partial
    description: A second run changes nothing.
    details:
      - V(restarted) and V(reloaded) act each time.
options:
  directory:
    description: Directory of the supervisor's own files.
    type: path
    required: true
  socket:
    description: Path of the supervisor's Unix socket; at most 107 bytes long.
    type: path
    required: true
  supervisord:
    description: Path of supervisord; needed to start it.
    type: path
    default: ""
  name:
    description: Name of the program; needed unless O(state=down).
    type: str
    default: ""
  state:
    description:
      - V(reloaded) sends SIGHUP to a program that runs, and starts one that does not.
      - V(absent) stops the program and forgets it.
      - V(down) stops all programs and the supervisor itself.
    type: str
    choices: [started, stopped, restarted, reloaded, absent, down]
    default: started
  command:
    description: Words of the program's command. Not given, the program is run as it was defined before.
    type: list
    elements: str
    default: []
  strays:
    description:
      - With O(state=down), a directory. Daemons, databases and pools whose command lines name files in it,
        and which no supervisor looks after any more, are stopped too.
    type: path
    default: ""
  stop_timeout:
    description: Seconds that the program has to stop.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Run the daemon
  qhb.qluster.qluster_process:
    directory: /home/me/cluster/supervisor
    socket: /home/me/cluster/run/supervisor.sock
    supervisord: /home/me/venv/bin/supervisord
    name: node1
    command: [/home/me/cluster/node1/usr/local/bin/qluster, --config, /home/me/cluster/node1/etc/qluster/config.yaml]
"""

RETURN = r"""
state:
  description: What the supervisor says of the program now.
  returned: success
  type: str
  sample: RUNNING
pid:
  description: Number of the process, 0 when it does not run.
  returned: success
  type: int
  sample: 4711
log:
  description: File with what the program writes.
  returned: success
  type: str
  sample: /home/me/cluster/supervisor/log/node1.log
"""

import contextlib
import http.client
import os
import re
import shlex
import signal
import subprocess
import time
import xmlrpc.client

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.qhb.qluster.plugins.module_utils._on_disk import locked
from ansible_collections.qhb.qluster.plugins.module_utils._unix_rpc import UnixTransport

SOCKET_SIZE_MAX = 107
"""Bytes that a Unix socket's path may have."""
START_TIMEOUT = 20.0
"""Seconds for supervisord to answer, on a busy machine."""
UP_TIMEOUT = 8.0
"""Seconds for a program to be up for a second; one that goes down at once has gone down thrice by then."""
LAST_WORDS = 2000
CALL_TIMEOUT = 20.0
END_TIMEOUT = 10.0
"""Seconds for the kernel to end a process that was killed."""
STRAY_PROGRAM = re.compile(r"python[0-9.]*|postgres|postmaster|qhb|pgbouncer|qcp")
NOBODY = "65534"
BAD_NAME = 10
ALREADY_ADDED = 90
ALREADY_STARTED = 60
NOT_RUNNING = 70
SHUTTING_DOWN = 6
STILL_RUNNING = 91
UP = {"RUNNING", "STARTING"}
RUNNING_STATES = ("started", "restarted", "reloaded")
STATES = [*RUNNING_STATES, "stopped", "absent", "down"]
MAIN = """; Written by the deploy playbook.
[unix_http_server]
file={socket}
chmod=0700
[supervisord]
logfile={directory}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={directory}/supervisord.pid
childlogdir={directory}/log
identifier=qluster
minfds=1024
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files=programs/*.ini
"""
PROGRAM = """; Written by the deploy playbook.
[program:{name}]
command={command}
autostart=true
autorestart=true
startsecs=1
startretries=100
stopsignal=TERM
stopwaitsecs={stop_timeout}
killasgroup=true
redirect_stderr=true
stdout_logfile={directory}/log/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


class Refusal(Exception):
    """The program cannot be run so; the text says why and what to do."""


class Supervisor:
    """The supervisor of one machine."""

    def __init__(self, options):
        self.options = options
        self.directory = options["directory"]
        self.calls = xmlrpc.client.ServerProxy(
            "http://localhost/RPC2", transport=UnixTransport(options["socket"], CALL_TIMEOUT)
        ).supervisor

    def answers(self):
        try:
            return self.calls.getState()["statename"] == "RUNNING"
        except (OSError, http.client.HTTPException):
            return False

    def config(self):
        return os.path.join(self.directory, "supervisord.conf")

    def start(self):
        """Start supervisord and wait until it answers."""
        program = self.options["supervisord"]
        if not os.access(program, os.X_OK):
            raise Refusal(f"{program or 'supervisord'} is missing. Install it beside Ansible: "
                          f"pip install -r requirements/controller.txt")
        command = [program, "-c", self.config()]
        if os.geteuid() == 0:
            command = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", *command]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": self.directory}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT, check=False,
                                  env=environment, cwd=self.directory, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refusal(f"supervisord cannot be started: {error}") from None
        if done.returncode != 0:
            raise Refusal(self.words_of_failure(done))
        limit = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if time.monotonic() > limit:
                raise Refusal(f"supervisord does not answer on {self.options['socket']} after "
                              f"{START_TIMEOUT:.0f} s; see {self.directory}/supervisord.log.")
            time.sleep(0.1)

    @staticmethod
    def words_of_failure(done):
        said = (done.stderr or done.stdout).strip()[-600:]
        if os.geteuid() == 0 and "unshare" in said:
            return (f"PostgreSQL does not run as root, and no user namespace can be made here ({said}). "
                    f"Run the playbook as an ordinary user.")
        return f"supervisord cannot be started: {said}"

    def describe(self, name):
        """State and process of a program, None when the supervisor does not know it."""
        try:
            found = self.calls.getProcessInfo(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise
        except OSError:
            return None
        return {"state": found["statename"], "pid": found["pid"]}

    def call(self, method, *words, but):
        """One call; the fault ``but`` is as good as success."""
        try:
            getattr(self.calls, method)(*words)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in but:
                raise Refusal(f"supervisord refuses to {method} {' '.join(map(str, words))}: "
                              f"{fault.faultString}; see {self.directory}/log.") from None

    def stop(self, name):
        """Stop a program, and wait for its end."""
        self.call("stopProcess", name, False, but=(BAD_NAME, NOT_RUNNING))
        limit = time.monotonic() + self.options["stop_timeout"] + 10
        while True:
            found = self.describe(name)
            if found is None or found["state"] not in ("STOPPING", *UP):
                return
            if time.monotonic() > limit:
                raise Refusal(f"{name} does not stop: it is {found['state']}.")
            time.sleep(0.1)

    def forget(self, name):
        self.stop(name)
        self.call("removeProcessGroup", name, but=(BAD_NAME,))

    def run(self, name, renewed):
        """See that a program runs, with its present definition."""
        if renewed and self.describe(name) is not None:
            self.forget(name)
        if self.describe(name) is None:
            self.calls.reloadConfig()
            self.call("addProcessGroup", name, but=(ALREADY_ADDED,))
        self.call("startProcess", name, False, but=(ALREADY_STARTED,))
        self.wait_for_run(name)

    def wait_for_run(self, name):
        """Wait until a program has stayed up; give its own last words when it does not."""
        limit = time.monotonic() + UP_TIMEOUT
        found = self.describe(name)
        while found is None or found["state"] != "RUNNING":
            if time.monotonic() > limit:
                state = found["state"] if found else "unknown to supervisord"
                log = os.path.join(self.directory, "log", name + ".log")
                raise Refusal(f"{name} does not stay up (it is {state}). It says, in {log}:\n{last_words(log)}")
            time.sleep(0.1)
            found = self.describe(name)

    def down(self):
        """Stop everything, and wait until the supervisor is gone; False when it was gone already.

        Other hosts of this machine may do the same at the same time.
        """
        pid, limit = 0, time.monotonic() + self.options["stop_timeout"] + 30
        try:
            pid = self.calls.getPID()
            self.calls.shutdown()
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != SHUTTING_DOWN:
                raise
        except (OSError, http.client.HTTPException):
            return pid != 0
        while self.lives(pid):
            if time.monotonic() > limit:
                if pid:
                    os.kill(pid, signal.SIGKILL)
                raise Refusal(f"supervisord did not stop in time{f' and was killed: process {pid}' if pid else ''}.")
            time.sleep(0.1)
        return True

    def lives(self, pid):
        """Whether the supervisor is there: by its process, or where that is not known by an answer of any kind."""
        try:
            if not pid:
                return bool(self.calls.getState())
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except xmlrpc.client.Fault:
            return True
        except (OSError, http.client.HTTPException):
            return False


def strays_of(directory):
    """Processes of the kinds that a node runs, with a word that names a file in the directory."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            program = os.path.basename(os.readlink(f"/proc/{name}/exe"))
            with open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        ours = any(word.startswith(directory + os.sep) for word in words)
        if ours and STRAY_PROGRAM.fullmatch(program) and not any("ansible" in word for word in words):
            found.append(int(name))
    return found


def end_strays(directory, patience, check):
    """Ask strays to end, then end them; answer how many there were."""
    found = strays_of(directory) if directory else []
    if check:
        return len(found)
    limit = time.monotonic() + patience
    sent = signal.SIGTERM
    left = found
    while left:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        time.sleep(0.5)
        left = strays_of(directory)
        sent = signal.SIGKILL if time.monotonic() > limit else signal.SIGTERM
        if time.monotonic() > limit + END_TIMEOUT and left:
            raise Refusal(f"processes {left} of {directory} do not end, not even by SIGKILL.")
    return len(found)


def last_words(path):
    """The end of a log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
            return file.read().decode("utf-8", "replace").strip() or "(nothing)"
    except OSError as error:
        return f"({error})"


def same(path, content):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read() == content
    except OSError:
        return False


def put(path, content):
    new = f"{path}.new-{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        file.write(content)
    os.replace(new, path)


def quoted(words):
    """A command as supervisord reads it: words in quotes, and no sign of expansion."""
    return shlex.join(words).replace("%", "%%")


def definitions(options):
    """Path → content of the files of the supervisor and of the program."""
    directory = options["directory"]
    main = MAIN.format(socket=options["socket"].replace("%", "%%"), directory=directory.replace("%", "%%"))
    program = PROGRAM.format(
        name=options["name"], command=quoted(options["command"]),
        stop_timeout=options["stop_timeout"], directory=directory.replace("%", "%%"))
    path = os.path.join(directory, "programs", options["name"] + ".ini")
    if not options["command"]:
        if not os.path.exists(path):
            raise Refusal(f"{options['name']} was never defined: there is no {path}. Run deploy.yml first.")
        return {os.path.join(directory, "supervisord.conf"): main}
    return {os.path.join(directory, "supervisord.conf"): main, path: program}


def provide(supervisor, options, check):
    """The program runs, or runs again."""
    name = options["name"]
    files = definitions(options)
    renewed = [path for path, content in files.items() if not same(path, content)]
    alive = supervisor.answers()
    found = supervisor.describe(name) if alive else None
    running = found is not None and found["state"] in UP
    changed = bool(renewed) or not running or options["state"] != "started"
    if check or not changed:
        return changed
    for folder in ("log", "programs"):
        os.makedirs(os.path.join(options["directory"], folder), mode=0o700, exist_ok=True)
    for path in renewed:
        put(path, files[path])
    if not alive:
        supervisor.start()
    if options["state"] == "restarted" and running:
        supervisor.stop(name)
    if options["state"] == "reloaded" and running and not renewed:
        supervisor.call("signalProcess", name, "HUP", but=(NOT_RUNNING,))
    supervisor.run(name, bool(renewed) and alive)
    return True


def withdraw(supervisor, options, check):
    """The program does not run; with V(absent) it is forgotten too."""
    name = options["name"]
    path = os.path.join(options["directory"], "programs", name + ".ini")
    found = supervisor.describe(name) if supervisor.answers() else None
    absent = options["state"] == "absent"
    changed = found is not None and (absent or found["state"] in ("STOPPING", "BACKOFF", *UP))
    changed = changed or (absent and os.path.exists(path))
    if check or not changed:
        return changed
    if found is not None:
        supervisor.forget(name) if absent else supervisor.stop(name)
    if absent and os.path.exists(path):
        os.unlink(path)
    return True


def perform(module):
    options = module.params
    size = len(os.fsencode(options["socket"]))
    if size > SOCKET_SIZE_MAX:
        raise Refusal(f"socket {options['socket']} has {size} bytes; a Unix socket's path has at most "
                      f"{SOCKET_SIZE_MAX}. Choose a shorter directory for it.")
    if options["state"] != "down" and re.fullmatch(r"[A-Za-z0-9_.-]+", options["name"]) is None:
        raise Refusal(f"name is {options['name']!r}: use letters, digits, dots, dashes and underscores.")
    supervisor = Supervisor(options)
    if options["state"] == "down":
        alive = supervisor.lives(0) if module.check_mode else supervisor.down()
        strays = end_strays(options["strays"], options["stop_timeout"], module.check_mode)
        return {"changed": alive or strays > 0, "state": "down", "pid": 0, "log": ""}
    step = provide if options["state"] in RUNNING_STATES else withdraw
    changed = step(supervisor, options, True) if module.check_mode else perform_alone(step, supervisor, options)
    found = supervisor.describe(options["name"]) if supervisor.answers() else None
    log = os.path.join(options["directory"], "log", options["name"] + ".log")
    return {"changed": changed, "log": log, **(found or {"state": "unknown", "pid": 0})}


def perform_alone(step, supervisor, options):
    """Hosts of one machine run side by side, but only one may start the supervisor."""
    os.makedirs(options["directory"], mode=0o700, exist_ok=True)
    folder = os.path.dirname(options["socket"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid not in (os.geteuid(), 0):
        raise Refusal(f"{folder} belongs to somebody else, who could take the socket's place. Remove it.")
    with locked(options["directory"]):
        return step(supervisor, options, False)


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "socket": {"type": "path", "required": True},
            "supervisord": {"type": "path", "default": ""},
            "name": {"type": "str", "default": ""},
            "state": {"type": "str", "default": "started", "choices": STATES},
            "command": {"type": "list", "elements": "str", "default": []},
            "stop_timeout": {"type": "int", "default": 60},
            "strays": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**perform(module))
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))
    except xmlrpc.client.Fault as fault:
        module.fail_json(msg=f"supervisord: {fault.faultString}")


if __name__ == "__main__":
    main()
