"""Caps are checked where the intent is recorded, so no order of events and no race passes them."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import CapReached
from reconciler.core.states import Record, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Caps, Change
from tests.support.database import open_repository

from .builders import DAY, fresh, record

_TEN = Decimal(10)


def _intend(
    repository: Repository, wanted: Record, caps: Caps, *, run_id: str = "run", again: bool = False
) -> None:
    change = Change(wanted, Status.SUBMITTING) if again else fresh(wanted)
    repository.record_intent(change, caps=caps, run_id=run_id)


def test_cap_of_the_day_is_said_in_numbers(repository: Repository) -> None:
    """The estimate that does not fit is refused: cap, used and wanted are in the sentence, nothing on disk."""
    caps = Caps(per_day=Decimal(4))
    _intend(repository, record("mc1-a"), caps)
    with pytest.raises(
        CapReached, match=r"cap of 4 units per day .* 2\.5 are used and 2\.5 more"
    ) as caught:
        _intend(repository, record("mc1-b"), caps)
    assert "RECONCILER_MAX_UNITS_PER_DAY" in caught.value.hint
    assert list(repository.records()) == ["mc1-a"]
    assert repository.history("mc1-b") == ()


def test_cap_is_reached_exactly(repository: Repository) -> None:
    """What fits to the last unit is bought: decimals, not floats (0.1 three times is 0.3)."""
    caps = Caps(per_day=Decimal("0.3"), per_run=Decimal("0.3"))
    for base_id in "abc":
        _intend(repository, record(base_id, estimated_units=Decimal("0.1")), caps)
    with pytest.raises(CapReached):
        _intend(repository, record("d", estimated_units=Decimal("0.1")), caps)


def test_day_and_run_are_counted_apart(repository: Repository) -> None:
    """Yesterday does not count today, and another run does not count in this one."""
    yesterday = record("mc1-a", intent_at=DAY - 1)
    _intend(repository, yesterday, Caps(per_day=_TEN), run_id="old")
    _intend(repository, record("mc1-b"), Caps(per_day=Decimal("2.5")), run_id="new")
    _intend(repository, record("mc1-c"), Caps(per_run=Decimal(5)), run_id="new")
    with pytest.raises(CapReached, match="per run"):
        _intend(repository, record("mc1-d"), Caps(per_run=Decimal(5)), run_id="new")


@pytest.mark.parametrize(
    ("status", "units", "used", "reason"),
    [
        (Status.SUBMITTING, None, "2.5", "it may exist"),
        (Status.PROCESSING, None, "2.5", "it will be billed"),
        (Status.COMPLETE, None, "2.5", "no deduction known: the estimate stands"),
        (Status.COMPLETE, "1.5", "1.5", "corrected by the deduction"),
        (Status.EXPIRED, "4", "4", "paid for, though lost"),
        (Status.FAILED, None, "0", "a failure is free unless the provider says otherwise"),
        (Status.FAILED, "1", "1", "the provider says otherwise"),
        (Status.REJECTED, None, "0", "never accepted"),
        (Status.PENDING, None, "0", "never sent"),
    ],
)
def test_each_status_counts_what_it_costs(
    repository: Repository, status: Status, units: str | None, used: str, reason: str
) -> None:
    """An attempt counts what was deducted, else its estimate, and nothing when it cannot be billed."""
    assert reason
    _intend(repository, record("mc1-a"), Caps())
    paid = None if units is None else Decimal(units)
    repository.save([Change(record("mc1-a", status=status, units=paid), Status.SUBMITTING)])
    exactly = Decimal(used) + Decimal("2.5")
    with pytest.raises(CapReached, match=f"{used} are used"):
        _intend(repository, record("mc1-b"), Caps(per_day=exactly - Decimal("0.001")))
    _intend(repository, record("mc1-b"), Caps(per_day=exactly, per_run=exactly))


def test_repeated_create_counts_once(repository: Repository) -> None:
    """The same attempt recorded again, as a repeated create is, is not added to itself."""
    caps = Caps(per_day=Decimal("2.5"), per_run=Decimal("2.5"))
    _intend(repository, record(), caps)
    _intend(repository, record(creates=2), caps, again=True)
    assert repository.records() == {"mc1-a": record(creates=2)}


def test_saving_keeps_the_run_that_pays(repository: Repository) -> None:
    """Later changes of an attempt leave it in the account of the run that recorded its intent."""
    _intend(repository, record(), Caps(), run_id="first")
    repository.save([Change(record(status=Status.PROCESSING), Status.SUBMITTING)])
    with pytest.raises(CapReached):
        _intend(repository, record("mc1-b"), Caps(per_run=Decimal(4)), run_id="first")
    _intend(repository, record("mc1-b"), Caps(per_run=Decimal(4)), run_id="second")


@settings(max_examples=30, deadline=None)
@given(
    estimates=st.lists(st.decimals(0, 5, places=2), min_size=1, max_size=15),
    cap=st.decimals(0, 12, places=2),
)
def test_sum_of_intents_never_passes_the_cap(
    tmp_path_factory: pytest.TempPathFactory, estimates: list[Decimal], cap: Decimal
) -> None:
    """Exactly those intents are accepted that a ledger of decimals would accept."""
    spent = Decimal(0)
    path = tmp_path_factory.mktemp("caps") / "reconciler.db"
    with closing(open_repository(path)) as repository:
        for number, estimate in enumerate(estimates):
            wanted = record(f"mc1-{number}", estimated_units=estimate)
            if cap and spent + estimate <= cap:
                _intend(repository, wanted, Caps(per_day=cap, per_run=cap))
                spent += estimate
            else:
                with pytest.raises(CapReached):
                    _intend(repository, wanted, Caps(per_day=cap, per_run=cap))


@pytest.mark.parametrize("early", ["0", "1"])
def test_early_deduction_frees_no_cap(repository: Repository, early: str) -> None:
    """A task that runs counts its estimate, though the provider shows a smaller deduction so far."""
    caps = Caps(per_day=Decimal(4), per_run=Decimal(4))
    _intend(repository, record("mc1-a"), caps)
    running = record("mc1-a", status=Status.PROCESSING, task_id="8001", units=Decimal(early))
    repository.save([Change(running, Status.SUBMITTING)])
    with pytest.raises(CapReached, match=r"2\.5 are used"):
        _intend(repository, record("mc1-b"), caps)


def test_dear_deduction_is_added_exactly(repository: Repository) -> None:
    """No digit of a sum is rounded away under the cap."""
    dear, tiny = Decimal(10) ** 30, Decimal("0.001")
    _intend(repository, record("mc1-a", estimated_units=dear), Caps())
    paid = record("mc1-a", status=Status.COMPLETE, estimated_units=dear, units=dear)
    repository.save([Change(paid, Status.SUBMITTING)])
    with pytest.raises(CapReached):
        _intend(repository, record("mc1-b", estimated_units=tiny), Caps(per_day=dear))
    _intend(repository, record("mc1-b", estimated_units=tiny), Caps(per_day=Decimal(10**30 + 1)))


def test_cap_of_nothing_buys_nothing(repository: Repository) -> None:
    """Also where a price of 0 makes the estimate 0: the provider's deduction may be another."""
    for caps in (Caps(per_day=Decimal(0)), Caps(per_run=Decimal(0))):
        with pytest.raises(CapReached):
            _intend(repository, record(estimated_units=Decimal(0)), caps)
    assert repository.records() == {}


