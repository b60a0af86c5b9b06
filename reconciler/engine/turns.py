"""What one turn of a generation does: read its status, do the one thing that is due, say when to come back.

Trouble is sorted here by whom it concerns: one generation (held, with a sentence), everybody's next purchase
(the gate), or the connection (back-off, and after long enough the end of the run). Nothing here fails a task.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.errors import CapReached, ReconcilerError, WorkspaceError
from reconciler.core.schedule import SECOND
from reconciler.core.states import LIVE, Record, Status
from reconciler.core.transitions import Lost, Taken, step
from reconciler.engine.effects import Outcome, Purchases
from reconciler.engine.gate import Gate
from reconciler.engine.journal import Journal
from reconciler.engine.patience import Patience
from reconciler.engine.polling import Poller
from reconciler.engine.ports import Options, Ports
from reconciler.engine.publishing import Publisher
from reconciler.engine.receipts import Receipts
from reconciler.engine.saving import CannotKeep, Saver
from reconciler.engine.work import Work
from reconciler.kling import errors
from reconciler.workspace.media import MediaError
from reconciler.workspace.outputs import OutputTaken

_MOST_CREATES = 3  # of one generation in doubt in a row, before a run leaves it to somebody
_MOST_SAVES = 8  # failures in a row before a result is left for the next run


@dataclass(frozen=True, slots=True)
class Crew:
    """Those who do the work of a turn."""

    purchases: Purchases
    poller: Poller
    saver: Saver
    publisher: Publisher
    receipts: Receipts
    gate: Gate


class Turns:
    """The turns of a selection of generations."""

    def __init__(
        self, ports: Ports, options: Options, journal: Journal, crew: Crew, works: Iterable[Work]
    ) -> None:
        self._ports = ports
        self._options = options
        self._journal = journal
        self._crew = crew
        self._works = {work.base_id: work for work in works}
        self._patience = Patience(options, ports.now)
        self._creates_in_doubt: Counter[str] = Counter()  # in this run
        self._ended_before = {
            base
            for base in self._works
            if (known := journal.get(base)) and known.status in {Status.REJECTED, Status.EXPIRED}
        }
        self._waiting: deque[str] = deque()  # for a slot
        self.flying: set[str] = set()  # at the provider; the poll sees to them
        self.holds: dict[str, str] = {}  # base id -> why this run cannot bring it forward

    @property
    def poll_interval(self) -> int:
        """Milliseconds between two polls."""
        return self._options.rules.poll_interval

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._ports.now()

    def stop_buying(self) -> None:
        """Let what is under way come to an end, and begin nothing that costs."""
        self._crew.purchases.close()

    def admit(self) -> list[str]:
        """Return the keys whose wait for a slot is over."""
        admitted = []
        while self._waiting and (self._crew.gate.has_slot() or self._crew.gate.closed):
            admitted.append(self._waiting.popleft())
            self._crew.gate.take_slot(admitted[-1])
        return admitted

    def landed(self) -> list[str]:
        """Return, and forget as flying, the keys whose task ended or whose poll is of no use now."""
        landed = [key for key in self.flying if key in self.holds or not self._is_flying(key)]
        self.flying -= set(landed)
        for key in landed:
            if key in self.holds:
                self._crew.gate.release(key)
        return [key for key in landed if key not in self.holds]

    async def take(self, key: str) -> int | None:
        """Take a generation's turn; return when the next one is due (ms), or None when something else wakes it."""
        work = self._works[key]
        record = work.attempt(self._journal.get(key))
        if record is None:
            return None
        try:
            again_at = await self._advance(work, record)
        except (CapReached, WorkspaceError, CannotKeep) as error:
            self._hold(key, error.message)
            again_at = None
        now = self._journal.get(key)
        if key in self.holds or (
            again_at is None
            and (now is None or now.status not in LIVE)
            and key not in self._waiting
        ):
            self._crew.gate.release(key)
        return again_at

    async def poll(self) -> None:
        """Observe every task in flight."""
        flying = {key: record for key in self.flying if (record := self._journal.get(key))}
        try:
            await self._crew.poller.observe(flying)
        except errors.AccountTrouble as error:
            self._crew.gate.close(_told(error))
            if self._patience.is_over(self._options.first_patience):
                for key in flying:
                    self._hold(key, _told(error))
        except errors.ProviderError as error:
            self._patience.unanswered(error)
        else:
            self._patience.heard()

    async def _advance(self, work: Work, record: Record) -> int | None:
        match record.status:
            case Status.PENDING:
                return await self._submit(work, record)
            case Status.SUBMITTING:
                self._crew.gate.take_slot(work.base_id)
                if record.gave_up_at is None:
                    taken = step(record, Taken(), rules=self._options.rules, now=self.now())
                    record = self._journal.commit(taken.record, kind="taken")
                return await self._look(work, record)
            case Status.SUBMITTED | Status.PROCESSING:
                self._crew.gate.take_slot(work.base_id)
                self.flying.add(work.base_id)
                return None
            case Status.SUCCEEDED:
                return await self._save(work, record)
            case Status.COMPLETE:
                return self._publish(work, record)
            case Status.REJECTED | Status.EXPIRED if work.base_id in self._ended_before:
                # What an earlier run gave up may be found after all; nothing is bought by looking.
                self._ended_before.discard(work.base_id)
                return await self._look(work, record)
            case _:
                self._receipts(work, record)
                return None

    async def _submit(self, work: Work, record: Record) -> int | None:
        gate = self._crew.gate
        if not work.wishes:
            return None
        if not gate.holds_slot(work.base_id):
            if not gate.has_slot() and not gate.closed:
                self._waiting.append(work.base_id)
                return None
            gate.take_slot(work.base_id)
        if (opens := gate.opens_at(work.base_id)) > self.now() and not gate.closed:
            return opens
        return await self._look(work, record)

    async def _look(self, work: Work, record: Record) -> int | None:
        key = work.base_id
        obstacle = work.obstacle or self._crew.gate.closed or self._brake(key)
        wish = None if obstacle or not work.wishes else work.wishes[0]
        try:
            outcome = await self._crew.purchases.look(record, wish)
        except errors.AccountTrouble as error:
            self._crew.gate.close(_told(error))
            self._hold(key, _told(error))
            return None
        except errors.ProviderError as error:
            self._patience.unanswered(error)
            self._patience.failed(key)
            return self._patience.pause(key)
        self._patience.heard()
        if outcome.trouble is not None:
            return self._not_created(key, outcome, outcome.trouble)
        self._patience.heard(key)
        if outcome.record.task_id is not None:
            del self._creates_in_doubt[key]
        if outcome.record.status is Status.PENDING:
            if obstacle:
                self._hold(key, obstacle)
            return None
        if (
            outcome.record.status in {Status.SUBMITTED, Status.PROCESSING}
            and record.status is not outcome.record.status
        ):
            self._crew.gate.accepted(self.now())
        return outcome.again_at if outcome.record.status is Status.SUBMITTING else self.now()

    def _brake(self, key: str) -> str:
        """Return why no further create is sent in this run: a provider that hides what it accepts may bill each."""
        count = self._creates_in_doubt[key]
        if count < _MOST_CREATES:
            return ""
        return f"{count} creates had no readable answer, and no task showed up; ask the provider before you run again"

    def _not_created(self, key: str, outcome: Outcome, trouble: errors.ProviderError) -> int | None:
        """Come back after a create that was refused for the account's sake, did not leave, or is in doubt."""
        self._patience.failed(key)
        match trouble:
            case errors.SlotsExhausted():
                return self._crew.gate.refused(key, self.now())
            case errors.AccountTrouble():
                self._crew.gate.close(_told(trouble))
                self._hold(key, _told(trouble))
                return None
            case errors.RequestRefused() | errors.OutcomeUnknown():
                self._creates_in_doubt[key] += isinstance(trouble, errors.OutcomeUnknown)
                return (
                    outcome.again_at if outcome.record.status is Status.SUBMITTING else self.now()
                )
            case _:
                if isinstance(trouble, errors.TryLater):
                    self._patience.unanswered(trouble)
                pause = self._patience.pause(key)
                return pause if outcome.record.status is Status.PENDING else outcome.again_at

    async def _save(self, work: Work, record: Record) -> int | None:
        key = work.base_id
        self._crew.gate.release(key)
        try:
            record, again_at = await self._crew.saver.save(record)
        except errors.AccountTrouble as error:
            self._hold(key, _told(error))
            return None
        except errors.TryLater as error:
            self._patience.unanswered(error)
            self._patience.failed(key)
        except (errors.ProviderError, MediaError) as error:
            failures = self._patience.failed(key)
            if isinstance(error, errors.ResultUnsafe) or failures >= _MOST_SAVES:
                self._hold(key, f"bought, and its result could not be saved yet: {error.message}")
                kept = self._journal.get(key)
                if kept is not None and kept.results:
                    self._publish_everywhere(work, kept)
                return None
        else:
            self._patience.heard(key)
            if record.status is Status.EXPIRED and record.results:
                self._publish_everywhere(work, record)
            return again_at or self.now()
        return self._patience.pause(key, most=30 * SECOND)

    def _publish(self, work: Work, record: Record) -> int | None:
        trouble = self._publish_everywhere(work, record)
        if trouble is None:
            lost = step(record, Lost(), rules=self._options.rules, now=self.now())
            self._journal.commit(lost.record, kind="lost")
            return self.now()
        self._receipts(work, record)
        for error in trouble:
            if isinstance(
                error, OutputTaken
            ):  # seen again by every plan, so it need not be remembered
                self._ports.report.held(record, error.message)
            else:
                self._hold(work.base_id, error.message)
        return None

    def _publish_everywhere(self, work: Work, record: Record) -> list[WorkspaceError] | None:
        """Publish what was saved wherever it is wanted and can be; None when its bytes are nowhere."""
        trouble: list[WorkspaceError] = []
        for wish in work.wishes:
            try:
                if not self._crew.publisher.publish(wish, record):
                    return None
            except WorkspaceError as error:
                trouble.append(error)  # the other places that want it get it all the same
        return trouble

    def _receipts(self, work: Work, record: Record) -> None:
        """Write the receipts of the specs that want it; of the spec that once did, where none does any more."""
        for spec in sorted({wish.spec for wish in work.wishes} or {record.spec}):
            try:
                self._crew.receipts.write(spec, newly=record)
            except ReconcilerError as error:
                self._hold(work.base_id, error.message)

    def _hold(self, key: str, reason: str) -> None:
        """Leave a generation where it is for this run, and say why."""
        self.holds[key] = reason
        record = self._works[key].attempt(self._journal.get(key))
        if record is not None:
            self._ports.report.held(record, reason)

    def _is_flying(self, key: str) -> bool:
        record = self._journal.get(key)
        return record is not None and record.status in {Status.SUBMITTED, Status.PROCESSING}


def _told(error: ReconcilerError) -> str:
    """Return what happened and what to do, in one line."""
    return f"{error.message} {error.hint}".strip()
