"""One generation's turns, as tables: what an event leads to, and when it is next. No clock, no disk, no loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.account import Account, Contact, Failures
from reconciler.core.advance import Advance, advance
from reconciler.core.diff import attempt_of
from reconciler.core.progress import (
    AskAnything,
    Asked,
    At,
    Cause,
    Deliver,
    Delivered,
    Done,
    Due,
    Effect,
    Event,
    Failed,
    Fetch,
    Fetched,
    GiveUp,
    Held,
    Hold,
    InFlight,
    Look,
    Looked,
    Polled,
    Progress,
    Say,
    Stopped,
    Terms,
    Topic,
    Trouble,
    TroubleKind,
    Verdict,
    Waits,
    Work,
)
from reconciler.core.schedule import HOUR, SECOND
from reconciler.core.states import LIVE, Record, Result, Role, Status
from tests.core.builders import SMALLEST, generations

NOW = 1_800_000_000_000
APPLY, WATCH = Terms(), Terms(enduring=True)
(WISH,) = generations(SMALLEST)
RECORD = attempt_of(WISH, 1)
MODEL = RECORD.model
VIDEO = Result(Role.VIDEO, "a" * 64, 1000)


def record(status: Status, **facts: Any) -> Record:
    sent = {} if status is Status.PENDING else {"intent_at": NOW, "creates": 1}
    return RECORD.evolve(status=status, **sent, **facts)


def progress(status: Status | None = None, **known: Any) -> Progress:
    """A generation that is wanted, in a status (None: never sent)."""
    facts = known.pop("facts", {})
    latest = None if status is None else record(status, **facts)
    work = Work(RECORD.base_id, (WISH,))
    return Progress(base_id=RECORD.base_id, **{"record": latest, "work": work, **known})


def account(**known: Any) -> Account:
    return Account(**{"contact": Contact(heard_at=NOW), **known})


def forward(one: Account) -> Account:
    return one.come_forward(RECORD.base_id, MODEL, NOW)


PAUSED = account().paused("out of units", NOW, by_create=True)
PAUSE_OVER = NOW + 30 * SECOND


def trouble(kind: TroubleKind, **more: Any) -> Trouble:
    return Trouble(kind, "it broke. Mend it.", "it broke", **more)


def kinds(effects: Sequence[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


@pytest.mark.parametrize(
    ("known", "shared", "terms", "effects", "verdict", "reason"),
    [
        (progress(), account(), APPLY, [], Waits(MODEL), "who is not sent waits in line"),
        (progress(), forward(account()), APPLY, ["Look"], None, "who came forward looks"),
        (progress(), PAUSED, APPLY, ["Look"], None, "a run that ends may find it after all"),
        (progress(), PAUSED, WATCH, ["Tell"], Held(PAUSE_OVER), "watch waits for the account"),
        (replace(progress(), work=None), account(), APPLY, [], Done(), "nothing is to be done"),
        (
            replace(progress(Status.PENDING), work=Work(RECORD.base_id)),
            account(),
            APPLY,
            [],
            Done(),
            "nobody wants it any more, and it was never sent",
        ),
        (
            progress(Status.SUBMITTING, facts={"gave_up_at": NOW}),
            account(),
            APPLY,
            ["Look"],
            None,
            "in doubt: asked for",
        ),
        (
            progress(Status.SUBMITTING),
            account(),
            APPLY,
            ["TakeUp", "Look"],
            None,
            "the process that sent it is gone",
        ),
        (
            progress(Status.SUBMITTING, facts={"gave_up_at": NOW}, inherited=True),
            account(),
            APPLY,
            ["TakeUp", "Look"],
            None,
            "absence counts anew in a new process",
        ),
        (progress(Status.PROCESSING), account(), APPLY, [], InFlight(), "the poll sees to it"),
        (progress(Status.SUCCEEDED), account(), APPLY, ["Fetch"], None, "paid for: saved"),
        (progress(Status.COMPLETE), account(), APPLY, ["Deliver"], None, "saved: published"),
        (progress(Status.FAILED), account(), APPLY, ["Look"], None, "given up by an earlier run"),
        (
            progress(Status.FAILED, looked_at=(RECORD.external_task_id, NOW)),
            account(),
            WATCH,
            ["Deliver"],
            None,
            "looked at just now: its receipt is written",
        ),
        (
            progress(Status.EXPIRED, looked_at=(RECORD.external_task_id, NOW - HOUR)),
            account(),
            WATCH,
            ["Look"],
            None,
            "looked at an hour ago, and it may turn up",
        ),
    ],
)
def test_what_a_turn_begins_with(
    known: Progress,
    shared: Account,
    terms: Terms,
    effects: list[str],
    verdict: Verdict | None,
    reason: str,
) -> None:
    """Read off what is known at that moment, whatever was meant before."""
    done = advance(known, Due(), shared, terms, NOW)
    assert (kinds(done.effects), done.verdict) == (effects, verdict), reason


def looked(status: Status, **more: Any) -> Looked:
    facts = more.pop("facts", {})
    return Looked(record(status, **facts), **more)


@pytest.mark.parametrize(
    ("event", "terms", "verdict", "reason"),
    [
        (looked(Status.SUBMITTED, facts={"task_id": "1"}), APPLY, At(NOW), "sent: its turn again"),
        (looked(Status.SUBMITTING, again_at=NOW + 5), APPLY, At(NOW + 5), "in doubt: a look later"),
        (looked(Status.PENDING), APPLY, Done(), "unknown, and not wanted at that moment"),
        (
            looked(Status.PENDING, full=True),
            APPLY,
            Waits(MODEL, first=True),
            "others took the slot",
        ),
        (
            looked(Status.PENDING, trouble=trouble(TroubleKind.SLOTS)),
            APPLY,
            Waits(MODEL),
            "no slot at the provider: at the end of the line",
        ),
        (
            looked(Status.PENDING, trouble=trouble(TroubleKind.ACCOUNT)),
            APPLY,
            Held(None),
            "the account: a run that ends leaves it",
        ),
        (
            looked(Status.PENDING, trouble=trouble(TroubleKind.ACCOUNT)),
            WATCH,
            Held(PAUSE_OVER),
            "the account: watch comes back after the pause",
        ),
        (
            looked(Status.REJECTED, trouble=trouble(TroubleKind.REFUSED)),
            APPLY,
            At(NOW),
            "the request",
        ),
        (
            looked(Status.SUBMITTING, trouble=trouble(TroubleKind.OTHER), again_at=NOW + 7),
            APPLY,
            At(NOW + 7),
            "a create without a readable answer is looked for",
        ),
        (
            looked(Status.SUBMITTING, trouble=trouble(TroubleKind.BROKE), again_at=NOW + 7),
            APPLY,
            Held(None),
            "a mistake of our own is told, and not repeated",
        ),
        (
            looked(Status.SUBMITTING, facts={"in_use": True, "gave_up_at": NOW - 60_000}),
            APPLY,
            Held(None),
            "the provider has it and does not show it: the next run looks on",
        ),
    ],
)
def test_what_a_look_and_a_create_lead_to(
    event: Looked, terms: Terms, verdict: Verdict, reason: str
) -> None:
    """Whose trouble it is decides: this generation's, or everybody's."""
    begun = progress(event.record.status, began_as=Status.PENDING)
    done = advance(replace(begun, record=event.record), event, forward(account()), terms, NOW)
    assert done.verdict == verdict, reason
    may_have_a_task = event.record.status in LIVE and done.progress.hold is None
    assert done.progress.slot == (MODEL if may_have_a_task else None)
    assert not done.account.is_forward(RECORD.base_id), "its turn's end lets others come forward"


def failed(kind: TroubleKind, asked: Asked = Asked.LOOK, status: Status = Status.PENDING) -> Failed:
    return Failed(asked, record(status), trouble(kind))


@pytest.mark.parametrize(
    ("event", "failures", "heard_at", "terms", "effects", "verdict", "reason"),
    [
        (failed(TroubleKind.LATER), 0, NOW, APPLY, [], "At", "one hiccup: asked again"),
        (
            failed(TroubleKind.ACCOUNT),
            0,
            NOW,
            APPLY,
            ["Say", "Tell"],
            "Held",
            "everybody is paused",
        ),
        (
            failed(TroubleKind.UNPROVEN),
            0,
            NOW,
            APPLY,
            ["Tell"],
            "Held",
            "it was answered; held at once",
        ),
        (
            failed(TroubleKind.LATER),
            9,
            NOW - 1,
            APPLY,
            ["Tell"],
            "Held",
            "others were answered meanwhile",
        ),
        (
            failed(TroubleKind.LATER),
            9,
            NOW - HOUR,
            APPLY,
            ["AskAnything"],
            "NoneType",
            "nobody is: is it this one, or the network?",
        ),
        (
            replace(failed(TroubleKind.LATER), is_counted=True),
            9,
            NOW - HOUR,
            APPLY,
            ["GiveUp"],
            "At",
            "nobody was answered for an hour",
        ),
        (
            replace(failed(TroubleKind.LATER), is_counted=True),
            9,
            NOW - HOUR,
            WATCH,
            ["Say"],
            "At",
            "watch says so, and asks on",
        ),
        (
            failed(TroubleKind.OTHER, Asked.FETCH, Status.SUCCEEDED),
            0,
            NOW,
            APPLY,
            [],
            "At",
            "a download broke off: again",
        ),
        (
            failed(TroubleKind.OTHER, Asked.FETCH, Status.SUCCEEDED),
            7,
            NOW,
            APPLY,
            ["Tell"],
            "Held",
            "for the eighth time: left for later",
        ),
        (
            failed(TroubleKind.UNSAFE, Asked.FETCH, Status.SUCCEEDED),
            0,
            NOW,
            APPLY,
            ["Tell"],
            "Held",
            "it may not be fetched from there",
        ),
        (
            failed(TroubleKind.LATER, Asked.POLL, Status.PROCESSING),
            0,
            NOW,
            WATCH,
            [],
            "InFlight",
            "a poll",
        ),
    ],
)
def test_who_is_concerned_by_a_request_that_came_to_nothing(
    event: Failed,
    failures: int,
    heard_at: int,
    terms: Terms,
    effects: list[str],
    verdict: str,
    reason: str,
) -> None:
    """One generation is held where others are answered; the run ends only where nobody is."""
    before = NOW - 400 * SECOND
    earlier = Failures(failures, before, NOW - 2 * SECOND, NOW - SECOND) if failures else Failures()
    contact = Contact(heard_at=heard_at, answered=True, silences=5, silent_since=heard_at)
    contact = contact.asked(NOW) if event.is_counted else contact
    begun = progress(event.record.status, failures=earlier, began_as=event.record.status)
    done = advance(begun, event, account(contact=contact), terms, NOW)
    assert (kinds(done.effects), type(done.verdict).__name__) == (effects, verdict), reason
    if verdict == "At":
        assert isinstance(done.verdict, At)
        assert done.verdict.at > NOW


def test_what_is_held_is_tried_later_each_time_and_at_once_when_it_is_free() -> None:
    """Half a minute doubles to ten; a turn that does not hold it again begins anew."""
    one, waits = progress(began_as=Status.PENDING), []
    for _ in range(8):
        done = advance(one, Stopped("full"), account(), WATCH, NOW)
        assert isinstance(done.verdict, Held)
        assert done.verdict.until is not None
        waits.append((done.verdict.until - NOW) / SECOND)
        one = replace(done.progress, began_as=Status.PENDING)
    assert 20 < waits[0] < 40
    assert 450 < waits[-1] < 750
    free = advance(one, Looked(record(Status.SUBMITTED, task_id="1")), account(), WATCH, NOW)
    assert (free.progress.hold, free.progress.tries) == (None, 0)


def test_the_pause_of_the_account_ends_with_an_answer_and_all_come_back() -> None:
    """One tries after the pause; a task that is accepted ends it for everybody."""
    shared = PAUSED.probed_by(RECORD.base_id, PAUSE_OVER)
    event = Looked(record(Status.SUBMITTED, task_id="1"))
    one = replace(progress(began_as=Status.PENDING), record=event.record)
    done = advance(one, event, shared, WATCH, PAUSE_OVER)
    assert kinds(done.effects) == ["Say", "Readmit"]
    assert not done.account.pause.reason


def test_nothing_is_bought_for_a_paused_account_or_after_three_creates_in_doubt() -> None:
    """The obstacle is asked for right before the intent; in watch the brake is off again after an hour."""
    one = progress()
    assert Advance(one, account(), WATCH, NOW).obstacle() == ""
    assert Advance(one, PAUSED, WATCH, NOW).obstacle() == "out of units"
    for _ in range(3):
        one = replace(one, brake=one.brake.pressed(NOW))
    assert (
        "3 requests to create it had no readable answer"
        in Advance(one, account(), WATCH, NOW).obstacle()
    )
    assert Advance(one, account(), WATCH, NOW + HOUR).obstacle() == ""
    assert Advance(one, account(), APPLY, NOW + HOUR).obstacle()


@pytest.mark.parametrize("terms", [APPLY, WATCH])
def test_what_the_poll_cannot_ask_about_keeps_no_slot_from_others(terms: Terms) -> None:
    """It is held by itself at once, and whoever waits in line comes forward, in a run that ends too."""
    earlier = Failures(9, NOW - 400 * SECOND, NOW - 2 * SECOND, NOW - SECOND)
    one, shared = progress(Status.PROCESSING, failures=earlier), account(ceiling=1)
    taken = Advance(one, shared, terms, NOW)
    assert taken.take_slot(record(Status.PROCESSING))
    one, shared = taken.progress, taken.account
    contact = Contact(heard_at=NOW - 1, answered=True, silences=1, silent_since=NOW)
    event = failed(TroubleKind.LATER, Asked.POLL, Status.PROCESSING)
    done = advance(one, event, replace(shared, contact=contact), terms, NOW)
    assert isinstance(done.verdict, Held)
    assert (done.progress.slot, done.account.in_flight()) == (None, 0)


def test_a_cap_is_said_once_and_disk_and_cap_are_told_apart() -> None:
    """What stops everybody's purchases is for the readiness check; a sentence for each generation is not."""
    one, shared, said = progress(began_as=Status.PENDING), account(), []
    for _ in range(3):
        done = advance(one, Stopped("the cap", Cause.CAP), shared, WATCH, NOW)
        shared = done.account
        said += [effect for effect in done.effects if isinstance(effect, Say)]
        assert done.progress.hold == Hold("the cap", Cause.CAP)
    assert said == [Say("the cap", Topic.CAP)]


