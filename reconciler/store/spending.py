"""What was spent, and whether a cap allows more. It only reads; the transaction around it makes it binding.

Units are summed as decimals in Python, from groups of equal amounts that the database counts: exact on every
database, and short however many attempts a day has.
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import ColumnElement, Connection, func, select

from reconciler.core.errors import CapReached
from reconciler.core.states import Record, Status
from reconciler.store.changes import Caps
from reconciler.store.tables import TASK

_FREE = (Status.PENDING.value, Status.REJECTED.value)


def check_caps(
    connection: Connection, record: Record, caps: Caps, *, run_id: str, day_start: int
) -> None:
    """Raise CapReached when the record's estimate does not fit under a cap; `day_start` is in ms."""
    if caps.per_day is not None:
        used = _used(connection, TASK.c.intent_at >= day_start, besides=record)
        _refuse_beyond(caps.per_day, "day", used, record.estimated_units)
    if caps.per_run is not None:
        used = _used(connection, TASK.c.run_id == run_id, besides=record)
        _refuse_beyond(caps.per_run, "run", used, record.estimated_units)


def _used(connection: Connection, scope: ColumnElement[bool], *, besides: Record) -> Decimal:
    """Provider units of the attempts in scope, without the one that is being recorded (again)."""
    amount = (TASK.c.status, TASK.c.estimated_units, TASK.c.units)
    query = (
        select(*amount, func.count())
        .where(scope)
        .where(TASK.c.status.not_in(_FREE))
        .where(TASK.c.external_task_id != besides.external_task_id)
        .group_by(*amount)
    )
    return sum(
        (
            count * _charged(status, estimated, units)
            for status, estimated, units, count in connection.execute(query)
        ),
        Decimal(0),
    )


def _charged(status: str, estimated: str, units: str | None) -> Decimal:
    if units is not None:
        return Decimal(units)
    return Decimal(0) if status == Status.FAILED.value else Decimal(estimated)


def _refuse_beyond(cap: Decimal, period: str, used: Decimal, wanted: Decimal) -> None:
    if used + wanted <= cap:
        return
    raise CapReached(
        f"The cap of {_plain(cap)} units per {period} is reached: {_plain(used)} are used and "
        f"{_plain(wanted)} more are wanted, "
        "so nothing was sent.",
        hint=f"Raise RECONCILER_MAX_UNITS_PER_{period.upper()}, or wait for the next {period}.",
    )


def _plain(units: Decimal) -> str:
    text = f"{units:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
