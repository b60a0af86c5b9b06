"""The part of a generation's life before its task runs: waiting for a slot, looking, creating, doubting.

What is sent is decided in `effects`; here is decided whether it is this generation's turn, and when it is next.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.errors import counted, told
from reconciler.core.generations import Generation
from reconciler.core.schedule import HOUR, Brake
from reconciler.core.states import Record, Status
from reconciler.engine.desk import Desk, StillWanted
from reconciler.engine.effects import Outcome, Purchases
from reconciler.engine.patience import not_asked
from reconciler.engine.queue import Lines
from reconciler.engine.work import Work
from reconciler.kling import errors

_NOT_SHOWN = "the provider says that a task with this id exists, but does not show it yet; it may have been paid for, so nothing is sent: `watch` or the next run goes on looking"


class Buyer:
    """Brings generations to the provider, each once."""

    def __init__(self, desk: Desk, purchases: Purchases, is_wanted: StillWanted) -> None:
        self._desk = desk
        self._purchases = purchases
        self._is_wanted = is_wanted
        self._gate = desk.gate
        self._holds = desk.holds
        self._patience = desk.patience
        self._brakes: dict[str, Brake] = {}  # of this run, by base id
        self._lines = Lines()  # who waits to come forward, by model version

    def close(self) -> None:
        """Let what is under way come to an end, and begin nothing that costs."""
        self._purchases.close()

    def is_waiting(self, key: str) -> bool:
        """Whether a generation waits to come forward."""
        return key in self._lines

    def admit(self) -> list[str]:
        """Return the keys whose wait, for a slot or for the account, is over."""
        admitted, now = self._gate.readmitted(), self._desk.now()
        while (model := next((one for one, at in self._openings() if at <= now), None)) is not None:
            key = self._lines.pop(model)
            self._gate.come_forward(key, model)
            admitted.append(key)
        return admitted

    def next_at(self) -> int | None:
        """Return from when (ms) the next in line may come forward; None: not before something ends."""
        return min((at for _, at in self._openings()), default=None)

    def _openings(self) -> Iterator[tuple[str, int]]:
        """Yield each model version for which somebody waits, first come first, and when one may come forward (ms)."""
        for model in self._lines.kinds():
            at = 0 if self._gate.closed else self._gate.room_at(model)
            if at is not None:
                yield model, at

    async def submit(self, work: Work, record: Record) -> int | None:
        """Look for a generation that is not sent, and send it; return when it is due next (ms)."""
        gate, key = self._gate, work.base_id
        if not work.wishes:
            return None
        if not gate.is_forward(key) and not gate.closed:
            self._lines.join(key, record.model)  # who was held before does not come before others
            return None
        if self._desk.options.enduring and (shut := gate.obstacle(key)):
            return self._holds.hold(key, record, shut, until=gate.again_at())
        return await self.look(work, record)

    async def look(self, work: Work, record: Record) -> int | None:
        """Ask for the task, and create it where it is unknown and wanted; return when it is due next (ms)."""
        key = work.base_id
        try:
            outcome = await self._purchases.look(record, lambda: self._wanted(key))
        except errors.AccountTrouble as error:
            return self._close(key, record, error, by_create=False)
        except errors.ProviderError as error:
            if await self._patience.cannot_ask(key, record, error):
                return self._holds.hold(key, record, not_asked(error))
            return self._patience.pause(key, record)
        self._patience.heard()
        self._gate.answered()
        if outcome.trouble is not None:
            return await self._not_created(key, outcome, outcome.trouble)
        self._patience.heard(key)
        return self._after(work, record, outcome)

    def _wanted(self, key: str) -> Generation | None:
        """Return the wish to buy now, as things stand at this moment."""
        work = self._desk.works.get(key)
        if work is None or self._obstacle(work):
            return None
        wishes = (wish for wish in work.wishes if not wish.suspended)
        return next((wish for wish in wishes if self._is_wanted(wish)), None)

    def _obstacle(self, work: Work) -> str:
        return work.obstacle or self._gate.obstacle(work.base_id) or self._brake(work.base_id)

    def _after(self, work: Work, before: Record, outcome: Outcome) -> int | None:
        """Go on after a look that was answered and a create, if there was one, that went well."""
        key, record = work.base_id, outcome.record
        if record.task_id is not None:
            self._brakes.pop(key, None)
        if outcome.full:
            return self._is_late(key, record)
        if record.status is Status.PENDING:
            if not (obstacle := self._obstacle(work)):
                return None
            again_at = self._holds.hold(key, record, obstacle)
            return None if work.obstacle else again_at  # what is on this disk tells when it changes
        if record.in_use and self._is_overdue(record):  # what nobody sees keeps no slot from others
            return self._holds.hold(key, record, _NOT_SHOWN, until=outcome.again_at)
        flies = record.status in {Status.SUBMITTED, Status.PROCESSING}
        if flies and before.status is not record.status:
            self._gate.hold(record)
            self._gate.accepted(record, self._desk.now())
            self._gate.answered(create=True)
            self._holds.capped = False
        return outcome.again_at if record.status is Status.SUBMITTING else self._desk.now()

    def _is_overdue(self, record: Record) -> bool:
        """Whether what is in use was looked for over two grace periods: a run that ends leaves it to a later one."""
        since = record.gave_up_at or self._desk.now()
        return self._desk.now() - since >= 2 * self._desk.options.rules.absence_grace

    def _is_late(self, key: str, record: Record) -> int | None:
        """Others took the slots while this one got ready: it is the next one, and then quick."""
        if record.status is Status.SUBMITTING or self._gate.closed:
            return self._desk.now() + self._desk.options.rules.poll_interval
        self._lines.join(key, record.model, first=True)
        return None

    def _brake(self, key: str) -> str:
        """Return why no further create is sent, in a run that endures for a while, in any other to its end."""
        brake, endures = self._brakes.get(key, Brake()), self._desk.options.enduring
        if not brake.is_on() or (endures and self._desk.now() >= brake.ends_at()):
            return ""
        told = f"{counted(brake.creates, 'request')} to create it had no readable answer, and no task showed up"
        if not endures:
            return f"{told}; ask the provider before you run again"
        hours = (brake.ends_at() - brake.last_at) // HOUR
        return f"{told}; the next one is sent {hours} h after the last, unless the task shows up: ask the provider"

    async def _not_created(
        self, key: str, outcome: Outcome, trouble: errors.ProviderError
    ) -> int | None:
        """Come back after a create that was refused for the account's sake, did not leave, or is in doubt."""
        in_doubt = outcome.record.status is Status.SUBMITTING
        if isinstance(trouble, errors.SlowDown | errors.TryLater):
            if await self._patience.cannot_ask(key, outcome.record, trouble):
                return self._holds.hold(key, outcome.record, told(trouble))
            return self._patience.pause(key, outcome.record)
        self._patience.heard(key)
        match trouble:
            case errors.SlotsExhausted():
                self._gate.answered(create=True)
                self._gate.refused(outcome.record, self._desk.now())
                self._lines.join(key, outcome.record.model)
                return None
            case errors.AccountTrouble():
                return self._close(key, outcome.record, trouble, by_create=True)
            case errors.RequestRefused():
                self._gate.answered(create=True)
            case errors.SendingBroke():
                self._brakes[key] = self._brakes.get(key, Brake()).pressed(self._desk.now())
                return self._holds.hold(key, outcome.record, told(trouble))
            case _:
                self._brakes[key] = self._brakes.get(key, Brake()).pressed(self._desk.now())
                if isinstance(trouble, errors.Misdirected):  # in doubt; and no other goes there
                    self._gate.close(told(trouble), by_create=True)
        return outcome.again_at if in_doubt else self._desk.now()

    def _close(
        self, key: str, record: Record, error: errors.AccountTrouble, *, by_create: bool
    ) -> int | None:
        self._gate.close(told(error), by_create=by_create)
        return self._holds.hold(key, record, told(error), until=self._gate.again_at())
