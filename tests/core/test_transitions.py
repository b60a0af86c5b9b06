"""What an event makes of a record: tables for each rule, and properties over random histories."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.core.schedule import FEWEST_LOOKS, HOUR, RETENTION, SECOND, Rules
from reconciler.core.states import LIVE, Record, Result, Role, Status, Task, TaskState, Video
from reconciler.core.transitions import (
    Absent,
    Ambiguous,
    Event,
    Gone,
    Kept,
    Lost,
    NotCreated,
    Refused,
    Saved,
    Seen,
    Taken,
    intend,
    may_turn_up,
    step,
)

NOW = 1_800_000_000_000
RULES = Rules(absence_grace=30 * SECOND)
RESULT = Result(Role.VIDEO, "ab" * 32, 10, 5.0)


def record(status: Status, **facts: object) -> Record:
    base = Record(
        external_task_id="mc1-a",
        base_id="mc1-a",
        status=status,
        request="{}",
        created_at=NOW,
        intent_at=NOW,
    )
    return base.evolve(**facts)


def task(state: TaskState, **facts: object) -> Task:
    known = {"said": str(state), "task_id": "1", "updated_at": NOW + 5, **facts}
    return Task(state=state, **known)  # type: ignore[arg-type]


DOUBTFUL = record(Status.SUBMITTING, doubtful=True, gave_up_at=NOW)
LOOKED = DOUBTFUL.evolve(absent_looks=FEWEST_LOOKS)
LATE = NOW + 31 * SECOND


class Row(NamedTuple):
    reason: str
    before: Record
    event: Event
    after: Status
    now: int = NOW
    create: bool = False
    wanted: bool = True


TABLE = [
    Row(
        "only a readable unknown lets a wish be bought",
        record(Status.PENDING),
        Absent(),
        Status.SUBMITTING,
        create=True,
    ),
    Row(
        "what nobody wants is not bought",
        record(Status.PENDING),
        Absent(),
        Status.PENDING,
        wanted=False,
    ),
    Row(
        "a look that finds the task adopts it",
        record(Status.PENDING),
        Seen(task(TaskState.SUBMITTED)),
        Status.SUBMITTED,
    ),
    Row(
        "an answered create is submitted",
        record(Status.SUBMITTING),
        Seen(task(TaskState.SUBMITTED)),
        Status.SUBMITTED,
    ),
    Row(
        "an interrupted create is asked about, not sent again",
        record(Status.SUBMITTING),
        Taken(),
        Status.SUBMITTING,
    ),
    Row(
        "an ambiguous create is not a failure",
        record(Status.SUBMITTING),
        Ambiguous("502"),
        Status.SUBMITTING,
    ),
    Row(
        "a slot refused creates nothing",
        record(Status.SUBMITTING),
        NotCreated("1303"),
        Status.PENDING,
    ),
    Row(
        "a policy refusal is final",
        record(Status.SUBMITTING),
        Refused("1301", surely_ours=True),
        Status.REJECTED,
    ),
    Row(
        "a 1201 may mean a used id: it is looked for",
        record(Status.SUBMITTING),
        Refused("1201", surely_ours=False),
        Status.SUBMITTING,
    ),
    Row(
        "after doubt even a policy refusal waits: the earlier create may be there",
        record(Status.SUBMITTING, doubtful=True),
        Refused("1301", surely_ours=True),
        Status.SUBMITTING,
    ),
    Row("one absent look ends no doubt", DOUBTFUL, Absent(), Status.SUBMITTING, now=LATE),
    Row(
        "looks within the grace end no doubt",
        LOOKED,
        Absent(),
        Status.SUBMITTING,
        now=NOW + 29 * SECOND,
    ),
    Row(
        "absence over the grace lets it be created again",
        LOOKED,
        Absent(),
        Status.SUBMITTING,
        now=LATE,
        create=True,
    ),
    Row(
        "absence over the grace of what nobody wants ends it",
        LOOKED,
        Absent(),
        Status.PENDING,
        now=LATE,
        wanted=False,
    ),
    Row(
        "a held refusal is final after the grace",
        LOOKED.evolve(refusal="1201"),
        Absent(),
        Status.REJECTED,
        now=LATE,
    ),
    Row(
        "a held refusal is forgotten when the task turns up",
        LOOKED.evolve(refusal="1201"),
        Seen(task(TaskState.PROCESSING)),
        Status.PROCESSING,
    ),
    Row(
        "a task that ended while in doubt is adopted",
        LOOKED,
        Seen(task(TaskState.SUCCEEDED)),
        Status.SUCCEEDED,
    ),
    Row(
        "processing follows submitted",
        record(Status.SUBMITTED),
        Seen(task(TaskState.PROCESSING)),
        Status.PROCESSING,
    ),
    Row(
        "a late answer leads nowhere backward",
        record(Status.PROCESSING),
        Seen(task(TaskState.SUBMITTED)),
        Status.PROCESSING,
    ),
    Row(
        "a word in no list is waited for",
        record(Status.PROCESSING),
        Seen(task(TaskState.UNLISTED, said="queued")),
        Status.PROCESSING,
    ),
    Row(
        "a word in no list at the start counts as submitted",
        record(Status.SUBMITTING),
        Seen(task(TaskState.UNLISTED)),
        Status.SUBMITTED,
    ),
    Row(
        "the provider's failure is a failure",
        record(Status.PROCESSING),
        Seen(task(TaskState.FAILED, message="risk")),
        Status.FAILED,
    ),
    Row(
        "a failure is taken back when the provider shows the task at work",
        record(Status.FAILED),
        Seen(task(TaskState.PROCESSING)),
        Status.PROCESSING,
    ),
    Row(
        "a success is not undone by an old answer",
        record(Status.SUCCEEDED),
        Seen(task(TaskState.PROCESSING)),
        Status.SUCCEEDED,
    ),
    Row(
        "a rejected id that turns up is adopted",
        record(Status.REJECTED),
        Seen(task(TaskState.PROCESSING)),
        Status.PROCESSING,
    ),
    Row(
        "a task that was seen does not end by being unknown",
        record(Status.PROCESSING),
        Absent(),
        Status.PROCESSING,
    ),
    Row(
        "a task unknown after its retention may be a clock that is wrong: look again",
        record(Status.PROCESSING),
        Absent(),
        Status.PROCESSING,
        now=NOW + RETENTION + 1,
    ),
    Row(
        "a task unknown after its retention, over the grace, is gone",
        record(Status.PROCESSING, gave_up_at=NOW + RETENTION, absent_looks=FEWEST_LOOKS),
        Absent(),
        Status.EXPIRED,
        now=NOW + RETENTION + 31 * SECOND,
    ),
    Row(
        "what expired and is found after all is fetched",
        record(Status.EXPIRED),
        Seen(task(TaskState.SUCCEEDED, videos=(Video("https://example.com/v.mp4"),))),
        Status.SUCCEEDED,
    ),
    Row(
        "what expired and has no file any more stays so",
        record(Status.EXPIRED),
        Seen(task(TaskState.SUCCEEDED, videos=(Video(""),))),
        Status.EXPIRED,
    ),
    Row(
        "a second create that came to nothing waits twice as long",
        LOOKED.evolve(creates=2),
        Absent(),
        Status.SUBMITTING,
        now=LATE,
    ),
    Row("a result unknown once may be lag", record(Status.SUCCEEDED), Absent(), Status.SUCCEEDED),
    Row(
        "a result unknown over the grace is gone",
        record(Status.SUCCEEDED, gave_up_at=NOW, absent_looks=FEWEST_LOOKS),
        Absent(),
        Status.EXPIRED,
        now=LATE,
    ),
    Row("a cleared result is expired", record(Status.SUCCEEDED), Gone("cleared"), Status.EXPIRED),
    Row("saved results complete it", record(Status.SUCCEEDED), Saved((RESULT,)), Status.COMPLETE),
    Row(
        "so they do without a preview",
        record(Status.SUCCEEDED, results=(RESULT,)),
        Saved((RESULT,), ()),
        Status.COMPLETE,
    ),
    Row(
        "a cleared result that turns up on this disk is ours again",
        record(Status.EXPIRED),
        Saved((RESULT,)),
        Status.COMPLETE,
    ),
    Row(
        "lost bytes are fetched again",
        record(Status.COMPLETE, results=(RESULT,)),
        Lost(),
        Status.SUCCEEDED,
    ),
    Row(
        "what is complete is not bought again for being unknown",
        record(Status.COMPLETE),
        Absent(),
        Status.COMPLETE,
    ),
    Row(
        "what failed is not wanted again by itself", record(Status.FAILED), Absent(), Status.FAILED
    ),
    Row(
        "what was rejected is not wanted again by itself",
        record(Status.REJECTED),
        Absent(),
        Status.REJECTED,
    ),
    Row("what expired is not bought again", record(Status.EXPIRED), Absent(), Status.EXPIRED),
]


@pytest.mark.parametrize("row", TABLE, ids=[row.reason for row in TABLE])
def test_each_event_leads_where_the_rules_say(row: Row) -> None:
    """Every row's reason is the promise."""
    decision = step(row.before, row.event, rules=RULES, now=row.now, wanted=row.wanted)
    assert (decision.record.status, decision.create) == (row.after, row.create)