def test_who_looks_after_the_folder_holds_without_ending_a_turn_that_is_under_way() -> None:
    """The slot and the place of whoever is being sent stay as they are."""
    one = progress(Status.SUBMITTING, began_as=Status.PENDING, slot=MODEL)
    done = advance(one, Stopped("cannot be read", in_turn=False), forward(account()), WATCH, NOW)
    assert done.progress.began_as is Status.PENDING
    assert done.account.is_forward(RECORD.base_id)


def test_what_is_saved_and_cannot_be_published_everywhere_is_held_and_the_rest_waits_for_rest() -> (
    None
):
    """A spec that moves is tried again in a second; one that cannot be written is held with its reason."""
    one = progress(Status.COMPLETE, began_as=Status.COMPLETE)
    moves = advance(one, Delivered(RECORD, waits=True, unwritten=True), account(), WATCH, NOW)
    assert (moves.verdict, moves.progress.unwritten) == (At(NOW + SECOND), True)
    stuck = advance(one, Delivered(RECORD, reason="read-only"), account(), APPLY, NOW)
    assert (stuck.verdict, stuck.progress.hold) == (Held(None), Hold("read-only"))
    lost = advance(one, Delivered(RECORD, lost=True), account(), APPLY, NOW)
    assert lost.verdict == At(NOW)


