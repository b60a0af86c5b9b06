"""The part of a generation's life after its task ended well: saving the result, publishing it, writing receipts."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from reconciler.core.errors import ReconcilerError, WorkspaceError, told
from reconciler.core.generations import Generation
from reconciler.core.schedule import HOUR, SECOND
from reconciler.core.states import Record, Status
from reconciler.core.transitions import Lost, step
from reconciler.engine.desk import AtRest, Declared, Desk
from reconciler.engine.publishing import Publisher
from reconciler.engine.receipts import Receipts
from reconciler.engine.saving import Saver
from reconciler.engine.work import Work
from reconciler.kling import errors
from reconciler.workspace.media import MediaError
from reconciler.workspace.outputs import OutputTaken

_MOST_SAVES = 8  # failures in a row before a result is left for later
# Between two tries at what is too large: each may take as much as is kept of one.
_SELDOM = HOUR


class Lander:
    """Brings results home."""

    def __init__(
        self,
        desk: Desk,
        saver: Saver,
        publisher: Publisher,
        receipts: Receipts,
        declared: Declared,
        is_at_rest: AtRest,
    ) -> None:
        self._desk = desk
        self._saver = saver
        self._publisher = publisher
        self._written = receipts
        self._declared = declared
        self._is_at_rest = is_at_rest
        self._gate = desk.gate
        self._holds = desk.holds
        self._patience = desk.patience

    async def save(self, work: Work, record: Record) -> int | None:
        """Fetch a result; return when the generation is due next (ms)."""
        key = work.base_id
        try:
            record, again_at = await self._saver.save(record, _reference(work))
        except errors.AccountTrouble as error:
            self._gate.close(told(error), by_create=False)
            return self._holds.hold(key, record, told(error), until=self._gate.again_at())
        except errors.TryLater as error:
            if await self._patience.cannot_ask(key, record, error):
                return self._give_up(work, record, error)
        except (errors.ProviderError, MediaError) as error:
            failures = self._patience.failed(key)
            is_final = isinstance(error, errors.ResultUnsafe | errors.Unproven)
            if is_final or failures >= _MOST_SAVES:
                return self._give_up(work, record, error)
        else:
            self._patience.heard(key)
            self._gate.answered()
            if record.status is Status.EXPIRED and record.results:
                self._publish_everywhere(work, record)
            return again_at or self._desk.now()
        return self._patience.pause(key, record, most=30 * SECOND)

    def publish(self, work: Work, record: Record) -> int | None:
        """Publish what is saved; return when the generation is due next (ms)."""
        trouble = self._publish_everywhere(work, record)
        if trouble is None:
            lost = step(record, Lost(), rules=self._desk.options.rules, now=self._desk.now())
            self._desk.journal.commit(lost.record, kind="lost")
            return self._desk.now()
        again_at = self.write_receipts(work, record)
        for error in trouble:
            if isinstance(
                error, OutputTaken
            ):  # seen again by every plan, so it need not be remembered
                self._desk.ports.report.held(record, error.message)
            else:
                again_at = self._holds.hold(work.base_id, record, error.message)
        return again_at

    def write_receipts(self, work: Work, record: Record) -> int | None:
        """Write the receipts of the specs that want it; of the spec that once did, where none does any more.

        Returns when to try again (ms), where one could not be written.
        """
        again_at = None
        self._desk.unwritten.discard(work.base_id)
        for spec in sorted({wish.spec for wish in work.wishes} or {record.spec}):
            if not self._is_at_rest(spec):
                self._desk.unwritten.add(work.base_id)
                again_at = self._desk.now() + SECOND
                continue
            if work.wishes and not self._places(spec, work):
                # Something else is asked for here since: `watch` is about to hear of it, and `apply` leaves it.
                self._desk.unwritten.add(work.base_id)
                continue
            try:
                self._written.write(spec, newly=record)
            except ReconcilerError as error:
                again_at = self._holds.hold(work.base_id, record, error.message)
        return again_at

    def _give_up(self, work: Work, record: Record, error: ReconcilerError) -> int | None:
        reason = f"bought, but its result could not be saved yet: {told(error)}"
        if isinstance(error, errors.Unproven):
            reason = f"nothing is fetched: {told(error)}"
        kept = self._desk.journal.get(work.base_id)
        until = self._desk.now() + _SELDOM if isinstance(error, errors.ResultTooLarge) else None
        again_at = self._holds.hold(work.base_id, kept or record, reason, until=until)
        if kept is not None and kept.results:
            self._publish_everywhere(work, kept)
        return again_at

    def _publish_everywhere(self, work: Work, record: Record) -> list[WorkspaceError] | None:
        """Publish what was saved wherever it is wanted and can be; None when its bytes are nowhere."""
        trouble: list[WorkspaceError] = []
        for wish in self._asked(work):
            try:
                if not self._publisher.publish(wish, record):
                    return None
            except WorkspaceError as error:
                trouble.append(error)  # the other places that want it get it all the same
        return trouble

    def _asked(self, work: Work) -> Iterator[Generation]:
        """Yield where the result is asked for at this moment, of the specs that are at rest: the last thing looked at."""
        for spec in sorted({wish.spec for wish in work.wishes}):
            if self._is_at_rest(spec):
                yield from self._places(spec, work)

    def _places(self, spec: str, work: Work) -> list[Generation]:
        return [one for one in self._declared(spec) if one.external_task_id == work.base_id]


def _reference(work: Work) -> Decimal | None:
    """Return the length of the motion video in s; a URL's is not known."""
    return next((wish.seconds for wish in work.wishes if wish.seconds), None)
