"""How far behind a replica is, from what the primary has said, and how old that is."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from qluster.cluster.published import SAMPLES_MAX, Behind, Published


def noted(*samples: tuple[float, int]) -> Published:
    one = Published()
    for at, position in samples:
        one.note(1, 1, position, at)
    return one


def test_nothing_is_known_before_the_primary_has_spoken() -> None:
    assert Published().behind(1, 1, 100, 5.0) is None
    assert noted((1.0, 100)).behind(1, 1, None, 5.0) is None
    assert noted((1.0, 100)).behind(2, 1, 100, 5.0) is None
    assert noted((1.0, 100)).behind(1, 2, 100, 5.0) is None


def test_who_has_all_that_was_said_is_as_far_behind_as_that_is_old() -> None:
    one = noted((1.0, 100), (2.0, 200))
    assert one.behind(1, 1, 200, 2.5) == Behind(0, 0.5, 0.5)
    assert one.behind(1, 1, 250, 2.5) == Behind(0, 0.5, 0.5)


def test_who_lacks_something_has_what_was_there_when_it_was_said() -> None:
    one = noted((1.0, 100), (2.0, 200), (3.0, 300))
    assert one.behind(1, 1, 299, 3.5) == Behind(1, 1.5, 0.5)
    assert one.behind(1, 1, 150, 3.5) == Behind(150, 2.5, 0.5)
    assert one.behind(1, 1, 50, 3.5) == Behind(250, None, 0.5)


def test_primary_that_writes_nothing_is_remembered_by_its_first_and_its_last_word() -> None:
    one = noted((1.0, 100), *((float(at), 200) for at in range(2, 1000)), (1000.0, 300))
    assert one.behind(1, 1, 200, 1000.5) == Behind(100, 1.5, 0.5)
    assert one.behind(1, 1, 100, 1000.5) == Behind(200, 999.5, 0.5)


def test_reign_begins_anew_and_an_earlier_one_says_nothing_more() -> None:
    one = noted((1.0, 500))
    one.note(2, 3, 400, 2.0)
    one.note(1, 1, 600, 3.0)
    assert one.behind(1, 1, 500, 3.0) is None
    assert one.behind(2, 3, 400, 3.0) == Behind(0, 1.0, 1.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 9)), min_size=1, max_size=3 * SAMPLES_MAX),
    st.integers(0, 2000),
)
def test_limit_in_seconds_never_flatters(steps: list[tuple[float, int]], position: int) -> None:
    """Against all that was ever said: who is said to be so many seconds behind had it all at that time."""
    one, history, now, reached = Published(), [], 100.0, 1000
    for pause, written in steps:
        now, reached = now + pause, reached + written
        one.note(1, 1, reached, now)
        history.append((now, reached))
    behind = one.behind(1, 1, position, now)
    assert behind is not None and behind.size == max(0, reached - position)
    had = [at for at, there in history if there <= position]
    if behind.seconds is None:
        assert not had or len(history) > SAMPLES_MAX
    else:
        assert had and now - behind.seconds <= max(had) + 1e-9
    assert len(one._samples) <= SAMPLES_MAX
