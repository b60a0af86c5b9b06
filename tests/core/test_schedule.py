"""Back-off, looks, pages and slots: when to do a thing again, and how much at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.schedule import FEWEST_LOOKS, SECOND, Rules, Slots, backoff, pages_to_read

NOW = 1_800_000_000_000


@given(st.integers(1, 10_000), st.text(max_size=30))
def test_backoff_grows_to_a_bound_and_differs_by_key(failures: int, key: str) -> None:
    """It doubles from about a second, never passes the bound by more than its spread, and never is nothing."""
    wait = backoff(failures, key, most=60 * SECOND)
    expected = min(SECOND * 2.0 ** min(failures - 1, 30), 60 * SECOND)
    assert 0.75 * expected - 1 <= wait <= 1.25 * expected + 1


def test_backoff_is_the_same_for_the_same_key() -> None:
    """A schedule can be replayed: nothing in it is random."""
    assert backoff(3, "mc1-a") == backoff(3, "mc1-a") != backoff(3, "mc1-b")


@given(st.integers(0, 120 * SECOND), st.integers(0, 10))
def test_absence_needs_the_whole_grace_and_several_looks(grace: int, looks: int) -> None:
    """Neither many looks within the grace nor one look after it are enough."""
    rules = Rules(absence_grace=grace)
    assert not rules.is_absent(FEWEST_LOOKS - 1, NOW, NOW + 10 * grace + 1)
    if grace:
        assert not rules.is_absent(looks, NOW, NOW + grace - 1)
    assert rules.is_absent(FEWEST_LOOKS, NOW, NOW + grace)


@given(st.integers(1, 600 * SECOND))
def test_looks_settle_a_doubt_soon_after_the_grace(grace: int) -> None:
    """Following the schedule, absence is certain no later than shortly after the grace, with few looks."""
    rules = Rules(absence_grace=grace)
    now, looks = NOW, 0
    while not rules.is_absent(looks, NOW, now):
        later = rules.next_look(looks, NOW, now)
        assert later > now
        now, looks = later, looks + 1
        assert looks < 12
    assert now - NOW <= grace + max(grace // 2, 100)


@pytest.mark.parametrize(
    ("in_flight", "pages", "reason"),
    [
        (0, 0, "nothing to ask for"),
        (5, 0, "a few are asked for one by one"),
        (6, 2, "one page, and one more for what stands between"),
        (500, 2, "a full page"),
        (501, 3, "more than a page"),
        (1000, 3, "requests grow with in-flight/500"),
    ],
)
def test_many_tasks_are_read_by_pages(in_flight: int, pages: int, reason: str) -> None:
    """Requests per round grow with in-flight/500, not with in-flight."""
    assert pages_to_read(in_flight) == pages, reason


def test_slots_grow_while_tasks_are_accepted_at_the_limit() -> None:
    """Each task accepted while full makes room for one more, up to the ceiling."""
    slots = Slots(limit=2, ceiling=4)
    grown = [slots := slots.accepted(slots.limit, NOW) for _ in range(5)]
    assert [one.allowed for one in grown] == [3, 4, 4, 4, 4]
    assert Slots(limit=2).accepted(1, NOW).limit == 2, "not while slots are free"


def busy(slots: Slots, tasks: int, now: int = NOW) -> Slots:
    """Return the slots after so many tasks were accepted, each with all slots in use."""
    for _ in range(tasks):
        slots = slots.accepted(slots.limit, now)
    return slots


@pytest.mark.parametrize(
    ("held", "accepted", "seconds", "allowed", "reason"),
    [
        (5, 0, 3600, 5, "what was in flight is what there is"),
        (9, 36, 3600, 9, "one refused create for 36 accepted ones is often enough"),
        (9, 37, 3600, 10, "then one more is tried"),
        (9, 39, 3600, 12, "and, where it was accepted, more at once"),
        (9, 99, 119, 9, "two minutes are awaited even where tasks are many"),
        (1, 7, 3600, 1, "a single slot: after seven tasks"),
        (1, 8, 3600, 2, "since 36 would take hours"),
        (90, 37, 120, 91, "of many slots no more tasks are awaited than of nine"),
    ],
)
def test_what_was_refused_is_asked_for_again_after_many_accepted_tasks(
    held: int, accepted: int, seconds: int, allowed: int, reason: str
) -> None:
    """A 1303 shrinks the limit to what really was in flight; it stays there so long that few creates are refused."""
    refused = Slots(limit=held + 4).refused(held, NOW)
    assert busy(refused, accepted, NOW + seconds * SECOND).allowed == allowed, reason


def test_after_a_lowered_limit_one_at_a_time_tries_until_a_task_is_accepted() -> None:
    """Of 90 in flight 40 may: however many ended meanwhile, only one create is sent until one is accepted."""
    slots = Slots(limit=90).refused(89, NOW)
    for left in range(88, 50, -1):
        slots = slots.freed(left)
    assert slots.allowed == 52
    slots = slots.refused(51, NOW).freed(51)
    assert slots.room_at(51, []) is None, "what was refused has no room before another one ends"
    for left in range(50, 34, -1):
        slots = slots.freed(left)
    assert busy(slots, 16).allowed == 51, "up to what was refused it grows with every task"
    assert busy(slots, 17).allowed == 51, "and not beyond"


def test_an_end_takes_no_room_where_nothing_was_refused() -> None:
    """Tasks that end leave the limit as it is, but for the time between a refusal and the next accepted task."""
    assert Slots(limit=9).freed(3).allowed == 9
    assert Slots(limit=9).refused(5, NOW).accepted(5, NOW).freed(2).allowed == 5


def test_refusals_in_a_row_wait_longer_and_an_acceptance_ends_the_wait() -> None:
    """The provider asks for exponential back-off from a second (documented)."""
    once = Slots().refused(0, NOW)
    thrice = once.refused(0, NOW).refused(0, NOW)
    first, third = once.room_at(0, []), thrice.room_at(0, [])
    assert first is not None
    assert third is not None
    assert first >= NOW + 0.75 * SECOND
    assert third > first
    assert thrice.accepted(1, NOW).room_at(0, []) == 0


@given(st.integers(0, 100), st.integers(1, 100))
def test_one_task_may_always_be_in_flight(in_flight: int, ceiling: int) -> None:
    """However often slots are refused, one generation at a time goes on trying."""
    assert 1 <= Slots(limit=50, ceiling=ceiling).refused(in_flight, NOW).allowed <= ceiling


@pytest.mark.parametrize(
    ("in_flight", "kept", "at", "reason"),
    [
        (0, [], 0, "all is free"),
        (2, [], None, "full: only an end makes room"),
        (3, [], None, "more in flight than allowed, after a refusal"),
        (1, [], 0, "one is free"),
        (1, [NOW + 5], NOW + 5, "it is kept for somebody, for a moment"),
        (0, [NOW + 5], 0, "two are free, one is kept"),
        (0, [NOW + 5, NOW + 9], NOW + 5, "both are kept: the first that is not any more"),
        (1, [NOW + 5, NOW + 9], NOW + 9, "one is free: for the last that it is kept for"),
        (1, [NOW - 9] * 3, NOW - 9, "who is slow keeps nobody waiting"),
        (1, [NOW - 9] * 17, None, "but not any number of them"),
    ],
)
def test_who_gets_ready_does_not_hold_a_slot_for_long(
    in_flight: int, kept: list[int], at: int | None, reason: str
) -> None:
    """From when one more may come forward, with a limit of two."""
    assert Slots(limit=2).room_at(in_flight, kept) == at, reason


def test_after_a_refused_slot_nobody_comes_forward_for_a_while() -> None:
    """The back-off of 1303 is the account's, not one generation's."""
    refused = Slots(limit=2).refused(1, NOW)
    at = refused.room_at(0, [])
    assert at is not None
    assert at >= NOW + 0.75 * SECOND
    assert refused.accepted(1, NOW).room_at(0, []) == 0
