"""The difference between what is wanted and what is known, as a table with a reason for each row."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.diff import (
    BUYS,
    Action,
    Known,
    Output,
    Standing,
    assess,
    content_problem,
    diff,
    next_attempt,
)
from reconciler.core.documents import Place, Problem
from reconciler.core.states import BOUGHT, Result, Role, Status

from .builders import SMALLEST, generations

WISH = generations({**SMALLEST})[0]
RETRIED = generations({**SMALLEST, "retries": 1})[0]
PATH = "specs/dance.mp4"
RESULT = Result(Role.VIDEO, "ab" * 32, 10, 5.0)


def known(status: Status | None, standing: Standing = Standing.MISSING, **facts: object) -> Known:
    record = None
    if status is not None:
        results = (RESULT,) if status is Status.COMPLETE else ()
        record = next_attempt(WISH, None).evolve(status=status, results=results)
    return Known(record=record, outputs=(Output(Role.VIDEO, PATH, standing),), **facts)  # type: ignore[arg-type]


class Row(NamedTuple):
    reason: str
    known: Known
    action: Action
    status: Status


TABLE = [
    Row("nothing was sent: buy it", known(None), Action.SUBMIT, Status.PENDING),
    Row(
        "a file that is not ours stands there",
        known(None, Standing.TAKEN),
        Action.BLOCKED,
        Status.BLOCKED,
    ),
    Row(
        "an older result of ours stands there",
        known(None, Standing.OTHER),
        Action.SUBMIT,
        Status.PENDING,
    ),
    Row(
        "something on our side is missing",
        known(None, obstacle="no media store"),
        Action.BLOCKED,
        Status.BLOCKED,
    ),
    Row(
        "the last run was held back; try again",
        known(None, hold="a cap"),
        Action.SUBMIT,
        Status.BLOCKED,
    ),
    Row(
        "a create that was refused for a slot", known(Status.PENDING), Action.SUBMIT, Status.PENDING
    ),
    Row(
        "the outcome of a create is unknown",
        known(Status.SUBMITTING),
        Action.ADOPT,
        Status.SUBMITTING,
    ),
    Row("at the provider", known(Status.SUBMITTED), Action.WAIT, Status.SUBMITTED),
    Row("being made", known(Status.PROCESSING), Action.WAIT, Status.PROCESSING),
    Row("made, not saved", known(Status.SUCCEEDED), Action.DOWNLOAD, Status.SUCCEEDED),
    Row(
        "made, and the disk was full",
        known(Status.SUCCEEDED, hold="disk"),
        Action.DOWNLOAD,
        Status.BLOCKED,
    ),
    Row("saved and published", known(Status.COMPLETE, Standing.OURS), Action.KEEP, Status.COMPLETE),
    Row(
        "saved, the output is missing",
        known(Status.COMPLETE, obtainable=True),
        Action.PUBLISH,
        Status.SUCCEEDED,
    ),
    Row(
        "saved, another result of ours stands there",
        known(Status.COMPLETE, Standing.OTHER, obtainable=True),
        Action.PUBLISH,
        Status.SUCCEEDED,
    ),
    Row("saved, and found nowhere", known(Status.COMPLETE), Action.DOWNLOAD, Status.SUCCEEDED),
    Row(
        "saved, but the place is taken",
        known(Status.COMPLETE, Standing.TAKEN),
        Action.BLOCKED,
        Status.BLOCKED,
    ),
    Row("failed: not wanted again by itself", known(Status.FAILED), Action.FAILED, Status.FAILED),
    Row(
        "rejected: not wanted again by itself",
        known(Status.REJECTED),
        Action.FAILED,
        Status.REJECTED,
    ),
    Row(
        "cleared before it was saved: never bought again",
        known(Status.EXPIRED),
        Action.EXPIRED,
        Status.EXPIRED,
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=[row.reason for row in TABLE])
def test_each_generation_gets_the_action_that_its_facts_call_for(row: Row) -> None:
    """Every row's reason is the promise; every action but `keep` says why."""
    found = assess(WISH, row.known)
    assert (found.action, found.status) == (row.action, row.status)
    assert found.reason or found.action is Action.KEEP or row.known.record


def test_a_failure_is_tried_again_only_as_often_as_the_spec_allows() -> None:
    """`retries: 1` allows one new attempt, under the id with -r2, and no third."""
    failed = next_attempt(RETRIED, None).evolve(status=Status.FAILED, reason="bad luck")
    again = assess(RETRIED, Known(record=failed))
    assert (again.action, again.external_task_id) == (
        Action.RETRY,
        f"{RETRIED.external_task_id}-r2",
    )
    second = next_attempt(RETRIED, failed)
    assert (second.status, second.attempt) == (Status.PENDING, 2)
    assert (
        assess(RETRIED, Known(record=second.evolve(status=Status.FAILED))).action is Action.FAILED
    )


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FAILED])
def test_only_a_failure_is_followed_by_another_attempt(status: Status) -> None:
    """An attempt that may still be billed, or was, is never followed by a second one (rule 6)."""
    record = next_attempt(RETRIED, None).evolve(status=status)
    assert next_attempt(RETRIED, record) == record


