"""The account, as one run knows it: its slots by model version, and the pause after trouble. Times are in ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from reconciler.core.contact import Contact
from reconciler.core.schedule import FIRST_RETRY, SECOND, STANDS_FOR, Slots, account_pause


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
        return self._with(model, in_flight=self.lane(model).in_flight - 1)

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
