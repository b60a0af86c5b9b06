"""What is written and removed inside a transaction that the repository began. Nothing here commits.

A change that expects another status than the one on disk, or a second live task of one generation, is refused. What is
removed takes no paid file with it, and frees no cap: what was spent is remembered apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from reconciler.core.errors import StaleRecord, StateError, counted
from reconciler.core.spending import charged
from reconciler.core.states import LIVE, Record, Status
from reconciler.store import tables
from reconciler.store.tables import EVENT, FORGOTTEN, HOLD, PUBLICATION, RESULT, TASK
from reconciler.store.values import Change, HistoryEntry

_OF_OWNER = TASK.c.external_task_id == bindparam("owner")
_UPDATE = update(TASK).where(_OF_OWNER, TASK.c.status == bindparam("expected"))
_DELETE_RESULTS = delete(RESULT).where(RESULT.c.external_task_id == bindparam("owner"))


def write_changes(
    connection: Connection, changes: Sequence[Change], *, run_id: str | None = None
) -> None:
    """Write records, their results and their history; a `run_id` is recorded as the one that pays.

    Raises StaleRecord when a record is not in its expected status, and StateError when a record would be the
    second live task of its generation.
    """
    for change in changes:
        for gone in change.withdraws:  # nothing exists under it; its lines of history stay
            owner = {"owner": gone.external_task_id}
            guard(connection, gone.external_task_id, gone.status)
            connection.execute(_DELETE_RESULTS, owner)
            connection.execute(delete(TASK).where(_OF_OWNER), owner)
        payer = {} if run_id is None else {"run_id": run_id}
        _write(connection, change, tables.row_of(change.record) | payer)
    if not changes:
        return
    connection.execute(_DELETE_RESULTS, [{"owner": c.record.external_task_id} for c in changes])
    if results := [
        tables.row_of(file, external_task_id=change.record.external_task_id)
        for change in changes
        for file in (*change.record.results, *change.record.previews)
    ]:
        connection.execute(insert(RESULT), results)
    append(connection, (entry for change in changes for entry in change.history))


def append(connection: Connection, entries: Iterable[HistoryEntry]) -> None:
    """Add lines to the history."""
    if values := [tables.row_of(entry) for entry in entries]:
        connection.execute(insert(EVENT), values)


def guard(connection: Connection, external_task_id: str, expected: Status | None) -> None:
    """Raise StaleRecord unless the attempt is in this status (None: is not recorded at all)."""
    found = connection.execute(
        select(TASK.c.status).where(_OF_OWNER), {"owner": external_task_id}
    ).scalar()
    if found != expected:
        raise StaleRecord(
            f"{external_task_id} is {found or 'not recorded'}, but the change expected it to be "
            f"{expected or 'not recorded'}; nothing was written.",
            hint="Run again: the next look starts from what is recorded.",
        )


def remove_generation(
    connection: Connection, base_id: str, attempts: Sequence[Record], *, now: int
) -> None:
    """Remove a generation, of which these are all attempts; `now` (ms) dates the line that says so."""
    owners = select(TASK.c.external_task_id).where(TASK.c.base_id == base_id)
    owner = PUBLICATION.c.external_task_id
    connection.execute(delete(PUBLICATION).where(or_(owner == base_id, owner.in_(owners))))
    connection.execute(delete(HOLD).where(HOLD.c.base_id == base_id))
    if not attempts:
        return
    connection.execute(delete(FORGOTTEN).where(FORGOTTEN.c.external_task_id.in_(owners)))
    _remember_spending(connection, base_id, attempts)
    connection.execute(delete(RESULT).where(RESULT.c.external_task_id.in_(owners)))
    connection.execute(delete(TASK).where(TASK.c.base_id == base_id))
    last = attempts[-1]
    task = f", task {last.task_id}" if last.task_id else ""
    told = f"{counted(len(attempts), 'attempt')}; the last, {last.external_task_id}{task}, was {last.status}"
    append(connection, [HistoryEntry(base_id, now, "forgotten", told)])


def _write(connection: Connection, change: Change, values: Mapping[str, object]) -> None:
    owner, expected = change.record.external_task_id, change.expected
    try:
        if expected is None:
            guard(connection, owner, None)
            connection.execute(insert(TASK), values)
            return
        guarded = {**values, "owner": owner, "expected": expected.value}
        changed = connection.execute(_UPDATE, guarded).rowcount
    except IntegrityError as error:
        raise _contradiction(change.record, error) from error
    if changed != 1:
        guard(connection, owner, expected)


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


def _remember_spending(connection: Connection, base_id: str, attempts: Sequence[Record]) -> None:
    payers = select(TASK.c.external_task_id, TASK.c.run_id).where(TASK.c.base_id == base_id)
    runs = {row.external_task_id: row.run_id for row in connection.execute(payers)}
    values = [
        {
            "external_task_id": each.external_task_id,
            "base_id": base_id,
            "units": str(charged(each.status, each.estimated_units, each.units)),
            "intent_at": each.intent_at,
            "calendar_at": each.calendar_at,
            "run_id": runs[each.external_task_id],
        }
        for each in attempts
    ]
    connection.execute(insert(FORGOTTEN), values)
