"""The account, as one run knows it: its slots by model version, the pause after trouble, and the contact. Times are in ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Self

from reconciler.core.schedule import FIRST_RETRY, SECOND, STANDS_FOR, Slots, account_pause

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
    # ms: the last but one; any answer since then came while this generation got none
    before: int = 0
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


@dataclass(frozen=True, slots=True)
class Lane:
    """The slots of one model version, as far as they are known."""

    slots: Slots
    in_flight: int = 0  # attempts that hold a slot
    forward: Mapping[str, int] = field(default_factory=dict)
    """Base id of each that came forward -> until when a free slot is kept for it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Account-wide trouble: no generation may be submitted."""

    reason: str = ""  # empty: there is none
    by_create: bool = False  # a create was refused: that a question is answered proves nothing
    times: int = 0  # in a row
    again_at: int = 0  # when one generation may try whether the trouble is over
    prober: str = ""  # base id of the generation that tries


@dataclass(frozen=True, slots=True)
class Account:
    """What all generations share.

    A slot is held from right before the intent until the attempt is known to have ended, or is not seen any more. A
    generation that came forward holds none (its upload may take an hour); a free slot is kept for it for some seconds.
    The user's `ceiling` bounds all models together; the provider has slots for each model version (documented, 2026-11).
    """

    contact: Contact
    ceiling: int | None = None  # None: learn it
    lanes: Mapping[str, Lane] = field(default_factory=dict)  # by model version
    pause: Pause = Pause()
    silence: str = ""  # what was said of a silence that lasts
    capped: bool = False  # a cap was met, and nothing was bought since
    first_pause: int = FIRST_RETRY  # ms

    def lane(self, model: str) -> Lane:
        """Return what is known of a model version's slots."""
        return self.lanes.get(model) or Lane(self._first())

    def with_slots(self, model: str, slots: Slots) -> Self:
        """Return the account with what is known of a model's slots; a ceiling that the user set counts instead."""
        return self._with(model, slots=slots if self.ceiling is None else self._first())

    def in_flight(self) -> int:
        """Return how many slots of all models are held."""
        return sum(lane.in_flight for lane in self.lanes.values())

    def room_at(self, model: str) -> int | None:
        """Return from when one more of this model may come forward; None: not before something ends."""
        lane = self.lane(model)
        at = lane.slots.room_at(lane.in_flight, lane.forward.values())
        if at is None or self.ceiling is None:
            return at
        forward = [until for one in self.lanes.values() for until in one.forward.values()]
        everywhere = self._first().room_at(self.in_flight(), forward)
        return None if everywhere is None else max(at, everywhere)

    def is_full(self, model: str) -> bool:
        """Whether no slot of a model is free."""
        lane = self.lane(model)
        bounded = self.ceiling is not None and self.in_flight() >= self.ceiling
        return bounded or lane.in_flight >= lane.slots.allowed

    def come_forward(self, key: str, model: str, now: int) -> Self:
        """Let this generation look and prepare itself; the end of its turn takes it back."""
        return self._with(model, forward={**self.lane(model).forward, key: now + STANDS_FOR})

    def is_forward(self, key: str) -> bool:
        """Whether this generation came forward."""
        return any(key in lane.forward for lane in self.lanes.values())

    def held(self, key: str, model: str) -> Self:
        """Count one more slot as held, whatever the limit."""
        account = self._back(key)
        return account._with(model, in_flight=account.lane(model).in_flight + 1)

    def freed(self, model: str) -> Self:
        """Count one slot less as held."""
        lane = self.lane(model)
        left = lane.in_flight - 1
        return self._with(model, in_flight=left, slots=lane.slots.freed(left))

    def accepted(self, model: str, now: int) -> Self:
        """Learn from an accepted task, which holds its slot."""
        lane = self.lane(model)
        return self._with(model, slots=lane.slots.accepted(lane.in_flight, now))

    def refused(self, model: str, now: int) -> Self:
        """Learn from a refused slot (1303), which is still counted; for a while none of this model comes forward."""
        lane = self.lane(model)
        return self._with(model, slots=lane.slots.refused(lane.in_flight - 1, now))

    def paused(self, reason: str, now: int, *, by_create: bool) -> Self:
        """Begin a pause; another generation that meets the same trouble does not make it longer."""
        pause = self.pause if self.pause.reason else Pause(again_at=now)
        if now >= pause.again_at:
            times = pause.times + 1
            again_at = now + account_pause(times, self.first_pause)
            pause = replace(pause, times=times, again_at=again_at)
        by_create = by_create or pause.by_create
        return replace(self, pause=replace(pause, reason=reason, prober="", by_create=by_create))

    def again_at(self, now: int) -> int:
        """Return when to ask again: after the pause or, while a generation tries, a moment later."""
        return max(self.pause.again_at, now + SECOND)

    def probed_by(self, key: str, now: int) -> Self:
        """Let this generation try whether the trouble is over, where the pause is over and no other tries."""
        is_free = now >= self.pause.again_at and not self.pause.prober
        return replace(self, pause=replace(self.pause, prober=key)) if is_free else self

    def is_shut_to(self, key: str) -> bool:
        """Whether this generation may not be submitted now."""
        return bool(self.pause.reason) and self.pause.prober != key

    def resumed(self, *, create: bool) -> Self:
        """End the pause after an answer that an account in trouble does not get: to a create, or to a question."""
        return self if self.pause.by_create and not create else replace(self, pause=Pause())

    def turn_over(self, key: str, now: int) -> Self:
        """End this generation's turn: it is not forward any more, and another one may try after a pause."""
        account = self._back(key)
        if account.pause.prober != key:
            return account
        again_at = max(account.pause.again_at, now + account_pause(1, self.first_pause))
        return replace(account, pause=replace(account.pause, prober="", again_at=again_at))

    def _back(self, key: str) -> Self:
        lanes = {
            model: replace(lane, forward={k: v for k, v in lane.forward.items() if k != key})
            for model, lane in self.lanes.items()
            if key in lane.forward
        }
        return replace(self, lanes={**self.lanes, **lanes}) if lanes else self

    def _first(self) -> Slots:
        return Slots() if self.ceiling is None else Slots(limit=self.ceiling, ceiling=self.ceiling)

    def _with(self, model: str, **changes: object) -> Self:
        lane = replace(self.lane(model), **changes)  # type: ignore[arg-type]
        return replace(self, lanes={**self.lanes, model: lane})
