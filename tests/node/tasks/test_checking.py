"""What is wrong with a task by itself: every fault, by its field."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from msgspec.structs import replace
from qluster.tasks.bodies import Schedule, Submission, Template
from qluster.tasks.checking import TEXT_MAX, faults, filled, schedule_faults, template_faults
from qluster.tasks.spec import Command, Limits, Need, Retry, Script, Spec, Sql, Target

TRUE = Command(("/bin/true",))


def fields(spec: Spec, batch: int = 1) -> set[str]:
    return {field for field, _ in faults(spec, batch)}


def test_a_plain_task_has_no_fault() -> None:
    assert faults(Spec(TRUE)) == []


@pytest.mark.parametrize(
    ("work", "field"),
    [
        (Command(()), "command"), (Command(("",)), "command"), (Command(("true",)), "command"),
        (Command(("/bin/true", "a\0b")), "command"), (Command(("/bin/x",) * 300), "command"),
        (Command(("/bin/x", "y" * TEXT_MAX)), "command"), (Command(("echo a", "b"), shell=True), "command"),
        (replace(TRUE, directory="tmp"), "directory"), (replace(TRUE, environment=(("1A", ""),)), "environment"),
        (replace(TRUE, environment=(("QLUSTER_X", ""),)), "environment"),
        (replace(TRUE, environment=(("LD_PRELOAD", "/x"),)), "environment"),
        (replace(TRUE, environment=(("A", "\0"),)), "environment"),
        (Sql(" "), "sql"), (Sql("select '\0'"), "sql"), (Sql("x" * (TEXT_MAX + 1)), "sql"),
        (Sql("select 1", database=""), "database"), (Sql("select 1", variables=(("a-b", "c"),)), "variables"),
        (Script(""), "script"), (Script("x" * (TEXT_MAX + 1)), "script"),
    ],
)  # fmt: skip
def test_faults_of_the_work(work: Any, field: str) -> None:
    assert field in fields(Spec(work))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"target": Target("master")}, "target.role"), ({"target": Target(where="a==b")}, "target.where"),
        ({"target": Target(least_lag=True)}, "target.least_lag"), ({"target": Target(nodes=(0,))}, "target.nodes"),
        ({"target": Target("replica", least_lag=True, each=True)}, "target.each"),
        ({"target": Target(each=True, pack=True)}, "target.each"),
        ({"time_limit": -1.0}, "time_limit"), ({"time_limit": inf}, "time_limit"), ({"start": nan}, "start"),
        ({"start": -1.0}, "start"), ({"retry": Retry(-1)}, "retry.attempts"),
        ({"retry": Retry(1001)}, "retry.attempts"),
        ({"retry": Retry(1, nan)}, "retry.delay"), ({"retry": Retry(1, 1.0, 0.5)}, "retry.factor"),
        ({"retry": Retry(1, delay_max=-1.0)}, "retry.delay_max"), ({"once": True, "retry": Retry(1)}, "retry"),
        ({"name": "n" * 129}, "name"), ({"priority": 10}, "priority"), ({"priority": -1}, "priority"),
        ({"slots": -1}, "slots"), ({"slots": 1001}, "slots"), ({"resources": (("gpu", -1),)}, "resources"),
        ({"moved": "go"}, "moved"), ({"group_limit": 0}, "group_limit"), ({"limits": Limits(memory=-1)}, "limits"),
        ({"limits": Limits(cpu=nan)}, "limits"), ({"needs": (Need(1, "later"),)}, "needs"),
        ({"needs": (Need(0),)}, "needs"), ({"needs": (Need(-2),)}, "needs"), ({"needs": (Need(3), Need(3))}, "needs"),
        ({"needs": tuple(Need(number) for number in range(1, 66))}, "needs"),
    ],
)  # fmt: skip
def test_faults_of_the_rest(given: dict[str, Any], field: str) -> None:
    assert field in fields(Spec(TRUE, **given))


def test_a_date_that_ends_before_it_begins_is_a_fault() -> None:
    assert faults(Spec(TRUE, start=10.0, expires=5.0))


@pytest.mark.parametrize("given", [{"needs": (Need(-1),)}, {"needs": (Need(7),)}, {"start": 5.0}, {"expires": 5.0}])
def test_a_schedules_task_needs_nobody_and_has_no_date(given: dict[str, Any]) -> None:
    assert not schedule_faults(Schedule("0 3 * * *", Submission(Spec(TRUE))), 1e9)
    assert schedule_faults(Schedule("0 3 * * *", Submission(Spec(TRUE, **given))), 1e9)


def test_templates() -> None:
    spec = Spec(Command(("/bin/dump", "{table}", "{mode}")))
    template = Template(spec, (("table", None, "[a-z]+"), ("mode", "fast", "")))
    assert not template_faults(template)
    done = filled(template, {"table": "accounts"})
    assert isinstance(done, Spec) and done.work == Command(("/bin/dump", "accounts", "fast"))
    for given in ({}, {"table": "A B"}, {"table": "a", "other": "b"}, {"table": "a", "mode": "-rf"}, {"table": "a\n"}):
        assert isinstance(filled(template, given), list), given
    assert template_faults(Template(Spec(Command(("/bin/x", "{lost}")))))
    assert template_faults(Template(Spec(Command(("echo {a}",), shell=True)), (("a", None, ""),))) == [
        ("shell", "has {a}: what is given for a parameter would be read by the shell; give it to a variable of "
                  "environment, and name that")]  # fmt: skip
    assert template_faults(Template(Spec(TRUE, needs=(Need(1),))))
    for parameter in (("a", "x", "("), ("A", "x", ""), ("a", "X", "[a-z]")):
        assert template_faults(Template(Spec(TRUE), (parameter,))), parameter


def test_a_parameter_reaches_a_shell_by_a_variable_alone() -> None:
    """What somebody gives is expanded by the shell, and never read as a part of its text."""
    given = ("database", "{database}"), ("format", "{level}")
    work = Command(('dump "${database}" | gzip > {x}',), given, shell=True)
    template = Template(Spec(work), (("database", None, ""),))
    assert not template_faults(template)
    done = filled(template, {"database": "a; rm -rf /"})
    assert isinstance(done, Spec)
    assert done.work == replace(work, environment=(("database", "a; rm -rf /"), ("format", "{level}")))


def test_a_parameter_fills_a_value_of_the_environment() -> None:
    template = Template(Spec(replace(TRUE, environment=(("MODE", "{mode}"),))), (("mode", "fast", ""),))
    assert not template_faults(template)
    done = filled(template, {})
    assert isinstance(done, Spec) and done.work == replace(TRUE, environment=(("MODE", "fast"),))


def test_a_pattern_that_cannot_be_read_is_refused_and_stops_nobody() -> None:
    """A leader that reads it when somebody submits must not end of it."""
    spec = Spec(Command(("/bin/x", "{a}")))
    for pattern, words in (("(", "missing ): ("), ("(?=x)", "invalid perl operator: (?=")):
        ((field, fault),) = template_faults(Template(spec, (("a", None, pattern),)))
        assert field == "parameters" and words in fault
        ((field, fault),) = filled(Template(spec, (("a", None, pattern),)), {"a": "x"})  # type: ignore[misc]
        assert field == "parameters" and fault.endswith("store another one")
