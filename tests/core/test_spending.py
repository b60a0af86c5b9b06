"""What was spent, grouped: whatever the groups are, nothing is counted twice or left out."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.moments import UNKNOWN
from reconciler.core.purchases import By, Purchase, Sums, between, group, total_of
from reconciler.core.schedule import DAY
from reconciler.core.spending import charged
from reconciler.core.states import Status

_MIDNIGHT = 1_764_028_800_000  # ms: 2025-11-25 00:00 UTC


def bought(**changes: object) -> Purchase:
    """Return a purchase that is complete and wanted: 8 units estimated, 7.5 deducted."""
    values: dict[str, object] = {
        "external_task_id": "mc1-a",
        "at": _MIDNIGHT,
        "spec": "specs/ads/dance.yaml",
        "model": "kling-v3",
        "status": Status.COMPLETE,
        "estimated": Decimal(8),
        "deducted": Decimal("7.5"),
        "wanted": True,
    }
    return Purchase(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "units", "counts", "reason"),
    [
        (Status.PENDING, "9", "0", "never sent"),
        (Status.REJECTED, None, "0", "refused"),
        (Status.SUBMITTING, None, "8", "it may exist"),
        (
            Status.PROCESSING,
            "0",
            "8",
            "a task that runs is not free because nothing is deducted yet",
        ),
        (Status.PROCESSING, "9", "9", "more is deducted already than was expected"),
        (Status.SUCCEEDED, None, "8", "no deduction known: the estimate stands"),
        (Status.COMPLETE, "7.5", "7.5", "the deduction has the last word"),
        (Status.COMPLETE, "0", "0", "also when it is nothing"),
        (Status.COMPLETE, "-3", "8", "nothing that is bought frees a cap"),
        (Status.COMPLETE, "999999999999", "8", "no task costs that: the estimate stands"),
        (Status.PROCESSING, "999999999999", "8", "nor while it runs"),
        (Status.FAILED, "999999999999", "8", "something was said, and may be true in part"),
        (Status.COMPLETE, "NaN", "8", "no number"),
        (Status.EXPIRED, None, "8", "paid, though lost"),
        (Status.FAILED, None, "0", "a failure is free"),
        (Status.FAILED, "1", "1", "unless the provider says otherwise"),
    ],
)
def test_each_status_counts_what_it_costs(
    status: Status, units: str | None, counts: str, reason: str
) -> None:
    """The deduction of what has ended, else the estimate, and nothing for what cannot be billed."""
    assert reason
    paid = None if units is None else Decimal(units)
    assert charged(status, Decimal(8), paid) == Decimal(counts)


@pytest.mark.parametrize(
    ("changes", "expected", "reason"),
    [
        ({}, "8 7.5 0 -0.5 0 0", "wanted, and less than expected"),
        ({"deducted": None}, "8 0 8 0 0 0", "no deduction yet: by estimate, and no difference"),
        ({"status": Status.EXPIRED}, "8 7.5 0 -0.5 7.5 0", "paid, and not to be had"),
        ({"status": Status.EXPIRED, "deducted": None}, "8 0 8 0 8 0", "the same, by estimate"),
        ({"status": Status.FAILED}, "8 7.5 0 -0.5 7.5 0", "charged though it failed"),
        ({"wanted": False}, "8 7.5 0 -0.5 0 7.5", "no spec asks for it: kept, so not wasted"),
        ({"wanted": False, "status": Status.EXPIRED}, "8 7.5 0 -0.5 7.5 0", "wasted, once"),
        ({"wanted": False, "status": None, "deducted": None}, "8 0 8 0 0 8", "forgotten"),
    ],
)
def test_what_a_purchase_comes_to(changes: dict[str, object], expected: str, reason: str) -> None:
    """Estimated, deducted, by estimate, difference, wasted, not wanted any more."""
    assert reason
    sums = total_of([bought(**changes)])
    assert sums == Sums(1, *map(Decimal, expected.split()))


@pytest.mark.parametrize(
    ("by", "changes", "name"),
    [
        (By.DAY, {}, "2025-11-25"),
        (By.DAY, {"at": _MIDNIGHT - 1}, "2025-11-24"),
        (By.DAY, {"at": None}, UNKNOWN),
        (By.SPEC, {}, "specs/ads/dance.yaml"),
        (By.FOLDER, {}, "specs/ads"),
        (By.FOLDER, {"spec": ""}, UNKNOWN),
        (By.MODEL, {}, "kling-v3"),
        (By.MODEL, {"model": ""}, UNKNOWN),
        (By.ATTEMPT, {}, "mc1-a"),
    ],
)
def test_groups_have_names(by: By, changes: dict[str, object], name: str) -> None:
    """Days are UTC, as for caps; what is not known has a name too, and is not left out."""
    assert list(group([bought(**changes)], by)) == [name]


def test_a_period_includes_both_of_its_days() -> None:
    """A purchase whose day nobody knows belongs to no period but the whole."""
    days = [bought(at=_MIDNIGHT + n * DAY) for n in range(4)]
    undated = bought(at=None)
    assert between([*days, undated], "2025-11-26", "2025-11-27") == tuple(days[1:3])
    assert between([*days, undated], "2025-11-28", None) == (days[3],)
    assert between([*days, undated], None, None) == (*days, undated)


_UNITS = st.decimals(0, 10**12, places=12, allow_nan=False)
_PURCHASES = st.lists(
    st.builds(
        Purchase,
        external_task_id=st.sampled_from("abc"),
        at=st.none() | st.integers(_MIDNIGHT, _MIDNIGHT + 3 * DAY),
        spec=st.sampled_from(["", "specs/a.yaml", "specs/b/a.yaml", "specs/b/c.yaml"]),
        model=st.sampled_from(["", "kling-v2-6", "kling-v3"]),
        status=st.none() | st.sampled_from(Status),
        estimated=_UNITS,
        deducted=st.none() | _UNITS,
        wanted=st.booleans(),
    ),
    max_size=12,
)


@given(purchases=_PURCHASES, by=st.sampled_from(By))
def test_sums_by_any_grouping_are_equal(purchases: list[Purchase], by: By) -> None:
    """The groups add up to the whole, to the last digit."""
    parts = group(purchases, by).values()
    for field in fields(Sums):
        whole = getattr(total_of(purchases), field.name)
        assert sum(getattr(part, field.name) for part in parts) == whole


@given(purchases=_PURCHASES)
def test_columns_agree_with_each_other(purchases: list[Purchase]) -> None:
    """Spent is estimated and the difference; what was wasted or is not wanted was spent, and not both."""
    sums = total_of(purchases)
    assert sums.spent == sums.estimated + sums.difference
    assert sums.wasted + sums.unwanted <= sums.spent
    assert sums.attempts == len(purchases)
