"""The account of a run that endures: one tries, the others wait, and nobody comes back at once; slots by model."""

from __future__ import annotations

from reconciler.core.account import Account, Contact
from reconciler.core.schedule import SECOND, Slots

NOW = 1_000_000
OLD, NEW = "kling-v2-6", "kling-v3"


def account(ceiling: int | None = None) -> Account:
    return Account(Contact(heard_at=NOW), ceiling)


def filled(one: Account, model: str, count: int) -> Account:
    """Return the account while this many tasks of a model are accepted."""
    for _ in range(count):
        one = one.held("somebody", model).accepted(model, NOW)
    return one


def paused(one: Account, now: int, *, by_create: bool = True) -> Account:
    return one.paused("out of units", now, by_create=by_create)


def test_pauses_begin_with_half_a_minute_and_double_to_ten_minutes() -> None:
    """Each try that fails waits twice as long as the one before, and ten minutes at most."""
    one, now, pauses = account(), NOW, []
    for _ in range(7):
        one = paused(one, now)
        pauses.append((one.again_at(now) - now) // SECOND)
        now = one.again_at(now)
        one = one.probed_by("a", now)
        assert not one.is_shut_to("a")
    assert pauses == [30, 60, 120, 240, 480, 600, 600]


def test_several_victims_of_one_trouble_count_once() -> None:
    """Creates that were under way together and are all refused do not make the pause longer."""
    one = account()
    for _ in range(5):
        one = paused(one, NOW)
    assert one.again_at(NOW) - NOW == 30 * SECOND


def test_one_tries_while_the_others_wait_and_come_back_later_than_now() -> None:
    """After a pause the first to ask may try; who asks meanwhile is told a time in the future, not now."""
    one = paused(account(), NOW)
    now = one.again_at(NOW)
    for key in ("a", "a", "b"):
        one = one.probed_by(key, now)
    assert (one.is_shut_to("a"), one.is_shut_to("b")) == (False, True)
    assert one.again_at(now) > now
    one = one.turn_over("a", now).probed_by("b", now)  # without an answer
    assert one.is_shut_to("b")
    assert not one.probed_by("b", one.again_at(now)).is_shut_to("b")


def test_an_answered_question_ends_a_trouble_of_questions_and_none_of_creates() -> None:
    """Where creates were refused, only a create that is answered otherwise shows that it is over."""
    by_create = paused(account(), NOW)
    assert by_create.resumed(create=False).pause.reason
    assert not by_create.resumed(create=True).pause.reason
    assert not paused(account(), NOW, by_create=False).resumed(create=False).pause.reason


def test_a_refused_slot_of_one_model_throttles_no_other() -> None:
    """What is learnt belongs to a model version."""
    one = filled(filled(account(), OLD, 5), NEW, 1)
    assert not one.is_full(NEW)
    one = one.held("last", NEW).refused(NEW, NOW).freed(NEW)
    assert one.room_at(NEW) is None  # one is in flight, and no more are allowed
    assert one.room_at(OLD) == 0
    assert one.lane(NEW).slots.limit == 1


def test_what_the_user_allows_bounds_all_models_together() -> None:
    """Three in flight at most, whatever they are of; one that ends makes room for either."""
    one = account(3).held("a", OLD).held("b", OLD).held("c", NEW)
    assert (one.is_full(OLD), one.is_full(NEW)) == (True, True)
    assert (one.room_at(OLD), one.room_at(NEW)) == (None, None)
    one = one.freed(OLD)
    assert (one.room_at(OLD), one.room_at(NEW)) == (0, 0)
    assert not one.is_full(NEW)


def test_what_was_learnt_before_is_where_a_model_begins_unless_the_user_says_otherwise() -> None:
    """A ceiling that the user set counts, whatever an earlier run learnt."""
    assert account().with_slots(OLD, Slots(limit=7)).lane(OLD).slots.allowed == 7
    assert account(3).with_slots(OLD, Slots(limit=7)).lane(OLD).slots.allowed == 3


def test_who_comes_forward_keeps_a_free_slot_for_some_seconds_and_no_longer() -> None:
    """Looks and uploads may hang: others come forward then, and who came forward gives it back at its turn's end."""
    one = account(1).come_forward("slow", OLD, NOW)
    assert one.is_forward("slow")
    assert one.room_at(OLD) == NOW + 5 * SECOND
    assert one.turn_over("slow", NOW).room_at(OLD) == 0
