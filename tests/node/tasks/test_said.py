"""Tasks in few bytes: what is left out comes back, and old entries are read as before."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import msgspec
import pytest
from fuzz import examples
from msgspec.structs import replace
from qluster.cluster import commands
from qluster.tasks.bodies import Submission, TasksSubmitted, WithSpecs
from qluster.tasks.said import said
from qluster.tasks.spec import Command, Limits, Need, Retry, Spec, Sql, Target

SMALL = Spec(Command(("/usr/local/bin/report", "--part=1000")), name="report")

CHANGES = {
    "work": Sql("select 1", variables=(("a", "1"),)), "target": Target(fail=True), "priority": 9, "time_limit": 0.1,
    "start": 2e9, "expires": 1e300, "retry": Retry(3, delay=0.5), "once": True, "needs": (Need(-1), Need(7, "any")),
    "group_limit": 2, "limits": Limits(cpu=0.5),
}  # fmt: skip


def both(body: commands.Body) -> tuple[bytes, bytes]:
    """The bytes of an entry with every field, as they once were written, and as they are now."""
    return msgspec.msgpack.encode(commands.Command("k", body, b"f"), order="deterministic"), commands.encode(
        body, "k", b"f")


@pytest.mark.parametrize("body", [one for one in examples.COMMANDS if isinstance(one, WithSpecs)])
def test_what_is_left_out_comes_back(body: commands.Body) -> None:
    whole, short = both(body)
    assert repr(commands.decode(whole)) == repr(commands.decode(short)) == repr(commands.Command("k", body, b"f"))
    assert len(short) < len(whole)


def test_each_field_comes_back_whatever_else_is_said() -> None:
    chosen = chain(combinations(CHANGES, 1), combinations(CHANGES, 2))
    tasks = tuple(Submission(replace(SMALL, **{name: CHANGES[name] for name in names}), key) for names in chosen
                  for key in ("", "k"))  # fmt: skip
    whole, short = both(TasksSubmitted(2e9, "anna", tasks))
    assert repr(commands.decode(short)) == repr(commands.decode(whole)), "repr: 1 is equal to 1.0 and to True"
    assert [one.spec for one in commands.decode(short).body.tasks] == [one.spec for one in tasks]  # type: ignore[union-attr]


@pytest.mark.parametrize("changes", [
    {}, {"target": Target(role="replica")}, {"time_limit": 7200.0}, {"retry": Retry(3)},
])  # fmt: skip
def test_a_thousand_small_tasks_fit_into_one_entry(changes: dict[str, Any]) -> None:
    tasks = tuple(
        Submission(replace(SMALL, work=Command(("/usr/local/bin/report", f"--part={part}")), **changes))
        for part in range(1000)
    )
    assert len(commands.encode(TasksSubmitted(1.7e9, "anna", tasks), "k" * 36, b"f" * 16)) < 64_000


def test_numbers_stay_what_they_are() -> None:
    for value in (0.0, -3600.0, 0.5, 2.0**53, 1e300, float("inf"), 7, True, "", None):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(said(value)), type=type(value)) == value
