"""The store's verbs: every question the program asks of its database and every change it makes to it.

One verb is one transaction. It refuses a change that expects another status than the one on disk, and a second live
task of one generation. Removing rows removes no paid file, and frees no cap. Caps are in `caps`, rows in `tables`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from reconciler.core.errors import StaleRecord, StateError, counted
from reconciler.core.spending import charged
from reconciler.core.states import LIVE, PREVIEWS, Record, Status, foremost
from reconciler.store import database, tables, upkeep
from reconciler.store.caps import check_caps
from reconciler.store.lock import StateLock
from reconciler.store.order_queue import OrderQueue
from reconciler.store.tables import EVENT, FORGOTTEN, HOLD, MEMORY, PUBLICATION, RESULT, TASK
from reconciler.store.values import (
    KEPT_BESIDE,
    Caps,
    Change,
    Forgotten,
    HistoryEntry,
    Ledger,
    Publication,
    Spent,
)

_OF_OWNER = TASK.c.external_task_id == sa.bindparam("owner")
_STATUS = sa.select(TASK.c.status).where(_OF_OWNER)
_UPDATE = sa.update(TASK).where(_OF_OWNER, TASK.c.status == sa.bindparam("expected"))
_DELETE_RESULTS = sa.delete(RESULT).where(RESULT.c.external_task_id == sa.bindparam("owner"))
_DELETE_PUBLICATION = sa.delete(PUBLICATION).where(PUBLICATION.c.path == sa.bindparam("gone"))
_OF_HELD = HOLD.c.base_id == sa.bindparam("held")
_DIGESTS = re.compile(r"\b[0-9a-f]{64}\b")
_Query = sa.Select[*tuple[Any, ...]]
_TIDY_EVERY = 600_000  # ms


class Repository:
    """The state database, for one thread at a time. Every verb raises StateError when it cannot be used.

    A repository that was opened for reading refuses every change, and is empty when there is no database.
    """

    def __init__(self, opened: database.Database | None, *, read_only: bool) -> None:
        self._database = opened
        self._read_only = read_only
        self._tidied_at: int | None = None  # None: there may be something to do

    @classmethod
    def open(
        cls,
        url_or_path: str | Path,
        *,
        read_only: bool = False,
        busy_timeout: float | None = None,
        locks: Iterable[StateLock] = (),
    ) -> Self:
        """Open a database by its path or `sqlite:///` URL, creating or upgrading it unless `read_only`.

        `busy_timeout` is how long a change waits for another program that writes, in seconds. Every change
        raises StateReplaced once the database, or one of these locks, is not on the disk by its name any more.
        """
        path = database.database_path(url_or_path)
        if read_only:
            opened = database.open_for_reading(path)
        else:
            opened = database.open_for_writing(path, busy_timeout)
        if opened is None:
            return cls(None, read_only=True)
        try:
            if not read_only:
                database.upgrade(opened)
                opened.raise_fence()
                for lock in locks:
                    lock.hold(opened.fence)
            elif not database.is_ready(opened):
                opened.close()
                return cls(None, read_only=True)
        except BaseException:
            opened.close()
            raise
        return cls(opened, read_only=read_only)

    def close(self) -> None:
        """Close the database; closing twice is harmless."""
        if self._database is not None:
            self._database.close()

    @property
    def orders(self) -> OrderQueue:
        """The orders that other processes leave here. Raises StateError where this was opened for reading only."""
        return OrderQueue(self._writable())

    def records(self) -> dict[str, Record]:
        """Return the foremost attempt of every generation, by base id, with its results."""
        attempts = defaultdict[str, list[Record]](list)
        with tables.collector_paused():
            for record in _to_records(*self._read(tables.RECORDS, tables.RESULTS)):
                attempts[record.base_id].append(record)
        return {base: one for base, all_of in attempts.items() if (one := foremost(all_of))}

    def record(self, base_id: str) -> Record | None:
        """Return the foremost attempt at a generation, None when there was none."""
        return foremost(self.attempts(base_id))

    def attempts(self, base_id: str) -> tuple[Record, ...]:
        """Return every attempt at a generation, the first one first."""
        return _to_records(*self._read(*_records_where(TASK.c.base_id == base_id)))

    def ledger(self) -> Ledger:
        """Return every attempt at every generation, and every one that was forgotten."""
        with tables.collector_paused():
            tasks, gone = self._read(tables.RECORDS, tables.ALL_FORGOTTEN)
            return Ledger(_to_records(tasks, ()), tuple(map(tables.to_forgotten, gone)))

    def find(self, any_id: str) -> Record | None:
        """Return the attempt that a base id (the foremost one), an attempt's id or a `task_id` names."""
        columns = (TASK.c.base_id, TASK.c.external_task_id, TASK.c.task_id)
        is_named = sa.or_(*(column == any_id for column in columns))
        found = _to_records(*self._read(*_records_where(is_named)))
        for name in (column.name for column in columns):
            if named := [one for one in found if getattr(one, name) == any_id]:
                return foremost(named)
        return None

    def record_intent(self, change: Change, *, caps: Caps, run_id: str) -> Spent:
        """Record that a create request is about to be sent, which it may be after this; return what is spent with it.

        The record's times say on which days it counts. An attempt whose create is repeated is recorded again, and
        counts once, for the run that repeats it. Raises CapReached: the estimate does not fit under a cap; StaleRecord:
        the record is not in its expected status; StateError: another task of the generation is live.
        """
        if change.record.status is not Status.SUBMITTING:
            raise ValueError("an intent is recorded with the status submitting")
        with self._writable().write() as connection:
            _guard(connection, change.record.external_task_id, change.expected)
            spent = check_caps(connection, change.record, caps, run_id=run_id)
            _write_changes(connection, (change,), run_id=run_id)
        self.require_in_place()  # once more: the write may have taken long, and nothing was sent yet
        return spent

    def require_in_place(self) -> None:
        """Raise StateReplaced once the database or a lock is not on the disk by its name any more."""
        self._writable().fence.require()

    def save(self, changes: Sequence[Change]) -> None:
        """Write all of these changes, or none. Raises StaleRecord, or StateError for a second live task."""
        if changes:
            with self._writable().write() as connection:
                _write_changes(connection, changes)

    def history(self, base_id: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to all attempts at a generation, forgotten ones too, oldest first."""
        attempts, forgotten = (
            sa.select(table.c.external_task_id).where(table.c.base_id == base_id)
            for table in (TASK, FORGOTTEN)
        )
        owner = EVENT.c.external_task_id
        its_own = sa.or_(owner == base_id, owner.in_(attempts), owner.in_(forgotten))
        (entries,) = self._read(tables.ENTRIES.where(its_own).order_by(EVENT.c.id))
        return tuple(HistoryEntry(*entry) for entry in entries)

    def note(self, entries: Sequence[HistoryEntry]) -> None:
        """Add lines to the history, which nothing changes afterwards."""
        if entries:
            with self._writable().write() as connection:
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
        with self._writable().write() as connection:
            return connection.execute(sa.delete(EVENT).where(EVENT.c.id.in_(oldest))).rowcount

    def forget(self, base_id: str, *, now: int) -> tuple[Record, ...]:
        """Remove all attempts at a generation, its holds and publications; return the attempts. `now` is in ms.

        The history stays, with a line about this; files and objects stay, and what was spent counts for the caps.
        """
        its_own = TASK.c.base_id == base_id
        owners = sa.select(TASK.c.external_task_id).where(its_own)
        owner = PUBLICATION.c.external_task_id
        with self._writable().write() as connection:
            attempts = _to_records(*_found(connection, _records_where(its_own)))
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

    def publications(self) -> dict[str, Publication]:
        """Return the outputs that are ours, by their path relative to the root."""
        (found,) = self._read(tables.PUBLICATIONS)
        return {row.path: tables.to_publication(row) for row in found}

    def publish(self, publications: Sequence[Publication]) -> None:
        """Remember these outputs as ours, in place of what was remembered of their paths."""
        rows = {one.path: tables.row_of(one, inode=str(one.inode)) for one in publications}
        if rows:
            with self._writable().write() as connection:
                connection.execute(_DELETE_PUBLICATION, [{"gone": path} for path in rows])
                connection.execute(sa.insert(PUBLICATION), list(rows.values()))

    def unpublish(self, paths: Iterable[str]) -> None:
        """Forget that the outputs at these paths are ours; the files and their objects stay."""
        if gone := [{"gone": path} for path in paths]:
            with self._writable().write() as connection:
                connection.execute(_DELETE_PUBLICATION, gone)

    def known_results(self, *, previews: bool = True, claimed: bool = True) -> dict[str, str]:
        """Return, for the SHA-256 of every result (and preview) of every attempt, the id of an attempt that has it.

        Without `claimed`, attempts that only a receipt tells of are left out.
        """
        query = sa.select(RESULT.c.sha256, RESULT.c.external_task_id)
        if not claimed:
            query = query.join(TASK).where(TASK.c.claimed.is_(False))
        if not previews:
            query = query.where(RESULT.c.role.not_in(PREVIEWS))
        (found,) = self._read(query.order_by(RESULT.c.external_task_id.desc()))
        return {row.sha256: row.external_task_id for row in found}

    def kept_beside(self) -> set[str]:
        """Return the SHA-256 of all objects in the KEPT_BESIDE lines of attempts that are on record."""
        on_record = EVENT.c.external_task_id.in_(sa.select(TASK.c.external_task_id))
        (found,) = self._read(
            sa.select(EVENT.c.detail).where(EVENT.c.kind == KEPT_BESIDE, on_record)
        )
        return {digest for row in found for digest in _DIGESTS.findall(row.detail)}

    def holds(self) -> dict[str, str]:
        """Return why generations are held on our side, by base id."""
        (found,) = self._read(sa.select(HOLD.c.base_id, HOLD.c.reason))
        return {row.base_id: row.reason for row in found}

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
        with self._writable().write() as connection:
            for statement, rows in (
                (sa.delete(HOLD).where(_OF_HELD), gone),
                (sa.update(HOLD).where(_OF_HELD), changed),
                (sa.insert(HOLD), new),
            ):
                if rows:
                    connection.execute(statement, rows)

    def recall(self, key: str) -> str | None:
        """Return what was remembered under a key, None when nothing was."""
        (found,) = self._read(sa.select(MEMORY.c.value).where(MEMORY.c.key == key))
        return found[0].value if found else None

    def remember(self, key: str, value: str) -> None:
        """Remember a value under a key, in place of the one before."""
        with self._writable().write() as connection:
            connection.execute(sa.delete(MEMORY).where(MEMORY.c.key == key))
            connection.execute(sa.insert(MEMORY).values(key=key, value=value))

    def integrity_check(self) -> tuple[str, ...]:
        """Return what is wrong with the database file, in the database's words; empty when it is sound."""
        if self._database is None:
            return ()
        with self._database.read() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return tuple(line for line in found if line != "ok")

    def tidy(self, *, now: int) -> None:
        """Keep the file small, a short piece at a time, for idle moments; when all is done, again after 10 min (`now` in ms)."""
        if self._tidied_at is not None and 0 <= now - self._tidied_at < _TIDY_EVERY:
            return
        is_more = upkeep.tidy(self._writable())
        self._tidied_at = None if is_more else now

    def _read(self, *queries: _Query) -> list[tables.Found]:
        """Return the rows of each query, all as of one moment."""
        if self._database is None:
            return [[] for _ in queries]
        with self._database.read() as connection:
            return _found(connection, queries)

    def _writable(self) -> database.Database:
        if self._database is None or self._read_only:
            raise StateError("The state database was opened for reading only.")
        return self._database


def _found(connection: sa.Connection, queries: Iterable[_Query]) -> list[tables.Found]:
    return [tables.sound(query, connection.execute(query).all()) for query in queries]


def _records_where(condition: sa.ColumnElement[bool]) -> tuple[_Query, _Query]:
    owners = sa.select(TASK.c.external_task_id).where(condition)
    return (
        tables.RECORDS.where(condition).order_by(TASK.c.attempt),
        tables.RESULTS.where(RESULT.c.external_task_id.in_(owners)),
    )


def _to_records(tasks: tables.Found, results: tables.Found) -> tuple[Record, ...]:
    found = tables.to_results(results)
    return tuple(tables.to_record(row, found) for row in tasks)


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
