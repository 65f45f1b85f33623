"""What is refused of tasks, and in which words, by a real daemon: requests, schedules, tokens, the command line."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge.task_world import DEPLOY, OPERATE, Lone, lone
from qluster.cli.exits import EXIT_DONE, EXIT_ENDED_ILL, EXIT_FORGOTTEN, EXIT_TROUBLE, EXIT_USAGE
from qluster.cli.main import run

TRUE = {"command": ["/bin/true"]}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    """One for all of them."""
    with lone(tmp_path_factory.mktemp("refusals"), "239.77.41.15:5483", "127.41.15") as found:
        yield found


# --- what is refused ----------------------------------------------------------------------

HUGE = {f"A{number}": "x" * 300 for number in range(250)}
BATCH = [{**TRUE, "name": f"report-{at}", "key": f"report-of-customer-{at:04d}-2030-01-31", "time_limit": "2h",
          "limits": {"memory": 1 << 30, "processes": 64}, "needs": [-1] if at else []}
         for at in range(1000)]  # fmt: skip
BODIES: list[tuple[str, Any, int, str, str]] = [
    ("no path", {"command": ["true"]}, 422, "wrong-value", "'true' is no absolute path"),
    ("a name of no variable", {**TRUE, "environment": {"A B": "1"}}, 422, "wrong-value", "has the name 'A B'"),
    ("an empty name", {**TRUE, "environment": {"": "1"}}, 422, "wrong-value", "has the name ''"),
    ("a variable of the linker", {**TRUE, "environment": {"LD_PRELOAD": "x"}}, 422, "wrong-value",
     "not for tasks to set"),
    ("a variable of ours", {**TRUE, "environment": {"QLUSTER_X": "1"}}, 422, "wrong-value", "not for tasks to set"),
    ("a zero byte", {**TRUE, "environment": {"A": "1\0"}}, 422, "wrong-value", "no control characters"),
    ("it needs itself", {"tasks": [{**TRUE, "needs": [-1]}]}, 422, "wrong-value", "task 1 of the request needs itself"),
    ("a circle", {"tasks": [{**TRUE, "needs": [-2]}, {**TRUE, "needs": [-1]}]}, 422, "wrong-value", "in a circle"),
    ("it needs what is not", {**TRUE, "needs": [4711]}, 404, "no-such-task",
     "there is no task 4711, or it is forgotten"),
    ("no template", {"template": "no"}, 404, "no-such-template", "there is no template no"),
    ("an unknown user", {**TRUE, "user": "nobody-knows"}, 422, "wrong-value", "is not in tasks.users of this host"),
    ("no script so", {"script": "pass"}, 422, "wrong-value", "store it as a template"),
    ("a past date", {**TRUE, "expires": "2001-01-01T00:00:00Z"}, 422, "wrong-value", "has passed"),
    ("a span in quotes", {**TRUE, "time_limit": "5"}, 422,
     "wrong-value", 'seconds without quotes, or text with its unit'),
    ("no label", {**TRUE, "target": {"where": "a=="}}, 422, "wrong-value", "target.where"),
    ("too many words", {"command": ["/bin/true"] * 300}, 422, "wrong-value", "has 300 items"),
    ("too long a word", {"command": ["/bin/true", "x" * 40_000]}, 422, "wrong-value", "has 40000 characters"),
    ("too large a task", {**TRUE, "environment": HUGE}, 413, "too-large-for-log",
     "it is one task, and that is too large"),
    ("too large a batch", {"tasks": BATCH}, 413, "too-large-for-log", "of its 1000 tasks would fit"),
    ("too many tasks", {"tasks": [TRUE] * 1001}, 422, "wrong-value", "has 1001 items; 1 to 1000"),
    ("no JSON", b"{", 400, "bad-body", "cannot be read"), ("no body", b"", 400, "bad-body", "cannot be read"),
    ("nested for ever", b"[" * 100_000, 400, "bad-body", "nested too deeply"),
    ("half a character", b'{"command": ["/bin/true", "\\ud800"]}', 422, "wrong-value", "no control characters"),
    ("no UTF-8", b'{"command": ["/bin/true", "\xff"]}', 400, "bad-body", "cannot be read"),
    ("twice", b'{"command": ["/bin/true"], "command": ["/bin/false"]}', 400, "bad-body", "more than once"),
    ("no number", b'{"command": ["/bin/true"], "time_limit": NaN}', 400, "bad-body", "NaN is no JSON"),
    ("without end", b'{"sql": "' + b"x" * 5_000_000 + b'"}', 413, "body-too-large", "larger than 524288 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "word", "words"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_request_is_refused_whole(one: Lone, body: Any, code: int, word: str, words: str) -> None:
    newest = lambda: [task["task"] for task in one.ask("GET", "/tasks?limit=1").json()["tasks"]]  # noqa: E731
    before = newest()
    answer = one.ask("POST", "/tasks", body)
    document = answer.json()
    assert (answer.status_code, document["error"]) == (code, word), answer.text
    assert words in answer.text.replace('\\"', '"')
    assert document["hint"]
    assert newest() == before


def test_the_part_of_a_batch_that_would_fit_does(one: Lone) -> None:
    refused = one.ask("POST", "/tasks?check=true", {"tasks": BATCH}).json()
    assert refused["error"] == "too-large-for-log", "asking whether it would be taken on says so as well"
    count = int(re.findall(r"the first (\d+) of its", refused["message"])[0])
    waiting = [{**task, "target": {"where": "gpu"}} for task in BATCH[: count // 2]]
    answer = one.ask("POST", "/tasks", {"tasks": waiting})
    assert answer.status_code == 200, answer.text
    numbers = answer.json()["tasks"]
    one.ask("DELETE", f"/tasks/{numbers[0]}")
    assert one.until(numbers[-1])["state"] == "cancelled", "with the first all that need it are over"


SCHEDULES = [
    ("0 0 31 2 *", "UTC", "cron", "names a day that no month has"), ("0 0 30 2 *", "Europe/Berlin", "cron", "no month"),
    ("* * * *", "UTC", "cron", "has 4 fields"), ("61 * * * *", "UTC", "cron", "has a wrong field"),
    ("@daily", "UTC", "cron", "has 1 fields"), ("", "UTC", "cron", "has 0 fields"),
    ("0 2 * * *", "Europe/Atlantis", "zone", "no time zone"), ("0 2 * * *", "../../etc/passwd", "zone", "no time zone"),
    ("0 2 * * *", "localtime", "zone", "another one on each host"),
]  # fmt: skip


@pytest.mark.parametrize(("cron", "zone", "field", "words"), SCHEDULES)
def test_a_schedule_that_never_fires_is_refused(one: Lone, cron: str, zone: str, field: str, words: str) -> None:
    body = {"cron": cron, "zone": zone, "task": TRUE}
    answer = one.ask("PUT", "/task-schedules/never", body, DEPLOY)
    assert answer.status_code == 422, answer.text
    [fault] = answer.json()["faults"]
    assert fault["field"] == field and words in fault["message"]


@pytest.mark.parametrize(("token", "method", "path", "code", "word"), [
    ("", "POST", "/tasks", 401, "no-token"), ("guessed", "POST", "/tasks", 401, "wrong-token"),
    ("read-token-of-the-test", "POST", "/tasks", 403, "read-only-token"),
    ("read-token-of-the-test", "DELETE", "/tasks/1", 403, "read-only-token"),
    (OPERATE, "PUT", "/task-templates/t", 403, "no-deploy-token"),
])  # fmt: skip
def test_a_wrong_token_is_told_which_one_is_right(
    one: Lone, token: str, method: str, path: str, code: int, word: str
) -> None:
    answer = one.ask(method, path, {"task": TRUE} if "templates" in path else TRUE, token)
    assert (answer.status_code, answer.json()["error"]) == (code, word)
    assert "token" in answer.json()["hint"].lower()


# --- the command line --------------------------------------------------------------------

CALLS = [
    (["submit"], EXIT_USAGE, "say what is to run"),
    (["submit", "true"], EXIT_TROUBLE, "\n  command 'true' is no absolute"),
    (["submit", "--wait", "/no/such"], EXIT_ENDED_ILL, "failed: it could not be begun: /no/such: no such file"),
    (["submit", "/bin/true", "--role", "master"], EXIT_USAGE, "invalid choice: 'master'"),
    (["submit", "/bin/true", "--priority", "99"], EXIT_TROUBLE, "\n  priority is the number 99"),
    (["submit", "/bin/true", "--time-limit", "5x"], EXIT_TROUBLE, 'text with its unit, such as "5m"\nhint: correct'),
    (["submit", "/bin/true", "--start", "tomorrow"], EXIT_TROUBLE, "not a date with its zone such as"),
    (["submit", "/bin/true", "--need", "4711"], EXIT_TROUBLE, "there is no task 4711"),
    (["submit", "/bin/true", "--where", "gpu", "--wait", "--seconds", "1"], EXIT_TROUBLE, "is not over after 1 s"),
    (["submit", "--template", "no"], EXIT_TROUBLE, "there is no template no\nhint: GET /task-templates lists them"),
    (["submit", "--file", "/no/such"], EXIT_USAGE, "cannot be read as JSON"),
    (["show", "x"], EXIT_USAGE, '"x" is no number from 1 on'),
    (["show", "4711"], EXIT_TROUBLE, "there is no task 4711"),
    (["wait", "4711"], EXIT_FORGOTTEN, "there is no task 4711"),
    (["output", "4711"], EXIT_TROUBLE, "there is no task 4711"),
    (["cancel", "4711"], EXIT_TROUBLE, "there is no task 4711"), (["list", "--state", "done"], EXIT_TROUBLE, "'done'"),
    (["drain", "77"], EXIT_TROUBLE, "there is no node 77"),
    (["templates", "no"], EXIT_TROUBLE, "there is no template no"),
    (["drain", "1", "--patience", "never"], EXIT_TROUBLE, "not a span of time"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "said"), CALLS, ids=[" ".join(row[0]) for row in CALLS])
def test_the_command_line_says_what_is_wrong(
    one: Lone, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["task", *words, "--config", str(one.config(1))], "qluster") == code
    errors = capsys.readouterr().err
    assert said in errors and "Traceback" not in errors


def test_a_file_with_many_faults_is_not_answered_with_a_page(one: Lone, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps({"tasks": [{"command": ["true"]}] * 300}))
    assert run(["task", "submit", "--file", str(file), "--config", str(one.config(1))], "qluster") == EXIT_TROUBLE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 13 and "  and 90 more" in lines[11], "of 300 faults the node itself tells 100"
    file.write_text("[]")
    assert run(["task", "submit", "--file", str(file), "--config", str(one.config(1))], "qluster") == EXIT_TROUBLE
    assert "  the body is a list, not an object" in capsys.readouterr().err


def test_what_was_never_begun_shows_no_result(one: Lone, capsys: pytest.CaptureFixture[str]) -> None:
    number = one.submit(command=["/no/such"])
    one.until(number)
    assert run(["task", "show", str(number), "--config", str(one.config(1))], "qluster") == EXIT_DONE
    shown = capsys.readouterr().out
    assert "result" not in shown and "why       it could not be begun: /no/such" in shown


def test_output_that_is_not_there_is_said_to_be_missing(one: Lone, capsys: pytest.CaptureFixture[str]) -> None:
    def output(number: int, *words: str) -> tuple[int, str, str]:
        code = run(["task", "output", *words, str(number), "--config", str(one.config(1))], "qluster")
        said = capsys.readouterr()
        return code, said.out, said.err

    never = one.submit(command=["/no/such"])
    one.until(never)
    begun = f"task {never} never began: failed, it could not be begun: /no/such: no such file or directory"
    code, out, err = output(never)
    assert (code, out) == (EXIT_TROUBLE, "") and err.startswith(begun)
    code, out, err = output(never, "--follow")
    assert (code, out) == (EXIT_ENDED_ILL, "") and err.startswith(begun)

    waits = one.submit(command=["/bin/true"], target={"where": "gpu"})
    one.until(waits, "waiting")
    code, out, err = output(waits)
    assert (code, out) == (EXIT_TROUBLE, "") and err.startswith(f"task {waits} has not begun: waiting, ")
    one.ask("DELETE", f"/tasks/{waits}")
    code, out, err = output(waits)
    assert (code, out) == (EXIT_TROUBLE, "") and err.startswith(f"task {waits} never began: cancelled")

    silent = one.submit(command=["/bin/true"])
    ended = one.until(silent)
    assert output(silent) == output(silent, "--follow") == (EXIT_DONE, "", "")
    shutil.rmtree(one.work(ended, "").parent)
    for words in ((), ("--follow",)):
        code, out, err = output(silent, *words)
        assert (code, out) == (EXIT_TROUBLE, "") and "had to make room for newer" in err
