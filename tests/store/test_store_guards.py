"""What the store refuses: changes from an unexpected status, and a second task that could be billed."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import StaleRecord, StateError
from reconciler.core.states import LIVE, Record, Result, Role, Status
from reconciler.store.repository import Repository
from reconciler.store.values import Change, HistoryEntry
from tests.support.database import open_repository

from .builders import DAY, NO_CAPS, STORED, fresh, record

_statuses = st.sampled_from(STORED)


def test_change_from_another_status_writes_nothing(repository: Repository) -> None:
    """A change whose record moved on meanwhile is refused, and its neighbours in the call with it."""
    repository.save([fresh(record()), fresh(record("mc1-b"))])
    processing = record(status=Status.PROCESSING)
    good = Change(record("mc1-b", status=Status.SUBMITTED), Status.SUBMITTING)
    stale = Change(processing, Status.SUBMITTED, (HistoryEntry("mc1-a", DAY, "processing"),))
    with pytest.raises(
        StaleRecord, match=r"mc1-a is submitting, but .* expected it to be submitted"
    ):
        repository.save([good, stale])
    assert repository.records() == {"mc1-a": record(), "mc1-b": record("mc1-b")}
    assert [entry.kind for entry in repository.history("mc1-a")] == ["recorded"]


def test_change_of_an_unknown_record_is_stale(repository: Repository) -> None:
    """A record that is not there is not made by a change that expects it."""
    with pytest.raises(StaleRecord, match=r"mc1-a is not recorded"):
        repository.save([Change(record(), Status.SUBMITTING)])


def test_new_record_never_replaces_one(repository: Repository) -> None:
    """A change that expects nothing is refused when the id is taken."""
    repository.save([fresh(record(status=Status.FAILED))])
    with pytest.raises(StaleRecord, match=r"mc1-a is failed, but .* not recorded"):
        repository.save([fresh(record())])
    with pytest.raises(StaleRecord):
        repository.record_intent(fresh(record()), caps=NO_CAPS, run_id="r")


@pytest.mark.parametrize("first", sorted(LIVE))
@pytest.mark.parametrize("second", sorted(LIVE))
def test_two_live_attempts_are_refused(
    repository: Repository, first: Status, second: Status
) -> None:
    """Money rule 1: while an attempt may be billed, no other one of its generation is recorded."""
    repository.save([fresh(record(status=first))])
    with pytest.raises(StateError, match="live task of mc1-a exists already"):
        repository.save([fresh(record(attempt=2, status=second))])
    assert len(repository.attempts("mc1-a")) == 1


def test_intent_beside_a_live_attempt_is_refused(repository: Repository) -> None:
    """The verb that comes before a purchase is refused in the same way, and leaves no line of history."""
    repository.save([fresh(record(status=Status.PROCESSING))])
    with pytest.raises(StateError, match="live task") as caught:
        repository.record_intent(fresh(record(attempt=2)), caps=NO_CAPS, run_id="r")
    assert not isinstance(caught.value, StaleRecord)
    assert len(repository.history("mc1-a")) == 1


def test_ended_attempt_cannot_come_alive_beside_a_live_one(repository: Repository) -> None:
    """The rule holds for changes of status too, not for new records alone."""
    repository.save([fresh(record(status=Status.FAILED)), fresh(record(attempt=2))])
    with pytest.raises(StateError, match="live task"):
        repository.save([Change(record(status=Status.PROCESSING), Status.FAILED)])


def test_attempt_number_belongs_to_one_id(repository: Repository) -> None:
    """Two ids cannot both be the same attempt at a generation."""
    repository.save([fresh(record(status=Status.FAILED))])
    other = record(status=Status.FAILED, external_task_id="mc1-other")
    with pytest.raises(StaleRecord, match="Attempt 1 of mc1-a"):
        repository.save([fresh(other)])


def test_contradictory_results_are_refused_as_a_whole(repository: Repository) -> None:
    """Two files in one role are a sentence without SQL, and nothing is written."""
    video = Result(Role.VIDEO, "a" * 64, 1)
    with pytest.raises(StateError, match="refused a change") as caught:
        repository.save([fresh(record(status=Status.COMPLETE, results=(video, video)))])
    assert "INSERT" not in caught.value.message
    assert repository.records() == {}


def test_intent_is_only_for_what_is_about_to_be_sent(repository: Repository) -> None:
    """Any other status is a mistake of the caller."""
    with pytest.raises(ValueError, match="submitting"):
        repository.record_intent(fresh(record(status=Status.SUBMITTED)), caps=NO_CAPS, run_id="r")


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 3), st.none() | _statuses, _statuses), min_size=1, max_size=25
    )
)
def test_guards_hold_in_any_order_of_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, Status | None, Status]]
) -> None:
    """Whatever is asked in whatever order, the store does what a dictionary with the two rules would."""
    model: dict[int, Record] = {}
    path = tmp_path_factory.mktemp("guards") / "reconciler.db"
    with closing(open_repository(path)) as repository:
        for attempt, expected, status in steps:
            new = record(attempt=attempt, status=status)
            found = model[attempt].status if attempt in model else None
            others = {each.status for number, each in model.items() if number != attempt}
            allowed = found == expected and not (status in LIVE and others & LIVE)
            if allowed:
                repository.save([Change(new, expected)])
                model[attempt] = new
            else:
                with pytest.raises(StateError):
                    repository.save([Change(new, expected)])
            assert repository.attempts("mc1-a") == tuple(model[key] for key in sorted(model))