def test_a_seen_task_brings_its_facts() -> None:
    """What the provider says of a finished task is on the record: id, units, times."""
    said = task(
        TaskState.SUCCEEDED,
        task_id="77",
        units=Decimal("2.5"),
        created_at=NOW - 9,
        videos=(Video("u"),),
    )
    after = step(
        record(Status.PROCESSING, reason="waiting"), Seen(said), rules=RULES, now=NOW
    ).record
    assert (after.task_id, after.units, after.created_at, after.finished_at) == (
        "77",
        Decimal("2.5"),
        NOW - 9,
        NOW + 5,
    )
    assert after.reason == ""


def test_an_intent_begins_a_new_count_and_keeps_the_doubt() -> None:
    """A create that is sent again starts its own looks, and remembers that an earlier one was in doubt."""
    again = intend(LOOKED.evolve(creates=1), LATE)
    assert (again.creates, again.absent_looks, again.gave_up_at, again.doubtful) == (
        2,
        0,
        None,
        True,
    )
    assert again.intent_at == LATE, "a cap counts it for the day on which it may be billed"


def test_a_doubt_that_another_process_left_behind_is_counted_anew() -> None:
    """By which clock it began is not known: neither its time nor its looks count, and its reason stays."""
    found = step(LOOKED, Taken(), rules=RULES, now=LATE).record
    assert (found.gave_up_at, found.absent_looks, found.reason) == (LATE, 0, LOOKED.reason)
    assert found.status is Status.SUBMITTING


