"""What goes away: generations that somebody forgets, and history that is old. Nothing here commits.

Neither takes a paid file with it, and neither frees a cap: what was spent is remembered apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, or_, select

from reconciler.core.errors import counted
from reconciler.core.spending import charged
from reconciler.core.states import Record
from reconciler.store.changes import KEPT_BESIDE, HistoryEntry
from reconciler.store.tables import EVENT, FORGOTTEN, HOLD, LIVE_TASKS, PUBLICATION, RESULT, TASK
from reconciler.store.writes import append


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
    append(connection, [HistoryEntry(base_id, now, "forgotten", _described(attempts))])


def remove_history(connection: Connection, before: int, most: int) -> int:
    """Remove the oldest lines from before a time (ms); return how many.

    None of a live generation goes, and none that is the only word of what was paid for.
    """
    live = select(TASK.c.base_id).where(LIVE_TASKS)
    attempts = select(TASK.c.external_task_id).where(TASK.c.base_id.in_(live))
    old = (
        select(EVENT.c.id)
        .where(EVENT.c.at < before)
        .where(EVENT.c.kind != KEPT_BESIDE)
        .where(EVENT.c.external_task_id.not_in(attempts))
        .where(EVENT.c.external_task_id.not_in(live))
        .order_by(EVENT.c.at, EVENT.c.id)
        .limit(most)
    )
    return connection.execute(delete(EVENT).where(EVENT.c.id.in_(old))).rowcount


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


def _described(attempts: Sequence[Record]) -> str:
    last = attempts[-1]
    task = f", task {last.task_id}" if last.task_id else ""
    return f"{counted(len(attempts), 'attempt')}; the last, {last.external_task_id}{task}, was {last.status}"
