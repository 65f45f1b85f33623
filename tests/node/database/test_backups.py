"""Which backup a recovery begins with, which ones go, when one is due."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qluster.database.backups import (
    RETRY_AFTER,
    Backup,
    Failure,
    NoBackup,
    Shelf,
    Target,
    choose,
    due,
    expired,
)

DAY = 86400.0


def backup(number: int, **changes: object) -> Backup:
    """The backup of a day: it begins at ``number`` days and ends an hour later."""
    values: dict[str, object] = {
        "label": f"2026010{number}T000000Z", "system_id": 1, "timeline": 1, "start": number * 1000,
        "stop": number * 1000 + 100, "began": number * DAY, "ended": number * DAY + 3600, "size": 1, "node": "a",
    }  # fmt: skip
    return Backup(**{**values, **changes})  # type: ignore[arg-type]


SHELF = Shelf(backups=tuple(backup(number) for number in (1, 2, 3)))


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (Target(), 3),
        (Target(kind="time", text="t", value=2.5 * DAY), 2),
        # While the second was being taken it was not consistent yet.
        (Target(kind="time", text="t", value=2 * DAY + 60), 1),
        (Target(kind="lsn", text="l", value=2100), 2),
        (Target(kind="lsn", text="l", value=2099), 1),
        (Target(kind="name", text="n"), 3),
    ],
)
def test_a_recovery_begins_with_the_newest_backup_before_its_target(target: Target, chosen: int) -> None:
    assert choose(SHELF, target) == backup(chosen)


@pytest.mark.parametrize(
    ("shelf", "target", "label", "said"),
    [
        (Shelf(), Target(), "", "there is no backup of this database"),
        (Shelf(broken=("x is half",)), Target(), "", "x is half"),
        (SHELF, Target(kind="time", text="T", value=DAY), "", "time T lies before the oldest backup, 20260101T000000Z"),
        (SHELF, Target(kind="lsn", text="0/1", value=1), "", "lsn 0/1 lies before the oldest backup"),
        (SHELF, Target(), "20260109T000000Z", "no backup 20260109T000000Z: there are 20260101T000000Z, 2026"),
        (SHELF, Target(kind="lsn", text="0/834", value=2100), "20260103T000000Z", "lies before that backup, 20260103"),
    ],
)
def test_what_no_backup_serves_is_refused_with_what_there_is(
    shelf: Shelf, target: Target, label: str, said: str
) -> None:
    with pytest.raises(NoBackup, match=said):
        choose(shelf, target, label)


@pytest.mark.parametrize(
    ("keep", "keep_for", "now", "gone"),
    [
        (7, 0.0, 100 * DAY, []),
        (1, 0.0, 100 * DAY, [1, 2, 3]),
        (2, 0.0, 100 * DAY, [1, 2]),
        # For the last 1.5 days the backup before them is needed as well.
        (1, 1.5 * DAY, 5 * DAY, [1, 2]),
        (1, 2 * DAY, 4.1 * DAY, [1]),
        (1, 100 * DAY, 5 * DAY, []),
        # A clock that was put back keeps everything.
        (1, DAY, 0.0, []),
    ],
)
def test_backups_go_by_number_and_age(keep: int, keep_for: float, now: float, gone: list[int]) -> None:
    backups = [backup(number) for number in (1, 2, 3, 4)]
    assert expired(backups, keep, keep_for, now) == [backup(number) for number in gone]


def test_backups_of_a_past_that_was_left_do_not_count_for_the_number() -> None:
    backups = [backup(number) for number in (1, 2, 3, 4)]
    aside = {backups[2].label, backups[3].label}
    assert expired(backups, 2, 0.0, 100 * DAY, aside) == backups[2:]
    assert expired(backups, 3, 0.0, 100 * DAY, aside) == []
    assert expired(backups, 1, 97.5 * DAY, 100 * DAY, aside) == [backups[0]]


@given(
    st.lists(st.integers(1, 40), min_size=1, unique=True),
    st.integers(1, 10),
    st.integers(0, 40),
    st.integers(0, 60),
    st.data(),
)
def test_a_good_backup_always_remains_and_the_span_can_always_be_recovered(
    days: list[int], keep: int, span: int, now: int, data: st.DataObject
) -> None:
    backups = [backup(1, label=str(day), ended=float(day), stop=day) for day in days]
    aside = set(data.draw(st.lists(st.sampled_from([each.label for each in backups]), unique=True)))
    gone = expired(backups, keep, float(span), float(now), aside)
    kept = [each for each in backups if each not in gone]
    good = [each for each in kept if each.label not in aside]
    before = [each for each in backups if each.label not in aside]
    assert len(good) >= min(keep, len(before))
    assert max((each.ended for each in good), default=0) == max((each.ended for each in before), default=0)
    if span and any(each.ended < now - span for each in before):
        assert any(each.ended < now - span for each in good), "the beginning of the span is lost"


@pytest.mark.parametrize(
    ("shelf", "now", "primary", "wanted"),
    [
        (Shelf(), 0.0, False, True),
        (SHELF, 3.9 * DAY, False, False),
        (SHELF, 4.0 * DAY, False, True),
        (SHELF, 4.4 * DAY, True, False),
        (SHELF, 4.5 * DAY, True, True),
        # A clock that was put back does not stop the schedule for years.
        (SHELF, 1.0 * DAY, False, True),
        (Shelf(failure=Failure(at=100.0, node="a", error="x")), 100.0 + RETRY_AFTER - 1, False, False),
        (Shelf(failure=Failure(at=100.0, node="a", error="x")), 100.0 + RETRY_AFTER, False, True),
        (Shelf(failure=Failure(at=100.0, node="a", error="x")), 50.0, False, True),
    ],
)
def test_a_backup_is_due_an_interval_after_the_last(shelf: Shelf, now: float, primary: bool, wanted: bool) -> None:
    assert due(shelf, DAY, now, primary=primary) is wanted
    assert due(shelf, 0.0, now, primary=primary) is False