def test_a_result_that_is_left_for_later_is_published_as_far_as_it_was_saved() -> None:
    """The video is here, the watermarked copy is not: the video is put beside its spec."""
    kept = record(Status.SUCCEEDED, results=(VIDEO,))
    one = progress(Status.SUCCEEDED, facts={"results": (VIDEO,)}, began_as=Status.SUCCEEDED)
    done = advance(
        one, Failed(Asked.FETCH, kept, trouble(TroubleKind.UNSAFE)), account(), APPLY, NOW
    )
    assert kinds(done.effects) == ["Tell", "Deliver"]
    assert done.effects[-1] == Deliver(receipts=False)


EVENTS: tuple[Event, ...] = (
    Due(),
    Polled(shown=True),
    Polled(shown=False),
    Stopped("stopped"),
    Stopped("withheld", in_turn=False),
    *(Looked(record(status, task_id="1")) for status in (Status.SUBMITTED, Status.SUBMITTING)),
    *(Looked(record(Status.PENDING), full=full) for full in (True, False)),
    *(Looked(record(Status.PENDING), trouble=trouble(kind)) for kind in TroubleKind),
    *(failed(kind, asked) for kind in TroubleKind for asked in Asked),
    Fetched(record(Status.COMPLETE)),
    Delivered(record(Status.COMPLETE)),
)
ACTS = (Look, Fetch, Deliver, AskAnything)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(EVENTS), st.booleans()), max_size=60
    ),
    st.booleans(),
)
def test_slots_are_counted_once_for_each_generation_whatever_happens(
    story: list[tuple[str, Event, bool]], endures: bool
) -> None:
    """As many are held as generations hold one; no verdict and no act, or both at once, never stand alone."""
    all_of: dict[str, Progress] = {key: replace(progress(), base_id=key) for key in "abc"}
    shared, now = account(ceiling=2), NOW
    for key, event, takes in story:
        now += SECOND
        taking = Advance(all_of[key], shared, APPLY, now)
        if takes and taking.take_slot(record(Status.SUBMITTING)):
            all_of[key], shared = taking.progress, taking.account
        found = getattr(event, "record", None)
        if found is not None:
            all_of[key] = replace(all_of[key], record=found)
        done: Advance = advance(all_of[key], event, shared, Terms(enduring=endures), now)
        all_of[key], shared = done.progress, done.account
        assert sum(one.slot is not None for one in all_of.values()) == shared.in_flight()
        assert done.verdict is not None or isinstance(done.effects[-1], ACTS)
        assert not any(isinstance(effect, GiveUp) for effect in done.effects) or not endures
