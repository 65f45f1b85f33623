"""How tasks end that do not end well, as a user of a real daemon and its runner meets it: each row is what was asked
for, the state in which it ends, and words that the reason must have. For people: docs/how-to/tasks.md.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge.daemon_world import small_disk, wait_for
from edge.runner_world import alive
from edge.task_world import DEPLOY, Lone, lone

TRUE = {"command": ["/bin/true"]}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    """One for all of them."""
    with lone(tmp_path_factory.mktemp("ends"), "239.77.41.16:5484", "127.41.16") as found:
        yield found


# --- what runs, and ends otherwise than it should ------------------------------------------

LONG_PATH = "/no/" + "x" * 300 + "/" + "y" * 3000
HOG = "import time; x = b'x' * (200 << 20); time.sleep(1000)"
BOMB = ("b() { if [ $1 = 0 ]; then exec sleep 100; fi; b $(($1 - 1)) | b $(($1 - 1)); }; "
        "b 6 & for n in $(seq 60); do sleep 100 & done; wait")  # fmt: skip
"""It has an end, at some hundreds of processes: where no control group counts them and root runs it, one without an end
takes the whole host with it before anybody can look. Where one does, the first shell is refused a process, too."""
BYTES = "import sys; sys.stderr.buffer.write(b'\\xff\\xfe\\x1b[31m\\0 gone wrong'); sys.exit(1)"
RUNS = {
    "no such program": ({"command": ["/no/such/program"]}, "failed", "/no/such/program: no such file or directory. It"),
    "a path without end": ({"command": [LONG_PATH]}, "failed", "y: no such file or directory. It must"),
    "a path that forges": ({"command": ["/no/such\n2030-01-01 forged"]}, "failed", "such\ufffd2030-01-01 forged"),
    "not executable": ({"command": ["/etc/passwd"]}, "failed", "permission denied. Make it executable"),
    "a directory": ({"command": ["/tmp"]}, "failed", "Name a program in it"),
    "no such directory": ({**TRUE, "directory": "/no/such"}, "failed", "its directory /no/such: no such file"),
    "a file as directory": ({**TRUE, "directory": "/etc/passwd"}, "failed", "not a directory. Name a directory."),
    "an exit code": ({"shell": "exit 3"}, "failed", "it failed: exit code 3"),
    "no such word": ({"shell": "no-such-word"}, "failed", "it failed: exit code 127"),
    "a signal": ({"shell": "kill -SEGV $$"}, "failed", "killed by signal 11 (SIGSEGV)"),
    "killed from outside": ({"shell": "kill -9 $$"}, "failed", "(SIGKILL), and not by the cluster"),
    "bytes of any kind": ({"command": [sys.executable, "-c", BYTES]}, "failed", "it failed: exit code 1"),
    "too much memory": ({"command": [sys.executable, "-c", HOG], "limits": {"memory": 50 << 20}}, "failed",
                        "out of memory (limits.memory is 50 MiB)"),
    "a fork bomb": ({"shell": BOMB, "limits": {"processes": 30}, "time_limit": 20}, "failed", "(limits.processes)"),
    "it hangs": ({"shell": "trap '' TERM; while :; do sleep 0.05; done", "time_limit": 0.3}, "failed",
                 "time limit of 0.3 s passed"),
    "it goes away": ({"shell": "setsid -f sh -c 'echo $$ > pid; exec sleep 99'; until [ -s pid ]; do :; done; cat pid"},
                     "succeeded", ""),
    "it fails each time": ({"shell": "exit 1", "retry": {"attempts": 2, "delay": 0.05}}, "failed",
                           "exit code 1 (attempt 3 of 3)"),
    "nothing has such a label": ({**TRUE, "target": {"where": "gpu", "fail": True}}, "failed", "has not the label gpu"),
    "no node has so many slots": ({**TRUE, "slots": 99, "target": {"fail": True}}, "failed", "50 slots, 99 are needed"),
    "no such node": ({**TRUE, "target": {"nodes": [77], "fail": True}}, "failed", "node 1 is not named"),
    "no leader of a database": ({**TRUE, "target": {"role": "leader", "fail": True}}, "failed", "has no database"),
    "its date passes": ({**TRUE, "target": {"where": "gpu"}}, "expired", "it was not begun in time"),
}  # fmt: skip


def soon() -> dict[str, str]:
    """A date that passes before long."""
    return {"expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))}


def test_each_ends_in_a_state_with_a_reason(one: Lone) -> None:
    numbers = {what: one.submit(**task, **(soon() if state == "expired" else {}))
               for what, (task, state, _) in RUNS.items()}  # fmt: skip
    found = {what: one.until(number) for what, number in numbers.items()}
    wrong = {what: (found[what]["state"], found[what]["reason"]) for what, (_, state, words) in RUNS.items()
             if found[what]["state"] != state or words not in found[what]["reason"]}  # fmt: skip
    assert not wrong
    assert all(task["state"] == "succeeded" or task["reason"] for task in found.values())
    assert not any("\n2030-01-01" in one.logged(1, log) for log in ("daemon.log", "runner.log"))
    assert "gone wrong" in found["bytes of any kind"]["result"]["tail"]
    assert "not found" in found["no such word"]["result"]["tail"]
    assert not alive(int(found["it goes away"]["result"]["tail"])), "what a program leaves behind ends with it"


def test_what_nothing_can_run_waits_and_says_for_what(one: Lone) -> None:
    for name, work in (("script", {"script": "pass"}), ("sql", {"sql": "select 1"})):
        assert one.ask("PUT", f"/task-templates/{name}", {"task": work}, DEPLOY).status_code == 200
    first = one.submit(shell="exit 1", target={"where": "gpu"})
    rows = [
        (first, "node 1 has not the label gpu"),
        (one.submit(**TRUE, slots=99), "node 1 has 50 slots, 99 are needed"),
        (one.submit(template="script"), "node 1 does not take part in the Dask cluster (tasks.dask-python)"),
        (one.submit(template="sql"), "node 1 has no database"),
        (one.submit(**TRUE, start="2100-01-01T00:00:00Z"), "its time has not come"),
        (one.submit(**TRUE, needs=[first]), f"task {first} first"),
    ]
    for number, words in rows:
        wait_for(f"{words}: {one.task(number)}", lambda n=number, w=words: w in one.task(n)["why"])  # type: ignore[misc]
        assert one.until(number, "waiting")["reason"]
    one.ask("DELETE", f"/tasks/{first}")
    assert one.until(rows[-1][0])["reason"] == f"task {first}, which it needs, ended as cancelled"
    late = one.until(one.submit(**TRUE, needs=[first]))
    assert (late["state"], late["reason"]) == ("cancelled", f"task {first}, which it needs, did not end with success")
    for number, _ in rows:
        one.ask("DELETE", f"/tasks/{number}")


def test_output_without_end_costs_the_daemon_nothing(one: Lone) -> None:
    before = one.memory()
    number = one.submit(shell="head -c 300000000 /dev/zero; head -c 1000000 /dev/urandom >&2",
                        limits={"output": 1 << 16})  # fmt: skip
    slowest = 0.0
    while one.task(number)["state"] not in ("succeeded", "failed"):
        began = time.monotonic()
        assert one.site.get(1, "/tasks?limit=1").status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    task = one.until(number)
    assert task["state"] == "succeeded"
    assert (task["result"]["stdout_bytes"], task["result"]["stderr_bytes"]) == (300_000_000, 1_000_000)
    kept = one.ask("GET", f"/tasks/{number}/output?limit=1000000").content
    assert len(kept) <= 1 << 16 and not kept.strip(b"\0")
    print(f"300 MB of output: the daemon grew by {(one.memory() - before) >> 20} MiB, answered within {slowest:.3f} s")
    assert one.memory() - before < 30 << 20
    assert slowest < 5  # milliseconds on a quiet machine


# --- cancelling -------------------------------------------------------------------------


def test_a_task_is_cancelled_in_every_state(one: Lone) -> None:
    cancel = lambda number: one.ask("DELETE", f"/tasks/{number}?by=anna&reason=a+mistake").json()  # noqa: E731
    group = {"group": "lone", "shell": "exec sleep 1000"}
    tasks = {
        "for a node": one.submit(**TRUE, target={"where": "gpu"}),
        "for its date": one.submit(**TRUE, start="2100-01-01T00:00:00Z"),
        "for another attempt": one.submit(shell="exit 1", retry={"attempts": 1, "delay": "1h"}),
        "running": one.submit(**group), "for its group": one.submit(**group),
        "deaf": one.submit(shell="trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done"),
        "on each": one.submit(shell="exec sleep 1000", target={"each": True}),
    }  # fmt: skip
    tasks["for a task"] = one.submit(**TRUE, needs=[tasks["running"]])
    for name in ("running", "deaf", "on each"):
        one.until(tasks[name], "running")
    for name in ("for a node", "for its date", "for another attempt", "for its group", "for a task"):
        wait_for(f"it waits {name}", lambda n=name: one.task(tasks[n])["why"])  # type: ignore[misc]
    pid = one.work(one.task(tasks["deaf"]), "pid")
    wait_for("it does not hear", lambda: pid.exists() and pid.read_text())
    deaf = int(pid.read_text())
    # Assigned: its runner stands still, and says nothing of a begin.
    one.runners[1].send_signal(signal.SIGSTOP)
    try:
        tasks["assigned"] = one.submit(**TRUE)
        one.until(tasks["assigned"], "assigned")
        answers = {name: cancel(number) for name, number in tasks.items()}
    finally:
        one.runners[1].send_signal(signal.SIGCONT)
    assert all(answer["changed"] for answer in answers.values()), answers
    for name in ("assigned", "running", "deaf"):
        assert answers[name]["cancelling"], name
    for name, number in tasks.items():
        task = one.until(number)
        # What had been begun, and ended, before its node heard of it has ended so.
        assert task["state"] == "cancelled" or (name, task["state"]) == ("assigned", "succeeded"), (name, task)
        assert task["reason"] == "anna cancelled it: a mistake" or name == "assigned", (name, task)
    assert not alive(deaf)
    again = cancel(tasks["running"])
    assert (again["changed"], again["state"]) == (False, "cancelled")
    assert cancel(4711)["error"] == "no-such-task"


# --- no room -----------------------------------------------------------------------------


def test_without_room_for_output_tasks_wait_and_say_so(tmp_path: Path) -> None:
    place = tmp_path / "small"
    with small_disk(place, "80m"), lone(tmp_path, "239.77.41.17:5485", "127.41.17", dir=str(place / "tasks")) as one:
        go = tmp_path / "go"
        running = one.submit(shell=f"until [ -e {go} ]; do sleep 0.02; done; echo said; exit 5")
        one.until(running, "running")
        with open(place / "ballast", "wb") as ballast, pytest.raises(OSError):
            while True:
                ballast.write(bytes(1 << 16))
                ballast.flush()
        wait_for("it says so", lambda: "free" in one.ask("GET", "/tasks/summary").json()["fault"])
        waiting = one.submit(**TRUE)
        wait_for("it waits", lambda: "begins nothing: the directory of tasks" in one.task(waiting)["why"])
        go.touch()
        ended = one.until(running)
        assert (ended["state"], ended["reason"]) == ("failed", "it failed: exit code 5")
        assert ended["result"]["tail"] == "said", "its last words stand in the log"
        (place / "ballast").unlink()
        assert one.until(waiting)["state"] == "succeeded"
