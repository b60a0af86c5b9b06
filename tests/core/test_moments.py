"""Times that somebody else tells: what they can mean, and that showing one never fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.moments import UNKNOWN, bought_at, day_of, day_start, milliseconds, shown
from reconciler.core.schedule import DAY, HOUR

NOW = 1_764_028_800_000 + 5 * HOUR


@given(at=st.integers(1_577_836_800, 4_102_444_799), unit=st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_any_time_of_this_century_is_told_by_its_size(at: int, unit: int) -> None:
    """Seconds, ms, µs and ns are told apart without a doubt; the result is ms."""
    assert milliseconds(at * unit) == at * 1000


@given(at=st.integers() | st.integers(0, 10**20))
def test_whatever_is_told_can_be_counted_and_shown(at: int) -> None:
    """Nothing raises, and what is believed has a day."""
    told = milliseconds(at)
    assert told is None or day_of(told) != UNKNOWN
    assert day_of(at) == UNKNOWN or len(day_of(at)) == 10
    assert shown(at) == UNKNOWN or shown(at).endswith("Z")
    found = bought_at(told, NOW)
    assert day_start(found) <= found < day_start(found) + DAY
    assert found <= NOW + DAY


@pytest.mark.parametrize(
    ("told", "day", "reason"),
    [
        (NOW - 3 * DAY, "2025-11-22", "as it is told"),
        (NOW + HOUR, "2025-11-25", "another clock may be ahead"),
        (NOW + 2 * DAY, "2025-11-25", "not a time that can be: it was found today"),
        (None, "2025-11-25", "not told"),
    ],
)
def test_what_is_found_was_bought_on_one_day(told: int | None, day: str, reason: str) -> None:
    """Never on every day, and never on none."""
    assert day_of(bought_at(told, NOW)) == day, reason


def test_a_time_is_shown_in_utc() -> None:
    """With milliseconds, or without."""
    assert shown(NOW) == "2025-11-25T05:00:00.000Z"
    assert shown(None) == day_of(None) == UNKNOWN
