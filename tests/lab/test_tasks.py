"""Tasks on hosts with systemd, as an operator has them: deployed, submitted, followed, struck.

The tests of this file are one story, told in its order: each begins where the one before it ended.
"""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lab_cluster import ADDRESSES, Cluster, packed
from lab_world import CHECKOUT, LabAtWork

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]
full = pytest.mark.skipif(not os.environ.get("QLUSTER_FULL_TESTS"), reason="takes minutes: QLUSTER_FULL_TESTS=1")

SHARED = "/opt/qhb-backup/tasks"
"""A directory of all hosts: they have one kernel, so a lock in it is one for all of them too."""
COUNT = f"""#!/bin/sh
# NAME TICKS: counts until it is enough, and notes where; whoever counts beside another one says TWICE.
exec 9>>{SHARED}/$1.lock
note() {{ echo "$(hostname) $QLUSTER_TASK_FENCE $(id -un) $2" >> "{SHARED}/$1.log"; }}
flock -n 9 || {{ note "$1" TWICE; exit 9; }}
note "$1" begins
i=0
while [ $i -lt "$2" ] && [ ! -e "{SHARED}/$1.enough" ]; do echo tick $i; i=$((i + 1)); sleep 0.2 9>&-; done
note "$1" ends
"""
SPY = """
while read -r path; do [ -r "$path" ] && echo "READ $path"; done < /opt/site/secrets
for directory in /etc/qluster /qluster /opt/qhb-data; do ls $directory && echo "LISTED $directory"; done
for pid in $(cat /opt/site/pids); do
  kill -0 $pid && echo "SIGNALS $pid"
  cat /proc/$pid/environ && echo "READ the environment of $pid"
done
for role in qluster qhb postgres application; do
  psql -h /run/qluster -U $role -d postgres --no-password -Atc 'select 1' && echo "IS $role"
done
echo looked as $(id -un) in groups $(id -Gn)
"""
PEEP = """
import os, pwd, subprocess

SECRETS = ["/etc/qluster/api.key", "/etc/qluster/cluster.key", "/etc/qluster/read.token", "/etc/qluster/config.yaml",
           "/opt/qhb-data/PG_VERSION", "/qluster", "/etc/qluster"]

def looks():
    read = [path for path in SECRETS if os.access(path, os.R_OK)]
    login = "/usr/bin/psql -h /run/qluster -U qluster -d postgres --no-password -Atc 'select 1'"
    read += ["the database"] if subprocess.run(login, shell=True, capture_output=True).returncode == 0 else []
    return f"{pwd.getpwuid(os.geteuid()).pw_name} reads {read}"

print("script", looks())
print("worker", client.submit(looks).result())
"""
COUNTS = {"name": {"pattern": "[a-z]+"}, "ticks": {"pattern": "[0-9]+", "default": "5"}}
TEMPLATES: dict[str, Any] = {
    "count": {"task": {"command": ["/opt/site/bin/count", "{name}", "{ticks}"]}, "parameters": COUNTS},
    "lead": {"task": {"command": ["/opt/site/bin/count", "{name}", "{ticks}"], "target": {"role": "leader"},
                      "moved": "restart"}, "parameters": COUNTS},
    "spy": {"task": {"shell": SPY, "target": {"each": True}}},
    "tell": {"task": {"sql": "select current_user || ' ' || pg_is_in_recovery()", "role": "dumper",
                      "target": {"role": "leader"}}},
    "tell-replica": {"task": {"sql": "select pg_is_in_recovery() || ' ' || :'word'", "target": {"role": "replica"}},
                     "parameters": {"word": {}}},
    "make-dumper": {"task": {"sql": "create role dumper login", "target": {"role": "leader"}}},
    "dump": {"task": {"command": ["/usr/bin/psql", "-h", "/run/qluster", "-U", "dumper", "-d", "postgres", "-Atc",
                                  "select current_user"], "target": {"role": "leader"}}},
    "greedy": {"task": {"shell": "i=0; while [ $i -lt 400 ]; do sleep 30 & i=$((i+1)); done; wait"}},
    "hungry": {"task": {"shell": "(head -c 150000000 /dev/zero; sleep 5) | tail -c 150000000",
                        "limits": {"memory": 50 << 20}}},
    "forking": {"task": {"shell": "for i in 1 2 3 4 5 6 7 8 9; do sleep 30 & done; wait", "limits": {"processes": 5}}},
}  # fmt: skip
VARIABLES = {"qluster_task_templates": TEMPLATES, "node_tasks_program_roles": ["dumper"], "node_tasks_processes": 200,
             "qluster_tasks_patience": 3}  # fmt: skip
PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/qhb.qluster.qluster:
      nodes: "{nodes}"
      ca_file: "{secrets}/ca.crt"
      token_file: "{secrets}/operate.token"
  tasks:
    - qhb.qluster.qluster_task:
        template: count
        parameters: {{name: played}}
        key: played
        wait: {{timeout: 60}}
      register: done
    - qhb.qluster.qluster_task_info:
        gather: [tasks, output]
        task: "{{{{ done.task }}}}"
      register: known
    - ansible.builtin.copy:
        dest: "{played}"
        content: "{{{{ [done.changed, done.task, known] | to_json }}}}"
        mode: "0600"
"""


class Tasks:
    """The cluster's tasks, asked from its hosts."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.lab = cluster, cluster.lab

    def ask(self, host: str, words: str) -> str:
        """What `qluster task` prints on a host, for the operator who is there."""
        return self.lab.on(host, self.words(words))

    @staticmethod
    def words(words: str) -> str:
        """`qluster task`, as the daemon's user."""
        return f"su -s /bin/sh qhb -c '/usr/local/bin/qluster task {words}'"

    def submit(self, template: str, host: str = "db3", **parameters: object) -> int:
        """Its number."""
        given = " ".join(f"-p {name}={value}" for name, value in parameters.items())
        return int(self.ask(host, f"submit --template {template} {given}"))

    def run(self, template: str, host: str = "db3", **parameters: object) -> str:
        """What it said, once it has succeeded."""
        number = self.submit(template, host, **parameters)
        self.until(number, "succeeded", host)
        return self.ask(host, f"output {number}")

    def show(self, number: int, host: str = "db3") -> dict[str, Any]:
        """All of a task; nothing where no node answers for now."""
        done = self.lab.order("ssh", host, self.words(f"show --json {number}"))
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def until(self, number: int, state: str, host: str = "db3", timeout: float = 60.0) -> dict[str, Any]:
        """The task in this state, which it gets to."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.show(number, host))
            return found.get("state") == state

        try:
            self.lab.wait_until(reached, f"task {number} is {state}", timeout)
        except AssertionError as late:
            raise AssertionError(f"{late}: {found}") from None
        return found

    def enough(self, name: str, host: str = "db3") -> None:
        """Who counts so is to end: however slow the hosts are, it ran while they were struck."""
        self.lab.on(host, f"touch {SHARED}/{name}.enough")

    def notes(self, name: str, host: str = "db3") -> list[tuple[str, int, str]]:
        """Host, fencing number and word of each note, none of which says that it ran twice at once."""
        lines = self.lab.on(host, f"cat {SHARED}/{name}.log 2>/dev/null || true").splitlines()
        found = [(words[0], int(words[1]), words[3]) for words in map(str.split, lines)]
        assert all(word != "TWICE" for _, _, word in found), lines
        assert {line.split()[2] for line in lines} <= {"qluster-task"}
        return found

    def counting(self, name: str, beside: tuple[str, ...] = (), host: str = "db3") -> str:
        """The host that counts, once one does that is none of ``beside``."""
        found: list[str] = []

        def counts() -> bool:
            notes = self.notes(name, host)
            found[:] = [notes[-1][0]] if notes and notes[-1][2] == "begins" and notes[-1][0] not in beside else []
            return bool(found)

        self.lab.wait_until(counts, f"{name} runs, and not on {beside}")
        return found[0]


def play(cluster: Cluster, *words: str) -> str:
    """A playbook that must succeed; what it printed."""
    done = cluster.play(*words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster(lab: LabAtWork) -> Cluster:
    """Three hosts, deployed with tasks; the pool's and the arbiter's stay bare."""
    packed(lab)
    hosts = {host: {"ansible_host": address} for host, address in ADDRESSES.items()}
    (lab.inventory / "hosts.yml").write_text(json.dumps({"qluster_nodes": {"hosts": hosts}}))
    (lab.inventory / "group_vars/all/tasks.yml").write_text(json.dumps(VARIABLES))
    lab.on("db1", f"install -d -m 1777 {SHARED}")
    install = "mkdir -p /opt/site/bin && cat > /opt/site/bin/count && chmod 755 /opt/site/bin/count"
    for host in ADDRESSES:
        lab.on(host, install, stdin=COUNT)
    found = Cluster(lab)
    play(found, "deploy.yml")
    return found


@pytest.fixture
def tasks(cluster: Cluster) -> Tasks:
    """Its tasks."""
    return Tasks(cluster)


def test_runner_is_a_unit_without_root_that_hands_its_rights_on_to_nobody_else(tasks: Tasks) -> None:
    for host in ADDRESSES:
        wanted = "ActiveState,User,NoNewPrivileges,AmbientCapabilities"
        shown = tasks.lab.on(host, f"systemctl show -p {wanted} qluster-runner")
        assert set(shown.split("\n")) == {"ActiveState=active", "User=qhb", "NoNewPrivileges=yes",
                                          "AmbientCapabilities=cap_chown cap_kill cap_setgid cap_setuid"}  # fmt: skip
        main = tasks.lab.on(host, "grep -h ^CapPrm /proc/$(systemctl show -P MainPID qluster-runner)/status")
        assert main.split()[1] == "0" * 16, "who hears the daemon can become nobody"
        assert tasks.lab.on(host, "id -Gn qluster-task") == "qluster-task"
        assert tasks.lab.on(host, "stat -c '%a %U' /var/lib/qluster-task") == "711 qhb"


def test_program_reads_nothing_of_the_daemons(tasks: Tasks) -> None:
    for host in ADDRESSES:
        secrets = "find /etc/qluster /qluster /opt/qhb-data /opt/qhb-backup/wal /run/qluster -type f"
        keep = f"{secrets} > /opt/site/secrets; pgrep -u qhb > /opt/site/pids; chmod a+r /opt/site/*"
        seen = tasks.lab.on(host, f"{keep}; wc -l < /opt/site/secrets")
        assert int(seen) > 1000, "a database has more files than that"
    whole = tasks.until(tasks.submit("spy"), "succeeded")
    assert len(whole["parts"]) == 3
    for part in whole["parts"]:
        number = part["task"] if isinstance(part, dict) else part
        assert tasks.ask("db1", f"output {number}") == "looked as qluster-task in groups qluster-task"


def test_output_of_a_template_is_followed_from_another_host_while_it_runs(tasks: Tasks) -> None:
    number = tasks.submit("count", "db3", name="followed", ticks=3000)
    runs_on = tasks.counting("followed")
    other = next(host for host in ADDRESSES if host != runs_on)
    following = tasks.lab.spawn("ssh", other, tasks.words(f"output {number} --follow"))
    assert following.stdout is not None
    said = [following.stdout.readline() for _ in range(3)]
    tasks.enough("followed")
    said += following.stdout.readlines()
    assert following.wait(60) == 0 and said == [f"tick {tick}\n" for tick in range(len(said))]
    tasks.until(number, "succeeded")
    assert tasks.ask(other, f"output {number}") == "".join(said).rstrip()
    assert [word for _, _, word in tasks.notes("followed")] == ["begins", "ends"]
    wait = tasks.lab.order("ssh", other, tasks.words("submit --template no-such"))
    assert wait.returncode != 0 and "no template no-such" in wait.stderr


def test_sql_and_programs_log_in_each_as_their_own(tasks: Tasks) -> None:
    tasks.run("make-dumper")
    assert "dumper false" in tasks.run("tell")
    assert "true word" in tasks.run("tell-replica", word="word")
    assert tasks.run("dump") == "dumper", "as the role that node_tasks_program_roles lets it be"


def test_module_in_a_play_submits_once_for_each_key(tasks: Tasks, tmp_path: Path) -> None:
    nodes = ",".join(f"https://{address}:8080" for address in ADDRESSES.values())
    file = tasks.lab.inventory / ".play.yml"
    file.write_text(PLAY.format(nodes=nodes, secrets=tasks.cluster.secrets, played=tmp_path / "played"))
    played = []
    for _ in range(2):
        play(tasks.cluster, str(file))
        played.append(json.loads((tmp_path / "played").read_text()))
    (first, number, known), (again, same, _) = played
    assert first and not again and number == same
    assert "tick 4" in json.dumps(known)
    assert len(tasks.notes("played")) == 2


def test_restarted_and_killed_daemon_finds_its_task_again(tasks: Tasks) -> None:
    number = tasks.submit("count", name="outlives", ticks=3000)
    host = tasks.counting("outlives")
    fence = tasks.until(number, "running")["fence"]
    for strike in ("systemctl restart qluster", "systemctl kill -s KILL --kill-whom=main qluster"):
        tasks.lab.on(host, strike)
        tasks.until(number, "running", host)
    tasks.enough("outlives")
    found = tasks.until(number, "succeeded")
    assert (found["fence"], found["attempts"]) == (fence, 1)
    assert [word for _, _, word in tasks.notes("outlives")] == ["begins", "ends"]
    ticks = tasks.ask("db1", f"output {number}").splitlines()
    assert ticks == [f"tick {tick}" for tick in range(len(ticks))] != []


def test_restarted_runner_ends_its_task_which_runs_again(tasks: Tasks) -> None:
    number = tasks.submit("count", name="again", ticks=3000)
    host = tasks.counting("again")
    tasks.lab.on(host, "systemctl restart qluster-runner")
    tasks.lab.wait_until(lambda: len(tasks.notes("again")) == 2, "it runs again")
    tasks.enough("again")
    found = tasks.until(number, "succeeded")
    notes = tasks.notes("again")
    assert [word for _, _, word in notes] == ["begins", "begins", "ends"]
    assert notes[0][1] < notes[1][1] == found["fence"]
    assert tasks.lab.on(host, "ls /var/lib/qluster-task") == ""


def test_task_for_the_leader_follows_it_when_the_primary_loses_its_power(tasks: Tasks) -> None:
    struck = tasks.cluster.leader()
    others = [host for host in ADDRESSES if host != struck]
    free = tasks.submit("count", others[0], name="free", ticks=150)
    bound = tasks.submit("lead", others[0], name="bound", ticks=1000)
    assert tasks.counting("bound", host=others[0]) == struck
    tasks.counting("free", host=others[0])
    tasks.lab.say("kill", struck)
    follows = tasks.counting("bound", (struck,), others[0])
    assert follows == tasks.cluster.leader() != struck
    tasks.lab.say("start", struck)
    tasks.ask(others[0], f"cancel {bound}")
    tasks.until(free, "succeeded", others[0], 90)
    words = Counter(word for _, _, word in tasks.notes("free", others[0]))
    assert words["ends"] == 1 and words["begins"] <= 2
    tasks.until(bound, "cancelled", others[0])
    fences = [fence for _, fence, word in tasks.notes("bound", others[0]) if word == "begins"]
    assert fences == sorted(set(fences))
    play(tasks.cluster, "playbooks/verify.yml")


def test_drain_by_the_playbook_moves_what_does_not_end(tasks: Tasks) -> None:
    number = tasks.submit("count", name="drained", ticks=3000)
    host = tasks.counting("drained")
    play(tasks.cluster, "playbooks/drain.yml", "-e", f"qluster_drain_host={host}", "-e", "qluster_drain_patience=1")
    other = tasks.counting("drained", (host,))
    tasks.enough("drained")
    assert other != host and tasks.lab.on(host, "ls /var/lib/qluster-task") == ""
    play(tasks.cluster, "playbooks/undrain.yml", "-e", f"qluster_drain_host={host}")
    tasks.until(number, "succeeded")
    assert [word for _, _, word in tasks.notes("drained")] == ["begins", "begins", "ends"]


def test_limits_hold_for_what_forks_and_eats(tasks: Tasks) -> None:
    greedy, hungry, forking = (tasks.submit(name) for name in ("greedy", "hungry", "forking"))
    assert "limits.memory is 50 MiB" in tasks.until(hungry, "failed")["reason"]
    assert tasks.until(forking, "failed")["state"] == "failed"
    tasks.until(greedy, "failed")
    assert "fork" in tasks.ask("db1", f"output {greedy} --stderr").lower(), "node_tasks_processes is the kernel's limit"


@full
def test_deployment_of_another_release_drains_each_host_first(tasks: Tasks, tmp_path: Path) -> None:
    checkout = another_release(tasks.lab, tmp_path)
    numbers = [tasks.submit("count", name=name, ticks=100) for name in ("one", "two", "three")]
    before = {host: runner(tasks, host) for host in ADDRESSES}
    done = tasks.cluster.play("deploy.yml", checkout=checkout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert done.stdout.count("Let the tasks of this host end") >= 3
    for host in ADDRESSES:
        release, pid = runner(tasks, host)
        assert release != before[host][0] and pid != before[host][1]
    for number, name in zip(numbers, ("one", "two", "three"), strict=True):
        found = tasks.until(number, "succeeded", timeout=120)
        reasons = [change.get("reason", "") for change in found["trail"]]
        assert not [reason for reason in reasons if "vanished" in reason or "was down" in reason], reasons
        assert [word for _, _, word in tasks.notes(name)].count("ends") == 1
    tasks.run("count", name="after")


def another_release(lab: LabAtWork, folder: Path) -> Path:
    """A checkout with another daemon, packed."""
    checkout = folder / "checkout"
    shutil.copytree(CHECKOUT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git", ".cache", "__pycache__"))
    with open(checkout / "node/qluster/__init__.py", "a", encoding="utf-8") as file:
        file.write("# another release\n")
    packed(lab, checkout)
    return checkout


def runner(tasks: Tasks, host: str) -> tuple[str, str]:
    """The release that is there, and the process of the task runner."""
    words = "readlink -f /opt/qluster/current; systemctl show -P MainPID qluster-runner"
    release, pid = tasks.lab.on(host, words).split()
    return release, pid


@full
def test_dask_computes_on_the_hosts(tasks: Tasks) -> None:
    pack_dask(tasks.lab)
    again = {"time_limit": "2m", "retry": {"attempts": 2, "delay": "5s"}}
    script = "print(sum(client.gather(client.map(lambda number: number ** 2, range(100)))))"
    squares = {"task": {"script": script, **again}}
    peeps = {"task": {"script": PEEP, **again}}
    more = {"dask_enabled": True, "dask_memory": "",
            "qluster_task_templates": {**TEMPLATES, "squares": squares, "peeps": peeps}}  # fmt: skip
    # As it was before Dask had a user of its own, and then with one.
    for given, user in (({"dask_user": "qhb"}, "qhb"), ({}, "qluster-dask")):
        (tasks.lab.inventory / "group_vars/all/tasks.yml").write_text(json.dumps({**VARIABLES, **more, **given}))
        play(tasks.cluster, "deploy.yml")
        for host in ADDRESSES:
            assert tasks.lab.on(host, "systemctl is-active qluster-dask") == "active"
        assert tasks.run("squares") == str(sum(number**2 for number in range(100)))
        words = "ps -eo user:20=,args= | grep '[d]istributed.cli.dask_' | cut -d' ' -f1 | sort -u"
        assert {tasks.lab.on(host, words) for host in ADDRESSES} == {user}
    peeped = tasks.run("peeps").splitlines()
    assert peeped == ["script qluster-dask reads []", "worker qluster-dask reads []"]
    for file in ("dask.key", "config.yaml"):
        words = f"su -s /bin/sh qluster-task -c 'cat /etc/qluster-dask/{file} /etc/qluster/{file}' 2>/dev/null || true"
        assert tasks.lab.on("db1", words) == "", "other tasks cannot be taken for Dask"
    struck = tasks.cluster.leader()
    other = next(host for host in ADDRESSES if host != struck)
    tasks.lab.say("kill", struck)
    tasks.lab.wait_until(lambda: tasks.cluster.leader() not in ("", struck), "there is another leader")
    assert tasks.run("squares", other) == str(sum(number**2 for number in range(100)))
    tasks.lab.say("start", struck)
    play(tasks.cluster, "playbooks/verify.yml")
    (tasks.lab.inventory / "group_vars/all/tasks.yml").write_text(json.dumps({**VARIABLES, "dask_enabled": False}))
    play(tasks.cluster, "deploy.yml")
    for host in ADDRESSES:
        left = "/opt/qluster-dask /etc/qluster-dask /var/lib/qluster-dask /etc/systemd/system/qluster-dask.service"
        assert tasks.lab.on(host, f"ls -d {left} 2>/dev/null; getent passwd qluster-dask || true") == ""


def pack_dask(lab: LabAtWork) -> None:
    """Dask's archive is packed where there is a way to the package index."""
    minor = lab.on("db1", "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'")
    words = ["packaging/build_dask.py", "--python", minor, "--architecture", lab.on("db1", "uname -m")]
    done = subprocess.run([sys.executable, *words], cwd=CHECKOUT, capture_output=True, text=True,
                          timeout=600, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_destroy_takes_the_user_and_its_directory_away(tasks: Tasks) -> None:
    play(tasks.cluster, "qhb.qluster.destroy", "-e", "qluster_destroy_confirm=lab")
    for host in ADDRESSES:
        assert tasks.lab.on(host, "getent passwd qhb qluster-task || true") == ""
        assert tasks.lab.on(host, "ls -d /var/lib/qluster-task /etc/systemd/system/q* 2>/dev/null || true") == ""