def test_absence_is_counted_from_the_first_answer_that_showed_it() -> None:
    """Since the request was given up the provider may have been out of reach, which says nothing of the task."""
    looked = step(DOUBTFUL, Absent(), rules=RULES, now=LATE).record
    assert (looked.gave_up_at, looked.absent_looks) == (LATE, 1)
    again = step(looked, Absent(), rules=RULES, now=LATE + SECOND).record
    assert (again.gave_up_at, again.absent_looks) == (LATE, 2)


def test_a_clock_that_was_set_back_does_not_stretch_the_grace() -> None:
    """A doubt that began in the future counts from now: it ends one grace period later, not hours later."""
    ahead = DOUBTFUL.evolve(gave_up_at=NOW + 3_600 * SECOND)
    looked = step(ahead, Absent(), rules=RULES, now=NOW).record
    assert looked.gave_up_at == NOW


def test_units_that_come_late_are_still_taken() -> None:
    """The deduction has the last word, even after the result was saved."""
    late = Seen(task(TaskState.SUCCEEDED, units=Decimal("1.25")))
    assert step(record(Status.COMPLETE), late, rules=RULES, now=NOW).record.units == Decimal("1.25")


EVENTS: list[Event] = [
    *(Seen(task(state)) for state in TaskState),
    Absent(),
    Taken(),
    NotCreated("held"),
    Ambiguous("lost"),
    Refused("1201", surely_ours=False),
    Refused("1301", surely_ours=True),
    Kept(RESULT),
    Saved((RESULT,)),
    Lost(),
    Gone("cleared"),
]


@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.integers(0, 40 * SECOND), st.booleans()), max_size=40
    )
)
def test_no_history_creates_except_upon_a_readable_unknown(
    history: list[tuple[Event, int, bool]],
) -> None:
    """Whatever happens, in whatever order: a create answers `Absent`, of a generation that is wanted, whose
    earlier create is not in doubt any more."""
    current, now = record(Status.PENDING, intent_at=None, created_at=None), NOW
    for event, later, wanted in history:
        now += later
        decision = step(current, event, rules=RULES, now=now, wanted=wanted)
        if decision.create:
            assert isinstance(event, Absent)
            assert wanted
            assert current.status is Status.PENDING or (
                current.gave_up_at is not None
                and now - current.gave_up_at >= RULES.absence_grace
                and current.absent_looks + 1 >= FEWEST_LOOKS
                and not current.refusal
            )
            assert decision.record.status is Status.SUBMITTING
        current = decision.record


@given(
    st.sampled_from(sorted(Status)),
    st.sampled_from(EVENTS),
    st.integers(0, 60 * SECOND),
)
def test_waiting_and_silence_never_end_a_task(status: Status, event: Event, later: int) -> None:
    """A live task ends only because the provider said so, refused it, or its retention is over."""
    decision = step(record(status), event, rules=RULES, now=NOW + later)
    if status in LIVE and decision.record.status not in LIVE:
        ended_by = isinstance(event, Seen) and event.task.state in {
            TaskState.SUCCEEDED,
            TaskState.FAILED,
        }
        refused = status is Status.SUBMITTING and isinstance(event, Refused | NotCreated)
        assert ended_by or refused


