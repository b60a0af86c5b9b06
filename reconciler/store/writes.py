"""The guarded writes of records, inside a transaction that the repository began. Nothing here commits.

A change that expects another status than the one on disk, or a second live task of one generation, is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from reconciler.core.errors import StaleRecord, StateError
from reconciler.core.states import LIVE, Record, Status
from reconciler.store import rows
from reconciler.store.changes import Change, HistoryEntry
from reconciler.store.tables import EVENT, RESULT, TASK

_STATUS = select(TASK.c.status).where(TASK.c.external_task_id == bindparam("owner"))
_UPDATE = (
    update(TASK)
    .where(TASK.c.external_task_id == bindparam("owner"))
    .where(TASK.c.status == bindparam("expected"))
)
_DELETE = delete(TASK).where(TASK.c.external_task_id == bindparam("owner"))
_DELETE_RESULTS = delete(RESULT).where(RESULT.c.external_task_id == bindparam("owner"))


def write_changes(
    connection: Connection, changes: Sequence[Change], *, run_id: str | None = None
) -> None:
    """Write records, their results and their history; a `run_id` is recorded as the one that pays.

    Raises StaleRecord when a record is not in its expected status, and StateError when a record would be the
    second live task of its generation.
    """
    for change in changes:
        for withdrawn in change.withdraws:
            _withdraw(connection, withdrawn)
        values = rows.from_record(change.record)
        if run_id is not None:
            values["run_id"] = run_id
        if change.expected is None:
            _insert(connection, change.record, values)
        else:
            _update(connection, change.record, change.expected, values)
    if not changes:
        return
    connection.execute(_DELETE_RESULTS, [{"owner": c.record.external_task_id} for c in changes])
    results = [row for change in changes for row in rows.from_results(change.record)]
    if results:
        connection.execute(insert(RESULT), results)
    append(connection, (entry for change in changes for entry in change.history))


def append(connection: Connection, entries: Iterable[HistoryEntry]) -> None:
    """Add lines to the history."""
    values = [rows.from_entry(entry) for entry in entries]
    if values:
        connection.execute(insert(EVENT), values)


def guard(connection: Connection, external_task_id: str, expected: Status | None) -> None:
    """Raise StaleRecord unless the attempt is in this status (None: is not recorded at all)."""
    found = connection.execute(_STATUS, {"owner": external_task_id}).scalar()
    if found != (None if expected is None else expected.value):
        raise StaleRecord(
            f"{external_task_id} is {found or 'not recorded'}, but the change expected it to be "
            f"{expected or 'not recorded'}; nothing was written.",
            hint="Run again: the next look starts from what is recorded.",
        )


def _withdraw(connection: Connection, record: Record) -> None:
    """Remove an attempt under which nothing exists at the provider; its lines of history stay."""
    guard(connection, record.external_task_id, record.status)
    connection.execute(_DELETE_RESULTS, {"owner": record.external_task_id})
    connection.execute(_DELETE, {"owner": record.external_task_id})


def _insert(connection: Connection, record: Record, values: Mapping[str, object]) -> None:
    guard(connection, record.external_task_id, None)
    try:
        connection.execute(insert(TASK), values)
    except IntegrityError as error:
        raise _contradiction(record, error) from error


def _update(
    connection: Connection, record: Record, expected: Status, values: Mapping[str, object]
) -> None:
    guarded = {**values, "owner": record.external_task_id, "expected": expected.value}
    try:
        changed = connection.execute(_UPDATE, guarded).rowcount
    except IntegrityError as error:
        raise _contradiction(record, error) from error
    if changed != 1:
        guard(connection, record.external_task_id, expected)


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
