"""The cap of a day holds for every day that a user can see, however the machine's clock is set meanwhile."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import CapReached
from reconciler.core.moments import day_of
from reconciler.core.schedule import DAY as A_DAY
from reconciler.core.schedule import HOUR
from reconciler.core.states import Record, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Caps, Change
from tests.support.database import open_repository

from .builders import DAY, first_version, fresh, record

_SEVEN = Caps(per_day=Decimal(7))
_steps = st.one_of(
    st.tuples(st.just("buy"), st.sampled_from(["0.5", "2.5", "5"])),
    st.tuples(st.just("pass"), st.integers(0, 30 * HOUR)),
    st.tuples(
        st.just("set"),
        st.sampled_from([-1, 1]).flatmap(
            lambda sign: st.integers(0, 3 * A_DAY).map(lambda by: sign * by)
        ),
    ),
    st.tuples(st.sampled_from(["restart", "correct"]), st.none()),
)


def _bought(repository: Repository, name: str, steady: int, wall: int, units: str = "5") -> bool:
    wanted = record(
        f"mc1-{name}", estimated_units=Decimal(units), intent_at=steady, calendar_at=wall
    )
    with suppress(CapReached):
        repository.record_intent(fresh(wanted), caps=_SEVEN, run_id="run")
        return True
    return False


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(_steps, min_size=4, max_size=25))
def test_no_day_that_anybody_sees_passes_its_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    """The calendar is set back and forth by days, processes come and go: each of its days, and of ours, keeps the cap."""
    seen: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    path = tmp_path_factory.mktemp("days") / "reconciler.db"
    wall = steady = DAY
    with closing(open_repository(path)) as repository:
        for number, (what, value) in enumerate(steps):
            match what, value:
                case "pass", int(spent):
                    wall, steady = wall + spent, steady + spent
                case "set", int(by):
                    wall += by
                case "restart", _:
                    steady = wall
                case "correct", _:
                    steady = max(wall, steady)
                case "buy", str(units) if _bought(repository, str(number), steady, wall, units):
                    seen["calendar", day_of(wall)] += Decimal(units)
                    seen["clock", day_of(steady)] += Decimal(units)
    assert all(spent <= 7 for spent in seen.values()), dict(seen)


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        ((0, A_DAY), (0, A_DAY), "the calendar is a day ahead of our clock, for both"),
        (
            (A_DAY, A_DAY),
            (2 * A_DAY, A_DAY),
            "set back after the start: our clock is a day on, the calendar is not",
        ),
        ((0, 0), (0, A_DAY), "set forward: our clock says that it is the same day"),
        ((A_DAY, A_DAY), (A_DAY, 0), "set back: our clock says that it is the same day"),
        (
            (A_DAY, A_DAY),
            (0, 0),
            "set back between two processes: it was bought tomorrow, that is, before now",
        ),
    ],
)
def test_second_purchase_of_a_day_in_doubt_is_refused(
    repository: Repository, first: tuple[int, int], then: tuple[int, int], reason: str
) -> None:
    """5 units, and 5 more under a cap of 7: refused where either clock says that the day is the same."""
    assert reason
    assert _bought(repository, "a", DAY + first[0], DAY + first[1])
    assert not _bought(repository, "b", DAY + then[0], DAY + then[1])


def test_the_next_day_by_both_clocks_is_free_again(repository: Repository) -> None:
    """What was bought while the calendar was a year ahead counts that day by our clock, and then no more."""
    assert _bought(repository, "a", DAY, DAY + 365 * A_DAY)
    assert not _bought(repository, "b", DAY + HOUR, DAY + HOUR)
    assert _bought(repository, "b", DAY + A_DAY, DAY + A_DAY)


def test_forgotten_purchase_keeps_both_of_its_days(repository: Repository) -> None:
    """Forgetting frees no cap of the calendar either."""
    assert _bought(repository, "a", DAY, DAY + 10 * A_DAY)
    repository.forget("mc1-a", now=DAY)
    assert not _bought(repository, "b", DAY + 10 * A_DAY, DAY + 10 * A_DAY)


@pytest.mark.parametrize("told", [DAY // 1000, DAY * 1000, DAY * 1_000_000, 5, -1, 2**62], ids=str)
def test_stored_times_that_cannot_be_count_on_one_day_after_the_upgrade(
    database: Path, told: int
) -> None:
    """Older programs dated an adopted task by whatever the provider said: it counts when it was found, or converted."""
    first_version(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE task SET intent_at = ?, created_at = ?, finished_at = ?, units = '5'",
            (told, told, told),
        )
        connection.execute("DROP TRIGGER event_refuses_update")
        connection.execute(f"UPDATE event SET at = {DAY + HOUR} WHERE id = 1")
        connection.execute(f"UPDATE event SET at = {DAY + 9 * A_DAY} WHERE id = 2")
    with closing(Repository.open(database)) as repository:
        (kept,) = repository.attempts("mc1-a")
        assert kept.intent_at is not None
        assert day_of(kept.calendar_at) == day_of(kept.intent_at) == day_of(DAY)
        assert kept.created_at in (None, DAY)
        assert not _bought(repository, "today", DAY + 2 * HOUR, DAY + 2 * HOUR)
        assert _bought(repository, "tomorrow", DAY + A_DAY, DAY + A_DAY)


@pytest.mark.parametrize(
    ("said", "counts", "reason"),
    [
        ("999999999999", "2.5", "no request costs that: the estimate stays in force"),
        ("361", "2.5", "more than ten times the dearest request"),
        ("360", "360", "ten times the dearest: unlikely, and not impossible"),
        ("-1", "2.5", "less than nothing"),
        ("0", "0", "a free account"),
    ],
)
@pytest.mark.parametrize("status", [Status.COMPLETE, Status.FAILED, Status.EXPIRED])
def test_deduction_counts_where_it_can_be(
    repository: Repository, said: str, counts: str, reason: str, status: Status
) -> None:
    """One absurd number neither shuts the cap for the day nor opens it."""
    assert reason
    repository.record_intent(fresh(record("mc1-a")), caps=Caps(), run_id="run")
    ended: Record = record("mc1-a", status=status, units=Decimal(said))
    repository.save([Change(ended, Status.SUBMITTING)])
    cap = Decimal(counts) + Decimal("2.5")
    with pytest.raises(CapReached, match=f" {counts} are used"):
        repository.record_intent(
            fresh(record("mc1-b")), caps=Caps(per_day=cap - Decimal("0.1")), run_id="run"
        )
    repository.record_intent(fresh(record("mc1-b")), caps=Caps(per_day=cap), run_id="run")
