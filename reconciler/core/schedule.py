"""When to do a thing again, and how much at once: back-off, looks, poll rounds, slots.

Times are integer milliseconds. Nothing here sleeps or reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

SECOND = 1000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
RETENTION = 30 * DAY  # results are cleared 30 days after they were made (documented)
URGENT_AGE = 25 * DAY  # from here on a result that is not saved is said loudly

RATE_WINDOW = 30.0  # s over which the rate of a download is measured

_LOOKS = (0.02, 0.2, 0.5, 1.0)  # of the grace period, when absence is looked at
FEWEST_LOOKS = 3
_SEARCH_MOST = 600 * SECOND  # between two looks for a task that exists and is not shown
# Before a slot that was refused is asked for again: so many accepted tasks, or so many for each slot, and so long (ms).
_PROBE_AFTER, _ROUNDS, _PROBE_AGAIN = 36, 7, 120 * SECOND
_MOST_SLOTS = 500  # learnt; a page of the list
FIRST_RETRY, MOST_RETRY = 30 * SECOND, 600 * SECOND
"""ms between two tries of what is held: one generation, the account (the contract's), git."""
_MOST_CREATES = 3  # of one generation in doubt in a row, before the brake is on
_BRAKE_FIRST, _BRAKE_MOST = HOUR, 6 * HOUR
_SINGLE_QUERIES = 5  # up to this many tasks in flight are asked for one by one
# A free slot is kept for a generation that looks and uploads: both may hang.
STANDS_FOR = 5 * SECOND
_BESIDE = 16  # generations that prepare themselves beyond the free slots, at most


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on; all times in ms."""

    absence_grace: int = 30 * SECOND
    poll_interval: int = 10 * SECOND
    retention: int = RETENTION
    page: int = 500  # tasks on a page of the list; that is the longest (documented)

    def stretched(self, creates: int) -> Self:
        """Return the rules for a doubt after this many creates: the grace doubles with each, up to 64 times."""
        return replace(self, absence_grace=self.absence_grace * 2 ** min(max(creates - 1, 0), 6))

    def next_look(self, absent_looks: int, gave_up_at: int, now: int) -> int:
        """Return when to look again for a task that may exist: several looks over the grace period."""
        share = _LOOKS[min(absent_looks, len(_LOOKS) - 1)]
        spacing = max(self.absence_grace // 10, 20)
        return max(gave_up_at + int(share * self.absence_grace), now + spacing)

    def is_absent(self, absent_looks: int, gave_up_at: int, now: int) -> bool:
        """Whether enough looks over the whole grace period found nothing."""
        return absent_looks >= FEWEST_LOOKS and now - gave_up_at >= self.absence_grace

    def search_again(self, absent_looks: int, key: str) -> int:
        """Return how long to wait (ms) before the next look for a task that the provider says exists."""
        first = max(self.absence_grace // 10, 20)
        return backoff(absent_looks, key, first=first, most=_SEARCH_MOST)


def backoff(failures: int, key: str, *, first: int = SECOND, most: int = 60 * SECOND) -> int:
    """Return how long to wait after this many failures in a row (from 1): doubling, spread by key, at most `most`."""
    spread = hashlib.blake2b(f"{key}/{failures}".encode(), digest_size=2).digest()
    share = 0.75 + int.from_bytes(spread, "big") / 0xFFFF / 2
    return int(min(first * 2.0 ** min(failures - 1, 30), most) * share)


def account_pause(pauses: int, first: int = FIRST_RETRY) -> int:
    """Return how long to leave an account alone (ms) that was in trouble this often in a row (from 1)."""
    return min(int(first * 2.0 ** min(pauses - 1, 10)), MOST_RETRY)


def pages_to_read(in_flight: int, page: int = 500) -> int:
    """Return how many pages of the list, of this length, to read at most in one round; 0: ask for each task by itself.

    One page more than the tasks would fill: others' tasks, and tasks that ended, stand between them.
    """
    return 0 if in_flight <= _SINGLE_QUERIES else -(-in_flight // page) + 1


@dataclass(frozen=True, slots=True)
class Brake:
    """Creates of one generation, in a row, without a readable answer: each may have been accepted and billed.

    After three no further one is sent for an hour; after each that follows, for twice as long, up to six hours.
    """

    creates: int = 0
    last_at: int = 0  # ms: when the last of them was given up

    def pressed(self, now: int) -> Self:
        """Return the brake after one more create in doubt."""
        return replace(self, creates=self.creates + 1, last_at=now)

    def is_on(self) -> bool:
        """Whether nothing more may be sent before some time has passed."""
        return self.creates >= _MOST_CREATES

    def ends_at(self) -> int:
        """Return from when (ms) one more create may be sent."""
        if not self.is_on():
            return 0
        pause = _BRAKE_FIRST * 2.0 ** min(self.creates - _MOST_CREATES, 10)
        return self.last_at + int(min(pause, _BRAKE_MOST))


@dataclass(frozen=True, slots=True)
class Slots:
    """How many tasks may be in flight: learnt, since the account's limit is published nowhere, and may change.

    It grows by one with every task accepted while full. When the provider refuses a slot (1303) it shrinks to what
    was really in flight, and as tasks end one create at a time tries whether there is room. One more than were in
    flight at the refusal is tried only after so many accepted tasks that few creates of a hundred are refused, or
    after seven for each slot: one slot alone, lent to others for a moment, is not taken for all there is for hours.
    """

    limit: int = 2
    ceiling: int = _MOST_SLOTS
    refusals: int = 0  # in a row
    refused_at: int = 0  # ms
    bound: int | None = None  # in flight at the last refusal; None: more were accepted since
    accepts: int = 0  # since the last refusal

    @property
    def allowed(self) -> int:
        """How many may be in flight now."""
        return max(1, min(self.limit, self.ceiling))

    def accepted(self, in_flight: int, now: int) -> Self:
        """Return the slots after a task was accepted, itself counted in `in_flight`."""
        bound = self.bound if self.bound is not None and in_flight <= self.bound else None
        accepts = self.accepts + 1
        wait = min(_PROBE_AFTER, _ROUNDS * (bound or 0))
        tries = accepts > wait and now - self.refused_at >= _PROBE_AGAIN
        grows = in_flight >= self.limit and (bound is None or self.limit < bound or tries)
        limit = min(self.limit + grows, self.ceiling)
        return replace(self, limit=limit, refusals=0, bound=bound, accepts=accepts)

    def refused(self, in_flight: int, now: int) -> Self:
        """Return the slots after the provider refused one, with `in_flight` others held by us."""
        most, refusals = max(1, in_flight), self.refusals + 1
        return replace(self, limit=most, bound=most, refusals=refusals, refused_at=now, accepts=0)

    def freed(self, in_flight: int) -> Self:
        """Return the slots after a task ended, with `in_flight` left: after a refusal there is room for one."""
        return replace(self, limit=min(self.limit, in_flight + 1)) if self.refusals else self

    def room_at(self, in_flight: int, kept: Collection[int]) -> int | None:
        """Return from when (ms) one more generation may prepare to be sent; None: not before a task ends.

        `kept`: until when (ms) a free slot is kept for each generation that prepares itself and is not sent yet.
        """
        free = self.allowed - in_flight
        if free <= 0 or len(kept) >= free + _BESIDE:
            return None
        opens = self.refused_at + backoff(self.refusals, "the account") if self.refusals else 0
        return opens if len(kept) < free else max(opens, sorted(kept)[-free])
