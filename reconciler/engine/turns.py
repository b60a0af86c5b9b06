"""What one turn of a generation does: read its status, do the one thing that is due, say when to come back.

Trouble is sorted by whom it concerns: one generation (held, with a sentence), everybody's next purchase
(the gate), or the connection (back-off, and after long enough the end of the run). Nothing here fails a task.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.errors import (
    CapReached,
    HostingError,
    StaleRecord,
    StateError,
    StateReplaced,
    WorkspaceError,
    mistake,
    told,
)
from reconciler.core.schedule import SECOND
from reconciler.core.states import LIVE, Record, Status
from reconciler.core.transitions import Taken, may_turn_up, step
from reconciler.engine.crew import Crew
from reconciler.engine.desk import Desk
from reconciler.engine.patience import Unreachable, not_asked
from reconciler.engine.polling import Round
from reconciler.engine.saving import CannotKeep
from reconciler.engine.work import Work
from reconciler.kling import errors

_GIVEN_UP = frozenset({Status.REJECTED, Status.EXPIRED, Status.FAILED})
LOOK_AGAIN = 3600 * SECOND  # ms: between two looks, in a run that endures, at what was given up
_FLYING = frozenset({Status.SUBMITTED, Status.PROCESSING})


class Turns:
    """The turns of the generations that have work; `works` may change while a run goes on."""

    def __init__(self, desk: Desk, crew: Crew) -> None:
        self._desk = desk
        self._crew = crew
        self._endures = desk.options.enduring
        self._given_up: dict[
            str, int
        ] = {}  # attempt -> when it was given up, or looked at again (ms)
        self._poll_failed = ""  # why a poll came to nothing or could not be written, as it was said
        self.flying: set[str] = set()  # at the provider; the poll sees to them
        self._held: dict[str, int] = {}  # who cannot be polled -> when to try that again (ms)
        # In doubt since an earlier process, by a clock that may have been set meanwhile: counted anew (rule 4).
        self._inherited = {
            record.external_task_id
            for record in desk.journal.records().values()
            if record.status is Status.SUBMITTING
        }

    @property
    def poll_interval(self) -> int:
        """Milliseconds between two polls."""
        return self._desk.options.rules.poll_interval

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._desk.now()

    def stop_buying(self) -> None:
        """Let what is under way come to an end, and begin nothing that costs."""
        self._crew.buyer.close()

    def admit(self) -> list[str]:
        """Return the keys whose wait for a slot is over."""
        return self._crew.buyer.admit()

    def next_admission(self) -> int | None:
        """Return from when (ms) the next wait for a slot is over, where only time has to pass."""
        return self._crew.buyer.next_at()

    def landed(self) -> dict[str, int]:
        """Return, and forget as flying, the keys whose task ended or that cannot be polled, and when they are due (ms)."""
        holds = self._desk.holds
        landed = [key for key in sorted(self.flying) if key in holds or not self._is_flying(key)]
        self.flying -= set(landed)
        for key in landed:
            if key in holds:
                self._desk.gate.free(key)
        due = {key: self._held.pop(key, None) if key in holds else 0 for key in landed}
        return {key: at for key, at in due.items() if at is not None}

    async def take(self, key: str) -> int | None:
        """Take a generation's turn; return when the next one is due (ms), or None when something else wakes it."""
        work = self._desk.works.get(key)
        record = work.attempt(self._desk.journal.get(key)) if work else None
        if work is None or record is None:
            # Not freed: what is complete may be held for its receipt, and whoever took the work away saw to that.
            self._desk.gate.free(key)
            self._desk.gate.turn_over(key)
            return None
        holds = self._desk.holds
        holds.begin(key)
        self._count(key, record)
        try:
            again_at = await self._advance(work, record)
        except (CapReached, HostingError, WorkspaceError, CannotKeep) as error:
            again_at = holds.hold_for(key, record, error)
        except (StateReplaced, Unreachable):  # nobody's own trouble: the run is over
            raise
        except StateError as error:
            if not self._endures:
                raise
            again_at = self._hold_unwritten(key, record, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: it must not end the work for all the others
            self._desk.journal.read_again(key)
            again_at = holds.hold(key, record, mistake(error))
        finally:
            self._desk.gate.turn_over(key)  # also of a turn that is cut off
        if key not in self.flying and not self._crew.buyer.is_waiting(key):
            holds.end(key)  # otherwise nothing was found out yet
        now = self._desk.journal.get(key)
        if now is not None and now.status in _GIVEN_UP and record.status not in _GIVEN_UP:
            self._given_up[now.external_task_id] = self.now()
        self._count(key, now)
        return self._next_look(now) if again_at is None and now else again_at

    async def poll(self) -> int:
        """Observe every task in flight; return when to do so again (ms)."""
        flying = {
            key: record for key in sorted(self.flying) if (record := self._desk.journal.get(key))
        }
        desk, again_at = self._desk, 0
        try:
            await self._follow(flying, await self._crew.poller.observe(flying))
        except errors.AccountTrouble as error:
            desk.gate.close(told(error), by_create=False)
            if self._endures:
                again_at = desk.gate.again_at()
            elif desk.patience.is_over(self._desk.options.first_patience):
                for key, record in flying.items():
                    desk.holds.hold(key, record, told(error))
        except Exception as error:
            if not self._endures or isinstance(error, StateReplaced):
                raise
            said = told(error) if isinstance(error, StateError) else mistake(error)
            if self._poll_failed != said:
                self._poll_failed = said
                desk.ports.report.say(said)
        else:
            self._poll_failed = ""
        return max(again_at, self.now() + self.poll_interval)

    async def _follow(self, flying: Mapping[str, Record], found: Round) -> None:
        """Hold by itself what cannot be asked about while others can; what is not seen for long keeps no slot."""
        desk = self._desk
        if found.answered:
            desk.patience.heard()
            desk.gate.answered()
        for key, record in flying.items():
            if found.sees(record):
                desk.patience.heard(key)
                desk.holds.free(key)
                self._count(key, record)
            elif trouble := found.troubles.get(record.external_task_id):
                if await desk.patience.cannot_ask(key, record, trouble):
                    again_at = desk.holds.hold(key, record, not_asked(trouble))
                    if again_at is not None:
                        self._held[key] = again_at
            elif record.external_task_id in found.events:
                desk.patience.failed(key)
                self._count(key, record)

    def _count(self, key: str, record: Record | None) -> None:
        """Count a generation as in flight or not: a task that may exist is, unless nothing is seen of it for long."""
        live = record is not None and record.status in LIVE
        unseen = key in self._desk.holds or (
            record is not None and self._desk.patience.lasts(key, record)
        )
        if record is not None and live and not unseen:
            self._desk.gate.hold(record)
        else:
            self._desk.gate.free(key)

    async def _advance(self, work: Work, record: Record) -> int | None:
        crew = self._crew
        match record.status:
            case Status.PENDING:
                return await crew.buyer.submit(work, record)
            case Status.SUBMITTING:
                if record.gave_up_at is None or record.external_task_id in self._inherited:
                    self._inherited.discard(record.external_task_id)
                    taken = step(record, Taken(), rules=self._desk.options.rules, now=self.now())
                    record = self._desk.journal.commit(taken.record, kind="taken")
                return await crew.buyer.look(work, record)
            case Status.SUBMITTED | Status.PROCESSING:
                self.flying.add(work.base_id)
                return None
            case Status.SUCCEEDED:
                return await crew.lander.save(work, record)
            case Status.COMPLETE:
                return crew.lander.publish(work, record)
            case _ if self._is_looked_at_again(record):
                return await crew.buyer.look(work, record)
            case _:
                return crew.lander.write_receipts(work, record)

    def _is_looked_at_again(self, record: Record) -> bool:
        """Whether it is time for a look at what was given up: by an earlier run, or by this one long ago.

        It may be found after all; nothing is bought by looking.
        """
        if record.status not in _GIVEN_UP:
            return False
        looked_at = self._given_up.get(record.external_task_id)
        next_look = self._next_look(record)
        if looked_at is not None and (next_look is None or self.now() < next_look):
            return False
        self._given_up[record.external_task_id] = self.now()
        return True

    def _next_look(self, record: Record) -> int | None:
        """Return when to look again at what was given up (ms), in a run that endures, while it may turn up."""
        looked_at = self._given_up.get(record.external_task_id)
        if not self._endures or looked_at is None or not may_turn_up(record, self.now()):
            return None
        return looked_at + LOOK_AGAIN

    def _hold_unwritten(self, key: str, record: Record, error: StateError) -> int | None:
        """Go on from what is on disk after a change that could not be written, or perhaps was."""
        if isinstance(error, StaleRecord):
            self._desk.journal.read_again(key)
        return self._desk.holds.hold_for(key, record, error)

    def _is_flying(self, key: str) -> bool:
        record = self._desk.journal.get(key)
        return record is not None and record.status in _FLYING
