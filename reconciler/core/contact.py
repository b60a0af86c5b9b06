"""Whether the provider answers at all (`Contact`, of all requests of a run), and about one generation (`Failures`).

Times are integer milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Self

from reconciler.core.schedule import SECOND

FEWEST_FAILURES = 3  # of a generation, before it is held by itself
_ASK_AGAIN = 5 * SECOND  # between two questions about an id that no task has
_NOTICED = 15 * SECOND  # of silence, before the user is told


class Move(Enum):
    """What to do after a request without a readable answer."""

    ASK_ON = auto()  # about the same generation, later
    ASK_ANYTHING = auto()  # at once, about an id that no task has: does the provider answer at all?
    HOLD = auto()  # the provider answers about other generations only
    GIVE_UP = auto()  # the provider answers nothing


@dataclass(frozen=True, slots=True)
class Patience:
    """How long (ms) to go on without a readable answer."""

    first: int  # about any generation, before the first readable answer of a run
    later: int  # about any generation, after it
    one: int  # about one generation


@dataclass(frozen=True, slots=True)
class Contact:
    """How the provider answered all requests of a run."""

    heard_at: int  # ms: the last readable answer, or the beginning of the run
    answered: bool = False  # whether there was one
    silences: int = 0  # requests without a readable answer since then
    silent_since: int = 0  # ms: the first of them
    asked_at: int | None = None  # ms: the last question about an id that no task has

    def heard(self, now: int) -> Self:
        """Return the contact after a readable answer."""
        return replace(self, heard_at=now, answered=True, silences=0)

    def unheard(self, now: int) -> Self:
        """Return the contact after a request without a readable answer."""
        since = self.silent_since if self.silences else now
        return replace(self, silences=self.silences + 1, silent_since=since)

    def asked(self, now: int) -> Self:
        """Return the contact after a question about an id that no task has was sent."""
        return replace(self, asked_at=now)

    def ends_at(self, limits: Patience) -> int:
        """Return when (ms) a silence becomes too long."""
        return self.heard_at + (limits.later if self.answered else limits.first)

    def is_noticed(self, now: int) -> bool:
        """Whether the silence lasts long enough to tell the user."""
        return self.silences > 1 and now - self.silent_since >= _NOTICED


@dataclass(frozen=True, slots=True)
class Failures:
    """The requests about one generation, in a row, without a readable answer."""

    count: int = 0
    since: int = 0  # ms: the first of them
    before: int = (
        0  # ms: the last but one; any answer since then came while this generation got none
    )
    last: int = 0  # ms

    def failed(self, now: int) -> Self:
        """Return the failures after one more."""
        since = self.since if self.count else now
        before = self.last if self.count else now
        return replace(self, count=self.count + 1, since=since, before=before, last=now)

    def lasts(self, limits: Patience) -> bool:
        """Whether they are enough, over enough time, to act on."""
        return self.count >= FEWEST_FAILURES and self.last - self.since >= limits.one


def next_move(failures: Failures, contact: Contact, limits: Patience, now: int) -> Move:
    """Return what to do after a request about a generation got no readable answer."""
    lasts = failures.lasts(limits)
    lost = contact.silences > 1 and now >= contact.ends_at(limits)
    if lasts and contact.answered and contact.heard_at >= failures.before:
        return Move.HOLD
    if (lasts or lost) and (contact.asked_at is None or now - contact.asked_at >= _ASK_AGAIN):
        return Move.ASK_ANYTHING
    return Move.GIVE_UP if lost else Move.ASK_ON
