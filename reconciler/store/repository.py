"""The store's verbs that write: every change that the program makes to its database. The questions are in `state`.

One verb is one transaction. It refuses a change that expects another status than the one on disk, and a second live
task of one generation. Removing rows removes no paid file, and frees no cap. Caps are in `caps`, rows in `tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from reconciler.core.errors import StaleRecord, StateError, counted
from reconciler.core.spending import charged
from reconciler.core.states import LIVE, Record, Status
from reconciler.store import rows, tables, upkeep, writing
from reconciler.store.caps import check_caps
from reconciler.store.database import database_path
from reconciler.store.lock import StateLock
from reconciler.store.order_queue import OrderQueue
from reconciler.store.state import ATTEMPTS, State
from reconciler.store.tables import EVENT, FORGOTTEN, HOLD, MEMORY, PUBLICATION, RESULT, TASK
from reconciler.store.values import (
    KEPT_BESIDE,
    Caps,
    Change,
    Forgotten,
    HistoryEntry,
    Publication,
    Spent,
)

_OF_OWNER = TASK.c.external_task_id == sa.bindparam("owner")
_STATUS = sa.select(TASK.c.status).where(_OF_OWNER)
_UPDATE = sa.update(TASK).where(_OF_OWNER, TASK.c.status == sa.bindparam("expected"))
_DELETE_RESULTS = sa.delete(RESULT).where(RESULT.c.external_task_id == sa.bindparam("owner"))
_DELETE_PUBLICATION = sa.delete(PUBLICATION).where(PUBLICATION.c.path == sa.bindparam("gone"))
_OF_HELD = HOLD.c.base_id == sa.bindparam("held")
_TIDY_EVERY = 600_000  # ms


class Repository(State):
    """The state, by its one writer, for one thread at a time. Every verb raises StateError when it cannot be used."""

    def __init__(self, opened: writing.WritableDatabase) -> None:
        super().__init__(opened)
        self._writable = opened
        self._tidied_at: int | None = None  # None: there may be something to do

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        *,
        busy_timeout: float | None = None,
        locks: Iterable[StateLock] = (),
    ) -> Self:
        """Open a database by its path or `sqlite:///` URL, creating or upgrading it.

        `busy_timeout` is how long a change waits for another program that writes, in seconds. Every change
        raises StateReplaced once the database, or one of these locks, is not on the disk by its name any more.
        """
        opened = writing.open_for_writing(database_path(url_or_path), busy_timeout)
        try:
            writing.lay_out(opened)
            opened.raise_fence()
            for lock in locks:
                lock.hold(opened.fence)
        except BaseException:
            opened.close()
            raise
        return cls(opened)

    @property
    def orders(self) -> OrderQueue:
        """The orders that other processes leave here."""
        return OrderQueue(self._writable)

    def record_intent(self, change: Change, *, caps: Caps, run_id: str) -> Spent:
        """Record that a create request is about to be sent, which it may be after this; return what is spent with it.

        The record's times say on which days it counts. An attempt whose create is repeated is recorded again, and
        counts once, for the run that repeats it. Raises CapReached: the estimate does not fit under a cap; StaleRecord:
        the record is not in its expected status; StateError: another task of the generation is live.
        """
        if change.record.status is not Status.SUBMITTING:
            raise ValueError("an intent is recorded with the status submitting")
        with self._writable.write() as connection:
            _guard(connection, change.record.external_task_id, change.expected)
            spent = check_caps(connection, change.record, caps, run_id=run_id)
            _write_changes(connection, (change,), run_id=run_id)
        self.require_in_place()  # once more: the write may have taken long, and nothing was sent yet
        return spent

    def require_in_place(self) -> None:
        """Raise StateReplaced once the database or a lock is not on the disk by its name any more."""
        self._writable.fence.require()

    def save(self, changes: Sequence[Change], *, durable: bool = True) -> None:
        """Write all of these changes, or none. Raises StaleRecord, or StateError for a second live task.

        Those that are not `durable` are, once a later write is: an intent makes everything before it so.
        """
        if changes:
            with self._writable.write(durable=durable) as connection:
                _write_changes(connection, changes)

    def note(self, entries: Sequence[HistoryEntry]) -> None:
        """Add lines to the history, which nothing changes afterwards."""
        if entries:
            with self._writable.write() as connection:
                _append(connection, entries)

    def trim_history(self, before: int, *, most: int) -> int:
        """Remove the oldest lines from before a time (ms), at most so many; return how many were removed.

        Lines of live generations and of KEPT_BESIDE stay. Raises StateError for lines of the last 30 days.
        """
        live = sa.select(TASK.c.base_id).where(tables.LIVE_TASKS)
        attempts = sa.select(TASK.c.external_task_id).where(TASK.c.base_id.in_(live))
        owner = EVENT.c.external_task_id
        is_old = EVENT.c.at < before, EVENT.c.kind != KEPT_BESIDE
        old = sa.select(EVENT.c.id).where(*is_old, owner.not_in(attempts), owner.not_in(live))
        oldest = old.order_by(EVENT.c.at, EVENT.c.id).limit(most)
        with self._writable.write() as connection:
            return connection.execute(sa.delete(EVENT).where(EVENT.c.id.in_(oldest))).rowcount

    def forget(self, base_id: str, *, now: int) -> tuple[Record, ...]:
        """Remove all attempts at a generation, its holds and publications; return the attempts. `now` is in ms.

        The history stays, with a line about this; files and objects stay, and what was spent counts for the caps.
        """
        its_own = TASK.c.base_id == base_id
        owners = sa.select(TASK.c.external_task_id).where(its_own)
        owner = PUBLICATION.c.external_task_id
        with self._writable.write() as connection:
            driver = writing.driver_of(connection.connection)
            attempts = rows.to_records(*(one.rows(driver, base=base_id) for one in ATTEMPTS))
            connection.execute(
                sa.delete(PUBLICATION).where(sa.or_(owner == base_id, owner.in_(owners)))
            )
            connection.execute(sa.delete(HOLD).where(HOLD.c.base_id == base_id))
            if not attempts:
                return ()
            connection.execute(sa.delete(FORGOTTEN).where(FORGOTTEN.c.external_task_id.in_(owners)))
            connection.execute(sa.insert(FORGOTTEN), _spending(connection, attempts))
            connection.execute(sa.delete(RESULT).where(RESULT.c.external_task_id.in_(owners)))
            connection.execute(sa.delete(TASK).where(its_own))
            last = attempts[-1]
            task = f", task {last.task_id}" if last.task_id else ""
            told = f"{counted(len(attempts), 'attempt')}; the last, {last.external_task_id}{task}, was {last.status}"
            _append(connection, [HistoryEntry(base_id, now, "forgotten", told)])
        return attempts

    def publish(self, publications: Sequence[Publication]) -> None:
        """Remember these outputs as ours, in place of what was remembered of their paths; not durable by itself."""
        rows = {one.path: tables.row_of(one, inode=str(one.inode)) for one in publications}
        if rows:
            with self._writable.write(durable=False) as connection:
                connection.execute(_DELETE_PUBLICATION, [{"gone": path} for path in rows])
                connection.execute(sa.insert(PUBLICATION), list(rows.values()))

    def unpublish(self, paths: Iterable[str]) -> None:
        """Forget that the outputs at these paths are ours; the files and their objects stay."""
        if gone := [{"gone": path} for path in paths]:
            with self._writable.write() as connection:
                connection.execute(_DELETE_PUBLICATION, gone)

    def replace_holds(self, holds: Mapping[str, str], *, now: int) -> None:
        """Make these the holds, by base id; one that stays keeps its beginning. `now` is in ms."""
        known = self.holds()
        wanted = {base_id: tables.printable(reason) for base_id, reason in holds.items()}
        other = wanted.items() - known.items()
        gone = [{"held": one} for one in known.keys() - wanted.keys()]
        changed = [{"held": one, "reason": why} for one, why in other if one in known]
        new = [
            {"base_id": one, "reason": why, "since": now} for one, why in other if one not in known
        ]
        if not (gone or other):
            return
        with self._writable.write() as connection:
            for statement, rows in (
                (sa.delete(HOLD).where(_OF_HELD), gone),
                (sa.update(HOLD).where(_OF_HELD), changed),
                (sa.insert(HOLD), new),
            ):
                if rows:
                    connection.execute(statement, rows)

    def remember(self, key: str, value: str) -> None:
        """Remember a value under a key, in place of the one before."""
        with self._writable.write() as connection:
            connection.execute(sa.delete(MEMORY).where(MEMORY.c.key == key))
            connection.execute(sa.insert(MEMORY).values(key=key, value=value))

    def tidy(self, *, now: int) -> None:
        """Keep the file small, a short piece at a time, for idle moments; when all is done, again after 10 min (`now` in ms)."""
        if self._tidied_at is not None and 0 <= now - self._tidied_at < _TIDY_EVERY:
            return
        self._writable.fence.require()
        with self._writable.driver() as connection:
            is_more = upkeep.tidy(connection)
        self._writable.fence.changed()
        self._tidied_at = None if is_more else now


def _write_changes(
    connection: sa.Connection, changes: Sequence[Change], *, run_id: str | None = None
) -> None:
    """Write records, their results and their history; a `run_id` is recorded as the one that pays."""
    for change in changes:
        for gone in change.withdraws:  # no task exists under its id; its lines of history stay
            owner = {"owner": gone.external_task_id}
            _guard(connection, gone.external_task_id, gone.status)
            connection.execute(_DELETE_RESULTS, owner)
            connection.execute(sa.delete(TASK).where(_OF_OWNER), owner)
        payer = {} if run_id is None else {"run_id": run_id}
        _write(connection, change, tables.row_of(change.record) | payer)
    connection.execute(_DELETE_RESULTS, [{"owner": c.record.external_task_id} for c in changes])
    if results := [
        tables.row_of(file, external_task_id=change.record.external_task_id)
        for change in changes
        for file in (*change.record.results, *change.record.previews)
    ]:
        connection.execute(sa.insert(RESULT), results)
    _append(connection, (entry for change in changes for entry in change.history))


def _append(connection: sa.Connection, entries: Iterable[HistoryEntry]) -> None:
    if values := [tables.row_of(entry) for entry in entries]:
        connection.execute(sa.insert(EVENT), values)


def _guard(connection: sa.Connection, external_task_id: str, expected: Status | None) -> None:
    """Raise StaleRecord unless the attempt is in this status (None: is not recorded at all)."""
    found = connection.execute(_STATUS, {"owner": external_task_id}).scalar()
    if found != expected:
        raise StaleRecord(
            f"{external_task_id} is {found or 'not recorded'}, but the change expected it to be "
            f"{expected or 'not recorded'}; nothing was written.",
            hint="Run again: the next look starts from what is recorded.",
        )


def _write(connection: sa.Connection, change: Change, values: Mapping[str, object]) -> None:
    owner, expected = change.record.external_task_id, change.expected
    try:
        if expected is None:
            _guard(connection, owner, None)
            connection.execute(sa.insert(TASK), values)
            return
        guarded = {**values, "owner": owner, "expected": expected.value}
        changed = connection.execute(_UPDATE, guarded).rowcount
    except IntegrityError as error:
        raise _contradiction(change.record, error) from error
    if changed != 1:
        _guard(connection, owner, expected)


def _contradiction(record: Record, error: IntegrityError) -> StateError:
    if "task.task_id" in str(error.orig) or "uq_task_task_id" in str(error.orig):
        return StaleRecord(
            f"Task {record.task_id} is on record for an attempt other than {record.external_task_id}; "
            "nothing was written."
        )
    if record.status in LIVE:
        return StateError(
            f"A live task of {record.base_id} exists already, so {record.external_task_id} was not recorded: "
            "both could be billed.",
            hint="Wait until the other attempt has ended.",
        )
    return StaleRecord(
        f"Attempt {record.attempt} of {record.base_id} is recorded under another id; nothing was written."
    )


def _spending(connection: sa.Connection, attempts: Sequence[Record]) -> list[dict[str, object]]:
    """Return the rows of `forgotten` for all attempts at a generation: their units, and the run that pays."""
    payers = sa.select(TASK.c.external_task_id, TASK.c.run_id).where(
        TASK.c.base_id == attempts[0].base_id
    )
    runs = {row.external_task_id: row.run_id for row in connection.execute(payers)}
    rows = []
    for each in attempts:
        name, units = each.external_task_id, charged(each.status, each.estimated_units, each.units)
        gone = Forgotten(name, each.base_id, units, each.intent_at, each.calendar_at)
        rows.append(tables.row_of(gone, run_id=runs[name]))
    return rows
