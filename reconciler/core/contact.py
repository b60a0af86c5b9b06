"""Who is answered and who is not: whether the provider can be reached, and who cannot be asked about while it can.

One value hears of every request of a run, whoever sent it and whatever it asked; one for each generation counts what
came to nothing for it. Times are integer milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Self

from reconciler.core.schedule import SECOND

FEWEST_FAILURES = 3  # of a generation, before it is held by itself
_ASK_AGAIN = 5 * SECOND  # between two questions that are about nothing
_NOTICED = 15 * SECOND  # of silence, before it is worth a line


class Move(Enum):
    """What to do after a request that came to nothing."""

    ASK_ON = auto()  # about the same, later
    ASK_ANYTHING = auto()  # at once, about nothing: is it the generation or the provider?
    HOLD = auto()  # it cannot be asked about, others can
    GIVE_UP = auto()  # nothing is answered, to anybody


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with silence; ms."""

    first: int  # of everybody, before the first readable answer of a run
    later: int  # of everybody, after it
    one: int  # of one generation


@dataclass(frozen=True, slots=True)
class Contact:
    """What all requests of a run came to."""

    heard_at: int  # ms: the last readable answer to anybody, or the beginning
    answered: bool = False  # whether there was one
    silences: int = 0  # requests without a readable answer since then
    silent_since: int = 0  # ms: the first of them
    asked_at: int | None = None  # ms: the last question that was about nothing

    def heard(self, now: int) -> Self:
        """Return the contact after a readable answer to anybody."""
        return replace(self, heard_at=now, answered=True, silences=0)

    def unheard(self, now: int) -> Self:
        """Return the contact after a request without a readable answer."""
        since = self.silent_since if self.silences else now
        return replace(self, silences=self.silences + 1, silent_since=since)

    def asked(self, now: int) -> Self:
        """Return the contact while, or just after, something is asked that is about nothing."""
        return replace(self, asked_at=now)

    def ends_at(self, limits: Patience) -> int:
        """Return until when (ms) a silence is borne with."""
        return self.heard_at + (limits.later if self.answered else limits.first)

    def is_lost(self, limits: Patience, now: int) -> bool:
        """Whether nobody was answered for too long, more than once."""
        return self.silences > 1 and now >= self.ends_at(limits)

    def is_noticed(self, now: int) -> bool:
        """Whether the silence is worth a line; a short hiccup is not."""
        return self.silences > 1 and now - self.silent_since >= _NOTICED


@dataclass(frozen=True, slots=True)
class Failures:
    """The requests for one generation, in a row, that came to nothing."""

    count: int = 0
    since: int = 0  # ms: the first of them
    before: int = 0  # ms: the last but one; what was heard after it, was heard while this one was not answered
    last: int = 0  # ms

    def failed(self, now: int) -> Self:
        """Return the failures after one more."""
        since = self.since if self.count else now
        before = self.last if self.count else now
        return replace(self, count=self.count + 1, since=since, before=before, last=now)

    def lasts(self, limits: Patience) -> bool:
        """Whether it is more than a hiccup."""
        return self.count >= FEWEST_FAILURES and self.last - self.since >= limits.one


def next_move(failures: Failures, contact: Contact, limits: Patience, now: int) -> Move:
    """Return what to do after a generation's request came to nothing."""
    lasts, lost = failures.lasts(limits), contact.is_lost(limits, now)
    if lasts and contact.answered and contact.heard_at >= failures.before:
        return Move.HOLD
    if (lasts or lost) and (contact.asked_at is None or now - contact.asked_at >= _ASK_AGAIN):
        return Move.ASK_ANYTHING
    return Move.GIVE_UP if lost else Move.ASK_ON