@given(
    st.sampled_from(sorted(Status)),
    st.sampled_from([event for event in EVENTS if not isinstance(event, Absent)]),
)
def test_an_event_that_comes_twice_changes_nothing_the_second_time(
    status: Status, event: Event
) -> None:
    """Answers repeat; only looks are counted, and words that take a success back."""
    fails = isinstance(event, Seen) and event.task.state is TaskState.FAILED
    assume(not (status is Status.SUCCEEDED and fails))
    once = step(record(status), event, rules=RULES, now=NOW)
    assert step(once.record, event, rules=RULES, now=NOW).record == once.record


@pytest.mark.parametrize(
    ("reason", "given_up", "expected"),
    [
        ("its result may be there", record(Status.EXPIRED, finished_at=NOW), True),
        ("an earlier create may be behind it", record(Status.REJECTED, doubtful=True), True),
        ("surely refused", record(Status.REJECTED), False),
        ("cleared by now", record(Status.EXPIRED, finished_at=NOW - RETENTION), False),
        ("so is what was lost", record(Status.REJECTED, doubtful=True, created_at=NOW - RETENTION), False),
        ("it failed just now: once more", record(Status.FAILED, finished_at=NOW), True),
        ("it failed long ago", record(Status.FAILED, finished_at=NOW - 3 * HOUR), False),
        ("from when nobody knows", record(Status.EXPIRED, created_at=None, intent_at=None), False),
    ],
)  # fmt: skip
def test_what_was_given_up_may_turn_up(reason: str, given_up: Record, expected: bool) -> None:
    """Whatever may be paid for, for as long as the provider keeps results."""
    assert may_turn_up(given_up, NOW + 1) is expected, reason


@pytest.mark.parametrize("said_when", ["updated_at", "created_at", "on record"])
@pytest.mark.parametrize("given_up", [Status.EXPIRED, Status.FAILED])
def test_what_is_listed_though_it_is_cleared_does_not_come_back(
    given_up: Status, said_when: str
) -> None:
    """Else it would expire, come back and expire again, and no further attempt could ever begin."""
    made = {"updated_at": None, "videos": (Video("https://example.com/x.mp4"),)}
    if said_when != "on record":
        made[said_when] = NOW  # type: ignore[assignment]
    listed = task(TaskState.SUCCEEDED, **made)
    later = NOW + RETENTION + 1
    after = step(record(given_up), Seen(listed), rules=RULES, now=later).record
    assert after.status is given_up
    assert step(record(given_up), Seen(listed), rules=RULES, now=NOW + 1).record.status is (
        Status.SUCCEEDED
    )


def test_an_id_in_use_whose_task_is_never_shown_ends_when_its_result_must_be_cleared() -> None:
    """Nothing could be fetched any more: it is `expired`, counts as paid, and a further attempt may be ordered."""
    used = LOOKED.evolve(in_use=True)
    late = step(used, Absent(), rules=RULES, now=NOW + RETENTION)
    assert late.record.status is Status.SUBMITTING
    over = step(used, Absent(), rules=RULES, now=NOW + RETENTION + 1)
    assert (over.record.status, over.create) == (Status.EXPIRED, False)


POSTER, SHEET = (
    Result(role, digit * 64, 5) for role, digit in ((Role.POSTER, "c"), (Role.SHEET, "d"))
)


def test_previews_are_taken_in_with_the_results_and_those_that_are_known_stay() -> None:
    """In one order, whichever came first; what is made anew takes the place of what was."""
    saved = record(Status.SUCCEEDED, results=(RESULT,), previews=(SHEET,))
    made = step(saved, Saved((RESULT,), (POSTER,)), rules=RULES, now=NOW).record
    assert (made.results, made.previews) == ((RESULT,), (POSTER, SHEET))
    anew = replace(POSTER, sha256="e" * 64)
    lost = made.evolve(status=Status.SUCCEEDED)
    assert step(lost, Saved((RESULT,), (anew,)), rules=RULES, now=NOW).record.previews == (
        anew,
        SHEET,
    )


def test_previews_of_another_video_are_let_go() -> None:
    """The same bytes again keep them; a poster that shows something else is worse than none."""
    lost = record(Status.SUCCEEDED, results=(RESULT,), previews=(POSTER,))
    again = step(lost, Kept(replace(RESULT, width=720)), rules=RULES, now=NOW).record
    assert (again.previews, again.results[0].width) == ((POSTER,), 720)
    other = step(lost, Kept(replace(RESULT, sha256="f" * 64)), rules=RULES, now=NOW).record
    assert other.previews == ()


def test_a_preview_is_never_what_a_request_asked_for() -> None:
    """A record that has nothing but a poster still lacks its video."""
    assert record(Status.SUCCEEDED, previews=(POSTER,)).lacking == (Role.VIDEO,)
