"""Who is answered and who is not: a table of what to do after a request that came to nothing."""

from __future__ import annotations

import pytest

from reconciler.core.account import Contact, Failures, Move, Patience, next_move
from reconciler.core.schedule import SECOND

LIMITS = Patience(first=15 * SECOND, later=300 * SECOND, one=15 * SECOND)
BEGIN = 1_800_000_000_000


def at(seconds: float) -> int:
    return BEGIN + int(seconds * SECOND)


def told(*story: tuple[float, str]) -> tuple[Contact, Failures, int]:
    """Return what is known after a story of seconds and what happened: `ours` and `theirs` came to nothing, `heard`
    was answered, `asked` is a question about nothing."""
    contact, trouble, now = Contact(heard_at=BEGIN), Failures(), BEGIN
    for seconds, what in story:
        now = at(seconds)
        match what:
            case "heard":
                contact = contact.heard(now)
            case "asked":
                contact = contact.asked(now)
            case "ours":
                contact, trouble = contact.unheard(now), trouble.failed(now)
            case _:
                contact = contact.unheard(now)
    return contact, trouble, now


def ours(*seconds: float) -> list[tuple[float, str]]:
    return [(second, "ours") for second in seconds]


@pytest.mark.parametrize(
    ("story", "move", "reason"),
    [
        (ours(0), Move.ASK_ON, "one failure says nothing"),
        (ours(0, 1, 3), Move.ASK_ON, "three in three seconds are a hiccup"),
        (ours(0, 20), Move.ASK_ANYTHING, "all of 20 s is lost; is it the network?"),
        (
            [*ours(0, 1, 3, 7), (14, "heard"), *ours(15)],
            Move.HOLD,
            "others were answered meanwhile",
        ),
        ([*ours(0, 1), (14, "heard"), *ours(15)], Move.HOLD, "three failures are enough"),
        ([(14, "heard"), *ours(14.5, 29.6)], Move.ASK_ON, "two failures are not"),
        ([(0, "heard"), *ours(1, 2, 4, 8, 16)], Move.ASK_ANYTHING, "was it heard before or after?"),
        (
            [(0, "heard"), *ours(1, 2, 4, 8, 16), (16, "asked"), (16, "heard")],
            Move.HOLD,
            "something else is answered, this is not",
        ),
        (
            [(0, "heard"), *ours(1, 2, 4, 8, 16), (16, "asked"), (16, "theirs")],
            Move.ASK_ON,
            "nothing is answered: an outage, which is ridden out",
        ),
        (
            [*ours(0, 1, 3, 7, 15), (15, "asked"), (15, "theirs")],
            Move.GIVE_UP,
            "nothing was ever answered",
        ),
        (
            [(0, "heard"), *ours(1, 2, 4, 100, 299), (300, "asked"), (300, "theirs"), *ours(301)],
            Move.GIVE_UP,
            "nothing was answered for five minutes",
        ),
        (
            [(0, "heard"), *ours(1, 2, 4), (9, "heard"), *ours(10, 20), (20, "asked"), *ours(23)],
            Move.ASK_ON,
            "what was asked just now need not be asked again",
        ),
    ],
)
def test_what_to_do_after_a_request_that_came_to_nothing(
    story: list[tuple[float, str]], move: Move, reason: str
) -> None:
    """A generation is held by itself only where something else is answered, the run is given up only where nothing is."""
    contact, trouble, now = told(*story)
    assert next_move(trouble, contact, LIMITS, now) is move, reason


@pytest.mark.parametrize(
    ("story", "noticed"),
    [
        ([(0, "theirs")], False),
        ([(0, "theirs"), (14, "theirs")], False),
        ([(0, "theirs"), (15, "theirs")], True),
        ([(0, "theirs"), (15, "heard"), (16, "theirs")], False),
    ],
)
def test_a_silence_is_worth_a_line_when_it_lasts(
    story: list[tuple[float, str]], noticed: bool
) -> None:
    """Fifteen seconds of silence, met more than once, and no hiccup."""
    contact, _, now = told(*story)
    assert contact.is_noticed(now) is noticed