SITUATIONS = st.builds(
    Known,
    record=st.none()
    | st.builds(
        lambda status, attempt: next_attempt(WISH, None).evolve(
            status=status, attempt=attempt, results=(RESULT,) if status in BOUGHT else ()
        ),
        st.sampled_from([s for s in Status if s not in (Status.INVALID, Status.BLOCKED)]),
        st.integers(1, 4),
    ),
    outputs=st.sampled_from(Standing).map(lambda there: (Output(Role.VIDEO, PATH, there),)),
    obtainable=st.booleans(),
    hold=st.sampled_from(["", "a cap"]),
    obstacle=st.sampled_from(["", "no media store"]),
)


@given(SITUATIONS, st.integers(0, 3))
def test_suspending_stops_what_would_be_bought_and_changes_nothing_else(
    situation: Known, retries: int
) -> None:
    """Bought, in flight or saved goes on as ever; whatever is not, is held and says what frees it."""
    wish = generations({**SMALLEST, "retries": retries})[0]
    held = replace(wish, suspended=True)
    before, after = assess(wish, situation), assess(held, situation)
    unhindered = assess(wish, situation._replace(obstacle="", outputs=()))
    if unhindered.action in BUYS:
        assert (after.action, after.status) == (Action.BLOCKED, Status.BLOCKED)
        assert "suspend: true" in after.reason
        assert after.estimated_units == 0
        assert after.external_task_id == before.external_task_id
    else:
        assert after._replace(generation=wish) == before


@given(SITUATIONS, st.integers(0, 3))
def test_a_suspended_generation_gets_no_new_attempt(situation: Known, retries: int) -> None:
    """It can still be looked for under its first id; a failure is not followed by another try."""
    held = generations({**SMALLEST, "retries": retries, "suspend": True})[0]
    assert next_attempt(held, situation.record) == (situation.record or next_attempt(WISH, None))


def test_what_two_specs_share_is_estimated_once() -> None:
    """The same wish in two specs is one purchase."""
    other = generations({**SMALLEST}, "specs/again.yaml")[0]
    plan = diff([WISH, other], {(w.spec, w.label): Known() for w in (WISH, other)}, {})
    assert plan.summary() == {"submit": 2}
    assert plan.estimated_units == WISH.estimated_units == Decimal(8)


def test_a_plan_with_nothing_to_do_has_no_changes() -> None:
    """`plan --detailed-exitcode` tells something to do from nothing."""
    keep = {(WISH.spec, ""): known(Status.COMPLETE, Standing.OURS)}
    assert not diff([WISH], keep, {}).changes
    assert diff([WISH], {(WISH.spec, ""): Known()}, {}).changes


def test_invalid_specs_and_orphans_are_counted_beside_the_actions() -> None:
    """One bad spec is said, and stops nothing else."""
    bad = {"specs/bad.yaml": (Problem(Place("specs/bad.yaml"), "", "broken"),)}
    plan = diff([WISH], {(WISH.spec, ""): Known()}, bad, ["specs/old.mp4"])
    assert plan.summary() == {"submit": 1, "invalid": 1, "orphan": 1}


def test_an_id_of_the_users_own_stands_for_one_content() -> None:
    """A changed content under a kept id is an error, not a purchase."""
    mine = generations({**SMALLEST, "external_task_id": "mine"})[0]
    changed = generations({**SMALLEST, "external_task_id": "mine", "prompt": "other"})[0]
    bought = next_attempt(mine, None).evolve(status=Status.PROCESSING)
    assert content_problem(mine, bought) == ""
    assert "mine" in content_problem(changed, bought)


def test_an_id_that_was_never_sent_may_stand_for_something_else() -> None:
    """A wish that was held back before anything was created can still be edited."""
    mine = generations({**SMALLEST, "external_task_id": "mine"})[0]
    changed = generations({**SMALLEST, "external_task_id": "mine", "prompt": "other"})[0]
    held = next_attempt(mine, None)
    assert content_problem(changed, held) == ""
    assert next_attempt(changed, held).request == changed.canonical


PREVIEW = Result(Role.POSTER, "cd" * 32, 5)


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("unshown", [False, True])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.reason)
def test_a_preview_decides_nothing_but_whether_it_is_published(
    row: Row, standing: Standing, unshown: bool
) -> None:
    """Wherever one stands, is missing or is not ours: every answer is as without it, but for what is complete."""
    record = row.known.record and row.known.record.evolve(previews=(PREVIEW,))
    preview = Output(Role.POSTER, "specs/dance.poster.webp", standing)
    seen = row.known._replace(record=record, previews=(preview,), unshown=unshown)
    item, bare = assess(WISH, seen), assess(WISH, row.known)
    if bare.action is Action.KEEP and unshown:
        assert (item.action, item.status) == (Action.PUBLISH, bare.status)
    else:
        assert (item.action, item.status, item.reason) == (bare.action, bare.status, bare.reason)
    assert item.published == bare.published