@pytest.mark.parametrize("status", [Status.PENDING, Status.REJECTED])
@pytest.mark.parametrize("caps", [Caps(per_day=_TEN), Caps(per_run=_TEN)])
def test_forgotten_purchase_counts_though_its_id_is_wanted_again(
    repository: Repository, status: Status, caps: Caps
) -> None:
    """A new record under the id, that cost nothing, does not hide what was paid before it was forgotten."""
    _intend(repository, record("mc1-a", estimated_units=Decimal(8)), caps)
    repository.forget("mc1-a", now=DAY)
    repository.save([fresh(record("mc1-a", status=status))])
    with pytest.raises(CapReached, match="8 are used"):
        _intend(repository, record("mc1-b"), caps)


def test_forgotten_purchase_counts_for_its_run_when_it_is_imported(repository: Repository) -> None:
    """A task that is found again belongs to no run; the run that paid for it has paid all the same."""
    caps = Caps(per_run=_TEN)
    _intend(repository, record("mc1-a", estimated_units=Decimal(8)), caps)
    repository.forget("mc1-a", now=DAY)
    repository.save([fresh(record("mc1-a", status=Status.PROCESSING, task_id="8001"))])
    with pytest.raises(CapReached, match="8 are used"):
        _intend(repository, record("mc1-b"), caps)


def test_forgotten_purchase_counts_at_least_what_it_cost(repository: Repository) -> None:
    """Sent again under its id, it counts once: what it cost, or what it is expected to cost if that is more."""
    _intend(repository, record("mc1-a"), Caps())
    paid = record("mc1-a", status=Status.COMPLETE, units=Decimal(9))
    repository.save([Change(paid, Status.SUBMITTING)])
    repository.forget("mc1-a", now=DAY)
    with pytest.raises(CapReached, match=r"6\.5 are used and 2\.5 more"):
        _intend(repository, record("mc1-a"), Caps(per_day=Decimal(8)))
    _intend(repository, record("mc1-a"), Caps(per_day=Decimal(9)))


def test_clock_that_was_set_back_frees_no_cap(repository: Repository) -> None:
    """What was bought tomorrow, by a clock that has been corrected since, counts today too."""
    tomorrow = record("mc1-a", intent_at=DAY + 90_000_000)
    _intend(repository, tomorrow, Caps(per_day=Decimal(4)))
    with pytest.raises(CapReached):
        _intend(repository, record("mc1-b"), Caps(per_day=Decimal(4)))


def test_repeated_create_after_midnight_counts_for_the_new_day(repository: Repository) -> None:
    """The day that may be billed is the day of the last create; the cap of that day has to have room for it."""
    _intend(repository, record("mc1-a", intent_at=DAY - 1), Caps())
    _intend(repository, record("mc1-b"), Caps(per_day=Decimal(4)))
    with pytest.raises(CapReached):
        _intend(repository, record("mc1-a", creates=2), Caps(per_day=Decimal(4)), again=True)
